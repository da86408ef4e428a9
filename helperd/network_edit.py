"""The network that an update asks for, from the one that exists. Pure.

Nothing that a container has is taken away: its address stays in its subnet, and its gateway is the one it routes by.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence

import msgspec

from drivers.changing import changed_options, require
from drivers.host_access import AUX
from helperd.prefixes import IPAddress, IPNetwork, edges, host_address, parse_address, parse_prefix
from protocol.errors import Conflict, InUse, InvalidValue, NotFound
from protocol.model import DHCP, DriverInfo, Network, Subnet
from protocol.names import aux_name, display_text, label_key, suggestion
from protocol.requests import NetworkUpdate, SubnetRequest

Owners = Mapping[str, str]  # leased bare address → what people call its container
Choose = Callable[[Sequence[SubnetRequest]], tuple[Subnet, ...]]  # new subnets, whole and checked against everything else


def edited(network: Network, request: NetworkUpdate, info: DriverInfo, owners: Owners, choose: Choose) -> Network:
    """`network` as `request` wants it; its driver has not looked at the whole yet. Raises InvalidValue, NotFound, Conflict, InUse."""
    internal = network.internal if request.internal is None else request.internal
    if internal != network.internal:
        require(info, "internal", "--internal", str(internal).lower())
    subnets = _subnets(network, request, info, owners, choose)
    families = {4} if network.ipam == DHCP else {ipaddress.ip_network(item.subnet).version for item in subnets}
    return msgspec.structs.replace(
        network, options=changed_options(info, network.options, request.options), labels=_labels(network, request), internal=internal,
        subnets=subnets, ipv4=4 in families, ipv6=6 in families)


def _labels(network: Network, request: NetworkUpdate) -> dict[str, str]:
    for key in request.labels:
        label_key(key)
        if key in request.remove_labels:
            raise InvalidValue(f"label {display_text(key)} is both set and removed: leave one of them out", field="labels",
                               value=display_text(key))
    for key in request.remove_labels:
        if key not in network.labels:
            raise NotFound(f"network {network.name} has no label {display_text(key)!r}{suggestion(key, network.labels)}",
                           name=display_text(key), field="labels")
    return {key: value for key, value in {**network.labels, **request.labels}.items() if key not in request.remove_labels}


def _subnets(network: Network, request: NetworkUpdate, info: DriverInfo, owners: Owners, choose: Choose) -> tuple[Subnet, ...]:
    if request.subnets and network.ipam == DHCP:
        raise InvalidValue(f"the addresses of network {network.name} come from the site's DHCP server, which says what its subnet is",
                           field="subnets", value=display_text(request.subnets[0]))
    kept = _without_removed(network, request, info, owners)
    fresh = [SubnetRequest(item) for item in request.subnets]
    if fresh:
        require(info, "subnets", "the subnets", request.subnets[0])
    nets = [ipaddress.ip_network(item.subnet) for item in kept] + [parse_prefix(item.subnet, "subnet") for item in fresh]
    rows: list[Subnet | SubnetRequest] = [*kept, *fresh]
    _drop_aux(rows, network, request)

    def put(index: int, **fields: object) -> None:
        rows[index] = msgspec.structs.replace(rows[index], **fields)

    for text in request.ip_ranges:
        part = parse_prefix(text, "ip_range")
        index = _holder(part, nets, "ip-range", "ip_range", network)
        put(index, ip_range=None if part == nets[index] else str(part))
    for text in request.gateways:
        address = parse_address(text, "gateway")
        index = _holder(address, nets, "gateway", "gateway", network)
        row = rows[index]
        if isinstance(row, Subnet) and row.gateway != str(address):
            require(info, "subnets", "the gateway", str(address))
            _check_gateway(network, row, nets[index], address, owners)
        put(index, gateway=str(address))
    for name, text in request.aux.items():
        address = parse_address(text, "aux")
        index = _holder(address, nets, f"aux-address {aux_name(name)}", "aux", network)
        row = rows[index]
        if isinstance(row, Subnet):
            _check_aux(network, row, nets[index], name, address, owners)
        put(index, aux={**row.aux, name: str(address)})
    old = tuple(row for row in rows if isinstance(row, Subnet))
    new = tuple(row for row in rows if isinstance(row, SubnetRequest))
    return (*old, *choose(new)) if new else old


def _without_removed(network: Network, request: NetworkUpdate, info: DriverInfo, owners: Owners) -> list[Subnet]:
    gone = [str(parse_prefix(item, "subnet")) for item in request.remove_subnets]
    known = [item.subnet for item in network.subnets]
    for name in gone:
        require(info, "subnets", "the subnets", name)
        if name not in known:
            raise NotFound(f"network {network.name} has no subnet {name}: it has {', '.join(known) or 'none'}", name=name, field="subnets")
        users = _users(ipaddress.ip_network(name), owners)
        if users:
            raise InUse(f"subnet {name} of network {network.name} is in use by {_few(users)}: disconnect them first", name=name,
                        users=users, field="subnets", value=name)
    kept = [item for item in network.subnets if item.subnet not in gone]
    if gone and not kept and not request.subnets:
        raise InvalidValue(f"network {network.name} would be left without a subnet: add another in its place", field="subnets",
                           value=gone[0])
    return kept


def _drop_aux(rows: list[Subnet | SubnetRequest], network: Network, request: NetworkUpdate) -> None:
    """Take away the aux-addresses that are to go, and those that get another address."""
    known = {name for row in rows for name in row.aux}
    for name in request.remove_aux:
        if name in request.aux:
            raise InvalidValue(f"aux-address {display_text(name)} is both set and removed: leave one of them out", field="aux",
                               value=display_text(name))
        if name not in known:
            raise NotFound(f"network {network.name} has no aux-address {display_text(name)!r}{suggestion(name, known)}",
                           name=display_text(name), field="aux")
    gone = {*request.remove_aux, *request.aux}
    if AUX in gone and network.host_addresses:
        raise InUse(f"aux-address {AUX} is the host's own address in network {network.name}: switch host access off first "
                    f"(netdeck network host-access {network.name} off)", name=AUX, field="aux", users=["the host"])
    for index, row in enumerate(rows):
        rows[index] = msgspec.structs.replace(row, aux={name: value for name, value in row.aux.items() if name not in gone})


def _holder(inner: IPNetwork | IPAddress, nets: Sequence[IPNetwork], words: str, field: str, network: Network) -> int:
    """Which subnet contains an address or a range."""
    low, high = (inner.network_address, inner.broadcast_address) if isinstance(inner, IPNetwork) else (inner, inner)
    for index, net in enumerate(nets):
        if net.version == inner.version and low in net and high in net:
            return index
    raise InvalidValue(f"{words} {inner} is in no subnet of network {network.name}: they are {', '.join(map(str, nets)) or 'none'}",
                       field=field, value=str(inner), expected=", ".join(map(str, nets)))


def _check_gateway(network: Network, subnet: Subnet, net: IPNetwork, address: IPAddress, owners: Owners) -> None:
    reserved = edges(net) | {int(ipaddress.ip_address(text)): f"aux-address {name}" for name, text in subnet.aux.items()}
    host_address(str(address), "gateway", "gateway", net, reserved)
    _refuse_leased(f"gateway {address}", "gateway", str(address), owners)
    users = _users(net, owners)
    if users:
        raise InUse(f"the gateway of subnet {net} can't be changed: {subnet.gateway or 'none'} is what {_few(users)} route by. Disconnect "
                    "them first", name=str(net), users=users, field="gateway", value=str(address))


def _check_aux(network: Network, subnet: Subnet, net: IPNetwork, name: str, address: IPAddress, owners: Owners) -> None:
    reserved = edges(net) | {int(ipaddress.ip_address(text)): f"aux-address {other}" for other, text in subnet.aux.items()}
    if subnet.gateway is not None:
        reserved[int(ipaddress.ip_address(subnet.gateway))] = "the gateway"
    host_address(str(address), "aux", f"aux-address {name}", net, reserved)
    _refuse_leased(f"aux-address {name} {address}", "aux", str(address), owners)


def _refuse_leased(words: str, field: str, address: str, owners: Owners) -> None:
    if address in owners:
        raise Conflict(f"{words} can't be set: the address is in use by container {owners[address]}", field=field, value=address,
                       with_=owners[address])


def _users(net: IPNetwork, owners: Owners) -> list[str]:
    found = ((ipaddress.ip_address(address), owner) for address, owner in owners.items())
    return sorted({owner for address, owner in found if address.version == net.version and address in net})


def _few(users: Sequence[str]) -> str:
    return ", ".join(users[:8]) + (f" and {len(users) - 8} more" if len(users) > 8 else "")
