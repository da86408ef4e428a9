"""Follow every network namespace of the machine, live, in one thread.

The thread hears events (`EventSocket`), finds namespaces (files under /run/netns at once, others through a function of the
caller), reads each new one once, and tells what it learns in batches. Where the kernel drops something without an event
(IPv4 routes of a link that goes down), or had to drop events themselves, the thread reads again.
"""

from __future__ import annotations

import logging
import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future

from helperd.kernel.bridge_vlans import is_port
from helperd.kernel.event_limits import PERIOD
from helperd.kernel.event_socket import RECEIVE_BUFFER, Datagram, EventSocket
from helperd.kernel.firewall_watch import FirewallChange, FirewallWatch
from helperd.kernel.namespace_dump import TOPICS
from helperd.kernel.namespace_watch import DIRECTORIES, NamespaceWatch
from helperd.kernel.namespaces import NamespaceGone, NamespaceRef
from helperd.kernel.netlink import DecodeError, DumpInterrupted, Message, messages
from helperd.kernel.nsids import event_nsid
from helperd.kernel.observations import EventsLost, NamespaceEnded, NamespaceRead, Observation
from helperd.kernel.rtnetlink import (
    IFF_UP,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELNSID,
    RTM_NEWLINK,
    RTM_NEWNSID,
    Record,
    decode,
)
from helperd.kernel.rtnetlink import TOPICS as TOPIC_OF
from helperd.kernel.tracked import TrackedNamespaces
from helperd.kernel.unread import Unread

log = logging.getLogger(__name__)

SCAN_PERIOD = 1.0  # seconds between two looks for namespaces that have no file
SOON = 0.05  # seconds until a look that an event asked for
REREAD_DELAY = 0.1  # seconds in which further reasons to read routes again are waited for
LOST_PERIOD = 1.0  # seconds at the least between two times that everything is read again
RETRY = 5.0  # seconds until a namespace that could not be entered is tried again
GATHER = 0.005  # seconds that events are given to come in together
_READS = 16  # namespaces read before events are looked at again
_TABLE = "netdeck"
_ALL = 0xFFFFFFFF  # ifi_change of a link that is new

Find = Callable[[], Iterable[NamespaceRef]]


class Monitor:
    """`deliver` gets batches of observations, `firewall_changed` what others did to our table; both in the monitor's thread.

    `find` returns the namespaces that can be found now; it is called in the thread, about once a second, and may block.
    """

    def __init__(
        self,
        deliver: Callable[[list[Observation]], None],
        find: Find,
        firewall_changed: Callable[[FirewallChange], None] | None = None,
        *,
        directories: Sequence[str] = DIRECTORIES,
        receive_buffer: int = RECEIVE_BUFFER,
    ) -> None:
        self._deliver, self._find, self._firewall_changed = deliver, find, firewall_changed
        self._directories, self._receive_buffer = directories, receive_buffer
        self._commands: deque[Callable[[], None]] = deque()
        self._wake = -1
        self._thread: threading.Thread | None = None
        self._stopping = False
        self.epoch = 1

    def start(self) -> Future[None]:
        """Begin; the future is done when everything there is has been read and delivered. Raises OSError, PermissionError."""
        self._events = EventSocket(self._receive_buffer)
        self._tracked = TrackedNamespaces()
        self._watch = NamespaceWatch(self._directories)
        self._firewall = FirewallWatch(_TABLE) if self._firewall_changed is not None else None
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._batch: list[Observation] = []
        self._read: set[int] = set()  # namespaces that were read at least once; events of others are contained in that
        self._unread = Unread()
        self._unread.add(self._tracked.host, self._tracked.topics(self._tracked.host), 0.0)
        self._waiting: list[tuple[int, Future[None]]] = []
        self._retry_at: dict[int, float] = {}
        self._peers_due: set[int] = set()
        self._scan_at = 0.0
        self._reread_at = 0.0
        self._found: tuple[NamespaceRef, ...] = ()
        started: Future[None] = Future()
        self._started: Future[None] | None = started
        self._thread = threading.Thread(target=self._run, name="monitor", daemon=True)
        self._thread.start()
        return started

    def stop(self) -> None:
        """End the thread and close its sockets."""
        if self._thread is None:
            return
        self._stopping = True
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        self._thread = None

    def track(self, ref: NamespaceRef) -> Future[None]:
        """Follow a namespace from now on; done when it has been read and delivered, or failed with why it can't be."""
        done: Future[None] = Future()
        self._commands.append(lambda: self._track_now(ref, done))
        os.eventfd_write(self._wake, 1)
        return done

    def ways(self, inode: int) -> tuple[NamespaceRef, ...]:
        """Return by what ways a namespace was found the last time; from any thread."""
        return self._tracked.ways(inode)

    # What follows runs in the thread.

    def _run(self) -> None:
        selector = selectors.DefaultSelector()
        sources: list[EventSocket | NamespaceWatch | FirewallWatch | int] = [self._events, self._watch, self._wake]
        if self._firewall is not None:
            sources.append(self._firewall)
        for source in sources:
            selector.register(source, selectors.EVENT_READ)
        try:
            while not self._stopping:
                try:
                    ready = {key.fileobj for key, _ in selector.select(self._timeout())}
                    self._turn(ready)
                except Exception:
                    log.exception("the monitor goes on after a fault")
                    self._events.lost = True
                    time.sleep(GATHER)
        finally:
            selector.close()
            for source in sources:
                if isinstance(source, int):
                    os.close(source)
                else:
                    source.close()
            self._tracked.close()

    def _timeout(self) -> float:
        if self._commands:
            return 0.0
        moments = [self._scan_at, *(moment for moment in (self._unread.next(), self._watch.due()) if moment is not None)]
        if self._events.lost:
            moments.append(self._reread_at)
        return max(0.0, min(moments) - time.monotonic())

    def _turn(self, ready: Collection[object]) -> None:
        if self._events in ready:
            time.sleep(GATHER)
        if self._wake in ready:
            os.eventfd_read(self._wake)
        if self._watch in ready:
            self._watch.read()
        if self._firewall is not None and self._firewall in ready and self._firewall_changed is not None:
            for change in self._firewall.read():
                self._firewall_changed(change)
        self._hear()
        while self._commands:
            self._commands.popleft()()
        now = time.monotonic()
        if self._events.lost and now >= self._reread_at:
            self._read_all_again(now)
        if now >= self._scan_at:
            self._scan(complete=True)
        elif (look := self._watch.due()) is not None and now >= look:
            self._scan(complete=False)
        self._read_due()
        self._ask_peers()
        self._hand_over()

    def _hand_over(self) -> None:
        if self._batch:
            batch, self._batch = self._batch, []
            self._deliver(batch)
        now = time.monotonic()
        for inode, done in self._waiting[:]:
            if inode in self._read:
                self._waiting.remove((inode, done))
                done.set_result(None)
        if self._started is not None and ((moment := self._unread.next()) is None or moment > now):
            self._started.set_result(None)
            self._started = None

    # Events

    def _hear(self) -> None:
        while (datagram := self._events.read()) is not None:
            try:
                for message in messages(datagram.data):
                    self._take(datagram, message)
            except DecodeError as error:
                # Rather than to go on with a picture that may be wrong, look again.
                log.warning("undecodable event: %s", error)
                self._events.lost = True

    def _take(self, datagram: Datagram, message: Message) -> None:
        tracked = self._tracked
        inode = tracked.host if datagram.nsid is None else tracked.inode_of.get(datagram.nsid)
        if message.kind in (RTM_NEWNSID, RTM_DELNSID):
            self._take_nsid(datagram, message, inode)
            return
        if inode is None:
            self._look_soon()
            return
        if inode not in self._read:
            return
        topic = TOPIC_OF.get(message.kind)
        if topic is None:
            return
        if not tracked.limits.admits(inode, topic, time.monotonic()):
            self._pass_over(inode, topic)
            return
        if topic == "links" and inode not in tracked.aware and is_port(datagram.data, message):
            return
        records = decode(datagram.data, message, inode)
        self._batch += records
        for record in records:
            self._consequences(datagram.data, message, inode, record)

    def _pass_over(self, inode: int, topic: str) -> None:
        if not self._unread.waits(inode, topic):
            # With a link go addresses, routes and neighbours, of which not all is told.
            also = self._tracked.topics(inode) if topic == "links" else (topic, "routes") if topic == "addresses" else (topic,)
            self._read_again(inode, also, PERIOD)
            self._tell_limits(inode)

    def _tell_limits(self, inode: int) -> None:
        news = self._tracked.limits.news(inode, TOPICS)
        if news is not None:
            self._batch.append(news)

    def _take_nsid(self, datagram: Datagram, message: Message, inode: int | None) -> None:
        if datagram.nsid is not None:
            if inode is not None and inode in self._tracked.unresolved:
                self._peers_due.add(inode)
            return
        nsid = event_nsid(datagram.data[message.start : message.end])
        known = self._tracked.inode_of.get(nsid)
        if message.kind == RTM_NEWNSID:
            if known is None:
                self._look_soon()
        elif known is not None:
            self._forget(known)

    def _forget(self, inode: int) -> None:
        self._tracked.forget(inode)
        self._unread.forget(inode)
        self._peers_due.discard(inode)
        self._peers_due.add(self._tracked.host)
        if inode in self._read:
            self._read.discard(inode)
            self._batch.append(NamespaceEnded(inode))

    def _consequences(self, data: bytes, message: Message, inode: int, record: Record) -> None:
        """What an event says without saying it."""
        nsid = record.link_nsid
        if record.put and nsid is not None and nsid >= 0 and not self._tracked.knows_peer(inode, nsid):
            self._peers_due.add(inode)
            # Inside a container it is nearly always the host: a look at everything is due only if it turns out not to be.
            if inode == self._tracked.host:
                self._look_soon()
        if self._tracked.becomes_aware(record):
            self._read_again(inode, ("vlans",), 0.0)
        went_down = False
        if message.kind == RTM_NEWLINK:
            flags, changed = (int.from_bytes(data[message.start + at : message.start + at + 4], "little") for at in (8, 12))
            went_down = bool(changed & IFF_UP and not flags & IFF_UP) and changed != _ALL
        # net/ipv4/fib_frontend.c: the routes go with the link or the address, and nobody is told.
        if went_down or record.replaced or message.kind in (RTM_DELLINK, RTM_DELADDR):
            self._read_again(inode, ("routes",), REREAD_DELAY)

    # Finding and reading

    def _look_soon(self) -> None:
        self._scan_at = min(self._scan_at, time.monotonic() + SOON)

    def _scan(self, *, complete: bool) -> None:
        named = self._watch.look()
        if complete:
            try:
                self._found = tuple(self._find())
            except Exception:
                log.exception("namespaces without a name could not be looked for")
            self._scan_at = time.monotonic() + SCAN_PERIOD
        by_inode: dict[int, list[NamespaceRef]] = {}
        for ref in (*self._found, *named):
            by_inode.setdefault(ref.inode, []).append(ref)
        files = {ref.path for ref in named}
        now = time.monotonic()
        for inode, refs in by_inode.items():
            if inode in self._tracked:
                self._tracked.place(inode, tuple(refs))
            elif self._retry_at.get(inode, 0.0) <= now:
                self._follow(refs)
        self._retry_at = {inode: moment for inode, moment in self._retry_at.items() if moment > now}
        for inode in self._tracked:
            refs = by_inode.get(inode, [])
            pid = next((ref.pid for ref in refs if ref.pid is not None), 0)
            news = self._tracked.seen(inode, [ref for ref in refs if ref.path in files], pid)
            if news is not None:
                self._batch.append(news)

    def _follow(self, refs: Sequence[NamespaceRef]) -> Exception | None:
        """Begin to follow a namespace by one of the ways to it; returns the last reason if there is none."""
        reason: Exception | None = None
        for ref in refs:
            try:
                stale = self._tracked.follow(ref)
            except (NamespaceGone, OSError, DecodeError) as error:
                reason = error
                self._retry_at[ref.inode] = time.monotonic() + RETRY
                continue
            if stale is not None:
                self._forget(stale)
            self._retry_at.pop(ref.inode, None)
            self._read_again(ref.inode, self._tracked.topics(ref.inode), 0.0)
            self._peers_due |= self._tracked.unresolved | {self._tracked.host}
            return None
        log.info("namespace %d can't be followed: %s", refs[0].inode, reason)
        return reason

    def _track_now(self, ref: NamespaceRef, done: Future[None]) -> None:
        if ref.inode not in self._tracked:
            reason = self._follow((ref,))
            if reason is not None:
                done.set_exception(reason)
                return
            news = self._tracked.seen(ref.inode, (), ref.pid or 0)
            if news is not None:
                self._batch.append(news)
            self._scan_at = 0.0  # for its names
        self._waiting.append((ref.inode, done))

    def _read_again(self, inode: int, topics: Iterable[str], delay: float) -> None:
        moment = time.monotonic() + delay
        if delay:
            moment = max(moment, self._tracked.limits.earliest(inode))
        self._unread.add(inode, topics, moment)

    def _read_due(self) -> None:
        for inode in self._unread.due(time.monotonic())[:_READS]:
            topics = self._unread.take(inode)
            # What is already told was before the list is taken, and must not be put on top of it.
            self._hear()
            if inode not in self._tracked:
                continue
            limits, began, worked = self._tracked.limits, time.monotonic(), time.thread_time()
            if again := limits.begin(inode, topics, began):
                self._read_again(inode, again, PERIOD)
            try:
                found = self._tracked.read(inode, topics)
            except NamespaceGone as error:
                self._fail(inode, error)
            except (DumpInterrupted, OSError, DecodeError) as error:
                log.info("namespace %d is read again: %s", inode, error)
                self._rest(inode, {}, {}, began, worked)
                self._read_again(inode, topics, REREAD_DELAY)
            else:
                self._read.add(inode)
                self._batch.append(NamespaceRead(inode, tuple(topics), found.records, found.left_out))
                self._rest(inode, found.rows, found.left_out, began, worked)
                self._tell_limits(inode)
                if any(record.link_nsid is not None for record in found.records):
                    self._peers_due.add(inode)
                if any(self._tracked.becomes_aware(record) for record in found.records):
                    self._read_again(inode, ("vlans",), 0.0)

    def _rest(self, inode: int, rows: Mapping[str, int], left_out: Mapping[str, int], began: float, worked: float) -> None:
        """A reading has ended, which began at two clocks: the world's, and the one of this thread's work."""
        now = time.monotonic()
        self._tracked.limits.end(inode, rows, left_out, now, now - began, time.thread_time() - worked)

    def _fail(self, inode: int, error: NamespaceGone) -> None:
        """A namespace that can't be reached any more: if it was never read there is nothing to follow."""
        if inode in self._read:
            return
        self._forget(inode)
        self._batch.append(NamespaceEnded(inode))
        for entry in [entry for entry in self._waiting if entry[0] == inode]:
            self._waiting.remove(entry)
            entry[1].set_exception(error)

    def _ask_peers(self) -> None:
        for inode in tuple(self._peers_due):
            if inode not in self._read and inode != self._tracked.host:
                continue
            self._peers_due.discard(inode)
            news = self._tracked.peers(inode)
            if news is not None:
                self._batch.append(news)
                if inode in self._tracked.unresolved:
                    self._look_soon()

    def _read_all_again(self, now: float) -> None:
        self._events.lost = False
        self._reread_at = now + LOST_PERIOD
        self.epoch += 1
        log.warning("the kernel dropped events: everything is read again (epoch %d)", self.epoch)
        for inode in self._tracked.ended():
            self._forget(inode)
        for inode in self._tracked:
            self._read_again(inode, self._tracked.topics(inode), 0.0)
        self._peers_due |= self._tracked.unresolved
        self._scan_at = now
        self._batch.append(EventsLost(self.epoch))
