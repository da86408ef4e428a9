"""One container that is served: its sockets, what it may use, what it used."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from helperd.budget import Budget
from helperd.child_frames import Limits
from helperd.names.frames import ContainerPut

AT_ONCE = 16  # datagrams that are read before the next container's turn
TURN = 0.005  # seconds of processor time after which it is the next container's turn
CACHED = 512  # answers that are kept, of one container
CACHED_BYTES = 128  # of a question


class Known(NamedTuple):
    """An answer that is kept, without its id, and what the query log says of it."""

    tail: bytes
    name: str
    type: str
    result: str
    answers: tuple[str, ...]


class Served:
    """`frame` says who it is. `work` is the processor time that it may use, in seconds.

    `cache` has answers by question, both without the id, and is emptied whenever a table changes. `sockets` are for questions
    to its own servers, by family and kind.
    """

    def __init__(self, frame: ContainerPut, udp: socket.socket, tcp: socket.socket, limits: Limits) -> None:
        now = time.monotonic()
        self.frame, self.udp, self.tcp = frame, udp, tcp
        self.questions = Budget(limits.questions, now)
        self.work = Budget(limits.work, now)
        self.forwarded = Budget(limits.forwarded, now)
        self.under_way: set[tuple[object, bytes]] = set()  # (who asked, the question) that wait: clients ask again after a while
        self.cache: dict[bytes, Known] = {}
        self.sockets: dict[tuple[int, str], list[socket.socket]] = {}
        self.hopes: dict[tuple[int, str], list[asyncio.Future[socket.socket | None]]] = {}
        self.connections: set[asyncio.Task[None]] = set()

    def keep(self, question: bytes, known: Known) -> None:
        """Keep an answer to `question`, both without the id."""
        if len(question) <= CACHED_BYTES:
            if len(self.cache) >= CACHED:
                self.cache.clear()
            self.cache[question] = known

    def listen(self, on_udp: Callable[[Served], None], on_tcp: Callable[[Served], None]) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(self.udp, on_udp, self)
        loop.add_reader(self.tcp, on_tcp, self)

    def take_over(self, frame: ContainerPut, udp: socket.socket, tcp: socket.socket) -> None:
        """The same container with other networks or servers, and (perhaps other) sockets. `listen` must follow."""
        self._deaf()
        self.frame, self.udp, self.tcp = frame, udp, tcp
        self.cache.clear()

    def hope_for(self, family: int, kind: str) -> tuple[asyncio.Future[socket.socket | None], bool]:
        """A socket that the core will send, and whether it has to be asked."""
        hopes = self.hopes.setdefault((family, kind), [])
        hope: asyncio.Future[socket.socket | None] = asyncio.get_running_loop().create_future()
        hopes.append(hope)
        return hope, len(hopes) == 1

    def given(self, family: int, kind: str, sockets: list[socket.socket]) -> bool:
        """Sockets have come. True where more are hoped for than came."""
        hopes = [hope for hope in self.hopes.pop((family, kind), ()) if not hope.done()]
        if not sockets:
            for hope in hopes:
                hope.set_result(None)
            return False
        while hopes and sockets:
            hopes.pop(0).set_result(sockets.pop())
        self.sockets.setdefault((family, kind), []).extend(sockets)
        if hopes:
            self.hopes[family, kind] = hopes
        return bool(hopes)

    def connection(self, work: Coroutine[Any, Any, None]) -> None:
        """A TCP connection that is served by `work`."""
        task = asyncio.create_task(work)
        self.connections.add(task)
        task.add_done_callback(self.connections.discard)

    def _deaf(self) -> None:
        loop = asyncio.get_running_loop()
        for sock in (self.udp, self.tcp):
            loop.remove_reader(sock)
            sock.close()

    def close(self) -> None:
        """Let everything of it go: an open socket keeps its namespace alive."""
        self._deaf()
        for task in self.connections:
            task.cancel()
        for found in self.sockets.values():
            for sock in found:
                sock.close()
        self.sockets.clear()
        for key in list(self.hopes):
            with contextlib.suppress(asyncio.InvalidStateError):
                self.given(*key, [])
