"""Whether an attach stays quick: number 1,000 on one bridge against number 10."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench.measures import middle, spread
from tests.bench.ours import Run
from tests.bench.rows import Row

AIM = 1.3


def rows(run: Run) -> Iterator[Row]:
    crowd = run.crowd
    what = f"attach number {crowd.total:,} on one bridge"
    yield _row(what, crowd.alone_late, crowd.alone_early, AIM)
    yield _row(f"{what}, in a row", crowd.in_a_row_late, crowd.in_a_row_early, None,
               "; those before are still announced to all ports, three times each")


def _row(what: str, late: list[float], early: list[float], aim: float | None, note: str = "") -> Row:
    return Row(what, middle(late), "ms", "ours, number 10", middle(early), aim, f"late {spread(late)}; early {spread(early)}{note}")
