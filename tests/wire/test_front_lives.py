"""What ends a front that libzmq can't bear: that it takes nobody else along, and that clients in order never do it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

import pytest

from helperd.frames import FromFront
from helperd.front_config import FrontConfig, Limits
from protocol.client import Client
from protocol.errors import NotFound
from tests.waiting import comes
from tests.wire.small_core import SmallCore, running_core
from tests.wire.zmtp import PING, command, frame, greeted

pytestmark = pytest.mark.req("W2", "W8")
UNLIMITED = Limits(rate=1e9, burst=1e9, penalty=0.0)


def send_and_leave(path: str, *frames: bytes) -> None:
    """Greet, send, close."""
    with greeted(path) as sock:
        sock.sendall(b"".join(frames))


class BusyCore(SmallCore):
    """Reads nothing more of its front after the first ``busy``, until `free` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.free = asyncio.Event()
        self.busy = asyncio.Event()

    async def on_frame(self, frame: FromFront) -> None:
        await super().on_frame(frame)
        if getattr(getattr(frame, "call", None), "op", "") == "busy":
            self.busy.set()
            await self.free.wait()


@pytest.mark.timeout(120)
async def test_clients_that_leave_while_their_messages_wait(socket_directory: Path) -> None:
    """While the front waits for the core, connections end that have more in them than it has room for."""
    core = BusyCore()
    async with running_core(socket_directory, FrontConfig("e", limits=UNLIMITED), core=core), Client(core.path) as client:
        pid = core.front.pid
        busy = asyncio.create_task(client.call("busy"))
        await core.busy.wait()
        calls = [asyncio.create_task(client.call("echo", {"text": ["x" * 60_000] * 4, "n": n})) for n in range(40)]
        await asyncio.sleep(1.0)
        async with asyncio.timeout(30):
            await asyncio.gather(*(asyncio.to_thread(send_and_leave, core.path, frame(b"\xc1") * 300) for _ in range(4)))
        await asyncio.sleep(6.0)  # libzmq's heartbeats, where there are any, come every 5 s
        core.free.set()
        with pytest.raises(NotFound):
            await busy
        assert [answer["n"] for answer in await asyncio.gather(*calls)] == list(range(40))
        assert core.front.pid == pid


@pytest.mark.timeout(120)
async def test_a_client_that_ends_the_front_takes_nobody_along(socket_directory: Path) -> None:
    """A PING behind more messages than there is room for, and the end: libzmq 4.3.5 aborts (it answers, though the connection is gone)."""
    async with running_core(socket_directory, FrontConfig("e", limits=UNLIMITED)) as core, Client(core.path) as client:
        starts = core.front.starts
        for number in range(100):
            with contextlib.suppress(ConnectionError):  # where the one before did it
                await asyncio.to_thread(send_and_leave, core.path, frame(b"\xc1") * (70 + number) + command(PING) + frame(b"\xc1"))
            if core.front.starts > starts:
                break
        await comes(lambda: client.connected)
        assert await client.call("info", {"a": 1}) == {"a": 1}


async def test_more_connections_than_there_is_room_for(socket_directory: Path) -> None:
    """They are ended, oldest first, whether they have greeted or not; clients stay, and another one gets in."""
    config = FrontConfig("e", limits=Limits(connections=100, files=300))
    async with running_core(socket_directory, config) as core, Client(core.path) as client, contextlib.AsyncExitStack() as held:
        pid = core.front.pid
        for number in range(500):
            if number % 4:
                sock = socket.socket(socket.AF_UNIX)
                sock.connect(core.path)
            else:
                sock = await asyncio.to_thread(greeted, core.path)
            held.enter_context(contextlib.closing(sock))
        assert await client.call("echo", {"a": 1}) == {"a": 1}
        async with Client(core.path) as another:
            assert await another.call("echo", {"b": 2}) == {"b": 2}
        assert (await core.front.stats())["ended_connections"] >= 400
        assert core.front.pid == pid
