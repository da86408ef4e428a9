"""The sockets at which containers ask for names, and the table in each container that leads to them.

Both live in the container's network namespace: `helperd.names` answers on the sockets, from a process without privilege. An open
socket keeps its namespace alive, so they are closed with the container's last network that has names. Sources: namespaces(7),
ip(7).
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from drivers.objects import NAME_ADDRESS, NAME_TABLE, NameServer, parse_mark
from helperd.kernel.name_table import NameTable
from helperd.kernel.open_places import OpenPlaces
from helperd.kernel.step_errors import doing
from helperd.plan import Step
from protocol.errors import Conflict, Gone, KernelRefused

BACKLOG = 64
_REMEMBERED = 4_096
_IP_FREEBIND = 15  # linux/in.h: the loopback link of the container may be down


class Held(NamedTuple):
    """The sockets of one container, and the inode of the namespace that they are in."""

    inode: int
    udp: socket.socket
    tcp: socket.socket

    @property
    def ports(self) -> tuple[int, int]:
        return self.udp.getsockname()[1], self.tcp.getsockname()[1]

    def close(self) -> None:
        self.udp.close()
        self.tcp.close()


class NameSockets:
    """All of this process, by place. The writer's thread makes and closes them, others take copies."""

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._lock = threading.Lock()
        self._held: dict[str, Held] = {}
        self._made: dict[int, None] = {}  # inodes of our sockets, oldest first: a copy may outlive the container's last network
        self._closer = ThreadPoolExecutor(1, "nft-closer")
        # A thread begins in the namespace of the one that starts it, and keeps that alive: this one must be there before a visit.
        self._closer.submit(int).result()
        self._moved: set[str] = set()  # places with other sockets than whoever hands them on was told of
        self.changed: Callable[[str], None] = lambda place: None  # called by `tell` when a place has got other sockets

    def copies(self, place: str) -> tuple[int, int] | None:
        """Descriptors of the UDP and the listening TCP socket, which the caller closes; None where there are none."""
        with self._lock:
            held = self._held.get(place)
            return None if held is None else (os.dup(held.udp.fileno()), os.dup(held.tcp.fileno()))

    def holds(self, place: str, inode: int) -> bool:
        """Whether the sockets of `place` are open, in the namespace `inode`."""
        with self._lock:
            held = self._held.get(place)
            return held is not None and held.inode == inode

    def all_ours(self, sockets: Iterable[int]) -> bool:
        """Whether all of these (inodes) are or were ours."""
        with self._lock:
            return all(inode in self._made for inode in sockets)

    def told(self, places: Iterable[str]) -> None:
        """Where these have got other sockets, that is known."""
        with self._lock:
            self._moved.difference_update(places)

    def tell(self) -> None:
        """Call `changed` for each place that has got other sockets since, in the thread of the caller."""
        with self._lock:
            moved, self._moved = self._moved, set()
        for place in sorted(moved):
            self.changed(place)

    # Steps, in the writer's thread

    def make(self, places: OpenPlaces, step: Step) -> None:
        """Open the sockets and lead port 53 to them, in place of what this helper had there before. Raises Gone, Conflict,
        KernelRefused, OSError."""
        item = step.object
        assert isinstance(item, NameServer)
        descriptor = places.descriptor(item.place)
        assert descriptor is not None, "names are served in containers only"
        held = places.inside(item.place, lambda: self._opened(places, item.place, os.fstat(descriptor).st_ino))
        try:
            self._lead(places, item, held.ports, doing(step))
        except BaseException:
            held.close()
            raise
        with self._lock:
            before = self._held.pop(item.place, None)
            self._held[item.place] = held
            for sock in (held.udp, held.tcp):
                inode = os.fstat(sock.fileno()).st_ino
                self._made.pop(inode, None)
                self._made[inode] = None
                if len(self._made) > _REMEMBERED:
                    del self._made[next(iter(self._made))]
            self._moved.add(item.place)
        if before is not None:
            before.close()

    @staticmethod
    def _opened(places: OpenPlaces, place: str, inode: int) -> Held:
        """Runs inside, and opens there what else is needed."""
        places.tables(place, inside=True)
        udp = _open(socket.SOCK_DGRAM)
        try:
            return Held(inode, udp, _open(socket.SOCK_STREAM))
        except BaseException:
            udp.close()
            raise

    def _lead(self, places: OpenPlaces, item: NameServer, ports: tuple[int, int], what: str) -> None:
        tables = places.tables(item.place)
        there = tables.read()
        if there is not None and not self._ours(there):
            raise Conflict(f"{what}: the container has a table ip {NAME_TABLE} that this netdeck did not make, which is never "
                           f"changed: see it with `nft list table ip {NAME_TABLE}` in there", with_=f"table ip {NAME_TABLE}")
        try:
            tables.make(item.mark, ports, there)
        except OSError as refusal:
            raise KernelRefused(f"{what}: table ip {NAME_TABLE}: {refusal.strerror}", object=f"table ip {NAME_TABLE}",
                                errno=refusal.errno or 0, kernel=str(refusal.strerror)) from refusal
        finally:
            if there is not None:
                self._close_later(places, item.place)

    def _close_later(self, places: OpenPlaces, place: str) -> None:
        """Where a table was deleted, the kernel waits for a grace period when the socket is closed: 15 ms."""
        self._closer.submit(places.without_tables(place).close)

    def remove(self, places: OpenPlaces, step: Step) -> None:
        """Close the sockets and delete the table, if it is ours. A container that is gone has none."""
        item = step.object
        with self._lock:
            held = self._held.pop(item.place, None)
        try:
            there = places.tables(item.place).read()
            if there is not None and self._ours(there):
                try:
                    places.tables(item.place).delete(there)
                finally:
                    self._close_later(places, item.place)
        except (Gone, OSError):  # its namespace ends with our sockets, and the table with it
            pass
        finally:
            if held is not None:
                held.close()

    def close(self) -> None:
        """Let all sockets go; the tables stay, and lead nowhere until the next start."""
        with self._lock:
            held, self._held = self._held, {}
        for item in held.values():
            item.close()
        self._closer.shutdown()

    # Looking

    def observe(self, places: OpenPlaces, place: str, wanted: NameServer | None) -> NameServer | None:
        """What there is in `place`: `wanted` itself where all is as it should be, another where it has to be made anew or away."""
        try:
            table = places.tables(place).read()
        except OSError:  # what can't be read is not what we made; making it anew never replaces a table of others
            return None
        if table is None or not self._ours(table):
            return None
        with self._lock:
            held = self._held.get(place)
            open_here = held is not None and held.ports == table.ports and held.inode == os.fstat(places.descriptor(place) or 0).st_ino
        if open_here and table.whole and wanted is not None and table.mark == wanted.mark:
            return wanted
        return NameServer(place, "")

    def _ours(self, table: NameTable) -> bool:
        mark = parse_mark(table.mark)
        return mark is not None and mark[:2] == (self._instance, "names")


def _open(kind: socket.SocketKind) -> socket.socket:
    sock = socket.socket(socket.AF_INET, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_IP, _IP_FREEBIND, 1)
        sock.bind((NAME_ADDRESS, 0))
        if kind is socket.SOCK_STREAM:
            sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def outward_sockets(family: int, kind: str, count: int) -> list[socket.socket]:
    """Sockets for questions to name servers of `family` (4, 6), ``udp`` or ``tcp``, in the namespace that this thread is in."""
    number = socket.AF_INET6 if family == 6 else socket.AF_INET
    type_ = socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM
    return [socket.socket(number, type_ | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) for _ in range(count)]
