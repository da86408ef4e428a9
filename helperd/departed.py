"""Addresses that containers had a little while ago: that nobody answers there any more is no news."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

KEPT: Final = 600.0  # seconds: the kernel asks for a neighbour that was used a last time within some of them (arp(7))
MOST: Final = 4_096


class Departed:
    """`clock` counts seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: dict[str, float] = {}  # bare address → when it was given free, in that order

    def left(self, prefixes: Iterable[str]) -> None:
        """A container is gone, or disconnected."""
        for prefix in prefixes:
            address = prefix.partition("/")[0]
            self._left.pop(address, None)
            self._left[address] = self._clock()
        while len(self._left) > MOST:
            del self._left[next(iter(self._left))]

    def came(self, prefixes: Iterable[str]) -> None:
        """Another has the address now: whoever doesn't find it there is to be told."""
        for prefix in prefixes:
            self._left.pop(prefix.partition("/")[0], None)

    def lately(self, address: str) -> bool:
        """Whether somebody had `address` a little while ago, and nobody has it now."""
        moment = self._left.get(address)
        return moment is not None and self._clock() - moment <= KEPT
