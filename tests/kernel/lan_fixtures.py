"""A running helper on a host that is part of a site's network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.lan import Lan
from tests.running_helper import RunningHelper
from tests.simulated_host import SimulatedHost


@pytest.fixture
def lan(host: SimulatedHost, tmp_path: Path) -> Iterator[RunningHelper]:
    """A helper on a host whose `eth0` and `eth1` lead to a `Lan`."""
    Lan(host)
    running = RunningHelper(host, tmp_path)
    running.start()
    try:
        yield running
    finally:
        running.close()
