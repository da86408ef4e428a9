"""Waiting for what a test expects: for a condition, as long as only a fault takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

LONGEST_SECONDS = 60.0
"""Far above what a machine needs that is busy and slow; what is asserted is that it happens, never how soon."""


def until(condition: Callable[[], object], what: str = "it did not happen", seconds: float = LONGEST_SECONDS) -> None:
    """Wait until `condition()` holds; AssertionError with `what` where it does not."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.02)


async def comes(condition: Callable[[], object], what: str = "it did not happen", seconds: float = LONGEST_SECONDS) -> None:
    """`until` beside other tasks."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}"
        await asyncio.sleep(0.01)
