"""The virtual machine: booted once for all tests marked ``vm``, which run in one process inside; their reports come out as they are
made."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.reports_elsewhere import ReportsElsewhere
from tests.vm.boot import CONSOLE, WORDS


class Machine(ReportsElsewhere):
    """One boot. It works beside the tests that run here, with no less right to the processors: netdeck's own limits hold in it too."""

    name = "the virtual machine"
    begin_seconds = 600.0  # 20 s where nothing else runs

    def __init__(self, tests: Sequence[str], command: Sequence[str] = ()) -> None:
        """`command` is run in the place of QEMU."""
        super().__init__(tests)
        self._start(command or [sys.executable, "-m", "tests.vm.boot", str(self.out)])

    def times(self) -> str:
        """How long it took, seconds by its own clock, which starts with it."""
        if self.begun is None:
            return "did not come up"
        return f"up after {self.begun:.0f} s, " + ("did not end" if self.ended is None else f"done after {self.ended:.0f} s")

    def _word_files(self) -> Iterator[Path]:
        yield from super()._word_files()
        yield from (self.out / CONSOLE, self.out / WORDS)
