"""What the core does for subscriptions: their first state, the changes for all of them, their counters."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from helperd.accounts import groups_of
from helperd.frames import (
    CountersFrame,
    CountersSentFrame,
    EndFrame,
    FromCore,
    GoneFrame,
    SubscribeFrame,
    UnsubscribeFrame,
    WatchFrame,
    change_frames,
    state_frames,
)
from helperd.kernel.counter_feed import CounterFeed
from helperd.kernel.counter_table import CounterBatch
from helperd.live import Live
from helperd.roles import Role, Roles
from helperd.world import Change
from protocol.errors import BadRequest, Forbidden, NetdeckError, to_wire
from protocol.messages import COUNTERS, QUERIES, TOPICS

log = logging.getLogger("netdeck.subscriptions")
MOST_WAITING = 64  # frames for the front, above which the query log is dropped


class Front(Protocol):
    """The part of the front's process that is used here."""

    def post(self, frame: FromCore) -> None: ...

    async def send(self, frame: FromCore) -> None: ...


class Subscriptions:
    """Feeds the front from the live state."""

    def __init__(self, live: Live, front: Front, roles: Roles = Roles()) -> None:  # noqa: B008 - it is frozen
        self._live, self._front, self._roles = live, front, roles
        self._open: dict[int, int] = {}  # subscription → client
        self._curious: dict[int, int] = {}  # subscription → client, of those who watch the query log
        self.queries_watched: Callable[[bool], None] = lambda on: None
        self._feeds: dict[int, tuple[int, CounterFeed]] = {}
        self._outbox: asyncio.Queue[FromCore] = asyncio.Queue()
        self._stop = live.world.subscribe(self._changed)

    async def run(self) -> None:
        """Send what waits, in order, as fast as the front takes it."""
        while True:
            frame = await self._outbox.get()
            try:
                await self._front.send(frame)
            except Exception:  # what can't be sent must not keep the rest from being sent
                log.exception("a %s for the front was dropped", type(frame).__name__)

    def _changed(self, changes: list[Change]) -> None:
        if not self._open:
            return
        for frame in change_frames(changes):
            self._outbox.put_nowait(frame)

    def subscribe(self, frame: SubscribeFrame) -> None:
        client, sub = frame.caller.client, frame.sub
        unknown = sorted(set(frame.topics) - {*TOPICS, COUNTERS})
        if unknown:
            error: NetdeckError = BadRequest(f"no topic {unknown[0]!r}: known are {', '.join((*TOPICS, COUNTERS))}", topic=unknown[0])
            self._front.post(EndFrame(client, sub, to_wire(error)))
            return
        if QUERIES in frame.topics:
            if self._roles.role_of(frame.caller.uid, groups_of(frame.caller.uid, frame.caller.gid)) < Role.OPERATE:
                error = Forbidden(f"the topic {QUERIES} tells what containers ask for, and needs the role operate", needed="operate")
                self._front.post(EndFrame(client, sub, to_wire(error)))
                return
            self._curious[sub] = client
            self.queries_watched(True)
        self._open[sub] = client
        self._live.world.flush()  # what changed before now is in the state; it must not come again behind it
        rows: list[tuple[str, str, Any]] = self._live.world.snapshot([item for item in frame.topics if item != COUNTERS], frame.inodes)
        for part in state_frames(client, sub, rows):
            self._outbox.put_nowait(part)
        if COUNTERS in frame.topics:
            feed = self._live.counters.open(lambda batch: self._deliver(client, sub, batch), period=frame.period,
                                            inodes=frame.inodes, links=frame.links)
            self._feeds[sub] = (client, feed)

    def _deliver(self, client: int, sub: int, batch: CounterBatch) -> None:
        self._front.post(CountersFrame(client, sub, batch.time, batch.ns, batch.ifindex, batch.columns))

    def counters_sent(self, frame: CountersSentFrame) -> None:
        if frame.sub in self._feeds:
            self._feeds[frame.sub][1].sent()

    def watch(self, frame: WatchFrame) -> None:
        if frame.sub in self._feeds:
            self._feeds[frame.sub][1].watch(frame.links, frame.period)

    def unsubscribe(self, frame: UnsubscribeFrame) -> None:
        self._open.pop(frame.sub, None)
        found = self._feeds.pop(frame.sub, None)
        if found is not None:
            found[1].close()
        self._incurious({frame.sub})

    def gone(self, frame: GoneFrame) -> None:
        self._open = {sub: client for sub, client in self._open.items() if client != frame.client}
        for sub in [sub for sub, (client, _) in self._feeds.items() if client == frame.client]:
            self._feeds.pop(sub)[1].close()
        self._incurious({sub for sub, client in self._curious.items() if client == frame.client})

    def _incurious(self, subs: set[int]) -> None:
        if subs & self._curious.keys():
            for sub in subs:
                self._curious.pop(sub, None)
            self.queries_watched(bool(self._curious))

    def tell(self, rows: Iterable[tuple[str, str, str, Any]]) -> None:
        """Rows that are kept nowhere, for those who watch now. Dropped while the front has more to read than it can."""
        if self._outbox.qsize() < MOST_WAITING:
            for frame in change_frames(rows):
                self._outbox.put_nowait(frame)

    def close(self) -> None:
        self._stop()
        for _, feed in self._feeds.values():
            feed.close()
        self._feeds.clear()
