"""The resolver's end of the pair of sockets to the core, and its main loop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
from collections import Counter, deque

import dns.rdtypes.ANY.OPT
import dns.rdtypes.ANY.PTR
import dns.rdtypes.ANY.SOA
import dns.rdtypes.IN.A
import dns.rdtypes.IN.AAAA  # noqa: F401 - what is loaded late would be looked for when nothing may be read any more

from helperd.names.frames import MAX_PACKET, MAX_SOCKETS, FromResolver, Limits, Ready, Start, pack, to_resolver
from helperd.names.resolver import Resolver

MAX_UNSENT = 1_000  # packets; the query log is dropped above


class CoreLink:
    """Packets to and from the core."""

    def __init__(self, pair: socket.socket) -> None:
        self._pair = pair
        self._out: deque[bytes] = deque()
        self.counts: Counter[str] = Counter()  # the resolver's, where the core can ask for them
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def tell(self, frame: FromResolver) -> None:
        """Send as soon as the core takes it."""
        if len(self._out) < MAX_UNSENT:
            self._out.append(pack(frame))
            self._flush()
        else:
            self.counts["not told"] += 1

    def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        while self._out:
            try:
                self._pair.send(self._out[0])
            except BlockingIOError:
                loop.add_writer(self._pair, self._flush)
                return
            except OSError:
                self._end()
                return
            self._out.popleft()
        loop.remove_writer(self._pair)

    def read(self, resolver: Resolver) -> None:
        """Take what has come."""
        for _ in range(64):
            try:
                body, fds, _, _ = socket.recv_fds(self._pair, MAX_PACKET, MAX_SOCKETS)
            except BlockingIOError:
                return
            except OSError:
                self._end()
                return
            if not body:
                self._end()
                return
            resolver.take(to_resolver(body), [socket.socket(fileno=fd) for fd in fds])

    def _end(self) -> None:
        if not self.over.done():
            self.over.set_result(None)


def first_frame(pair: socket.socket) -> Limits | None:
    """The limits that the core gives, None where it is gone."""
    body = pair.recv(MAX_PACKET)
    if not body:
        return None
    frame = to_resolver(body)
    assert isinstance(frame, Start), "the first packet is not a start"
    return frame.limits


def serve(pair: socket.socket, limits: Limits) -> None:
    """Answer containers until the core is gone."""
    asyncio.run(_serve(pair, limits))


async def _serve(pair: socket.socket, limits: Limits) -> None:
    pair.setblocking(False)
    link = CoreLink(pair)
    resolver = Resolver(limits, link.tell)
    link.counts = resolver.counts
    asyncio.get_running_loop().add_reader(pair, link.read, resolver)
    gc.freeze()
    link.tell(Ready())
    with contextlib.suppress(asyncio.CancelledError):
        await link.over
    # Not by the loop's end: what still waits for an answer must not hold the sockets of containers any longer.
    os._exit(0)
