"""The relay's room: so many connections for one port, the others unhurt, and what is idle for long gives way."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from collections.abc import AsyncIterator

import pytest

from helperd import relay
from helperd.relay import OF_ONE_PORT, Carried, TcpPort

pytestmark = pytest.mark.req("B9")
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def ports(count: int) -> AsyncIterator[list[int]]:
    """So many relayed ports of the loopback, in front of one server that sends back what it gets."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(100):
                writer.write(data)
        writer.close()

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    everywhere: set[Carried] = set()
    async with await asyncio.start_server(echo, "127.0.0.1", 0, backlog=512) as server:
        target = server.sockets[0].getsockname()
        socks = [socket.create_server(("127.0.0.1", 0), backlog=512) for _ in range(count)]
        served = [TcpPort(sock, target, everywhere) for sock in socks]
        yield [int(sock.getsockname()[1]) for sock in socks]
        for port in served:
            port.close()
        for item in list(everywhere):
            item.abort()
        await asyncio.sleep(0)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def opened(port: int) -> Ends | None:
    """A connection that is carried, None where it was refused or ended."""
    try:
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"x")
            if await reader.read(1) == b"x":
                return reader, writer
    except OSError:
        pass
    return None


async def closed(ends: Ends) -> None:
    ends[1].close()
    with contextlib.suppress(OSError):
        await ends[1].wait_closed()


async def test_one_port_takes_so_many_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ports(2) as (first, second):
        held = [found for _ in range(OF_ONE_PORT) if (found := await opened(first)) is not None]
        assert len(held) == OF_ONE_PORT
        assert await opened(first) is None and await opened(second) is not None
        # One that ends makes room.
        await closed(held.pop())
        for _ in range(200):
            if (found := await opened(first)) is not None:
                held.append(found)
                break
            await asyncio.sleep(0.05)
        assert len(held) == OF_ONE_PORT
        assert await opened(first) is None
        # One that was idle for long enough makes room too: the one that was so longest, and no other.
        for reader, writer in held[1:]:
            writer.write(b"y")
            assert await reader.read(1) == b"y"
        monkeypatch.setattr(relay, "STALE_SECONDS", 0.0)
        newest = await opened(first)
        assert newest is not None
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await held[0][0].readexactly(1)
        reader, writer = held[1]
        writer.write(b"z")
        assert await reader.read(1) == b"z"
