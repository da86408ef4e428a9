"""Runs half of the tests meanwhile: ``-p tests.meanwhile``, as ./test does for the whole.

They measure no time, and what they have to do with the kernel happens in labs and hosts of their own, so that a second pytest runs them
from the start, at a lower priority: it takes what the others leave of the processors. What it reported is handed on behind all others, as
if it had run here.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

from tests.report_writer import PLACE
from tests.reports_elsewhere import REPORTS, TESTS, ReportsElsewhere, hand_on, print_time

FOLDER = "NETDECK_TEST_MEANWHILE"
WANTED = "wanted"
PLACES = ("tests/unit/", "tests/fuzz/", "tests/tui/",
          *(f"tests/kernel/test_{name}.py" for name in ("dry_run", "faults", "keys_and_deadlines", "survival")))
"""Of files, so that both take as long."""
STAY = ("engines", "timed", "vm")
"""Marks of tests that stay."""
SECOND = pytest.StashKey["Second"]()


class Second(ReportsElsewhere):
    """The second pytest."""

    name = "the pytest that runs meanwhile"
    # It may get next to nothing as long as the others work.
    begin_seconds, quiet_seconds = 1800.0, 1800.0

    def __init__(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        super().__init__(sorted({item.nodeid.partition("::")[0] for item in items}))
        self.theirs = {item.nodeid for item in items}
        self.waited = 0.0
        (self.out / WANTED).write_text(json.dumps(sorted(self.theirs)))
        plugins = [f"-p{name}" for name in (*config.option.plugins, "tests.report_writer", "no:cacheprovider")]
        command = ["nice", "-n", "2", sys.executable, "-m", "pytest", "-q", *plugins, "-otimeout=1200", f"-c{config.inipath}",
                   f"--rootdir={config.rootpath}", f"@{self.out / TESTS}"]
        self._start(command, {**os.environ, FOLDER: str(self.out), PLACE: str(self.out / REPORTS)})

    def close(self) -> None:
        self._kill(patience=20)
        super().close()


def _bears(item: pytest.Item) -> bool:
    return item.nodeid.startswith(PLACES) and not any(item.get_closest_marker(mark) for mark in STAY)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if FOLDER in os.environ:
        wanted = set(json.loads((Path(os.environ[FOLDER]) / WANTED).read_text()))
        items[:] = [item for item in items if item.nodeid in wanted]
    else:
        items.sort(key=_bears)


def pytest_collection_finish(session: pytest.Session) -> None:
    theirs = [item for item in session.items if _bears(item)]
    if FOLDER in os.environ or session.config.option.collectonly or session.testsfailed or not 0 < len(theirs) < len(session.items):
        return
    session.config.stash[SECOND] = Second(session.config, theirs)
    for item in theirs:
        item.add_marker(pytest.mark.timeout(0))  # the second keeps the time


def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    second = item.config.stash.get(SECOND, None)
    if second is None or item.nodeid not in second.theirs:
        return None
    begun = time.monotonic()
    hand_on(item, second)
    second.waited += time.monotonic() - begun
    return True


def pytest_sessionfinish(session: pytest.Session) -> None:
    second = session.config.stash.get(SECOND, None)
    if second is not None:
        second.look()
        taken = "did not end" if second.begun is None or second.ended is None else f"{second.ended - second.begun:.0f} s"
        print_time(f"{len(second.theirs)} tests meanwhile: {taken}, waited for {second.waited:.0f} s")
        second.close()
