"""What a benchmark says: rows of figures, each a ratio to a peer measured in the same run or to an aim."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Row:
    """`ours` and `theirs` are in `unit`; the ratio is ours / theirs. `aim` is the ratio hoped for, at most.

    `against` names the peer, or "the aim" where an absolute figure is the aim. Where one of the two could not be measured
    it is None and `note` says why.
    """

    what: str
    ours: float | None
    unit: str
    against: str
    theirs: float | None
    aim: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        if self.ours is None or self.theirs is None or self.theirs == 0:
            return None
        return self.ours / self.theirs

    @property
    def verdict(self) -> str:
        """``met``, ``missed``, or "" where there is nothing to compare."""
        if self.aim is None or self.ratio is None:
            return ""
        return "met" if self.ratio <= self.aim else "missed"

    def document(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "ratio": self.ratio, "verdict": self.verdict}


def figure(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{digits}f} {unit}"


def number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


HEADINGS = ("what", "ours", "against", "theirs", "ratio", "aim", "", "note")
RIGHT = frozenset({1, 3, 4, 5})


def table(rows: Iterable[Row]) -> str:
    """The rows as text for people."""
    cells: list[Sequence[str]] = [HEADINGS]
    for row in rows:
        aim = "" if row.aim is None else f"≤ {number(row.aim)}"
        cells.append((row.what, figure(row.ours, row.unit), row.against, figure(row.theirs, row.unit), number(row.ratio),
                      aim, row.verdict, row.note))
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    widths[-1] = 0
    return "\n".join(
        "  ".join(text.rjust(width) if column in RIGHT else text.ljust(width)
                  for column, (text, width) in enumerate(zip(line, widths, strict=True))).rstrip()
        for line in cells)
