"""TCP connections that the relay carries. Bytes go from socket to socket within the kernel (splice(2)), through a pipe that a connection
has only while something is in it. Standard library only."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import select
import socket
import struct
from collections.abc import Callable

from helperd.relay_room import Room

CONNECT_SECONDS = 10.0
KEEPALIVE = {socket.TCP_KEEPIDLE: 60, socket.TCP_KEEPINTVL: 15, socket.TCP_KEEPCNT: 4}  # a container that went leaves no word
BACKLOG = 128
_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_FULL_SECONDS = 1.0  # that nothing is accepted when there is no room for it in the kernel
_PIPE = 1 << 18  # bytes; the kernel gives less to who has many
_IN_A_ROW = 8  # pieces of one connection that are carried before the others get a turn
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset

Target = tuple[str, int]
Serves = Callable[[bytes, bytes], bool]  # whether who came from the second address to the first of ours is carried
Pipe = tuple[int, int]


class Pipes:
    """Empty pipes, for whoever has something to carry."""

    def __init__(self, kept: int = 16) -> None:
        self._kept = kept
        self._free: list[Pipe] = []

    def take(self) -> Pipe:
        """Raises OSError where there is no room for one."""
        if self._free:
            return self._free.pop()
        pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, _PIPE)
        return pipe

    def give(self, pipe: Pipe, *, empty: bool) -> None:
        """It is not needed any more. One that has something in it is no use to another."""
        if empty and len(self._free) < self._kept:
            self._free.append(pipe)
        else:
            os.close(pipe[0])
            os.close(pipe[1])


PIPES = Pipes()


class Carried:
    """One connection, with both its ends and the task that carries it."""

    def __init__(self, near: socket.socket) -> None:
        self.ends = [near]
        self.task: asyncio.Task[None] | None = None

    def abort(self) -> None:
        """The client sees a reset, as from a port that is shut."""
        for end in self.ends:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        if self.task is not None:
            self.task.cancel()
        else:
            self.close()

    def close(self) -> None:
        """Both ends."""
        for end in self.ends:
            end.close()


class TcpPort:
    """One listening socket, whose connections are carried to `target`. `number` is its own in `room`, which all ports share."""

    def __init__(self, number: int, sock: socket.socket, target: Target, serves: Serves, room: Room[Carried]) -> None:
        self._number, self._sock, self._target, self._serves, self._room = number, sock, target, serves, room
        self._loop = asyncio.get_running_loop()
        sock.setblocking(False)
        sock.listen(BACKLOG)
        self._listen()

    def close(self) -> None:
        """Accept no more; what is carried goes on, as established connections do that the kernel carries."""
        self._loop.remove_reader(self._sock)
        self._sock.close()

    def _listen(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.add_reader(self._sock, self._accept)

    def _accept(self) -> None:
        for _ in range(BACKLOG):
            try:
                near, client = self._sock.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _FULL:
                    self._loop.remove_reader(self._sock)
                    self._loop.call_later(_FULL_SECONDS, self._listen)
                    return
                continue  # that connection is over already (accept(2))
            near.setblocking(False)
            item = Carried(near)
            # A link-local address is told with its link.
            here, there = (socket.inet_pton(near.family, name[0].partition("%")[0]) for name in (near.getsockname(), client))
            if self._serves(here, there) and self._room.enter(self._number, item, self._loop.time()):
                item.task = self._loop.create_task(self._carry(item))
            else:
                item.abort()

    async def _carry(self, item: Carried) -> None:
        near = item.ends[0]
        try:
            far = socket.socket(socket.AF_INET6 if ":" in self._target[0] else socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            item.ends.append(far)
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._loop.sock_connect(far, self._target)
            for end in item.ends:
                _set_up(end)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass_on(item, near, far))
                both.create_task(self._pass_on(item, far, near))
        except* OSError:
            item.task = None
            item.abort()
        finally:
            item.close()
            self._room.leave(self._number, item)

    async def _pass_on(self, item: Carried, source: socket.socket, target: socket.socket) -> None:
        """What comes, to its end."""
        come, go, in_a_row = source.fileno(), target.fileno(), 0
        while True:
            pipe, held = PIPES.take(), 0
            try:
                with contextlib.suppress(BlockingIOError):
                    held = count = _take(come, pipe[1])
                    self._room.used(self._number, item, self._loop.time())
                    while held:
                        try:
                            held -= os.splice(pipe[0], go, held)
                        except BlockingIOError:
                            await self._until(self._loop.add_writer, self._loop.remove_writer, go)
                    if not count:
                        break
                    in_a_row += 1
                    if in_a_row == _IN_A_ROW:
                        in_a_row = 0
                        await asyncio.sleep(0)
                    continue
            finally:
                PIPES.give(pipe, empty=not held)
            in_a_row = 0
            await self._until(self._loop.add_reader, self._loop.remove_reader, come)
        target.shutdown(socket.SHUT_WR)

    async def _until(self, watch: Callable[..., None], leave: Callable[[int], object], descriptor: int) -> None:
        """Wait until it can be read or written."""
        ready: asyncio.Future[None] = self._loop.create_future()
        watch(descriptor, _done, ready)
        try:
            await ready
        finally:
            leave(descriptor)


def _done(ready: asyncio.Future[None]) -> None:
    if not ready.done():  # it is heard of once more before the one that waits has its turn
        ready.set_result(None)


def _take(come: int, pipe: int) -> int:
    """So many bytes came, and are in `pipe`, which was empty; 0 at the end. Raises BlockingIOError where nothing has come.

    In front of an urgent byte splice(2) stops as if nothing had come, or as if all were over, though there is something to read
    (net/ipv4/tcp.c, tcp_read_sock): only recv(2) goes on behind it, and leaves it out.
    """
    with contextlib.suppress(BlockingIOError):
        if count := os.splice(come, pipe, _PIPE):
            return count
    data = os.read(come, select.PIPE_BUF)
    return os.write(pipe, data) if data else 0


def _set_up(sock: socket.socket) -> None:
    """A client of another host leaves no word when it is gone; what is small goes on at once."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE.items():
        sock.setsockopt(socket.IPPROTO_TCP, option, value)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
