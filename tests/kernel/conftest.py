"""Tests on the real kernel: all of them need root, and all of them work in namespaces of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulated_host import SimulatedHost

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The hook is given the items of the whole run, not only this folder's.
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.root)


@pytest.fixture
def netns_dir(host: SimulatedHost) -> Path:
    """The simulated host's /run/netns, seen from the test."""
    return host.netns_dir
