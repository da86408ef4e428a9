"""The last things that happened, for the Events view and for `events --since`."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from itertools import islice

from protocol.model import LogEntry

KEPT = 10_000


class EventLog:
    """A bounded ring of entries, numbered from 1 without gaps."""

    def __init__(self, kept: int = KEPT, clock: Callable[[], float] = time.time) -> None:
        self._entries: deque[LogEntry] = deque(maxlen=kept)
        self._clock = clock
        self._last = 0

    def add(self, kind: str, action: str, subject: str, where: str = "host", text: str = "", level: str = "info",
            actor: str = "") -> LogEntry:
        """Append an entry, made now; see `LogEntry` for what the fields hold."""
        self._last += 1
        entry = LogEntry(self._last, self._clock(), kind, action, subject, where, text, level, actor)
        self._entries.append(entry)
        return entry

    def since(self, seq: int = 0, limit: int | None = None) -> tuple[LogEntry, ...]:
        """Return the entries after `seq` that are still kept, oldest first; with `limit` only the latest of them."""
        wanted = min(len(self._entries), max(0, self._last - seq))
        if limit is not None:
            wanted = min(wanted, limit)
        return tuple(islice(self._entries, len(self._entries) - wanted, None))
