"""What a link belongs to: its other end, the container that it is in, the network of ours that it serves."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from drivers.objects import parse_mark
from protocol.model import Container, Endpoint, Link, Network

_IPVLAN = frozenset({"ipvlan", "ipvtap"})
PAIRED = frozenset({"veth", "netkit", "vxcan"})
"""Kinds of links that come in pairs: their IFLA_LINK is the other end."""

LinkId = tuple[int, int]  # inode, ifindex


class LinkRelations:
    """Keeps who is whose peer, and what marks and containers mean. `host` is the inode of the own namespace.

    Changes of one thing show on others: methods that may do that return the links whose `labelled` is another one now.
    """

    def __init__(self, host: int) -> None:
        self.host = host
        self.refs: dict[int, str] = {}  # inode → ref of the container in it
        self._peer: dict[LinkId, LinkId] = {}
        # Index of a link → instance of a mark, "" for none → links that hang on one with that index, in whatever namespace.
        self._on: dict[int, dict[str, set[LinkId]]] = {}
        self._told: dict[int, str] = {}  # index of a parent of ipvlan links on the host → what was heard last of their mode
        self._far: dict[int, dict[int, int]] = {}  # inode → index of a link there → namespace id of its other end
        self._inodes: dict[int, Mapping[int, int]] = {}  # inode → namespace id there → inode
        self._marked: dict[str, set[LinkId]] = {}  # id in a mark → links that bear it
        self._containers: dict[str, Container] = {}
        self._endpoints: dict[str, Endpoint] = {}
        self._networks: dict[str, Network] = {}

    # Links

    def labelled(self, link: Link) -> Link:
        """Return `link` with its relations filled in."""
        peer_inode, peer_ifindex = self._peer.get((link.inode, link.ifindex), (0, 0))
        lower_inode = self._lower_inode(link)
        container = "" if link.inode == self.host else self.refs.get(link.inode, "")
        network = self._network(link)
        if (link.peer_inode, link.peer_ifindex, link.container, link.network, link.lower_inode) == (
            peer_inode, peer_ifindex, container, network, lower_inode
        ):
            return link
        return msgspec.structs.replace(
            link, peer_inode=peer_inode, peer_ifindex=peer_ifindex, container=container, network=network, lower_inode=lower_inode
        )

    def _lower_inode(self, link: Link) -> int:
        """The namespace of the link that this one hangs on; 0 where that is not known."""
        if not link.lower or link.kind in PAIRED:
            return 0
        nsid = self._far.get(link.inode, {}).get(link.ifindex)
        return link.inode if nsid is None else self._inodes.get(link.inode, {}).get(nsid, 0)

    def add(self, link: Link, nsid: int | None, before: Link | None) -> set[LinkId]:
        """A link came or changed; `nsid` is the id of its other end's namespace. Returns other links that change by it."""
        this = (link.inode, link.ifindex)
        if before is None or before.alias != link.alias:
            if before is not None:
                self._unmark(before)
            if (mark := parse_mark(link.alias)) is not None:
                self._marked.setdefault(mark[2], set()).add(this)
        if link.kind not in PAIRED and (before is None or (before.lower, before.alias) != (link.lower, link.alias)):
            if before is not None:
                self._lift(before)
            if link.lower:
                self._on.setdefault(link.lower, {}).setdefault(_instance(link), set()).add(this)
        if nsid is not None:
            self._far.setdefault(link.inode, {})[link.ifindex] = nsid
        elif link.inode in self._far:
            self._far[link.inode].pop(link.ifindex, None)
        if link.kind in _IPVLAN and self._lower_inode(link) == self.host:
            self._told[link.lower] = link.detail
        if link.kind not in PAIRED:
            return set()
        other = self._other_end(link)
        return set() if other is None else self._join(this, other) - {this}

    def remove(self, link: Link) -> set[LinkId]:
        """A link is gone. Returns other links that change by it."""
        self._unmark(link)
        self._lift(link)
        if link.inode == self.host:
            self._told.pop(link.ifindex, None)
        if link.inode in self._far:
            self._far[link.inode].pop(link.ifindex, None)
        return self._part((link.inode, link.ifindex)) - {(link.inode, link.ifindex)}

    def end(self, inode: int) -> None:
        """A namespace is gone, its links were removed."""
        self._far.pop(inode, None)
        self._inodes.pop(inode, None)

    def peers_known(self, inode: int, inodes: Mapping[int, int], link_of: Callable[[LinkId], Link | None]) -> set[LinkId]:
        """It is known what the namespace ids inside `inode` stand for. Returns the links that change by it."""
        before = self._inodes.get(inode, {})
        self._inodes[inode] = inodes
        changed: set[LinkId] = set()
        for index, nsid in self._far.get(inode, {}).items():
            if nsid in inodes and before.get(nsid) != inodes[nsid]:
                link = link_of((inode, index))
                if link is not None and link.kind not in PAIRED:
                    changed.add((inode, index))
                    continue
                other = None if link is None else self._other_end(link)
                if other is not None:
                    changed |= self._join((inode, index), other)
        return changed

    def _other_end(self, link: Link) -> LinkId | None:
        if not link.lower:
            return None  # an end is told before it is joined; the other end will name it
        nsid = self._far.get(link.inode, {}).get(link.ifindex)
        inode = link.inode if nsid is None else self._inodes.get(link.inode, {}).get(nsid)
        return None if inode is None else (inode, link.lower)

    def _join(self, one: LinkId, other: LinkId) -> set[LinkId]:
        if self._peer.get(one) == other and self._peer.get(other) == one:
            return set()
        changed = self._part(one) | self._part(other)
        self._peer[one], self._peer[other] = other, one
        return changed | {one, other}

    def _part(self, one: LinkId) -> set[LinkId]:
        other = self._peer.pop(one, None)
        if other is None:
            return set()
        if self._peer.get(other) == one:
            del self._peer[other]
        return {one, other}

    def on(self, ifindex: int, instance: str) -> list[LinkId]:
        """The links without the mark of `instance` that hang on a link with this index, in whatever namespace that is: see
        `Link.lower_inode`. No walk over all of ours, of which a parent may have a thousand."""
        return [this for owner, links in self._on.get(ifindex, {}).items() if owner != instance for this in links]

    def mode(self, link: Link) -> str:
        """The mode of a link on a parent. All ipvlan links on one have the same, and the kernel tells of a new one wrongly of all but the
        link that was changed, which comes last (ipvlan_set_port_mode: it changes their flags before their mode)."""
        return self._told.get(link.lower, link.detail) if link.kind in _IPVLAN and link.lower_inode == self.host else link.detail

    def _lift(self, link: Link) -> None:
        owners = self._on.get(link.lower, {})
        links = owners.get(_instance(link), set())
        links.discard((link.inode, link.ifindex))
        if not links:
            owners.pop(_instance(link), None)
        if not owners:
            self._on.pop(link.lower, None)

    def _unmark(self, link: Link) -> None:
        mark = parse_mark(link.alias)
        if mark is not None and mark[2] in self._marked:
            self._marked[mark[2]].discard((link.inode, link.ifindex))
            if not self._marked[mark[2]]:
                del self._marked[mark[2]]

    # Containers, endpoints, networks

    def container(self, ident: str, value: Container | None) -> set[int]:
        """A container came, changed or (None) went. Returns the namespaces whose container is another one now."""
        before = self._containers.pop(ident, None)
        if value is not None:
            self._containers[ident] = value
        changed = set()
        if before is not None and before.inode and (value is None or value.inode != before.inode):
            others = [item for item in self._containers.values() if item.inode == before.inode]
            changed |= self._refer(before.inode, others[0].ref if others else "")
        if value is not None and value.inode and value.mode != "host":
            changed |= self._refer(value.inode, value.ref)
        return changed

    def _refer(self, inode: int, ref: str) -> set[int]:
        if self.refs.get(inode, "") == ref:
            return set()
        if ref:
            self.refs[inode] = ref
        else:
            self.refs.pop(inode, None)
        return {inode}

    def endpoint(self, ident: str, value: Endpoint | None) -> set[LinkId]:
        """An endpoint came, changed or (None) went. Returns the links that may change by it."""
        if value is None:
            self._endpoints.pop(ident, None)
        else:
            self._endpoints[ident] = value
        return set(self._marked.get(ident, ()))

    def network(self, ident: str, value: Network | None) -> set[LinkId]:
        """A network came, changed or (None) went. Returns the links that may change by it."""
        before = self._networks.pop(ident, None)
        if value is not None:
            self._networks[ident] = value
            if before is not None and before.name == value.name:
                return set()
        changed = set(self._marked.get(ident, ()))
        for endpoint in self._endpoints.values():
            if endpoint.network == ident:
                changed |= self._marked.get(endpoint.id, set())
        return changed

    def _network(self, link: Link) -> str:
        mark = parse_mark(link.alias) if link.alias else None
        if mark is None:
            return ""
        _, kind, ident = mark
        if kind == "network":
            # In a container anybody may write a mark: there only the endpoint of that very container counts.
            network = self._networks.get(ident) if link.inode == self.host else None
            return "" if network is None else network.name
        endpoint = self._endpoints.get(ident)
        if endpoint is None:
            return ""
        if link.inode != self.host:
            container = self._containers.get(endpoint.container)
            if container is None or container.inode != link.inode:
                return ""
        network = self._networks.get(endpoint.network)
        return "" if network is None else network.name


def _instance(link: Link) -> str:
    mark = parse_mark(link.alias) if link.alias else None
    return "" if mark is None else mark[0]
