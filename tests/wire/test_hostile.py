"""What strangers may send at the front, and that nobody else notices."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from pathlib import Path

import pytest

from helperd.front_config import FrontConfig, Limits
from protocol.client import Client
from protocol.messages import MAX_MESSAGE
from tests.waiting import comes
from tests.wire.raw_client import RawClient
from tests.wire.small_core import SmallCore, running_core
from tests.wire.zmtp import frame, greeted

MESSAGES = 100_000
ATTACKERS = 4
ROOT = Path(__file__).resolve().parents[2]


async def attack(path: str, count: int, seed: int) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.wire.attacker", path, str(count), str(seed),
        cwd=ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()


async def served_meanwhile(core: SmallCore, attacks: list[asyncio.Task[str]]) -> list[float]:
    """Call all the time while the attacks run; the times that the calls took."""
    times: list[float] = []
    async with Client(core.path) as client:
        while not all(task.done() for task in attacks):
            started = time.monotonic()
            assert await client.call("echo", {"n": len(times)}) == {"n": len(times)}
            times.append(time.monotonic() - started)
            await asyncio.sleep(0.005)
    return sorted(times)


@pytest.mark.req("W2")
@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_hundred_thousand_hostile_messages(socket_directory: Path) -> None:
    """Every one is decoded (no rate limit here), and each is refused while a client in order goes on being served."""
    limits = Limits(rate=1e9, burst=1e9, penalty=0.0)
    async with running_core(socket_directory, FrontConfig("e", limits=limits)) as core:
        pid = core.front.pid
        attacks = [
            asyncio.create_task(attack(core.path, MESSAGES // ATTACKERS, seed)) for seed in range(ATTACKERS)
        ]
        times = await served_meanwhile(core, attacks)
        for task in attacks:
            assert not task.exception()
        stats = await core.front.stats()
        assert core.front.pid == pid
        assert stats["messages"] >= MESSAGES
        assert stats.get("faults", 0) == 0
        assert stats["refused_bad_request"] > MESSAGES // 2
        assert stats["refused_too_much"] > MESSAGES // 20
        assert stats["memory"] < 100_000_000
        assert len(times) > 50
        assert times[-1] < sum(times) / 5, "it was served all the time"


@pytest.mark.req("W2")
async def test_a_client_that_floods_is_held_back(core: SmallCore) -> None:
    """With the usual limits rubbish is soon dropped unread."""
    times = await served_meanwhile(core, [asyncio.create_task(attack(core.path, 5_000, 0))])
    stats = await core.front.stats()
    assert stats["refused_rate"] > 1_000
    assert len(times) > 5, "it was served meanwhile"


@pytest.mark.req("W2")
async def test_an_oversized_message_ends_only_its_connection(core: SmallCore, client: Client) -> None:
    with RawClient(core.path) as raw:
        await raw.receive_type("welcome")
        raw.send_bytes(b"\xc6" + MAX_MESSAGE.to_bytes(4, "big") + b"a" * MAX_MESSAGE)
        assert await raw.receive(0.5) is None
        assert await client.call("echo", {"a": 1}) == {"a": 1}


@pytest.mark.req("W2")
@pytest.mark.timeout(300)
async def test_memory_is_bounded_when_a_message_never_ends(socket_directory: Path) -> None:
    """libzmq keeps the frames of an unfinished message and has no limit on their number; the process has one on its memory.

    When it is reached libzmq drops that connection. Should a front die of it, another takes its place and clients come back.
    """
    limit = 150_000_000
    config = FrontConfig("e", limits=Limits(memory=limit))
    async with running_core(socket_directory, config) as core, Client(core.path) as client:
        most = await asyncio.to_thread(send_without_end, core.path, core.front.pid, 8_000)
        assert 100_000_000 < most < limit + 60_000_000
        await comes(lambda: client.connected)
        assert await client.call("info", {"a": 1}) == {"a": 1}


def send_without_end(path: str, pid: int, count: int) -> int:
    """`count` frames of one message, by hand: libzmq would send none before the last. Returns the most memory that `pid` had."""
    most = 0
    with greeted(path) as sock:
        try:
            for _ in range(count):
                sock.sendall(frame(bytes(65_536), more=True))
                most = max(most, memory_of(pid))
        except (ConnectionError, TimeoutError):
            pass
    return most


def memory_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


@pytest.mark.req("W2")
async def test_silent_connections_and_broken_handshakes_are_dropped(core: SmallCore, client: Client) -> None:
    """100 connections that say nothing are closed after the handshake's 3 s; bytes that aren't ZMTP at once."""
    silent = []
    for number in range(100):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(core.path)
        sock.settimeout(8.0)
        if number % 2:
            sock.send(os.urandom(64))
        silent.append(sock)
    assert await client.call("echo") == {}
    for sock in silent:
        assert await asyncio.to_thread(read_to_the_end, sock)
    assert await client.call("echo") == {}


def read_to_the_end(sock: socket.socket) -> bool:
    with sock:
        try:
            while sock.recv(4096):
                pass
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False
    return True


@pytest.mark.req("W8")
async def test_wrong_messages_get_an_error_with_their_id(core: SmallCore) -> None:
    with RawClient(core.path) as raw:
        await raw.receive_type("welcome")
        for message, ident, code, word in (
            ({"type": "call", "id": "a", "op": 5}, "a", "bad_request", "`op` 5 is"),
            ({"type": "call", "id": 7, "op": "x", "uid": 0}, 7, "bad_request", "uid"),
            ({"type": "nonsense", "id": 8}, 8, "bad_request", "nonsense"),
            ({"type": "subscribe", "id": 9, "topics": ["secrets"]}, 9, "bad_request", "secrets"),
            ({"type": "call", "id": {"no": 1}, "op": "x"}, None, "bad_request", "`id` is a map"),
            ({"type": "watch", "id": 12, "links": []}, 12, "not_found", "12"),
            ([1, 2], None, "bad_request", "map"),
        ):
            raw.send(message)
            answer = await raw.receive_type("error")
            assert (answer["id"], answer["error"]["code"]) == (ident, code)
            assert word in answer["error"]["message"]
        raw.socket.send_multipart([b"\x81\xa4type\xa4ping", b"x"])
        assert "one frame" in (await raw.receive_type("error"))["error"]["message"]
        raw.send({"type": "call", "id": 10, "op": "echo"})
        assert (await raw.receive_type("result"))["id"] == 10


@pytest.mark.req("W8")
async def test_limits_on_calls_and_subscriptions(core: SmallCore) -> None:
    with RawClient(core.path) as raw:
        await raw.receive_type("welcome")
        for number in range(65):
            raw.send({"type": "call", "id": number, "op": "hang"})
        answer = await raw.receive_type("error")
        assert (answer["id"], answer["error"]["code"], answer["error"]["details"]["limit"]) == (64, "too_much", 64)
        raw.send({"type": "call", "id": 3, "op": "echo"})
        answer = await raw.receive_type("error")
        assert answer["id"] is None and answer["error"]["details"]["call"] == 3
        for number in range(100, 117):
            raw.send({"type": "subscribe", "id": number, "topics": ["links"]})
        answer = await raw.receive_type("error")
        assert (answer["id"], answer["error"]["details"]["limit"]) == (116, 16)


@pytest.mark.req("W8")
async def test_hello_comes_first(core: SmallCore) -> None:
    with RawClient(core.path, greet=False) as raw:
        raw.send({"type": "call", "id": 1, "op": "echo"})
        answer = await raw.receive_type("error")
        assert answer["id"] == 1 and answer["error"]["details"] == {"hello": True}
        raw.send({"type": "hello", "version": 99})
        assert (await raw.receive_type("error"))["error"]["details"] == {"expected": [1]}
