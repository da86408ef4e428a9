"""Who waits for upstream servers where there are more questions than places, and how the query log is cut into packets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from functools import partial

import dns.message
import dns.rcode
import pytest

from helperd.budget import Budget
from helperd.child_frames import MAX_PACKET, FromChild, Limits, pack
from helperd.names.frames import Asked, ContainerGone, ContainerPut, Wanted, queries
from helperd.names.places import Places
from helperd.names.resolver import Resolver
from helperd.names.upstream import Upstream

pytestmark = pytest.mark.req("B4")


def test_who_has_most_gives_its_oldest_up() -> None:
    places = Places(each=3, in_all=6)
    ended: list[str] = []
    for who in ("a", "b", "a", "b", "a", "b"):
        place = places.take(who)
        assert place is not None
        place.end = partial(ended.append, f"{who}{len(places)}")
    assert places.take("a") is None and ended == [] and len(places) == 6
    first = places.take("c")
    assert first is not None and ended == ["a1"] and len(places) == 6
    assert places.take("c") is not None and ended == ["a1", "b2"]
    assert places.take("c") is None and ended == ["a1", "b2"]  # nobody has more
    places.leave(first)
    places.leave(first)
    assert len(places) == 5 and places.take("a") is not None and ended == ["a1", "b2"]


@contextlib.contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket, socket.socket]]:
    """What a container is served on (UDP, TCP), and one that asks."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp, \
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        for sock in (udp, tcp):
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)
        tcp.listen()
        asker.connect(udp.getsockname())
        asker.setblocking(False)
        yield udp, tcp, asker


async def test_one_with_few_questions_gets_its_turn() -> None:
    told: asyncio.Queue[FromChild] = asyncio.Queue()
    resolver = Resolver(Limits(waiting=8, waiting_in_all=8, answer=60.0), told.put_nowait)
    loop = asyncio.get_running_loop()

    def ask(sock: socket.socket, number: int) -> None:
        sock.send(dns.message.make_query(f"n{number}.example", "A", id=number).to_wire())

    with pair() as greedy, pair() as modest:
        for ident, (udp, tcp, _) in (("greedy", greedy), ("modest", modest)):
            resolver.take(ContainerPut(ident, ident, 1, (), servers=("127.0.0.1",)), (udp, tcp))
        async with asyncio.timeout(30):
            for number in range(9):
                ask(greedy[2], number)
            refused = dns.message.from_wire(await loop.sock_recv(greedy[2], 512))
            assert (refused.id, refused.rcode()) == (8, dns.rcode.REFUSED)
            ask(modest[2], 100)
            ended = dns.message.from_wire(await loop.sock_recv(greedy[2], 512))
            assert (ended.id, ended.rcode()) == (0, dns.rcode.SERVFAIL)
            while await told.get() != Wanted("modest", 4, "udp"):  # it is asked on
                pass
        assert resolver.counts["refused"] == 1 and resolver.counts["forwarded"] == 9
        for ident in ("greedy", "modest"):
            resolver.take(ContainerGone(ident))


async def test_a_server_that_cannot_even_be_asked_is_as_one_that_is_silent() -> None:
    async def opener(family: int, kind: str) -> socket.socket | None:
        raise OSError(24, "Too many open files")

    query = dns.message.make_query("a.example", "A")
    assert await Upstream(Limits()).ask(query, ("127.0.0.1", "::1"), opener, "", Budget(1.0, 0.0), udp=True) is None


def test_the_query_log_is_cut_into_packets() -> None:
    long = Asked(1.0, "c" * 64, "\\001" * 250, "TXT", "NOERROR", "10.0.0.1", ("x" * 1000,) * 8, 0.1)
    short = Asked(1.0, "c" * 64, "a.", "A", "NOERROR", "names", (), 0.1)
    whole = Asked(1.0, "c", "x" * 200_000, "A", "", "", (), 0.1)
    rows = [long] * 50 + [whole] + [short] * 450
    frames = queries(rows, 3)
    assert all(len(pack(frame)) <= MAX_PACKET for frame in frames)
    assert [row for frame in frames for row in frame.rows] == [row for row in rows if row is not whole]
    assert [frame.lost for frame in frames] == [4] + [0] * (len(frames) - 1) and len(frames) < 10
    assert queries([], 0) == [] and [(frame.rows, frame.lost) for frame in queries([whole], 0)] == [((), 1)]
