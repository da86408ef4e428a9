"""Whether an attach stays quick: number 1,000 on one bridge against number 10."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench.measures import middle, spread
from tests.bench.ours import Run
from tests.bench.rows import Row

AIM = 1.3
AROUND = 10  # attaches on each side that the median is taken of


def rows(run: Run) -> Iterator[Row]:
    taken = run.crowd.attach_ms
    early, late = taken[:2 * AROUND], taken[-2 * AROUND:]
    yield Row(f"attach number {len(taken):,} on one bridge", middle(late), "ms", "ours, number 10", middle(early), AIM,
              f"late {spread(late)}; early {spread(early)}")
