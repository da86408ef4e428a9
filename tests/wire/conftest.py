"""Fixtures of the wire tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from protocol.client import Client
from tests.wire.small_core import SmallCore, running_core


@pytest.fixture
def socket_directory() -> Iterator[Path]:
    """A directory that every user may enter, with a path short enough for a socket."""
    with TemporaryDirectory(prefix="nd-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture
async def core(socket_directory: Path) -> AsyncIterator[SmallCore]:
    """A small core behind a real front."""
    async with running_core(socket_directory) as running:
        yield running


@pytest.fixture
async def client(core: SmallCore) -> AsyncIterator[Client]:
    """A connected client."""
    async with Client(core.path, "test") as connected:
        yield connected
