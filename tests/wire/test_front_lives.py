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
from tests.wire.small_core import SmallCore, running_core, until

pytestmark = pytest.mark.req("W2", "W8")
UNLIMITED = Limits(rate=1e9, burst=1e9, penalty=0.0)
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"
PING = b"\x04PING\x00\x00"


def command(body: bytes) -> bytes:
    return b"\x04" + bytes([len(body)]) + body


def message(size: int) -> bytes:
    return b"\x02" + size.to_bytes(8, "big") + b"\xc1" * size


def send_and_leave(path: str, *frames: bytes) -> None:
    """Greet as a DEALER does (rfc.zeromq.org/spec/37), send, close."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10.0)
        sock.connect(path)
        sock.sendall(GREETING)
        theirs = b""
        while len(theirs) < 64:
            theirs += sock.recv(64 - len(theirs))
        sock.sendall(command(READY))
        assert sock.recv(4096)
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
            await asyncio.gather(*(asyncio.to_thread(send_and_leave, core.path, message(1) * 300) for _ in range(4)))
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
            with contextlib.suppress(ConnectionError, AssertionError):  # where the one before did it
                await asyncio.to_thread(send_and_leave, core.path, message(1) * (70 + number) + command(PING) + message(1))
            if core.front.starts > starts:
                break
        await until(lambda: client.connected, 30)
        assert await client.call("info", {"a": 1}) == {"a": 1}
