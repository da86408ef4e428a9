"""Tests that need links which a kernel may lack: 802.1Q, ipvlan, dummy. Where the running kernel has them they run as others do, else
in a virtual machine, booted once; a test that fails in it fails the run, and so does one that it says nothing of."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.requirement_table import keep
from tests.vm.kernel import running_kernel_has_all
from tests.vm.machine import INSIDE, Machine
from tests.vm.site_fixtures import site as site
from tests.vm.site_fixtures import whole_site as whole_site

HERE = Path(__file__).parent
MACHINE = pytest.StashKey[Machine]()
TIMES = pytest.StashKey[str]()
NEEDED = pytest.StashKey[list[str]]()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.root)
            item.add_marker(pytest.mark.vm)


def pytest_collection_finish(session: pytest.Session) -> None:
    found = [item for item in session.items if item.get_closest_marker("vm")]
    outside = os.environ.get(INSIDE) != "1" and os.geteuid() == 0 and not session.config.option.collectonly
    if found and outside and not running_kernel_has_all():
        session.config.stash[NEEDED] = [item.nodeid for item in found]
        for item in found:
            item.add_marker(pytest.mark.timeout(0))  # the machine keeps the time, and the first test waits for its start


def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    config = item.config
    needed = config.stash.get(NEEDED, [])
    if item.nodeid not in needed:
        return None
    if MACHINE not in config.stash:
        config.stash[MACHINE] = Machine(needed)
    machine = config.stash[MACHINE]
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    begun = time.time()
    reports = [config.hook.pytest_report_from_serializable(config=config, data=data) for data in machine.reports_of(item.nodeid)]
    if not machine.whole(item.nodeid) or not reports:
        reports.append(pytest.TestReport(item.nodeid, item.location, {}, "failed", machine.trouble or "no report came", "call",
                                         start=begun, stop=time.time(), duration=time.time() - begun, user_properties=item.user_properties))
    for report in reports:
        keep(config, report)
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_sessionfinish(session: pytest.Session) -> None:
    machine = session.config.stash.get(MACHINE, None)
    if machine is not None:
        spent = time.monotonic() - machine.started
        booted = "did not come up" if machine.booted is None else f"up after {machine.booted:.0f} s"
        session.config.stash[TIMES] = f"virtual machine: {booted}, {spent:.0f} s in all"
        machine.close()
        if "NETDECK_TEST_TIMES" in os.environ:
            with open(os.environ["NETDECK_TEST_TIMES"], "a", encoding="utf-8") as file:
                file.write(f"  (of it virtual machine {spent:.1f} s)\n")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    said = terminalreporter.config.stash.get(TIMES, None)
    if said:
        terminalreporter.write_line(said)
