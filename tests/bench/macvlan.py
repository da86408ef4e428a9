"""macvlan: attaching, and traffic. See `tests.bench.on_parent`."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench.on_parent import rows_of
from tests.bench.ours import Run
from tests.bench.rows import Row


def rows(run: Run) -> Iterator[Row]:
    yield from rows_of("macvlan")
