"""What the core does for subscriptions: their first state, the changes for all of them, their counters."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Protocol

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
from helperd.world import Change
from protocol.errors import BadRequest, to_wire
from protocol.messages import COUNTERS, TOPICS

log = logging.getLogger("netdeck.subscriptions")


class Front(Protocol):
    """The part of the front's process that is used here."""

    def post(self, frame: FromCore) -> None: ...

    async def send(self, frame: FromCore) -> None: ...


class Subscriptions:
    """Feeds the front from the live state."""

    def __init__(self, live: Live, front: Front) -> None:
        self._live, self._front = live, front
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
        for frame in change_frames(changes):
            self._outbox.put_nowait(frame)

    def subscribe(self, frame: SubscribeFrame) -> None:
        client, sub = frame.caller.client, frame.sub
        unknown = sorted(set(frame.topics) - {*TOPICS, COUNTERS})
        if unknown:
            error = BadRequest(f"no topic {unknown[0]!r}: known are {', '.join((*TOPICS, COUNTERS))}", topic=unknown[0])
            self._front.post(EndFrame(client, sub, to_wire(error)))
            return
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
        found = self._feeds.pop(frame.sub, None)
        if found is not None:
            found[1].close()

    def gone(self, frame: GoneFrame) -> None:
        for sub in [sub for sub, (client, _) in self._feeds.items() if client == frame.client]:
            self._feeds.pop(sub)[1].close()

    def close(self) -> None:
        self._stop()
        for _, feed in self._feeds.values():
            feed.close()
        self._feeds.clear()
