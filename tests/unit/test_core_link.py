"""The resolver's packets to the core: what is not taken is dropped above a limit, and counted."""

from __future__ import annotations

import socket

import pytest

from helperd.names.frames import Ready
from helperd.names.link import MAX_UNSENT, CoreLink


@pytest.mark.req("B4")
async def test_what_the_core_does_not_take_is_counted() -> None:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here, there:
        here.setblocking(False)
        link = CoreLink(here)
        sent = 0
        while not link.counts["not told"]:
            link.tell(Ready())
            sent += 1
            assert sent < 100_000
        assert sent > MAX_UNSENT
        for _ in range(9):
            link.tell(Ready())
        assert link.counts == {"not told": 10}
        there.close()
        link.tell(Ready())
        assert link.counts["not told"] == 11
