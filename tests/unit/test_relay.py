"""The relay's room: so many connections for one port, the others unhurt, and what is idle for long gives way."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import time
from collections.abc import AsyncIterator

import pytest

from helperd.relay import CONNECTIONS, OF_ONE_PORT, STALE_SECONDS, Relay, anywhere, on_loopback
from helperd.relay_room import Room
from helperd.relay_tcp import Carried, TcpPort

pytestmark = [pytest.mark.req("B9"), pytest.mark.timed]
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def ports(count: int) -> AsyncIterator[tuple[Room[Carried], list[int]]]:
    """So many relayed ports of the loopback, in front of one server that sends back what it gets."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(100):
                writer.write(data)
        writer.close()

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    room: Room[Carried] = Room(CONNECTIONS, OF_ONE_PORT, STALE_SECONDS, Carried.abort)
    async with await asyncio.start_server(echo, "127.0.0.1", 0, backlog=512) as server:
        target = server.sockets[0].getsockname()
        socks = [socket.create_server(("127.0.0.1", 0), backlog=512) for _ in range(count)]
        served = [TcpPort(number, sock, target, on_loopback, room) for number, sock in enumerate(socks)]
        yield room, [int(sock.getsockname()[1]) for sock in socks]
        for port in served:
            port.close()
        for number in range(count):
            for item in room.of(number):
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


async def left(room: Room[Carried]) -> None:
    """Wait until nothing of port 1 is carried any more."""
    for _ in range(500):
        if not room.of(1):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it is carried on and on")


async def test_one_port_takes_so_many_and_the_others_go_on() -> None:
    async with ports(2) as (room, (first, second)):
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
        room.stale = 0.0
        newest = await opened(first)
        assert newest is not None
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await held[0][0].readexactly(1)
        reader, writer = held[1]
        writer.write(b"z")
        assert await reader.read(1) == b"z"


def test_no_port_lives_at_the_expense_of_another() -> None:
    """Where all is full, whoever has the most gives way to who has fewer; who has as many is refused."""
    gone: list[str] = []
    room: Room[str] = Room(10, 6, 100.0, gone.append)
    assert all(room.enter(1, f"a{number}", number) for number in range(6)) and not room.enter(1, "a6", 6)
    assert all(room.enter(2, f"b{number}", number) for number in range(4))
    room.used(1, "a0", 7)
    assert room.enter(3, "c0", 8) and gone == ["a1"]  # the longest idle one
    assert room.enter(3, "c1", 8) and gone == ["a1", "a2"]
    assert room.enter(3, "c2", 8) and len(room.of(1)) + len(room.of(2)) == 7
    assert not room.enter(3, "c3", 8) and room.of(3) == ["c0", "c1", "c2"]
    room.leave(2, "b3")
    room.leave(2, "b3")
    assert room.enter(3, "c3", 9) and not room.enter(3, "c4", 9)
    assert room.idle(8) == [(port, item) for port in (1, 2) for item in room.of(port)]
    assert not room.enter(1, "a6", 9) and len(room.of(1)) == 3


def test_a_port_s_own_idle_connection_gives_way_where_all_is_full_and_all_ports_have_as_many() -> None:
    gone: list[str] = []
    room: Room[str] = Room(10, 6, 100.0, gone.append)
    assert all(room.enter(port, f"{port}.{number}", port) for port in range(5) for number in range(2))
    assert not room.enter(0, "0.2", 99) and gone == [], "none of them has been idle for long"
    assert room.enter(0, "0.2", 100) and gone == ["0.0"] and room.of(0) == ["0.1", "0.2"]


def test_the_loopback_is_for_this_host_alone() -> None:
    def packed(text: str) -> bytes:
        return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)

    cases = [("127.0.0.1", "127.0.0.1", True, True), ("127.0.0.1", "192.0.2.1", False, False), ("192.0.2.2", "192.0.2.1", False, True),
             ("::1", "::1", True, True), ("2001:db8::2", "2001:db8::1", False, True), ("fe80::1", "fe80::2", False, True)]
    for here, client, loopback, all_ in cases:
        assert (on_loopback(packed(here), packed(client)), anywhere(packed(here), packed(client))) == (loopback, all_), (here, client)


async def test_what_is_carried_arrives_whole_in_both_directions_and_its_end_is_told() -> None:
    """Many at once, with pauses; who has said all still hears the rest."""
    async with ports(1) as (_, (port,)):

        async def there_and_back(number: int) -> bool:
            sent = os.urandom(300_000 + number)
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)

            async def say() -> None:
                for start in range(0, len(sent), 7_000 + number):
                    writer.write(sent[start:start + 7_000 + number])
                    await writer.drain()
                writer.write_eof()

            saying = asyncio.create_task(say())
            await asyncio.sleep(0.01 * number)
            heard = await reader.read()
            await saying
            writer.close()
            return heard == sent

        async with asyncio.timeout(60):
            assert all(await asyncio.gather(*map(there_and_back, range(20))))


async def test_a_reader_that_waits_holds_its_sender_back() -> None:
    """What is on the way stays in the kernel's buffers: the relay reads no more than it can pass on."""
    held = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await held.wait()
        while await reader.read(1 << 20):
            pass
        writer.close()

    room: Room[Carried] = Room(CONNECTIONS, OF_ONE_PORT, STALE_SECONDS, Carried.abort)
    async with await asyncio.start_server(slow, "127.0.0.1", 0, limit=4096) as server:
        sock = socket.create_server(("127.0.0.1", 0))
        port = TcpPort(1, sock, server.sockets[0].getsockname(), on_loopback, room)
        _, writer = await asyncio.open_connection(*sock.getsockname())
        writer.transport.set_write_buffer_limits(high=0)
        sent = 0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                while True:
                    writer.write(bytes(65_536))
                    sent += 65_536
                    await writer.drain()
        assert sent < 64 << 20
        held.set()
        async with asyncio.timeout(60):
            await writer.drain()
        writer.close()
        port.close()
        await left(room)


async def test_a_container_that_refuses_is_a_reset_for_the_client_and_pipes_are_given_back() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        target = free.getsockname()
    room: Room[Carried] = Room(CONNECTIONS, OF_ONE_PORT, STALE_SECONDS, Carried.abort)
    sock = socket.create_server(("127.0.0.1", 0))
    port = TcpPort(1, sock, target, on_loopback, room)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        reader, writer = await asyncio.open_connection(*sock.getsockname())
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        writer.close()
    await left(room)
    assert len(os.listdir("/proc/self/fd")) <= before + 2 * 16
    port.close()


@contextlib.asynccontextmanager
async def carried_to_a_sink() -> AsyncIterator[tuple[Room[Carried], tuple[str, int], asyncio.Queue[bytes]]]:
    """A relayed port in front of a server that sends nothing, with all that each connection brought it to its end."""
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.put_nowait(await reader.read())
        writer.close()

    room: Room[Carried] = Room(CONNECTIONS, OF_ONE_PORT, STALE_SECONDS, Carried.abort)
    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        sock = socket.create_server(("127.0.0.1", 0))
        port = TcpPort(1, sock, server.sockets[0].getsockname(), on_loopback, room)
        yield room, sock.getsockname(), heard
        port.close()
        await left(room)


async def test_an_urgent_byte_neither_ends_what_is_carried_nor_keeps_the_relay_busy() -> None:
    async with carried_to_a_sink() as (room, address, heard), asyncio.timeout(60):
        for first, last in ((b"before", b"after"), (b"", b"after"), (b"before", b""), (b"", b"")):
            with socket.create_connection(address) as client:
                client.send(first)
                client.send(b"U", socket.MSG_OOB)
                client.send(last)
                used = time.process_time()
                await asyncio.sleep(0.5)
                assert time.process_time() - used < 0.2 and len(room.of(1)) == 1
                client.shutdown(socket.SHUT_WR)
                assert await heard.get() == first + last


async def test_where_there_is_no_room_for_the_second_connection_the_first_is_reset_and_forgotten() -> None:
    async with carried_to_a_sink() as (room, address, _):
        reading = socket.create_connection(address)
        reading.setblocking(False)
        free = os.dup(reading.fileno())
        os.close(free)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, hard))  # for what is accepted, and for nothing more
            with pytest.raises(ConnectionResetError):
                async with asyncio.timeout(10):
                    await asyncio.get_running_loop().sock_recv(reading, 1)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            reading.close()
        assert room.of(1) == []


async def test_a_core_that_was_killed_is_the_end_and_no_fault() -> None:
    """It left what the relay said unread, and is gone while the relay answers."""
    for message in (b"", b'{"number": 1}'):
        core, end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        relay = Relay(end)
        if message:
            core.send(message)
        else:
            end.send(b"unread")
        core.close()
        relay.told()
        assert relay.over.is_set()
        end.close()
