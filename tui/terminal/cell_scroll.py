"""Finding that part of the screen moved up or down, so that the terminal can be told to move it instead of being sent it.

A list that scrolls by a line differs in every row from what is shown, yet all but one of its rows are there already.
Moved with a scroll region (DECSTBM) and line deletion or insertion (DL, IL), that is some thirty bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final

#: Fewer moved rows than this are not worth it.
FEWEST: Final = 4


@dataclass(frozen=True, slots=True)
class Scroll:
    """Rows `top` to `bottom` (inclusive) move up by `lines` (down where negative)."""

    top: int
    bottom: int
    lines: int

    def sequence(self) -> str:
        """The bytes for it; the terminal's cursor is at the top left afterwards."""
        kind = "M" if self.lines > 0 else "L"
        region = f"\x1b[{self.top + 1};{self.bottom + 1}r"
        return f"{region}\x1b[{self.top + 1}H\x1b[{abs(self.lines)}{kind}\x1b[r\x1b[H"


def find_scroll(wanted: Sequence[Hashable], shown: Sequence[Hashable]) -> Scroll | None:
    """The move that brings most rows of `shown` to where `wanted` has them, if it is worth it.

    Rows are compared as a whole; those that occur more than once in `shown` tell nothing.
    """
    counted = Counter(shown)
    place = {row: y for y, row in enumerate(shown) if counted[row] == 1}
    moves: dict[int, list[int]] = {}
    for y, row in enumerate(wanted):
        came_from = place.get(row)
        if came_from is not None and came_from != y:
            moves.setdefault(came_from - y, []).append(y)
    if not moves:
        return None
    lines, rows = max(moves.items(), key=lambda move: len(move[1]))
    top = min(rows[0], rows[0] + lines)
    bottom = max(rows[-1], rows[-1] + lines)
    spoiled = sum(wanted[y] == shown[y] for y in range(top, bottom + 1))
    return Scroll(top, bottom, lines) if len(rows) >= FEWEST + spoiled else None
