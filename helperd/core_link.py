"""A child's end of the pair of sockets to the core: what it is told, and what it tells."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter, deque
from collections.abc import Callable, Sequence

from helperd.child_frames import MAX_PACKET, MAX_SOCKETS, FromChild, pack

MAX_UNSENT = 1_000  # packets that wait for a core which does not read, where more may be dropped
MAX_KEPT = 100_000  # where none may


class CoreLink:
    """Packets to and from the core. Above `MAX_UNSENT` what is told is dropped and counted in `counts`. Without such nothing may be
    missed, and above `MAX_KEPT` the link is over: the core starts another child then, and tells it everything."""

    def __init__(self, pair: socket.socket, counts: Counter[str] | None = None) -> None:
        self._pair, self._counts = pair, counts
        self._out: deque[bytes] = deque()
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def tell(self, frame: FromChild) -> None:
        """Send as soon as the core takes it."""
        if len(self._out) < (MAX_KEPT if self._counts is None else MAX_UNSENT):
            self._out.append(pack(frame))
            self._flush()
        elif self._counts is not None:
            self._counts["not told"] += 1
        else:
            self._end()

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

    def read(self, take: Callable[[bytes, Sequence[socket.socket]], None]) -> None:
        """Hand on what has come: packets, each with its sockets."""
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
            take(body, [socket.socket(fileno=fd) for fd in fds])

    def _end(self) -> None:
        if not self.over.done():
            self.over.set_result(None)
