"""Rates of every interface, from the helper's packed counters: columns, one slot an interface. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Final, NamedTuple

from protocol.messages import Counters
from protocol.packed_counters import unpack_counters

_COLUMNS: Final = 8


class Rates(NamedTuple):
    """Of one interface: bytes and packets a second, errors and drops (both directions) since it exists, and all bytes."""

    rx: float
    tx: float
    rx_packets: float
    tx_packets: float
    errors: int
    drops: int
    rx_total: int
    tx_total: int


class RateTable:
    """The newest counters of every interface and what they make a second.

    A message holds only interfaces whose counters moved since the one before, so whatever is missing in it stood still, and
    the time that a difference took is the time between two *messages*.
    """

    def __init__(self) -> None:
        self.slots: dict[str, int] = {}
        self.keys: list[str] = []
        self._counts = [array("Q") for _ in range(_COLUMNS)]
        self._rates = [array("d") for _ in range(4)]
        self._active: set[int] = set()
        self._time: float | None = None

    def of(self, key: str) -> Rates | None:
        """What is known of the interface `key` (``inode/ifindex``); None before its first counters."""
        slot = self.slots.get(key)
        if slot is None:
            return None
        count, rate = self._counts, self._rates
        return Rates(
            rate[0][slot], rate[1][slot], rate[2][slot], rate[3][slot],
            count[4][slot] + count[5][slot], count[6][slot] + count[7][slot], count[0][slot], count[1][slot],
        )

    @property
    def active(self) -> bool:
        """Whether any rate is above zero."""
        return bool(self._active)

    def take(self, message: Counters) -> set[str]:
        """Take a message; returns the keys whose numbers or rates differ from before. Raises BadRequest."""
        elapsed = 0.0 if self._time is None else message.time - self._time
        moved: set[int] = set()
        still = self._active
        self._active = set()
        for inode, ifindex, numbers in unpack_counters(message):
            key = f"{inode}/{ifindex}"
            slot = self.slots.get(key)
            if slot is None:
                slot = self._new_slot(key)
                rates: Iterable[float] = (0.0, 0.0, 0.0, 0.0)
            elif elapsed <= 0:
                rates = (0.0, 0.0, 0.0, 0.0)
            else:
                # Fewer than before: the interface was made anew under the same number.
                rates = [max(0, new - column[slot]) / elapsed for new, column in zip(numbers[:4], self._counts, strict=False)]
            busy = False
            for column, value in zip(self._rates, rates, strict=True):
                column[slot] = value
                busy = busy or value > 0
            for count, number in zip(self._counts, numbers, strict=True):
                count[slot] = number
            moved.add(slot)
            if busy:
                self._active.add(slot)
        self._time = message.time
        moved |= self._rest(still - moved)
        return {self.keys[slot] for slot in moved}

    def quiet(self) -> set[str]:
        """No message came in its time: nothing moves. Returns the keys whose rates fell to zero."""
        moved = self._rest(self._active)
        self._active = set()
        return {self.keys[slot] for slot in moved}

    def forget(self, keys: Iterable[str]) -> None:
        """These interfaces are gone: their numbers don't belong to whoever gets the same key."""
        for key in keys:
            slot = self.slots.get(key)
            if slot is not None:
                self._rest((slot,))
                self._active.discard(slot)
                for column in self._counts:
                    column[slot] = 0

    def _rest(self, slots: Iterable[int]) -> set[int]:
        rested = set(slots)
        for slot in rested:
            for column in self._rates:
                column[slot] = 0.0
        return rested

    def _new_slot(self, key: str) -> int:
        slot = self.slots[key] = len(self.keys)
        self.keys.append(key)
        for count in self._counts:
            count.append(0)
        for rate in self._rates:
            rate.append(0.0)
        return slot
