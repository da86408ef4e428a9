"""Counters on top of the stream's one a second: ten a second of the interface that is looked at, and every few seconds those on
the screen, whose errors and drops are read inside their namespace only once a minute where nobody asks. No Textual here.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Final, NamedTuple, Protocol

from protocol.errors import NetdeckError
from protocol.limits import MAX_WATCHED
from protocol.messages import COUNTERS, Counters
from protocol.packed_counters import unpack_counters

LinkId = tuple[int, int]  # namespace inode, ifindex

PERIOD: Final = 0.1
SCREEN_PERIOD: Final = 2.0
TENTHS: Final = 100  # of the last seconds kept
SPAN: Final = 10  # tenths over which a rate is taken: what comes in bursts would jump otherwise
_NEVER: Final = 3600.0  # the pace of what is not watched: there is nothing
_PAUSE: Final = 1.0


class Watching(Protocol):
    """The part of `protocol.client_subscription.Subscription` that is used here."""

    def __aiter__(self) -> AsyncIterator[Any]: ...

    async def watch(self, links: tuple[LinkId, ...], period: float = PERIOD) -> None: ...


class Source(Protocol):
    """The part of `protocol.client.Client` that is used here."""

    def subscribe(self, topics: tuple[str, ...], *, period: float = 1.0, links: tuple[LinkId, ...] | None = None) -> Watching: ...


def link_id(key: str) -> LinkId:
    """``inode/ifindex`` as the wire has it."""
    inode, _, ifindex = key.partition("/")
    return int(inode), int(ifindex)


class Watch:
    """A subscription to nothing but what is watched; `take` gets what comes."""

    def __init__(self, source: Source, take: Callable[[Counters], None], period: float) -> None:
        self._source, self._take = source, take
        self._period = period
        self._wanted: tuple[LinkId, ...] = ()
        self._subscription: Watching | None = None
        self._asked = asyncio.Event()

    def ask(self, keys: Iterable[str]) -> None:
        """Watch these interfaces, and no others."""
        wanted = tuple(map(link_id, keys))[:MAX_WATCHED]
        if wanted != self._wanted:
            self._wanted = wanted
            self._asked.set()

    async def run(self) -> None:
        """Until cancelled. While nothing is watched nothing is sent."""
        await self._asked.wait()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tell())
            while True:
                try:
                    self._subscription = self._source.subscribe((COUNTERS,), period=_NEVER, links=())
                    self._asked.set()
                    async for item in self._subscription:
                        if isinstance(item, Counters):
                            self._take(item)
                except NetdeckError:
                    await asyncio.sleep(_PAUSE)

    async def _tell(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            if self._subscription is not None:
                await self._subscription.watch(self._wanted, self._period)


class Look(NamedTuple):
    """What is known of the interface that is looked at: bytes and packets a second over the last second, all counters in the
    order of the wire (`COUNTER_COLUMNS`), and bytes both ways in each of the last tenths of a second, oldest first."""

    rx: float
    tx: float
    rx_packets: float
    tx_packets: float
    counts: tuple[int, ...]
    tenths: tuple[float, ...]


Step = tuple[int, int, int, int]  # bytes and packets, received and sent, in a tenth of a second
_STILL: Final[Step] = (0, 0, 0, 0)


class CloseLook:
    """Takes the counters of one interface. A message comes only when something moved: in the tenths between, nothing did."""

    def __init__(self, source: Source, changed: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        self.key: str | None = None
        self._changed, self._clock = changed, clock
        self._watch = Watch(source, self.take, PERIOD)
        self.run = self._watch.run
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._steps: deque[Step] = deque(maxlen=TENTHS)
        self._counts: tuple[int, ...] | None = None
        self._read = self._came = 0.0

    def at(self, key: str | None) -> None:
        """Look at this interface; None: at none."""
        if key != self.key:
            self.key = key
            self._begin_anew()
            self._watch.ask(() if key is None else (key,))

    def take(self, message: Counters) -> None:
        """What was watched before, and is still on its way, is passed over."""
        for inode, ifindex, counts in unpack_counters(message):
            if f"{inode}/{ifindex}" != self.key:
                continue
            if self._counts is not None:
                moved = [new - old for new, old in zip(counts[:4], self._counts, strict=False)]
                if min(moved) < 0:
                    self._begin_anew()  # made anew under the same number
                else:
                    still = min(TENTHS, max(0, round((message.time - self._read) / PERIOD) - 1))
                    self._steps.extend((_STILL,) * still)
                    self._steps.append((moved[0], moved[1], moved[2], moved[3]))
            self._counts, self._read, self._came = counts, message.time, self._clock()
            self._changed()

    def see(self, key: str) -> Look | None:
        """The interface `key` as it is now; None where it is not looked at, or too little has come yet."""
        if key != self.key or self._counts is None or not self._steps:
            return None
        still = min(TENTHS, max(0, int((self._clock() - self._came) / PERIOD - 1)))
        steps = [*self._steps, *((_STILL,) * still)][-TENTHS:]
        span = steps[-SPAN:]
        rx, tx, rx_packets, tx_packets = (sum(column) / len(span) / PERIOD for column in zip(*span, strict=True))
        return Look(rx, tx, rx_packets, tx_packets, self._counts, tuple(float(step[0] + step[1]) for step in steps))
