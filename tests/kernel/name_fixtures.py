"""The fixture `names`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.names_host import NamesHost
from tests.simulated_host import SimulatedHost


@pytest.fixture
def names(host: SimulatedHost, tmp_path: Path) -> Iterator[NamesHost]:
    made = NamesHost(host, tmp_path)
    made.helper.start()
    try:
        yield made
    finally:
        made.helper.close()
