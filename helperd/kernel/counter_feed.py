"""One subscriber's view of the counters: which links, how often, and what it has been sent already."""

from __future__ import annotations

from collections.abc import Callable, Collection

from helperd.kernel.counter_table import CounterBatch, CounterTable, LinkId

SHORTEST, LONGEST = 0.1, 60.0  # seconds
SLACK = 0.02  # seconds; a turn that comes a little early is the one that was meant


def held(period: float) -> float:
    """Return a period that is kept: from 0.1 to 60 seconds."""
    return min(max(period, SHORTEST), LONGEST)


class CounterFeed:
    """Made by `Counters.open`. `deliver` is called in the event loop, and again only after `sent`."""

    def __init__(
        self,
        deliver: Callable[[CounterBatch], None],
        period: float,
        inodes: Collection[int] | None,
        links: Collection[LinkId] | None,
        wake: Callable[[], None],
        closed: Callable[[CounterFeed], None],
    ) -> None:
        self.deliver = deliver
        self.watched: tuple[LinkId, ...] = () if links is None else tuple(links)
        self.watch_period = self._period = held(period)
        self._inodes = None if inodes is None else frozenset(inodes)
        self._links = None if links is None else tuple(links)
        self._wake, self._closed = wake, closed
        self._since = self._watched_since = 0
        self._due = self._watch_due = 0.0
        self._under_way = self._withheld = False

    # In the event loop

    def watch(self, links: Collection[LinkId], period: float = SHORTEST) -> None:
        """Deliver `links` also every `period` seconds; () ends it."""
        self.watched, self.watch_period = tuple(links), held(period)
        self._watched_since = 0
        self._watch_due = 0.0
        self._wake()

    def sent(self) -> None:
        """What was delivered has left; the next may come."""
        self._under_way = False
        if self._withheld:
            self._wake()

    def close(self) -> None:
        """Deliver nothing any more."""
        self._closed(self)

    # In the thread that reads

    @property
    def new(self) -> bool:
        """Whether nothing was taken yet."""
        return self._due == 0.0

    def watch_due(self) -> float:
        """The monotonic time at which the watched links are to be read."""
        return self._watch_due

    def take(self, table: CounterTable, tick: int, now: float) -> CounterBatch | None:
        """Return what is due now; None if nothing is due, nothing changed, or the last delivery has not left yet."""
        whole, watched = now + SLACK >= self._due, bool(self.watched) and now + SLACK >= self._watch_due
        if watched:
            self._watch_due = now + self.watch_period
        if not whole and not watched and not self._withheld:
            return None
        self._withheld = self._under_way
        if self._under_way:
            return None
        if whole:
            rows = table.changed(self._since, None if self._links is None else table.rows(self._links), self._inodes)
            self._since = self._watched_since = tick
            self._due = now + self._period
        else:
            rows = table.changed(self._watched_since, table.rows(self.watched))
            self._watched_since = tick
        if not rows:
            return None
        self._under_way = True
        return table.pack(rows, now)
