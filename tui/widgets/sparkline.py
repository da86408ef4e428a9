"""The last minute of a number per row, and how it is drawn in one line of a table. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Final

SAMPLES: Final = 60


class SampleRing:
    """The last `samples` values of each slot, in one array of doubles.

    All slots get their sample of a tick together; the array is ordered by tick, so that a tick is one block.
    """

    def __init__(self, slots: int = 0, samples: int = SAMPLES) -> None:
        self.samples = samples
        self._slots = slots
        self._values = array("d", bytes(8 * slots * samples))
        self._head = 0  # the tick that is written next, which is also the oldest
        self.ticks = 0

    @property
    def slots(self) -> int:
        return self._slots

    def grow(self, slots: int) -> None:
        """Make room for `slots` slots, with a history of zeros; never shrinks."""
        if slots <= self._slots:
            return
        grown = array("d")
        gap = array("d", bytes(8 * (slots - self._slots)))
        for tick in range(self.samples):
            grown += self._values[tick * self._slots : (tick + 1) * self._slots]
            grown += gap
        self._values = grown
        self._slots = slots

    def push(self, values: Iterable[tuple[int, float]]) -> None:
        """End a tick: (slot, value) of those that have one; all others get zero."""
        start = self._head * self._slots
        self._values[start : start + self._slots] = array("d", bytes(8 * self._slots))
        for slot, value in values:
            self._values[start + slot] = value
        self._head = (self._head + 1) % self.samples
        self.ticks += 1

    def clear(self, slot: int) -> None:
        """Forget the history of one slot (it now belongs to another row)."""
        for tick in range(self.samples):
            self._values[tick * self._slots + slot] = 0.0

    def last(self, slot: int, count: int | None = None) -> list[float]:
        """The last `count` values of a slot (all without), oldest first."""
        count = self.samples if count is None else min(count, self.samples)
        first = self._head + self.samples - count
        return [self._values[(tick % self.samples) * self._slots + slot] for tick in range(first, first + count)]

    def copy(self) -> SampleRing:
        twin = SampleRing(0, self.samples)
        twin._slots, twin._values, twin._head, twin.ticks = self._slots, self._values[:], self._head, self.ticks
        return twin


def sparkline(values: Sequence[float], width: int, bars: str, top: float | None = None) -> str:
    """`values` as `width` characters of `bars` (from empty to full), the newest at the right.

    Several values share a character (their maximum) where there are more than `width`. `top` is the value of a full
    bar; without it the largest of them. Whatever is above zero shows at least the smallest bar; NaN counts as zero.
    """
    if width <= 0:
        return ""
    clean = [value if value > 0 else 0.0 for value in values]
    per_cell = max(1, -(-len(clean) // width))
    surplus = len(clean) % per_cell
    cells = [max(clean[:surplus])] if surplus else []
    cells += [max(clean[start : start + per_cell]) for start in range(surplus, len(clean), per_cell)]
    full = max(cells, default=0.0) if top is None else top
    steps = len(bars) - 1
    drawn = "".join(bars[_step(value, full, steps)] for value in cells)
    return drawn.rjust(width, bars[0])[-width:]


def _step(value: float, full: float, steps: int) -> int:
    if value <= 0 or full <= 0:
        return 0
    if value >= full:
        return steps
    return max(1, min(steps, int(value / full * steps)))
