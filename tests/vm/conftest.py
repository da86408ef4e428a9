"""Tests that need links which a kernel may lack: 802.1Q, ipvlan, dummy. Where the running kernel has them they run as others do, else
in a virtual machine, booted once, which works while the other tests run here and whose reports are waited for last; a test that fails in
it fails the run, and so does one that it says nothing of."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.reports_elsewhere import hand_on, print_time
from tests.vm.boot import INSIDE
from tests.vm.kernel import running_kernel_has_all
from tests.vm.machine import Machine
from tests.vm.site_fixtures import site as site
from tests.vm.site_fixtures import whole_site as whole_site

HERE = Path(__file__).parent
MACHINE = pytest.StashKey[Machine]()
TIMES = pytest.StashKey[str]()
NEEDED = pytest.StashKey[set[str]]()
WAITED = pytest.StashKey[float]()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.root)
            item.add_marker(pytest.mark.vm)
    items.sort(key=lambda item: item.get_closest_marker("vm") is not None)


def pytest_collection_finish(session: pytest.Session) -> None:
    found = [item for item in session.items if item.get_closest_marker("vm")]
    outside = os.environ.get(INSIDE) != "1" and os.geteuid() == 0 and not session.config.option.collectonly
    if found and outside and not session.testsfailed and not running_kernel_has_all():
        session.config.stash[NEEDED] = {item.nodeid for item in found}
        session.config.stash[MACHINE] = Machine([item.nodeid for item in found])
        for item in found:
            item.add_marker(pytest.mark.timeout(0))  # the machine keeps the time


def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    config = item.config
    if item.nodeid not in config.stash.get(NEEDED, ()):
        return None
    begun = time.monotonic()
    hand_on(item, config.stash[MACHINE])
    config.stash[WAITED] = config.stash.get(WAITED, 0) + time.monotonic() - begun
    return True


def pytest_sessionfinish(session: pytest.Session) -> None:
    machine = session.config.stash.get(MACHINE, None)
    if machine is not None:
        machine.look()
        said = f"virtual machine: {machine.times()}, waited for {session.config.stash.get(WAITED, 0):.0f} s"
        session.config.stash[TIMES] = said
        print_time(said)
        machine.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    said = terminalreporter.config.stash.get(TIMES, None)
    if said:
        terminalreporter.write_line(said)
