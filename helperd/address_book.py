"""Whose every address of a network is, what is free, what leaked and what is in the way. Pure.

*Leaked* is what netdeck itself keeps or made and no container lives by: a lease of nobody, the lease of a container that is gone,
an address with netdeck's mark that no endpoint accounts for. It can be given free. *In conflict* is what somebody else put where
netdeck hands out: that is only told, and theirs to mend.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterable, Mapping, Sequence, Set

import msgspec

from drivers.host_access import host_link
from helperd.ipam import pool_of, usage
from helperd.prefixes import edges
from helperd.store import lease_address
from protocol.addresses import AddressUse, PoolUse
from protocol.model import DHCP, Container, Endpoint, Network, Subnet
from protocol.names import display_text

Meant = Mapping[tuple[int, str], Set[str]]  # (inode, link) → the addresses that belong there
_EXACT = 1 << 32  # numbers up to here are written out


class Seen(msgspec.Struct, frozen=True):
    """An address on a link of the host, or of a namespace that hangs on the network's bridge.

    `where` are the words for it, as ``eth0 of web``. `marked` says that this helper gave it: by its protocol number or by the mark
    of its link.
    """

    inode: int
    link: str
    prefix: str
    where: str
    marked: bool = False


class Answer(msgspec.Struct, frozen=True):
    """Somebody on the network's bridge who answers for an address, by the host's neighbour table. `owner` has the MAC address."""

    address: str
    mac: str
    owner: str = ""


class Facts(msgspec.Struct, frozen=True):
    """What a network's book is made from. `leases` are the rows of the store: bare address → endpoint id. `alive` are the ids of
    containers that live."""

    endpoints: Sequence[Endpoint] = ()
    containers: Mapping[str, Container] = {}
    leases: Mapping[str, str] = {}
    alive: Set[str] = frozenset()
    seen: Sequence[Seen] = ()
    answers: Sequence[Answer] = ()
    host: int = 0  # inode of the host's namespace


class Leak(msgspec.Struct, frozen=True):
    """Why an address is leaked, and what has to go to give it free."""

    address: str
    owner: str
    text: str
    lease: bool = False  # a row of the store that no endpoint has
    endpoint: str = ""  # the endpoint of a container that is gone
    seen: tuple[Seen, ...] = ()  # where it is though it should not be


def leaks(network: Network, facts: Facts) -> dict[str, Leak]:
    """All leaks of a network, by bare address."""
    return _leaks(network, facts, _meant(network, facts))


def _leaks(network: Network, facts: Facts, meant: Meant) -> dict[str, Leak]:
    found: dict[str, Leak] = {}
    by_id = {item.id: item for item in facts.endpoints}
    held = {lease_address(prefix) for item in facts.endpoints for prefix in item.addresses}
    for address, ident in facts.leases.items():
        if address not in held:
            whose = "that is gone" if ident not in by_id else "that has another address"
            found[address] = Leak(address, f"endpoint {ident[:12]}", f"a lease for an endpoint {whose}", lease=True)
    for item in facts.endpoints:
        if item.container not in facts.alive:
            for prefix in item.addresses:
                found[lease_address(prefix)] = Leak(lease_address(prefix), _owner(facts, item), "its container is gone", endpoint=item.id)
    for seen in facts.seen:
        address = lease_address(seen.prefix)
        if seen.marked and not _accounted(meant, seen) and _subnet_of(network, address) is not None:
            known = found.get(address, Leak(address, seen.where, "set by netdeck, and no endpoint accounts for it"))
            found[address] = msgspec.structs.replace(known, seen=(*known.seen, seen))
    return found


def book(network: Network, facts: Facts) -> tuple[PoolUse, ...]:
    """The pools of a network with every address that is not free, in order. Where a DHCP server of the site gives them out, the pools are
    the subnets that its leases are in."""
    network = _with_leased(network, facts.endpoints)
    meant = _meant(network, facts)
    lost = _leaks(network, facts, meant)
    rows: dict[str, dict[str, AddressUse]] = {item.subnet: {} for item in network.subnets}

    def put(address: str, use: AddressUse) -> None:
        subnet = _subnet_of(network, address)
        if subnet is not None:
            rows[subnet.subnet].setdefault(address, use)

    for leak in lost.values():
        put(leak.address, AddressUse(leak.address, "leaked", leak.owner, leak.text))
    for use in _conflicts(network, facts, meant, lost):
        put(use.address, use)
    for item in facts.endpoints:
        for prefix in item.addresses:
            put(lease_address(prefix), AddressUse(lease_address(prefix), "container", _owner(facts, item), item.ifname, item.mac))
    for subnet in network.subnets:
        for use in _kept(network, subnet):
            put(use.address, use)
    return tuple(_pool(network, subnet, facts, tuple(rows[subnet.subnet].values())) for subnet in network.subnets)


def _with_leased(network: Network, endpoints: Sequence[Endpoint]) -> Network:
    if network.ipam != DHCP:
        return network
    found: dict[str, Subnet] = {}
    for lease, prefix in ((item.lease, prefix) for item in endpoints for prefix in item.addresses):
        subnet = str(ipaddress.ip_interface(prefix).network)
        found.setdefault(subnet, Subnet(subnet, lease.gateway or None if lease is not None else None))
    return msgspec.structs.replace(network, subnets=tuple(found[subnet] for subnet in sorted(found)))


def count_text(number: int) -> str:
    """A number of addresses: exact up to 2^32, else as the nearest power of two with one decimal."""
    if number <= _EXACT:
        return str(number)
    return f"2^{math.log2(number):.1f}".removesuffix(".0")


def _pool(network: Network, subnet: Subnet, facts: Facts, found: tuple[AddressUse, ...]) -> PoolUse:
    net = ipaddress.ip_network(subnet.subnet)
    taken = {item.address for item in found if item.use in ("container", "leaked")} | set(facts.leases)
    numbers = usage(pool_of(subnet, taken))
    uses = [item.use for item in found]
    held = (lease_address(prefix) for item in facts.endpoints if item.container in facts.alive for prefix in item.addresses)
    used = sum(1 for address in held if _subnet_of(network, address) is subnet)
    return PoolUse(
        network=network.name, driver=network.driver, subnet=subnet.subnet, ip_range=subnet.ip_range, size=count_text(net.num_addresses),
        free="" if network.ipam == DHCP else count_text(numbers.free), used=used, leaked=uses.count("leaked"),
        conflicts=uses.count("conflict"),
        addresses=tuple(sorted(found, key=lambda item: int(ipaddress.ip_address(item.address)))))


def _kept(network: Network, subnet: Subnet) -> Iterable[AddressUse]:
    net = ipaddress.ip_network(subnet.subnet)
    if subnet.gateway is not None:
        yield AddressUse(subnet.gateway, "gateway", "the gateway", network.link)
    for name, text in subnet.aux.items():
        yield AddressUse(text, "aux", name, "kept for something else")
    for number, words in edges(net).items():
        address = ipaddress.IPv4Address(number) if net.version == 4 else ipaddress.IPv6Address(number)
        yield AddressUse(str(address), "reserved", words.removeprefix("the "), "no host may have it")


def _conflicts(network: Network, facts: Facts, meant: Meant, lost: Mapping[str, Leak]) -> Iterable[AddressUse]:
    """What somebody else has where netdeck hands out, or where a container or gateway of netdeck's is."""
    fine = {lease_address(prefix) for item in facts.endpoints for prefix in item.addresses}
    kept = {value for subnet in network.subnets for value in subnet.aux.values()}
    gateways = {subnet.gateway for subnet in network.subnets}
    for item in facts.endpoints:
        for other in item.conflicts:
            yield AddressUse(other.address, "conflict", f"MAC address {other.mac}",
                             f"answers on {display_text(other.link)}" + _beside(other.address, fine, gateways, facts), other.mac)
    members = {facts.containers[item.container].inode for item in facts.endpoints if item.container in facts.containers}
    for seen in facts.seen:
        address = lease_address(seen.prefix)
        if address in gateways and network.uplink and seen.inode not in members and seen.inode != facts.host:
            continue  # the site's router, which is seen where it is in a namespace of this host
        if not seen.marked and address not in kept and not _accounted(meant, seen):
            yield AddressUse(address, "conflict", seen.where, "not given by netdeck" + _beside(address, fine, gateways, facts))
    for answer in facts.answers:
        address = answer.address
        if address not in fine and address not in kept and address not in gateways and address not in lost:
            yield AddressUse(address, "conflict", answer.owner or f"MAC address {answer.mac}",
                             "answers on the bridge, and netdeck gave the address to nobody", answer.mac)


def _beside(address: str, fine: Set[str], gateways: Set[str | None], facts: Facts) -> str:
    if address in gateways:
        return "; it is the gateway's"
    if address in fine:
        owner = next(_owner(facts, item) for item in facts.endpoints for prefix in item.addresses if lease_address(prefix) == address)
        return f"; netdeck gave it to {owner}"
    return ""


def _meant(network: Network, facts: Facts) -> Meant:
    """Which addresses belong where."""
    found: dict[tuple[int, str], set[str]] = {}
    for item in facts.endpoints:
        container = facts.containers.get(item.container)
        if container is not None and container.inode:
            found.setdefault((container.inode, item.ifname), set()).update(map(lease_address, item.addresses))
    if network.link:
        bridge = found.setdefault((facts.host, network.link), set())
        bridge.update(subnet.gateway for subnet in network.subnets if subnet.gateway is not None)
        bridge.update(map(lease_address, network.kept_addresses))
        if network.host_addresses:
            found[facts.host, host_link(network)] = set(network.host_addresses)
    return found


def _accounted(meant: Meant, seen: Seen) -> bool:
    """Whether an address is where netdeck means it to be."""
    return lease_address(seen.prefix) in meant.get((seen.inode, seen.link), ())


def _owner(facts: Facts, endpoint: Endpoint) -> str:
    container = facts.containers.get(endpoint.container)
    return container.ref if container is not None else f"container {endpoint.container[:12]}"


def _subnet_of(network: Network, address: str) -> Subnet | None:
    parsed = ipaddress.ip_address(address)
    for subnet in network.subnets:
        net = ipaddress.ip_network(subnet.subnet)
        if net.version == parsed.version and parsed in net:
            return subnet
    return None
