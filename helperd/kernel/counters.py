"""Counters of every link of every namespace, read by one thread.

The own namespace is read by one request a second. The inner end of a veth is its host end with rx and tx exchanged, so
most containers need no visit; the links that have no such end are read inside their namespace at the same pace, and the
rest of it (loopback, errors and drops of the inner ends) once a minute. What somebody watches is read faster, link by link,
and inner ends among it also from inside, every few seconds: errors and drops are each end's own.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from helperd.kernel.counter_feed import SLACK, CounterFeed
from helperd.kernel.counter_table import CounterBatch, CounterTable, LinkId
from helperd.kernel.link_statistics import Raw, StatisticsDump, some
from helperd.kernel.namespaces import NamespaceGone, NamespaceRef, netlink_socket
from helperd.kernel.netlink import DecodeError

log = logging.getLogger(__name__)

PERIOD = 1.0  # seconds between two readings of the host, and of links that only their own namespace shows
IDLE_PERIOD = 10.0  # seconds while nobody asks for counters
VISIT_PERIOD = 60.0  # seconds between two readings of a namespace whose links are mirrored by host ends
FIRST_VISITS = 10.0  # seconds over which the first visits are spread
INSIDE_PERIOD = 2.0  # seconds at the least between two readings from inside of a watched link that a host end mirrors
INSIDE_VISITS = 50  # namespaces a second at most that are entered for that: one and a half percent of a core
_TIMEOUT = 5.0
_VISITS = 128  # namespaces at most that are entered in one turn


@dataclass(frozen=True, slots=True)
class CounterLayout:
    """Which links there are. `mirrors`: index of a host link → the link at its other end; `exposed`: namespaces with links
    other than the loopback that no host link mirrors."""

    links: frozenset[LinkId] = frozenset()
    mirrors: Mapping[int, LinkId] = field(default_factory=dict)
    exposed: frozenset[int] = frozenset()


class Counters:
    """`host` is the own namespace's inode; `ways` says how a namespace can be reached, and is called in the thread."""

    def __init__(self, host: int, ways: Callable[[int], Iterable[NamespaceRef]]) -> None:
        self._host, self._ways = host, ways
        # The event loop only replaces these three; the thread reads them.
        self._feeds: tuple[CounterFeed, ...] = ()
        self._arranged = CounterLayout()
        self._stopping = False
        self._layout = CounterLayout()
        self._table = CounterTable()
        self._hosts: dict[LinkId, int] = {}  # mirrored link → index of the host link
        self._fresh: set[int] = set()  # host links whose mirror was not known before
        self._visit_at: dict[int, float] = {}
        self._inside_at: dict[int, float] = {}  # when a watched namespace may be entered again
        self._dump = StatisticsDump()
        self._tick = 0
        self._read_at = 0.0
        self._wake_fd = -1
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    # In the event loop

    def start(self) -> None:
        """Begin to read; feeds are delivered to in the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._socket = self._new_socket()
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._run, name="counters", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        if self._thread is not None:
            self._stopping = True
            self._wake()
            self._thread.join()
            self._thread = None
            os.close(self._wake_fd)
            self._wake_fd = -1
            self._socket.close()

    def open(
        self,
        deliver: Callable[[CounterBatch], None],
        period: float = PERIOD,
        inodes: Collection[int] | None = None,
        links: Collection[LinkId] | None = None,
    ) -> CounterFeed:
        """Deliver counters every `period` seconds: first all, then those that changed since the last delivery.

        `inodes` and `links` limit them; without `links` the pace is a second at the fastest. `deliver` is called in the
        event loop; call `sent` of the feed for the next.
        """
        feed = CounterFeed(deliver, period, inodes, links, self._wake, self._close)
        self._feeds = (*self._feeds, feed)
        self._wake()
        return feed

    async def sample(self) -> CounterBatch:
        """Return all counters, read now."""
        taken: asyncio.Future[CounterBatch] = asyncio.get_running_loop().create_future()
        feed = self.open(taken.set_result)
        try:
            return await taken
        finally:
            feed.close()

    def arrange(self, layout: CounterLayout) -> None:
        """Say which links there are; counters of others are dropped at the next reading."""
        self._arranged = layout

    def _wake(self) -> None:
        if self._wake_fd >= 0:
            os.eventfd_write(self._wake_fd, 1)

    def _close(self, feed: CounterFeed) -> None:
        self._feeds = tuple(item for item in self._feeds if item is not feed)

    # In the thread

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._wake_fd, select.POLLIN)
        while not self._stopping:
            if poll.poll(max(0.0, self._next() - time.monotonic()) * 1000):
                os.eventfd_read(self._wake_fd)
            if self._stopping:
                return
            try:
                self._turn()
            except (OSError, DecodeError) as error:
                log.warning("counters can't be read: %s", error)
                self._socket.close()
                self._socket = self._new_socket()
                self._dump.forget()
                self._read_at = time.monotonic() + PERIOD

    def _new_socket(self) -> socket.socket:
        sock = netlink_socket()
        sock.settimeout(_TIMEOUT)
        return sock

    def _next(self) -> float:
        return min([self._read_at, *(feed.watch_due() for feed in self._feeds if feed.watched)])

    def _turn(self) -> None:
        now = time.monotonic()
        feeds = self._feeds
        self._tick += 1
        whole = now + SLACK >= self._read_at or any(feed.new for feed in feeds)
        watched = {link for feed in feeds if feed.watched and feed.watch_due() <= now + SLACK for link in feed.watched}
        if whole:
            self._read_at = now + (PERIOD if feeds else IDLE_PERIOD)
            self._rearrange(now)
            self._take_host(self._dump.read(self._socket))
            for inode in self._due_visits(now):
                self._visit(inode, None)
        if watched:
            self._read_watched(watched, now)
        assert self._loop is not None
        for feed in feeds:
            batch = feed.take(self._table, self._tick, now)
            if batch is not None:
                self._loop.call_soon_threadsafe(feed.deliver, batch)

    def _rearrange(self, now: float) -> None:
        layout = self._arranged
        if layout is self._layout:
            return
        gone = self._table.keep(layout.links)
        fresh = layout.mirrors.items() - self._layout.mirrors.items()
        self._fresh = {index for index, _ in fresh}
        if fresh or gone:
            self._dump.forget()
        self._layout = layout
        self._hosts = {link: index for index, link in layout.mirrors.items()}
        # First visits are spread, so that a thousand namespaces are not entered in one go.
        inodes = {inode for inode, _ in layout.links} - {self._host}
        spread = {inode: PERIOD if inode in layout.exposed else FIRST_VISITS for inode in inodes}
        self._visit_at = {
            inode: min(self._visit_at.get(inode, now + inode % 61 / 61 * wait), now + VISIT_PERIOD)
            for inode, wait in spread.items()
        }

    def _take_host(self, found: Iterable[Raw]) -> None:
        host, tick, table, mirrors, fresh = self._host, self._tick, self._table, self._layout.mirrors, self._fresh
        for index, raw in found:
            if (table.record((host, index), raw, tick) or index in fresh) and index in mirrors:
                table.mirror(mirrors[index], raw, tick)
                fresh.discard(index)

    def _due_visits(self, now: float) -> list[int]:
        exposed = self._layout.exposed
        due = sorted((inode for inode, moment in self._visit_at.items() if moment <= now + SLACK),
                     key=lambda inode: inode not in exposed)[:_VISITS]
        for inode in due:
            self._visit_at[inode] = now + (PERIOD if inode in exposed else VISIT_PERIOD)
        return due

    def _visit(self, inode: int, indexes: Iterable[int] | None) -> None:
        """Read a namespace from inside: all of it, or only some links."""
        for ref in self._ways(inode):
            try:
                sock = netlink_socket(ref)
            except (NamespaceGone, OSError):
                continue
            try:
                sock.settimeout(_TIMEOUT)
                found = list(StatisticsDump().read(sock) if indexes is None else some(sock, indexes))
            except (OSError, DecodeError) as error:
                log.debug("counters of namespace %d: %s", inode, error)
                continue
            finally:
                sock.close()
            for index, raw in found:
                if (inode, index) in self._layout.links:
                    self._table.record((inode, index), raw, self._tick)
            return

    def _read_watched(self, watched: Collection[LinkId], now: float) -> None:
        inside: dict[int, list[int]] = {}
        near: set[int] = set()
        for link in watched:
            if link[0] == self._host:
                near.add(link[1])
            elif link in self._hosts:
                near.add(self._hosts[link])
            else:
                inside.setdefault(link[0], []).append(link[1])
        self._take_host(some(self._socket, near))
        for inode, indexes in (*inside.items(), *self._due_inside(watched, now)):
            self._visit(inode, indexes)

    def _due_inside(self, watched: Collection[LinkId], now: float) -> list[tuple[int, list[int]]]:
        """Namespaces that are entered for the errors and drops of inner ends, and which links are read there."""
        ends: dict[int, list[int]] = {}
        for inode, index in watched:
            if inode != self._host and (inode, index) in self._hosts:
                ends.setdefault(inode, []).append(index)
        pause = max(INSIDE_PERIOD, len(ends) / INSIDE_VISITS)
        self._inside_at = {inode: moment for inode, moment in self._inside_at.items() if moment > now}
        due = [(inode, indexes) for inode, indexes in ends.items() if inode not in self._inside_at][:INSIDE_VISITS]
        self._inside_at.update((inode, now + pause) for inode, _ in due)
        return due
