"""Runs the tests in two processes: ``-p tests.beside``, as ./test does for the whole.

Files with tests that are marked ``alone`` or ``engines`` run first, with no other test of this machine beside them but the virtual
machine's. Then a second pytest is started, and each of the two takes one file after the other, this one from the front, that one from the
back, until none is left; a file belongs to whoever makes the file of its name in a folder of both. What the second ran is reported here,
as if it had run here. The tests of the virtual machine come last.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.report_writer import PLACE
from tests.reports_elsewhere import REPORTS, TESTS, ReportsElsewhere, hand_on, print_time

FOLDER = "NETDECK_TEST_BESIDE"
WANTED = "wanted"
ALONE = ("alone", "engines")
SECOND = pytest.StashKey["Second"]()

Files = dict[str, list[pytest.Item]]


class Second(ReportsElsewhere):
    """The second pytest; `files` are those that the two share."""

    name = "the second pytest"

    def __init__(self, config: pytest.Config, files: Files) -> None:
        super().__init__(list(files))
        (self.out / WANTED).write_text(json.dumps([item.nodeid for items in files.values() for item in items]))
        plugins = [f"-p{name}" for name in (*config.option.plugins, "tests.report_writer", "no:cacheprovider")]
        command = [sys.executable, "-m", "pytest", "-q", *plugins, f"-c{config.inipath}", f"--rootdir={config.rootpath}",
                   f"@{self.out / TESTS}"]
        self._start(command, {**os.environ, FOLDER: str(self.out), PLACE: str(self.out / REPORTS)})

    def close(self) -> None:
        self._kill(patience=20)  # it takes away what its tests made
        super().close()


def _claim(folder: Path, file: str) -> bool:
    """Whether a file is ours now."""
    try:
        os.close(os.open(folder / quote(file, safe=""), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def _run(session: pytest.Session, items: Iterable[pytest.Item]) -> None:
    """As pytest's own loop does, the set-up of whose last item is taken down with it."""
    items = list(items)
    for item, after in zip(items, [*items[1:], None], strict=False):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if FOLDER in os.environ:
        wanted = set(json.loads((Path(os.environ[FOLDER]) / WANTED).read_text()))
        items[:] = [item for item in items if item.nodeid in wanted]


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    if session.testsfailed or session.config.option.collectonly:
        return None  # pytest's own loop says that
    files: Files = {}
    last: list[pytest.Item] = []
    for item in session.items:
        (last if item.get_closest_marker("vm") else files.setdefault(item.nodeid.partition("::")[0], [])).append(item)
    if FOLDER in os.environ:
        for file in reversed(files):
            if _claim(Path(os.environ[FOLDER]), file):
                _run(session, files[file])
        return True
    begun = time.monotonic()
    alone = [file for file, items in files.items() if any(item.get_closest_marker(mark) for item in items for mark in ALONE)]
    for file in alone:
        _run(session, files[file])
    shared = {file: items for file, items in files.items() if file not in alone}
    if shared:
        _share(session, shared, time.monotonic() - begun)
    _run(session, last)
    return True


def _share(session: pytest.Session, files: Files, alone: float) -> None:
    begun = time.monotonic()
    second = session.config.stash[SECOND] = Second(session.config, files)
    theirs = []
    for file, items in files.items():
        if _claim(second.out, file):
            _run(session, items)
        else:
            theirs.append(items)
    waits = time.monotonic()
    for items in theirs:
        for item in items:
            hand_on(item, second)
    print_time(f"alone {alone:.0f} s, in two processes {waits - begun:.0f} s, the second waited for {time.monotonic() - waits:.0f} s")


def pytest_sessionfinish(session: pytest.Session) -> None:
    second = session.config.stash.get(SECOND, None)
    if second is not None:
        second.close()
