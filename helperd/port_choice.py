"""Which ports of the host a container gets, and through which of its networks they lead. Pure, but for what is asked of `Free`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

from drivers.bridge_ports import RELAYED, family
from drivers.default_route import choose_default_routes
from drivers.driver import Driver, families
from drivers.objects import Route
from protocol.errors import Conflict, Exhausted, InvalidValue
from protocol.model import Container, Endpoint, Network, Port
from protocol.names import display_text
from protocol.ports import EVERYWHERE, MOST, PortWish, port_text

Pairs = Sequence[tuple[Network, Endpoint]]
Free = Callable[[Sequence[Port], bool], None]  # raises Conflict where one of them is taken; with True it says by whom


def leads_through(pairs: Pairs, drivers: Mapping[str, Driver]) -> dict[int, tuple[Network, Endpoint]]:
    """Family → the attachment that ports of the host lead through: the one that gives the container its default route, as in
    docker; where somebody else gives that, the first on which ports can be published."""
    able = [(network, endpoint) for network, endpoint in pairs
            if drivers[network.driver].info.publishes and not network.internal]
    found: dict[int, tuple[Network, Endpoint]] = {}
    for route in choose_default_routes(pairs, drivers):
        assert isinstance(route, Route)
        for pair in able:
            if pair[1].ifname == route.link:
                found[6 if ":" in route.destination else 4] = pair
    for version in EVERYWHERE:
        fitting = [pair for pair in able if version in families(pair[1].addresses) and _has_address(pair[0], version)]
        if fitting and found.get(version) not in fitting:
            found[version] = fitting[0]
        elif not fitting:
            found.pop(version, None)
    return found


def _has_address(network: Network, version: int) -> bool:
    """Whether the host has an address of the family on the network's link."""
    return not network.uplink and not (version == 4 and network.options.get("inhibit_ipv4") == "true")


def placed(ports: Iterable[Port], pairs: Pairs, drivers: Mapping[str, Driver]) -> tuple[tuple[Endpoint, ...], tuple[Port, ...]]:
    """(the endpoints of `pairs` that get other ports when all of `ports` lead where they should, the ports that can't)."""
    ways = leads_through(pairs, drivers)
    wanted: dict[str, list[Port]] = {}
    lost = []
    for port in ports:
        way = ways.get(family(port)) or (next(iter(ways.values()), None) if port.protocol in RELAYED else None)
        if way is None:
            lost.append(port)
        else:
            wanted.setdefault(way[1].id, []).append(port)
    fresh = [msgspec.structs.replace(endpoint, ports=tuple(wanted.get(endpoint.id, ()))) for _, endpoint in pairs]
    return tuple(new for new, (_, old) in zip(fresh, pairs, strict=True) if new != old), tuple(lost)


def chosen(wishes: Sequence[PortWish], container: Container, pairs: Pairs, drivers: Mapping[str, Driver], automatic: Iterator[int],
           free: Free, six: bool) -> tuple[Port, ...]:
    """The ports that `wishes` get, beside those that the container has; those without a number of their own the next of
    `automatic` that is free. `six`: the host has IPv6. Raises InvalidValue, Conflict, Exhausted."""
    ways = leads_through(pairs, drivers)
    have = sum(len(endpoint.ports) for _, endpoint in pairs)
    found: list[Port] = []
    for wish in wishes:
        hosts = _hosts(wish, container, pairs, ways, six)
        if have + len(found) + len(hosts) > MOST:
            raise InvalidValue(f"container {container.ref} would have more than {MOST} published ports", field="publish",
                               value=str(have + len(found) + len(hosts)))
        found.extend(_port(wish, hosts, found, automatic, free))
    return tuple(found)


def _hosts(wish: PortWish, container: Container, pairs: Pairs, ways: Mapping[int, tuple[Network, Endpoint]],
           six: bool) -> tuple[str, ...]:
    """The addresses of the host that a wish means. As in docker, who names none means those of IPv6 too where the container has
    only IPv4, and not the other way round."""
    if not ways:
        raise InvalidValue(_no_way(container, pairs), field="publish", value=container.ref)
    if wish.host:
        version = 6 if ":" in wish.host else 4
        if version not in ways and wish.protocol not in RELAYED:
            names = ", ".join(dict.fromkeys(network.name for network, _ in ways.values()))
            raise InvalidValue(f"port {wish.port}/{wish.protocol} can't be published on {wish.host}: container {container.ref} has no "
                               f"IPv{version} address on a bridge network (it is on {names}), and from one family into the other only "
                               "tcp and udp are carried: publish it on an address of the other family, or connect the container to a "
                               "network that has both", field="publish", value=wish.host)
        return (wish.host,)
    default = ways[4][0].options.get("host_binding_ipv4", EVERYWHERE[4]) if 4 in ways else EVERYWHERE[4]
    if default != EVERYWHERE[4]:
        return (default,)  # as in docker: who binds to one address does not mean all of the other family
    crossing = {6} if six and wish.protocol in RELAYED else set()
    return tuple(EVERYWHERE[version] for version in sorted({*ways, *crossing}))


def _no_way(container: Container, pairs: Pairs) -> str:
    if not pairs:
        return f"container {container.ref} is on no network of netdeck's: connect it to a bridge network first"
    kinds = ", ".join(f"{network.name} ({'internal' if network.internal else network.driver})" for network, _ in pairs)
    return (f"ports of container {container.ref} can't be published: it is on no bridge network that leads to the outside, "
            f"only on {kinds}")


def _port(wish: PortWish, hosts: Sequence[str], before: Sequence[Port], automatic: Iterator[int], free: Free) -> list[Port]:
    def at(number: int) -> list[Port]:
        return [Port(wish.protocol, host, number, wish.port) for host in hosts]

    if wish.host_ports is not None and wish.host_ports[0] == wish.host_ports[1]:
        ports = at(wish.host_ports[0])
        for port in ports:
            _not_twice(port, before)
        free(ports, True)
        return ports
    for number in automatic if wish.host_ports is None else range(wish.host_ports[0], wish.host_ports[1] + 1):
        ports = at(number)
        try:
            for port in ports:
                _not_twice(port, before)
            free(ports, False)
        except Conflict:
            continue
        return ports
    span = f" from {wish.host_ports[0]} to {wish.host_ports[1]}" if wish.host_ports else ""
    raise Exhausted(f"no port of the host{span} is free for {wish.port}/{wish.protocol}", name=f"{wish.port}/{wish.protocol}")


def _not_twice(port: Port, before: Iterable[Port]) -> None:
    for other in before:
        same = (other.protocol, other.host_port) == (port.protocol, port.host_port) and (":" in other.host) == (":" in port.host)
        if same and (other.host == port.host or {other.host, port.host} & set(EVERYWHERE.values())):
            raise Conflict(f"port {port.host_port}/{port.protocol} of the host is asked for twice: {port_text(other)} and "
                           f"{port_text(port)}", field="publish", value=str(port.host_port), with_=display_text(port_text(other)))
