"""Rows of the VLANs table: every link that others hang on, and each VLAN of it. Pure.

A VLAN is named by its parent and its id: VLAN 20 of eth0 need not be VLAN 20 of eth1. A VLAN-aware bridge is a parent too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from protocol.model import Link, Network, PortVlans, VlanRange
from tui.feed import Batch, Feed
from tui.rows.interfaces import state_word
from tui.rows.words import SPARKLINE_WIDTH, namespace_label, rate_tone
from tui.widgets.table_columns import Align, Cell, Column, Kind

CHILDREN: Final = frozenset({"macvlan", "macvtap", "ipvlan", "ipvtap"})
AWARE: Final = "vlan-filtering"  # `detail` of a bridge that looks at tags
_TRUNK: Final = 64  # a range of more VLANs than this is a trunk, which makes no rows of its own
_MOST: Final = 256  # rows of one bridge

ParentId = tuple[int, int]  # inode, ifindex


@dataclass(frozen=True, slots=True)
class Member:
    """A port of a bridge in a VLAN."""

    link: Link
    tagged: bool
    pvid: bool = False
    alone: bool = False  # it is in no other VLAN, so that all its traffic is of this one


@dataclass(frozen=True, slots=True)
class VlanGroup:
    """`vid` 0 is the parent itself, with all that hangs on it without a tag. `links` carry it: 802.1Q links, or macvlans and ipvlans
    on the parent; `children` hang on the 802.1Q links in turn. `trunks` are ports with more VLANs than have rows."""

    parent: Link
    vid: int
    links: tuple[Link, ...] = ()
    children: tuple[Link, ...] = ()
    ports: tuple[Member, ...] = ()
    vids: tuple[int, ...] = ()  # of the parent: which VLANs it has
    trunks: tuple[tuple[Link, str], ...] = ()
    networks: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What people call it."""
        if not self.vid:
            return self.parent.name
        return self.links[0].name if len(self.links) == 1 and not self.ports else f"{self.parent.name} VLAN {self.vid}"


def columns() -> tuple[Column, ...]:
    return (
        Column("parent", "PARENT", 12),
        Column("vlan", "VLAN", 6, Kind.NUMBER, align=Align.LEFT, formatter=vlan_text, tone=lambda value: "" if value else "muted"),
        Column("rx", "RX/s", 5, Kind.RATE, tone=rate_tone),
        Column("tx", "TX/s", 5, Kind.RATE, tone=rate_tone),
        Column("last", "LAST MIN", SPARKLINE_WIDTH, Kind.SPARKLINE, priority=3, source="traffic"),
        Column("state", "STATE", 8, Kind.STATE),
        Column("links", "LINKS", 12),
        Column("ports", "PORTS", 18, priority=5),
        Column("networks", "NETWORKS", 9),
        Column("containers", "CONTAINERS", 11, stretch=True),
        Column("where", "WHERE", 10, priority=4),
        Column("place", "PLACE", 1000, priority=1000),
        Column("traffic", "TRAFFIC", 1000, Kind.RATE, priority=1000),
    )


def vlan_text(value: Cell) -> str:
    """The id; the parent itself has none."""
    return str(int(value)) if value else "parent"


def key_of(parent: ParentId, vid: int) -> str:
    return f"{parent[0]}/{parent[1]}/{vid}"


# What belongs together


def groups(feed: Feed, parent: ParentId) -> dict[str, VlanGroup]:
    """The rows of one link, by key; {} where nothing hangs on it and it has no VLANs."""
    link = feed.links.get(f"{parent[0]}/{parent[1]}")
    if link is None:
        return {}
    hanging = feed.links_on(*parent)
    tagged: dict[int, list[Link]] = {}
    for item in hanging:
        if item.kind == "vlan":
            tagged.setdefault(item.vlan, []).append(item)
    plain = tuple(item for item in hanging if item.kind in CHILDREN)
    aware = link.kind == "bridge" and AWARE in link.detail.split()
    members, trunks = _members(feed, link) if aware else ({}, ())
    vids = tuple(sorted({*tagged, *members}))
    if not (vids or plain or aware):
        return {}
    found: dict[str, VlanGroup] = {}
    if link.kind != "vlan":  # what hangs on a VLAN stands with the VLAN
        found[key_of(parent, 0)] = _filled(feed, VlanGroup(link, 0, plain, vids=vids, trunks=trunks))
    for vid in vids:
        links = tuple(tagged.get(vid, ()))
        children = tuple(item for one in links for item in feed.links_on(one.inode, one.ifindex) if item.kind in CHILDREN)
        found[key_of(parent, vid)] = _filled(feed, VlanGroup(link, vid, links, children, tuple(members.get(vid, ()))))
    return found


def _members(feed: Feed, bridge: Link) -> tuple[dict[int, list[Member]], tuple[tuple[Link, str], ...]]:
    """Ports by VLAN, and the trunks. A trunk is in every VLAN that another port or the bridge names."""
    rows = [(link, row) for row in feed.vlans_on(bridge.inode, bridge.ifindex)
            if (link := feed.links.get(f"{row.inode}/{row.ifindex}")) is not None]
    named = sorted({vid for _, row in rows for part in row.vlans if _small(part) for vid in range(part.first, part.last + 1)})[:_MOST]
    members: dict[int, list[Member]] = {vid: [] for vid in named}
    for link, row in rows:
        for part in row.vlans:
            for vid in named:
                if part.first <= vid <= part.last:
                    alone = len(row.vlans) == 1 and part.first == part.last and link is not bridge
                    members[vid].append(Member(link, not part.untagged, part.pvid, alone))
    trunks = tuple((link, ranges_text(row)) for link, row in rows if any(not _small(part) for part in row.vlans))
    return members, trunks


def _small(part: VlanRange) -> bool:
    return part.last - part.first < _TRUNK


def ranges_text(row: PortVlans) -> str:
    """The VLANs of a port: ``1u 20 30-40``; u: untagged, the one with * is that of frames without a tag."""
    return " ".join((str(part.first) if part.first == part.last else f"{part.first}-{part.last}")
                    + ("u" if part.untagged else "") + ("*" if part.pvid else "") for part in row.vlans)


def _filled(feed: Feed, group: VlanGroup) -> VlanGroup:
    """With the networks and containers that it reaches."""
    networks: dict[str, Network] = {}
    containers: dict[str, None] = {}
    carriers = group.links if group.vid else (group.parent,)
    for link in carriers:
        names = {link.name, _master_name(feed, link)}
        for network in feed.networks.values():
            if network.link and network.link in names and link.inode == feed.host_inode:
                networks[network.name] = network
    ends = [*group.links, *group.children, *(member.link for member in group.ports)]
    for link in ends:
        if (known := feed.network_named(link.network)) is not None and (link.kind in CHILDREN or group.ports):
            networks[known.name] = known
        peer = feed.links.get(f"{link.peer_inode}/{link.peer_ifindex}")
        place = link.container or (peer.container if peer is not None else "")
        if place:
            containers[place] = None
    for network in networks.values():
        if group.ports or (not group.vid and AWARE in group.parent.detail.split()):
            continue  # which of its containers are in a VLAN of a bridge, the ports say
        for endpoint in feed.endpoints_of(network=network.id):
            container = feed.containers.get(endpoint.container)
            if container is not None:
                containers[container.ref] = None
    return VlanGroup(group.parent, group.vid, group.links, group.children, group.ports, group.vids, group.trunks,
                     tuple(networks), tuple(containers))


def _master_name(feed: Feed, link: Link) -> str:
    master = feed.links.get(f"{link.inode}/{link.master}") if link.master else None
    return master.name if master is not None else link.name


# The table


def state_of(group: VlanGroup) -> str:
    """The state of what carries it: the worst of its links."""
    if not group.vid or not group.links:
        return state_word(group.parent)
    words = [state_word(link) for link in group.links]
    return next((word for word in words if word != "up"), "up")


def links_text(group: VlanGroup) -> str:
    """What carries it, in few words."""
    if group.vid:
        return " ".join(link.name for link in group.links)
    words = [f"{len(group.vids)} VLAN{'s' * (len(group.vids) != 1)}"] if group.vids else []
    for kind in sorted({link.kind for link in group.links}):
        words.append(f"{sum(link.kind == kind for link in group.links)} {kind}")
    return ", ".join(words)


def ports_text(group: VlanGroup) -> str:
    """The bridge's ports in it; those that send it tagged say so."""
    if not group.vid:
        return " ".join(f"{link.name} (trunk)" for link, _ in group.trunks)
    return " ".join(member.link.name + ("" if not member.tagged else " (tagged)") for member in group.ports)


def row(feed: Feed, group: VlanGroup) -> dict[str, object]:
    place = namespace_label(feed, group.parent.inode)
    return {
        "parent": group.parent.name,
        "vlan": group.vid,
        "state": state_of(group),
        "links": links_text(group),
        "ports": ports_text(group),
        "networks": " ".join(group.networks),
        "containers": " ".join(group.containers),
        "where": place,
        "place": f"{place != 'host':d} {place} {group.parent.name} {group.vid:04}",
    }


def rated_links(group: VlanGroup) -> tuple[Link, ...]:
    """The links whose counters are its traffic. Of a bridge's VLAN: the ports that have no other; () where none tells."""
    if not group.vid:
        return (group.parent,)
    return tuple(member.link for member in group.ports if member.alone) if group.ports else group.links


def traffic(feed: Feed, group: VlanGroup) -> tuple[float, float]:
    """Bytes a second that its links receive and send; NaN where no counter tells the VLAN apart."""
    links = rated_links(group)
    rates = [found for link in links if (found := feed.rates.of(f"{link.inode}/{link.ifindex}")) is not None]
    if not rates:
        return math.nan, math.nan
    return sum(item.rx for item in rates), sum(item.tx for item in rates)


# What a change touches


def parents_of(feed: Feed, links: Iterable[Link]) -> Iterator[ParentId]:
    """The links whose rows show one of `links`: itself, what it hangs on, the bridge that it is a port of."""
    for link in links:
        yield link.inode, link.ifindex
        if link.lower_inode:
            yield link.lower_inode, link.lower
            lower = feed.links.get(f"{link.lower_inode}/{link.lower}")
            if lower is not None and lower.kind == "vlan" and lower.lower_inode:
                yield lower.lower_inode, lower.lower
        if link.master:
            yield link.inode, link.master


def touched(feed: Feed, batch: Batch, known: Iterable[ParentId]) -> set[ParentId]:
    """The links whose rows may differ after `batch`. `known` are those that have rows."""
    links = [feed.links[key] for key in batch.changed.get("links", ())] + list(batch.removed.get("links", {}).values())
    found = set(parents_of(feed, links))
    vlans = [feed.vlans[key] for key in batch.changed.get("vlans", ())] + list(batch.removed.get("vlans", {}).values())
    found.update((item.inode, item.master) for item in vlans)
    if batch.touches("networks", "endpoints", "containers", "namespaces"):
        found.update(known)
    return found
