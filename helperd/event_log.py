"""The last things that happened, for the Events view and for `events --since`."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from itertools import takewhile

from protocol.model import LogEntry

KEPT = 5_000  # in each ring: both go into one answer
OURS = frozenset({"helper", "network", "endpoint", "container"})  # kinds of entries about what this helper did


class EventLog:
    """Two bounded rings of entries with one numbering from 1: what this helper did, and what the kernel told. Whoever has a
    namespace can make the kernel tell as much as he likes; it must not push out what was done here, and by whom."""

    def __init__(self, kept: int = KEPT, clock: Callable[[], float] = time.time) -> None:
        self._done: deque[LogEntry] = deque(maxlen=kept)
        self._heard: deque[LogEntry] = deque(maxlen=kept)
        self._clock = clock
        self._last = 0

    def add(self, kind: str, action: str, subject: str, where: str = "host", text: str = "", level: str = "info",
            actor: str = "") -> LogEntry:
        """Append an entry, made now; see `LogEntry` for what the fields hold."""
        self._last += 1
        entry = LogEntry(self._last, self._clock(), kind, action, subject, where, text, level, actor)
        (self._done if kind in OURS else self._heard).append(entry)
        return entry

    def since(self, seq: int = 0, limit: int | None = None) -> tuple[LogEntry, ...]:
        """Return the entries after `seq` that are still kept, oldest first; with `limit` only the latest of them."""
        found = [entry for ring in (self._done, self._heard) for entry in takewhile(lambda entry: entry.seq > seq, reversed(ring))]
        found.sort(key=lambda entry: entry.seq)
        return tuple(found if limit is None else found[max(0, len(found) - limit):])
