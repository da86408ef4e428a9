"""Reads back just what a change has made: a look at each link that it names, not at all that there is."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass, field

from drivers.objects import (
    HOST,
    Address,
    AnyObject,
    Bridge,
    Dummy,
    Ipvlan,
    Macvlan,
    NameServer,
    PortVlans,
    Route,
    Sysctl,
    Up,
    Uplink,
    Veth,
    Vlan,
)
from helperd.kernel import sysctl
from helperd.kernel.ip_steps import canonical, canonical_gateway, canonical_network, metric_of
from helperd.kernel.link_state import SETTINGS6, LinkState, RouteState, all_addresses, all_routes, read_link
from helperd.kernel.name_sockets import NameSockets
from helperd.kernel.open_places import OpenPlaces
from helperd.kernel.port_vlans import read_ports, spans_of


@dataclass(slots=True)
class _Read:
    """What was read in one place, so that nothing is asked for twice."""

    links: dict[str, LinkState | None] = field(default_factory=dict)
    addresses: dict[tuple[str, int], frozenset[str]] = field(default_factory=dict)
    routes: dict[int, list[RouteState]] = field(default_factory=dict)


def missing(
    places: OpenPlaces, wanted: Iterable[AnyObject], carriers: Iterable[Bridge | Veth] = (), names: NameSockets | None = None
) -> tuple[AnyObject, ...]:
    """Those of `wanted` (links, addresses, routes, up states, settings, name servers) that are not there as they should be, and
    those of `carriers` at whose name is nothing, or not what we made. Blocking. Raises Gone, OSError."""
    read: dict[str, _Read] = {}
    absent = [item for item in wanted if not (
        _served(places, item, names) if isinstance(item, NameServer) else _present(places, read, item))]
    for carrier in carriers:
        link = _link(places, read.setdefault(carrier.place, _Read()), carrier.place, carrier.name)
        kind = "bridge" if isinstance(carrier, Bridge) else "veth"
        if link is None or link.kind != kind or not link.marked(carrier.alias):
            absent.append(carrier)
    return tuple(absent)


def _served(places: OpenPlaces, item: NameServer, names: NameSockets | None) -> bool:
    return names is not None and names.observe(places, item.place, item) == item


def _link(places: OpenPlaces, read: _Read, place: str, name: str) -> LinkState | None:
    if name not in read.links:
        read.links[name] = read_link(places.socket(place), name)
    return read.links[name]


def _veth_present(places: OpenPlaces, reads: dict[str, _Read], item: Veth, link: LinkState) -> bool:
    """The near end as a port, and the far end's MTU: packets are as large as both take."""
    far = _link(places, reads.setdefault(item.peer_place, _Read()), item.peer_place, item.peer_name)
    return far is not None and far.mtu == item.mtu and (not item.master or link.isolated == item.isolated)


def _as_its_parent(places: OpenPlaces, reads: dict[str, _Read], item: AnyObject, link: LinkState) -> bool:
    """Whether a link takes less than it should because what it hangs on takes no more."""
    if not isinstance(item, Macvlan | Ipvlan) or link.mtu > item.mtu:
        return False
    parent = _link(places, reads.setdefault(HOST, _Read()), HOST, item.parent)
    return parent is not None and parent.mtu == link.mtu


def _setting(places: OpenPlaces, read: _Read, item: Sysctl) -> str | None:
    """The kernel tells of the usual ones together with the link, which is looked at anyway."""
    name = item.name.removeprefix("net.ipv6.conf.*.")
    if not item.link or name not in SETTINGS6:
        return places.inside(item.place, lambda: sysctl.read(item))
    link = _link(places, read, item.place, item.link)
    value = None if link is None else link.setting6(name)
    return None if value is None else str(value)


def _family(prefix: str) -> int:
    return int(socket.AF_INET6 if ":" in prefix else socket.AF_INET)


def _present(places: OpenPlaces, reads: dict[str, _Read], item: AnyObject) -> bool:
    read = reads.setdefault(item.place, _Read())
    match item:
        case Bridge() | Veth() | Dummy() | Macvlan() | Ipvlan():
            link = _link(places, read, item.place, item.name)
            if link is None or link.alias != item.alias or not (link.mtu == item.mtu or _as_its_parent(places, reads, item, link)):
                return False
            return not isinstance(item, Veth) or _veth_present(places, reads, item, link)
        case Vlan():
            link = _link(places, read, item.place, item.name)
            return link is not None and link.alias == item.alias and link.vlan == item.vid
        case Uplink():
            link, master = (_link(places, read, item.place, name) for name in (item.link, item.master))
            return link is not None and master is not None and link.master == master.index and link.up
        case PortVlans():
            link, master = (_link(places, read, item.place, name) for name in (item.link, item.master))
            return link is not None and master is not None and link.master == master.index and \
                read_ports(places.socket(item.place)).get(link.index) == spans_of(item)
        case Up():
            link = _link(places, read, item.place, item.link)
            return link is not None and link.up
        case Address():
            link = _link(places, read, item.place, item.link)
            if link is None:
                return False
            family = _family(item.prefix)
            if (item.link, family) not in read.addresses:
                found = all_addresses(places.socket(item.place), link.index, (family,))
                read.addresses[item.link, family] = frozenset(state.prefix for state in found)
            return canonical(item.prefix) in read.addresses[item.link, family]
        case Route():
            link = _link(places, read, item.place, item.link)
            family = _family(item.destination)
            if family not in read.routes:
                read.routes[family] = all_routes(places.socket(item.place), families=(family,))
            wanted = (canonical_network(item.destination), metric_of(item), canonical_gateway(item), link.index if link else 0)
            return any((state.destination, state.metric, state.gateway, state.index) == wanted for state in read.routes[family])
        case Sysctl():
            value = _setting(places, read, item)
            return value is None or value == sysctl.normal(item.value)
        case _:
            return True  # the firewall answers for its own
