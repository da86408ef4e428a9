"""How closely a namespace is followed: whoever owns one must cost neither the others their news nor the core its memory.

Of each topic there is a most of rows, and a rate of events up to which each event is followed. Above either, the events of that topic
are passed over undecoded and the topic is read as a whole now and then, until it is calm and small enough again. No clock here, no
socket.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from helperd.kernel.observations import NamespaceLimits

MAX_ROWS = 10_000  # of one topic in a namespace
MAX_HOST_NEIGHBOURS = 65_536  # containers make entries there by what they send; what else the host has is its operator's
RATE, BURST = 200.0, 2_000.0  # events of one topic a second, and at once
HOST_RATE, HOST_BURST = 2_000.0, 20_000.0
PERIOD = 1.0  # seconds between two readings of what is not followed
REST = 10.0  # a reading that worked for t seconds is followed by REST times t without one


@dataclass(slots=True)
class _Topic:
    tokens: float
    refilled: float
    rows: int = 0  # at most so many: as many as were read, and one more for each event
    held: bool = False
    left_out: int = 0
    passed: int = 0  # events passed over since `since`
    since: float = 0.0


class EventLimits:
    """Belongs to the monitor's thread. `host` is the inode of the own namespace."""

    def __init__(self, host: int) -> None:
        self._host = host
        self._topics: dict[tuple[int, str], _Topic] = {}
        self._rest: dict[int, float] = {}
        self._told: dict[int, NamespaceLimits] = {}

    def most(self, inode: int, topic: str) -> int:
        """Rows that are kept."""
        if inode == self._host:
            return MAX_HOST_NEIGHBOURS if topic == "neighbours" else sys.maxsize
        return MAX_ROWS

    def admits(self, inode: int, topic: str, now: float) -> bool:
        """Whether an event is to be followed; if not, the topic must be read."""
        state = self._topics.get((inode, topic))
        rate, burst = (HOST_RATE, HOST_BURST) if inode == self._host else (RATE, BURST)
        if state is None:
            state = self._topics[inode, topic] = _Topic(burst, now)
        if not state.held:
            state.tokens = min(burst, state.tokens + (now - state.refilled) * rate) - 1
            state.refilled = now
            state.rows += 1
            if state.tokens >= 0 and state.rows <= self.most(inode, topic):
                return True
            state.held, state.since, state.passed = True, now, 0
        state.passed += 1
        return False

    def begin(self, inode: int, topics: Iterable[str], now: float) -> list[str]:
        """A reading of `topics` begins: what was calm is followed again. Returns the topics that must be read once more later."""
        rate = HOST_RATE if inode == self._host else RATE
        again = []
        for topic in topics:
            state = self._topics.get((inode, topic))
            if state is None or not state.held:
                continue
            if state.passed <= max(1.0, rate * (now - state.since) / 2):
                state.held, state.tokens, state.refilled = False, rate, now
            else:
                again.append(topic)
            state.passed, state.since = 0, now
        return again

    def end(self, inode: int, rows: Mapping[str, int], left_out: Mapping[str, int], now: float, took: float, worked: float) -> None:
        """A reading has ended that took so many seconds, and worked in so many of them: of each topic, how many rows were kept and how
        many left out. That others had the processor or the kernel's lock meanwhile is a reason to look away only for as long."""
        for topic, count in rows.items():
            state = self._topics.setdefault((inode, topic), _Topic(HOST_BURST if inode == self._host else BURST, now))
            state.rows = count
            state.left_out = left_out.get(topic, 0)
            if state.left_out and not state.held:
                state.held, state.since, state.passed = True, now, 0
        self._rest[inode] = now + max(REST * worked, took)

    def earliest(self, inode: int) -> float:
        """The moment before which the namespace is not to be read again."""
        return self._rest.get(inode, 0.0)

    def forget(self, inode: int) -> None:
        """The namespace is gone."""
        self._rest.pop(inode, None)
        self._told.pop(inode, None)
        for key in [key for key in self._topics if key[0] == inode]:
            del self._topics[key]

    def news(self, inode: int, topics: Iterable[str]) -> NamespaceLimits | None:
        """What is not followed of a namespace, None where that is as it was told the last time."""
        states = {topic: state for topic in topics if (state := self._topics.get((inode, topic))) is not None}
        found = NamespaceLimits(inode, {topic: state.left_out for topic, state in states.items() if state.left_out},
                                tuple(topic for topic, state in states.items() if state.held and not state.left_out))
        if found == self._told.get(inode, NamespaceLimits(inode, {}, ())):
            return None
        self._told[inode] = found
        return found
