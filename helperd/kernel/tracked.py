"""The namespaces that the monitor follows: where each can be reached, and the ids by which events name it.

Everything here belongs to the monitor's thread, save `ways`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator

from helperd.kernel import namespace_dump, nsids
from helperd.kernel.event_limits import EventLimits
from helperd.kernel.namespace_dump import Found
from helperd.kernel.namespaces import NamespaceGone, NamespaceRef, netlink_socket, open_namespace, own_namespace
from helperd.kernel.netlink import DecodeError
from helperd.kernel.observations import NamespaceSeen, PeersKnown
from helperd.kernel.rtnetlink import VLAN_AWARE, Record
from protocol.model import Link
from protocol.names import decode_kernel_text

log = logging.getLogger(__name__)

_TIMEOUT = 10.0


class TrackedNamespaces:
    """Inodes, where to reach them, and their ids here. The own namespace is always among them."""

    def __init__(self) -> None:
        own = own_namespace()
        self.host = own.inode
        self.inode_of: dict[int, int] = {}  # namespace id here → inode
        self.unresolved: set[int] = set()  # namespaces with ids inside that stand for one that is not followed
        # The VLAN-aware bridges of each namespace that has any: only there the VLANs of ports are looked at.
        self.aware: dict[int, set[int]] = {}
        self._nsid_of: dict[int, int] = {}
        self._refs: dict[int, tuple[NamespaceRef, ...]] = {own.inode: (own,)}
        self._told: dict[int, NamespaceSeen] = {}
        self._peers: dict[int, dict[int, int]] = {}
        self.limits = EventLimits(own.inode)
        self._socket = netlink_socket()
        self._socket.settimeout(_TIMEOUT)

    def close(self) -> None:
        """Give up the socket for questions."""
        self._socket.close()

    def __contains__(self, inode: int) -> bool:
        return inode in self._refs

    def __iter__(self) -> Iterator[int]:
        return iter(tuple(self._refs))

    def follow(self, ref: NamespaceRef) -> int | None:
        """Make the kernel send us the events of a namespace. Raises `NamespaceGone` and OSError.

        Its id may be one that was another's before, whose end was not heard: then that one's inode is returned.
        """
        if ref.inode in self._refs:
            return None
        fd = open_namespace(ref)
        try:
            nsid = nsids.assign(self._socket, fd)
        finally:
            os.close(fd)
        stale = self.inode_of.get(nsid)
        self.inode_of[nsid] = ref.inode
        self._nsid_of[ref.inode] = nsid
        self._refs[ref.inode] = (ref,)
        return stale

    def forget(self, inode: int) -> None:
        """A namespace is gone."""
        self._refs.pop(inode, None)
        self.limits.forget(inode)
        self._told.pop(inode, None)
        self._peers.pop(inode, None)
        self.unresolved.discard(inode)
        self.aware.pop(inode, None)
        nsid = self._nsid_of.pop(inode, None)
        if nsid is not None and self.inode_of.get(nsid) == inode:
            del self.inode_of[nsid]

    def place(self, inode: int, refs: tuple[NamespaceRef, ...]) -> None:
        """Take note of all ways by which a followed namespace was found now."""
        if inode != self.host:
            self._refs[inode] = refs or self._refs[inode]

    def ways(self, inode: int) -> tuple[NamespaceRef, ...]:
        """Return the ways to a namespace. The one thing here that other threads may ask: one look into a dict."""
        return self._refs.get(inode, ())

    def seen(self, inode: int, named: Iterable[NamespaceRef], pid: int) -> NamespaceSeen | None:
        """Return what is known of a namespace, if that is not what was returned the last time."""
        names = {decode_kernel_text(os.fsencode(os.path.basename(ref.path))) for ref in named}
        news = NamespaceSeen(inode, self._nsid_of.get(inode), tuple(sorted(names)), pid, inode == self.host)
        if self._told.get(inode) == news:
            return None
        self._told[inode] = news
        return news

    def read(self, inode: int, topics: Iterable[str]) -> Found:
        """Read a namespace by the first way that still leads there. Raises `NamespaceGone`, OSError, `DumpInterrupted`."""
        wanted = tuple(topics)
        *others, last = self._refs[inode]
        for ref in others:
            try:
                return self._read(ref, wanted)
            except NamespaceGone:
                continue
        return self._read(last, wanted)

    def _read(self, ref: NamespaceRef, topics: tuple[str, ...]) -> Found:
        found = Found()
        while topics:
            with namespace_dump.dump_socket(None if ref.inode == self.host else ref) as sock:
                topics = namespace_dump.read_some(sock, ref.inode, topics, lambda topic: self.limits.most(ref.inode, topic), found)
        return found

    def topics(self, inode: int) -> tuple[str, ...]:
        """What is read of a namespace."""
        return namespace_dump.TOPICS if inode in self.aware else tuple(topic for topic in namespace_dump.TOPICS if topic != "vlans")

    def becomes_aware(self, record: Record) -> bool:
        """Whether this tells of a bridge that looks at tags from now on: then the VLANs of its ports are to be read, and its own, of
        which no event told."""
        link = record.value
        if not isinstance(link, Link):
            return False
        bridges = self.aware.get(link.inode, set())
        if not record.put or link.kind != "bridge" or link.detail != VLAN_AWARE:
            bridges.discard(link.ifindex)
            if not bridges:
                self.aware.pop(link.inode, None)
            return False
        if link.ifindex in bridges:
            return False
        self.aware.setdefault(link.inode, bridges).add(link.ifindex)
        return True

    def knows_peer(self, inode: int, nsid: int) -> bool:
        """Whether it is known which namespace the id `nsid` inside `inode` stands for."""
        return nsid in (self.inode_of if inode == self.host else self._peers.get(inode, {}))

    def peers(self, inode: int) -> PeersKnown | None:
        """Ask the kernel what the ids inside `inode` stand for; None if it is what was returned the last time."""
        if inode == self.host:
            found = dict(self.inode_of)
        elif inode in self._nsid_of:
            found = self._ask_peers(inode, self._nsid_of[inode])
        else:
            return None
        if self._peers.get(inode) == found:
            return None
        self._peers[inode] = found
        return PeersKnown(inode, found)

    def _ask_peers(self, inode: int, viewer: int) -> dict[int, int]:
        found: dict[int, int] = {}
        self.unresolved.discard(inode)
        try:
            ids = nsids.table(self._socket, viewer)
            found.update({there: self.inode_of[here] for there, here in ids.items() if here in self.inode_of})
            if len(found) == len(ids):
                return found
            own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                host = nsids.lookup(self._socket, own, viewer)
            finally:
                os.close(own)
            if host is not None:
                found[host] = self.host
            if len(found) < len(ids):
                self.unresolved.add(inode)
        except (OSError, DecodeError) as error:
            log.debug("namespace ids inside %d: %s", inode, error)
        return found

    def ended(self) -> list[int]:
        """The followed namespaces that can't be reached under their ids any more; for when events were lost."""
        gone = []
        for inode, nsid in tuple(self._nsid_of.items()):
            if not any(self._same(ref, nsid) for ref in self._refs[inode]):
                gone.append(inode)
        return gone

    def _same(self, ref: NamespaceRef, nsid: int) -> bool:
        try:
            fd = open_namespace(ref)
        except (NamespaceGone, OSError):
            return False
        try:
            return nsids.lookup(self._socket, fd) == nsid
        except (OSError, DecodeError):
            return False
        finally:
            os.close(fd)
