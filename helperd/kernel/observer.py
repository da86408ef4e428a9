"""The observer: what the kernel holds that is ours, as the objects that drivers plan with.

On a healthy system what is observed equals what is desired. Objects that nobody wants, but that bear this instance's mark,
come out too: so recovery finds what was left behind. Some things have no mark of their own and are looked at only where
`wanted` names them: settings, and the up state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from drivers.objects import (
    HOST,
    Address,
    AnyObject,
    Bridge,
    Dummy,
    Ipvlan,
    Key,
    Macvlan,
    NameServer,
    PortVlans,
    Route,
    Sysctl,
    Up,
    Uplink,
    Veth,
    Vlan,
    parse_mark,
)
from helperd.kernel import sysctl
from helperd.kernel.firewall import Firewall
from helperd.kernel.ip_steps import DEFAULT_METRIC6, canonical, canonical_gateway, canonical_network, metric_of
from helperd.kernel.link_messages import IPVLAN_FLAGS, IPVLAN_MODES, MACVLAN_MODES
from helperd.kernel.link_state import (
    AddressState,
    LinkState,
    RouteState,
    all_addresses,
    all_links,
    all_routes,
    nsid_of,
    read_link,
)
from helperd.kernel.name_sockets import NameSockets
from helperd.kernel.namespaces import NamespaceRef, NamespaceThread, own_inode
from helperd.kernel.open_places import OpenPlaces
from helperd.kernel.port_sockets import PortSockets
from helperd.kernel.port_vlans import State, as_object, read_ports, spans_of
from protocol.errors import Gone

T = TypeVar("T")
_MACVLAN_MODES = {number: name for name, number in MACVLAN_MODES.items()}
_IPVLAN_MODES = {number: name for name, number in IPVLAN_MODES.items()}
_IPVLAN_FLAGS = {number: name for name, number in IPVLAN_FLAGS.items()}


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one namespace holds. `places` share it: containers of a pod, or on the host. `nsid` is how the host's namespace
    numbers it, None for the host itself."""

    places: tuple[str, ...]
    links: dict[int, LinkState]
    addresses: list[AddressState]
    routes: list[RouteState]
    settings: dict[Key, str | None]
    nsid: int | None = None
    names: NameServer | None = None
    home: int | None = None  # how this namespace numbers the host's


Found = Bridge | Veth | Dummy | Vlan | Macvlan | Ipvlan


@dataclass(slots=True)
class _Wanted:
    """What is asked for, by where it is looked for."""

    links: dict[tuple[str, str], Found] = field(default_factory=dict)
    addresses: dict[tuple[str, str, str], Address] = field(default_factory=dict)
    routes: dict[tuple[str, str, int], Route] = field(default_factory=dict)
    ups: set[Up] = field(default_factory=set)
    settings: dict[str, list[Sysctl]] = field(default_factory=dict)
    uplinks: list[Uplink] = field(default_factory=list)
    vlans: list[PortVlans] = field(default_factory=list)
    names: dict[str, NameServer] = field(default_factory=dict)

    def __init__(self, wanted: Iterable[AnyObject]) -> None:
        self.links, self.addresses, self.routes, self.ups, self.settings, self.names = {}, {}, {}, set(), {}, {}
        self.uplinks, self.vlans = [], []
        for item in wanted:
            match item:
                case PortVlans():
                    self.vlans.append(item)
                case Uplink():
                    self.uplinks.append(item)
                case Bridge() | Veth() | Dummy() | Vlan() | Macvlan() | Ipvlan():
                    self.links[item.place, item.name] = item
                case Address():
                    self.addresses[item.place, item.link, canonical(item.prefix)] = item
                case Route():
                    self.routes[item.place, canonical_network(item.destination), metric_of(item)] = item
                case Up():
                    self.ups.add(item)
                case Sysctl():
                    self.settings.setdefault(item.place, []).append(item)
                case NameServer():
                    self.names[item.place] = item
                case _:
                    pass  # the firewall answers for itself


class Observer:
    """Reads back what the helper `instance` (8 hex digits) has made, in a thread of its own."""

    def __init__(self, instance: str, firewall: Firewall | None = None, sockets: PortSockets | None = None,
                 names: NameSockets | None = None) -> None:
        self._instance = instance
        self._firewall, self._sockets, self._names = firewall, sockets, names
        self._thread = NamespaceThread("observer")

    async def observe(self, places: Mapping[str, NamespaceRef], wanted: Iterable[AnyObject]) -> frozenset[AnyObject]:
        """What there is of ours on the host and in `places`; a place whose namespace is gone holds nothing.

        `places` may name `HOST`. An object of `wanted` that is there comes out exactly as it was given, however it is spelt.
        A veth whose other end is in none of the places has "" for its peer's place and name. The near end of a wanted veth
        that is down counts as missing: making it anew brings it up.
        """
        refs, objects = dict(places), frozenset(wanted)
        found = await self._thread.run_async(None, lambda: self._observe(refs, objects))
        for keeper in (self._firewall, self._sockets):
            found |= keeper.objects() if keeper is not None else frozenset()
        return found

    async def host_links(self, names: Iterable[str]) -> dict[str, LinkState]:
        """The links of the host with these names; those that are not there are left out."""
        asked = tuple(names)
        return await self._thread.run_async(None, lambda: _host_links(asked))

    async def close(self) -> None:
        """End the thread."""
        await self._thread.run_async(None, lambda: None)
        self._thread.close()

    def _observe(self, refs: Mapping[str, NamespaceRef], objects: frozenset[AnyObject]) -> frozenset[AnyObject]:
        wanted = _Wanted(objects)
        seen: list[_Seen] = []
        with OpenPlaces(refs) as places:
            ports = read_ports(places.socket(HOST)) if wanted.vlans else {}
            for names in _namespaces(refs):
                try:
                    seen.append(_see(places, names, wanted, self._names))
                except Gone:
                    continue
                finally:
                    if HOST not in names:
                        places.close(names[0])
        found = self._links(seen, wanted)
        host = next(there for there in seen if HOST in there.places)
        found |= _uplinks(host, wanted)
        found |= _vlans(host, wanted, ports)
        for there in seen:
            found |= self._children(there, host, wanted)
            found |= self._addresses(there, wanted)
            found |= _routes(there, wanted)
            if there.names is not None:
                found.add(there.names)
            running = {link.name for link in there.links.values() if link.up}
            found |= {up for up in wanted.ups if up.place in there.places and up.link in running}
            for place in there.places:
                for item in wanted.settings.get(place, ()):
                    value = there.settings[item.key]
                    if value is not None:
                        same = value == sysctl.normal(item.value)
                        found.add(item if same else msgspec.structs.replace(item, value=value))
        # Whoever owns a container can give two routes one key: a plan knows one, and the wanted one if it is there.
        one = {item.key: item for item in found}
        return frozenset((one | {item.key: item for item in found & objects}).values())

    def _ours(self, link: LinkState) -> bool:
        mark = parse_mark(link.alias)
        return link.ours and (link.alias == "" or (mark is not None and mark[0] == self._instance))

    def _links(self, seen: Sequence[_Seen], wanted: _Wanted) -> set[AnyObject]:
        host = next(there for there in seen if HOST in there.places)
        ends = {(there.nsid, link.index): (there, link) for there in seen for link in there.links.values()}
        far = {
            link.peer
            for link in host.links.values()
            if link.peer_nsid is None and isinstance(wanted.links.get((HOST, link.name)), Veth)
        }
        found: set[AnyObject] = set()
        for link in host.links.values():
            known = wanted.links.get((HOST, link.name))
            if not self._ours(link) or (link.index in far and known is None):
                continue
            if link.kind == "bridge":
                mac = link.mac if isinstance(known, Bridge) and known.mac else ""
                found.add(_same(known, Bridge(HOST, link.name, link.alias, link.mtu, mac, link.filters)))
            elif link.kind == "dummy":
                found.add(Dummy(HOST, link.name, link.alias, link.mtu))
            elif link.kind in ("macvlan", "ipvlan"):
                child = _child(link, HOST, host.links.get(link.peer) if link.peer_nsid is None else None, known)
                found |= {child} if child is not None else set()
            elif link.kind == "vlan":
                parent = host.links[link.peer].name if link.peer in host.links else ""
                found.add(Vlan(HOST, link.name, link.alias, parent, link.vlan))
            elif link.kind == "veth" and (link.up or known is None):
                found.add(_same(known, _veth(host, link, ends.get((link.peer_nsid, link.peer)), known)))
        return found

    def _children(self, there: _Seen, host: _Seen, wanted: _Wanted) -> set[Macvlan | Ipvlan]:
        """Links in a container that hang on one of the host. Marks can be forged there: of a wanted one, its parent tells."""
        found: set[Macvlan | Ipvlan] = set()
        if HOST in there.places:
            return found
        for link in there.links.values():
            known = next((item for place in there.places if (item := wanted.links.get((place, link.name))) is not None), None)
            hangs = link.peer_nsid is not None and link.peer_nsid == there.home and link.peer in host.links
            if self._ours(link) or (hangs and isinstance(known, Macvlan | Ipvlan)):
                place = known.place if known is not None else there.places[0]
                child = _child(link, place, host.links[link.peer] if hangs else None, known)
                if child is not None:
                    found.add(child)
        return found

    def _addresses(self, there: _Seen, wanted: _Wanted) -> set[AnyObject]:
        found: set[AnyObject] = set()
        for address in there.addresses:
            link = there.links.get(address.index)
            if link is None:
                continue
            known = _first(wanted.addresses.get((place, link.name, address.prefix)) for place in there.places)
            ours = self._ours(link)
            if address.marked and (ours or known is not None):
                found.add(known or Address(there.places[0], link.name, address.prefix))
            elif ours and known is not None:
                found.add(known)
        return found


def _uplinks(host: _Seen, wanted: _Wanted) -> set[AnyObject]:
    """Links of others that are where they are wanted. One that is not is nobody's business: it may never have been."""
    names = {link.name: link for link in host.links.values()}

    def there(item: Uplink) -> bool:
        link, master = names.get(item.link), names.get(item.master)
        return link is not None and master is not None and link.master == master.index and link.up

    return {item for item in wanted.uplinks if there(item)}


def _vlans(host: _Seen, wanted: _Wanted, ports: Mapping[int, State]) -> set[AnyObject]:
    """The VLANs of the ports that are asked for: the wanted ones, or those in their place. None where those can't be told from them."""
    known = {(link.name, host.links[link.master].name): ports[link.index] for link in host.links.values()
             if link.index in ports and link.master in host.links}
    found: set[AnyObject] = set()
    for item in wanted.vlans:
        state = known.get((item.link, item.master))
        if state == spans_of(item):
            found.add(item)
        elif state is not None and (there := as_object(item, state)) != item:
            found.add(there)
    return found


def _host_links(names: tuple[str, ...]) -> dict[str, LinkState]:
    with OpenPlaces({}) as places:
        found = {name: read_link(places.socket(HOST), name) for name in names}
    return {name: state for name, state in found.items() if state is not None}


def _namespaces(refs: Mapping[str, NamespaceRef]) -> list[tuple[str, ...]]:
    """The places, those together that are one namespace; the host's come first."""
    home = refs[HOST].inode if HOST in refs else own_inode()
    groups: dict[int, list[str]] = {home: [HOST]}
    for place, ref in refs.items():
        if place != HOST:
            groups.setdefault(ref.inode, []).append(place)
    return [tuple(names) for names in groups.values()]


def _first(found: Iterable[T | None]) -> T | None:
    return next((item for item in found if item is not None), None)


def _veth(host: _Seen, link: LinkState, end: tuple[_Seen, LinkState] | None, known: Found | None) -> Veth:
    place = name = mac = ""
    mtu = link.mtu
    if end is not None:
        there, peer = end
        name = peer.name
        # Ends that differ are what a change left behind that was cut off in its middle: neither is as it should be.
        mtu = peer.mtu if isinstance(known, Veth) and link.mtu == known.mtu else link.mtu
        place = there.places[0]
        if isinstance(known, Veth):
            place = known.peer_place if known.peer_place in there.places else place
            mac = peer.mac if known.peer_mac else ""
    master = host.links[link.master].name if link.master in host.links else ""
    return Veth(HOST, link.name, link.alias, place, name, mtu, mac, master, link.isolated, link.hairpin)


def _child(link: LinkState, place: str, parent: LinkState | None, known: Found | None) -> Macvlan | Ipvlan | None:
    """None for a link of another kind, and in a mode that netdeck does not make. One that takes less than it should because its parent
    takes no more is as it should be."""
    on, mtu = parent.name if parent is not None else "", link.mtu
    if isinstance(known, Macvlan | Ipvlan) and parent is not None and parent.mtu == mtu < known.mtu:
        mtu = known.mtu
    if link.kind == "ipvlan" and link.mode in _IPVLAN_MODES and link.flag in _IPVLAN_FLAGS:
        return Ipvlan(place, link.name, link.alias, on, _IPVLAN_MODES[link.mode], _IPVLAN_FLAGS[link.flag], mtu)
    if link.kind != "macvlan" or link.mode not in _MACVLAN_MODES:
        return None
    mac = known.mac if isinstance(known, Macvlan) and known.mac.lower() in ("", link.mac) else link.mac
    return Macvlan(place, link.name, link.alias, on, _MACVLAN_MODES[link.mode], mtu, mac)


def _same(known: Found | None, found: Bridge | Veth) -> Bridge | Veth:
    """`known` where the kernel holds just that, spelt in another way."""
    if isinstance(known, Bridge) and isinstance(found, Bridge) and known.mac.lower() == found.mac:
        return msgspec.structs.replace(found, mac=known.mac)
    if isinstance(known, Veth) and isinstance(found, Veth) and known.peer_mac.lower() == found.peer_mac:
        return msgspec.structs.replace(found, peer_mac=known.peer_mac)
    return found


def _see(places: OpenPlaces, names: tuple[str, ...], wanted: _Wanted, sockets: NameSockets | None) -> _Seen:
    place = names[0]
    sock = places.socket(place)
    settings = [item for name in names for item in wanted.settings.get(name, ())]
    values = places.inside(place, lambda: {item.key: sysctl.read(item) for item in settings}) if settings else {}
    nsid = None if place == HOST else nsid_of(places.socket(HOST), places.target(place))
    served = None
    if sockets is not None and place != HOST:
        asked = _first(wanted.names.get(name) for name in names)
        served = sockets.observe(places, asked.place if asked else place, asked)
    links = {link.index: link for link in all_links(sock)}
    hanging = place != HOST and any(link.kind in ("macvlan", "ipvlan") for link in links.values())
    home = nsid_of(sock, places.target(HOST)) if hanging else None
    return _Seen(names, links, all_addresses(sock), all_routes(sock), values, nsid, served, home)


def _routes(there: _Seen, wanted: _Wanted) -> set[AnyObject]:
    found: set[AnyObject] = set()
    for state in there.routes:
        link = there.links[state.index].name if state.index in there.links else ""
        known = _first(wanted.routes.get((place, state.destination, state.metric)) for place in there.places)
        if known is None:
            unset = DEFAULT_METRIC6 if ":" in state.destination else 0
            metric = 0 if state.metric == unset else state.metric
            found.add(Route(there.places[0], state.destination, link, state.gateway, metric))
        elif known.link == link and canonical_gateway(known) == state.gateway:
            found.add(known)
        else:
            found.add(Route(known.place, known.destination, link, state.gateway, known.metric))
    return found
