"""Options and rules of every test run: requirement ids, root, skips on a CI machine, the simulated host."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.requirement_table import OUTCOMES, PROPERTY, keep, requirement_texts, table, write_table
from tests.running_lab import Lab, running_lab
from tests.simulated_host import SimulatedHost, simulated_host

ON_CI = os.environ.get("CI") == "true"
# How long an example takes says nothing on a busy machine.
settings.register_profile("netdeck", settings.default, deadline=None)
settings.load_profile("netdeck")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--req-table",
        metavar="FILE",
        help="write the table of what works, by requirement id; a page with the markers keeps the rest of its text",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[OUTCOMES] = {}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    texts = requirement_texts()
    for item in items:
        if "host" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.root)
        for key in (key for mark in item.iter_markers("req") for key in mark.args):
            if key not in texts:
                raise pytest.UsageError(f"{item.nodeid} names the requirement {key!r}, which requirements.toml lacks")
            item.user_properties.append((PROPERTY, key))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip("needs root")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if ON_CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"a CI machine runs every test, but this one did not: {report.longrepr}"
    keep(item.config, report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if ON_CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"a CI machine runs every test, but this file did not: {report.longrepr}"
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    target = session.config.getoption("--req-table")
    if target:
        outcomes = [
            (key, outcome) for outcome, keys in session.config.stash[OUTCOMES].values() for key in keys
        ]
        write_table(Path(target), table(requirement_texts(), outcomes))


@pytest.fixture
def host() -> Iterator[SimulatedHost]:
    """A host in namespaces of its own, for one test."""
    with simulated_host() as made:
        yield made


@pytest.fixture(scope="module")
def module_host() -> Iterator[SimulatedHost]:
    """A host in namespaces of its own, shared by the tests of one file."""
    with simulated_host() as made:
        yield made


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A lab with a running helper, for one test."""
    with running_lab() as made:
        yield made


@pytest.fixture(scope="module")
def module_lab() -> Iterator[Lab]:
    """A lab with a running helper, shared by the tests of one file."""
    with running_lab() as made:
        yield made
