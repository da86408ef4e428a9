"""Packets of the resolver and the DHCP client to the core: above a limit what is not taken is dropped and counted, or ends the link."""

from __future__ import annotations

import socket
from collections import Counter

import pytest

from helperd.child_frames import Ready
from helperd.core_link import MAX_KEPT, MAX_UNSENT, CoreLink


@pytest.mark.req("B4", "X7")
async def test_what_the_core_does_not_take_is_counted() -> None:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here, there:
        here.setblocking(False)
        counts: Counter[str] = Counter()
        link, whole = CoreLink(here, counts), CoreLink(here)
        sent = 0
        while not counts["not told"]:
            link.tell(Ready())
            sent += 1
            assert sent < 100_000
        assert sent > MAX_UNSENT
        for _ in range(9):
            link.tell(Ready())
        assert counts == {"not told": 10}
        for _ in range(MAX_KEPT):
            whole.tell(Ready())
        assert not whole.over.done()
        whole.tell(Ready())
        assert whole.over.done()
        there.close()
        link.tell(Ready())
        assert counts["not told"] == 11
