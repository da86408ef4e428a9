"""Which container a name means: ours and attached ones from the records, all others from discovery."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import math
import socket
import threading
import time
from collections.abc import Mapping

import msgspec

from drivers.objects import NAME_ADDRESS
from helperd.changes import place_of
from helperd.discovery import Discovery, DiscoveryError, Sighting, is_there
from helperd.kernel.bound_sockets import sockets_at
from helperd.kernel.link_state import foreign_default_families
from helperd.kernel.name_sockets import NameSockets
from helperd.kernel.namespaces import NamespaceGone, NamespaceThread, netlink_socket, own_inode
from helperd.records import Records
from protocol.errors import Conflict, Gone, InvalidValue, NetdeckError, NotFound
from protocol.model import Container
from protocol.names import display_text, suggestion

_CODES: Mapping[str, type[NetdeckError]] = {
    "not_found": NotFound, "gone": Gone, "path_not_name": InvalidValue, "host_namespace": Conflict, "bad_ref": InvalidValue,
}


@functools.lru_cache(4_096)  # most are seen again each second
def foreign(sighting: Sighting) -> Container:
    """A sighting as a container. Its id is its runtime's where it has one of 64 hex digits, else a hash of what it is."""
    ident = sighting.id
    if len(ident) != 64 or any(char not in "0123456789abcdef" for char in ident):
        ident = hashlib.sha256(f"{sighting.runtime}\0{sighting.ref}\0{sighting.inode}".encode("utf-8", "replace")).hexdigest()
    path = sighting.paths[0] if sighting.paths and (sighting.pid is None or sighting.runtime == "netns") else ""
    return Container(id=ident, name=display_text(sighting.ref), ref=display_text(sighting.ref), runtime=sighting.runtime,
                     inode=sighting.inode, pid=sighting.pid or 0, starttime=sighting.starttime or 0,
                     hostname=display_text(sighting.name), path=path)


class Inside(msgspec.Struct, frozen=True):
    """What an attachment must know of a container's namespace: names of links, families with somebody else's default route,
    whether something answers at our name server's address."""

    links: tuple[str, ...]
    foreign_defaults: tuple[int, ...]
    name_server: bool = False


NEW = Inside((), ())  # of a container that was just made


def _look() -> tuple[Inside, frozenset[int]]:
    """Runs inside the namespace. The sockets are those at our name server's address."""
    with netlink_socket() as sock:
        return (Inside(tuple(name for _, name in socket.if_nameindex()), foreign_default_families(sock)), sockets_at(NAME_ADDRESS))


class Scanner:
    """One scan serves all who look: the monitor's thread, the watcher and the calls."""

    def __init__(self) -> None:
        self._discovery = Discovery(own={})
        self._lock = threading.Lock()
        self._found: dict[int, Sighting] = {}
        self._by_ref: dict[str, Sighting | None] = {}  # None where several have it
        self._at = -math.inf

    def scan(self, fresh: float = 0.0) -> dict[int, Sighting]:
        """By namespace inode; one that is younger than `fresh` seconds serves again. Blocking (1 to 20 ms)."""
        with self._lock:
            if time.monotonic() - self._at >= fresh:
                self._found = self._discovery.scan()
                self._at = time.monotonic()
                by_ref: dict[str, Sighting | None] = {}
                for item in self._found.values():
                    by_ref[item.ref] = None if item.ref in by_ref else item
                self._by_ref = by_ref
            return self._found

    def seen(self, name: str) -> Sighting | None:
        """What the last scan saw by that name, if it is still so; None where only a look at everything can tell."""
        known = self._by_ref.get(name)
        return known if known is not None and is_there(known) else None

    def resolve(self, name: str) -> Sighting:
        """What `name` means. Raises DiscoveryError."""
        with self._lock:
            return self._discovery.resolve(name)


class KnownContainers:
    """Names to containers."""

    def __init__(self, records: Records, discovery: Scanner, thread: NamespaceThread, names: NameSockets) -> None:
        self._records, self._discovery, self._thread, self._names = records, discovery, thread, names
        self.seen: dict[int, Container] = {}  # by namespace inode, from the last scan

    async def scan(self, fresh: float = 0.0) -> dict[int, Container]:
        """Look at the host anew; the containers of other runtimes by the inode of their namespace."""
        sightings = await asyncio.to_thread(self._discovery.scan, fresh)
        own = own_inode()
        self.seen = {inode: foreign(item) for inode, item in sightings.items() if item.runtime != "netdeck" and inode != own}
        return self.seen

    async def stored(self, name: str) -> Container:
        """A container of the records, or of discovery, by any of its names. Raises NotFound, InvalidValue, Conflict, Gone."""
        found = self._records.container(name)
        if found is not None:
            return found
        if ":" not in name and "/" not in name:
            names = [item.ref for item in self._records.containers.values()]
            others = sorted(item.ref for item in self.seen.values() if item.ref.partition(":")[2] == name)
            meant = f" (did you mean {' or '.join(map(repr, others))}?)" if others else suggestion(name, names)
            raise NotFound(f"no container {display_text(name)!r}{meant}. Containers of other runtimes are named "
                           "like docker:NAME, podman:NAME, netns:NAME, pid:N; `netdeck ps` lists all", name=display_text(name))
        try:
            sighting = self._discovery.seen(name)
            if sighting is None:
                sighting = await asyncio.to_thread(self._discovery.resolve, name)
        except DiscoveryError as error:
            raise _CODES.get(error.code, NotFound)(str(error), name=display_text(name)) from error
        known = self._records.containers_in(sighting.inode)
        return known[0] if known else foreign(sighting)

    async def running(self, name: str) -> Container:
        """As `stored`, and it has a network namespace that is alive. Raises Gone otherwise."""
        container = await self.stored(name)
        if container.status != "running" or (not container.inode and container.mode == "private"):
            raise Gone(f"container {container.ref} is not running (it has {container.status})", name=container.ref)
        return container

    async def inside(self, container: Container) -> Inside:
        """What is inside now. Raises Gone."""
        try:
            inside, sockets = await self._thread.run_async(place_of(container), _look)
        except (NamespaceGone, OSError) as error:
            raise Gone(f"container {container.ref} is gone: {error}", name=container.ref) from error
        return inside if self._names.all_ours(sockets) else msgspec.structs.replace(inside, name_server=True)

    async def lives(self, container: Container) -> bool:
        """Whether its namespace is there, though nobody may have seen it yet: it can have been made since the last scan."""
        try:
            await self.inside(container)
        except Gone:
            return False
        return True

    def everyone(self, *, ended: bool) -> list[Container]:
        """Ours and attached ones, then those only seen. `ended` adds ours that have exited."""
        mine = [item for item in self._records.containers.values() if ended or item.status == "running"]
        inodes = {item.inode for item in mine if item.inode}
        others = [item for inode, item in self.seen.items() if inode not in inodes]
        return [*mine, *sorted(others, key=lambda item: item.ref)]
