"""The front as a process: what it may, that it is replaced, that clients come back."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

import helperd.child_process as child_process
import helperd.front_process as front_process
import protocol.client
from helperd.channel import FrontChannel
from helperd.frames import MAX_TO_CORE, Caller, CallFrame, FrameError, GoneFrame, ReadyFrame, pack
from protocol.client import Client, ConnectionState
from protocol.errors import Unavailable
from protocol.messages import Call, Event, Snapshot
from tests.waiting import comes
from tests.wire.small_core import SmallCore, running_core

ROOT = Path(__file__).resolve().parents[2]


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def owner_of_memory(pid: int) -> int:
    return Path(f"/proc/{pid}/mem").stat().st_uid


def open_files(pid: int) -> set[str]:
    """Without standard error, which is the test's."""
    names = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir() if link.name != "2"}
    return {name for name in names if name.startswith("/")}


def environment_of(pid: int) -> set[str]:
    text = Path(f"/proc/{pid}/environ").read_bytes().decode()
    return {entry.partition("=")[0] for entry in text.split("\0")}


def path_without_the_repository() -> list[str]:
    return [entry for entry in sys.path if entry and os.path.realpath(entry) != str(ROOT)]


def lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.mark.req("W2")
@pytest.mark.root
async def test_it_has_no_privilege(core: SmallCore) -> None:
    status = status_of(core.front.pid)
    assert set(status["Uid"].split()) & {"0"} == set()
    assert set(status["Gid"].split()) & {"0"} == set()
    assert status["Groups"] == ""
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 0
    assert status["NoNewPrivs"] == "1"
    assert owner_of_memory(core.front.pid) == 0  # not dumpable: its own user can't trace it
    assert open_files(core.front.pid) == {"/dev/null"}
    assert not {"HOME", "SUDO_USER", "SSH_AUTH_SOCK"} & environment_of(core.front.pid)


@pytest.mark.req("W2")
async def test_it_is_small(core: SmallCore, client: Client) -> None:
    for _ in range(200):
        await client.call("echo", {"a": "b"})
    assert (await core.front.stats())["memory"] < 40_000_000


@pytest.mark.root
async def test_it_starts_from_a_directory_that_only_root_may_enter(socket_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout in a home directory: nobody may read it, and the front runs as nobody."""
    home = socket_directory / "home"
    for room in ("helperd", "protocol"):
        shutil.copytree(ROOT / room, home / room)
    home.chmod(0o700)
    monkeypatch.setattr(child_process, "_ROOT", home)
    monkeypatch.setattr(sys, "path", path_without_the_repository())
    async with running_core(socket_directory) as core, Client(core.path) as client:
        assert await client.call("echo", {"a": 1}) == {"a": 1}
        assert int(status_of(core.front.pid)["CapEff"], 16) == 0


@pytest.mark.root
def test_it_works_in_a_user_namespace_of_one_user(socket_directory: Path) -> None:
    """There it keeps its number, and has no capability."""
    script = """
import asyncio, sys
from pathlib import Path
from protocol.client import Client
from tests.wire.small_core import running_core
async def main():
    async with running_core(Path(sys.argv[1])) as core, Client(core.path) as client:
        status = Path(f"/proc/{core.front.pid}/status").read_text()
        print(client.welcome.role, await client.call("whoami"), int(status.split("CapEff:")[1].split()[0], 16))
asyncio.run(main())
"""
    socket_directory.chmod(0o777)
    command = ["setpriv", "--reuid", "4242", "--regid", "4242", "--clear-groups", "unshare", "--user", "--map-root-user"]
    done = subprocess.run(
        [*command, sys.executable, "-c", script, str(socket_directory)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    if "unshare" in done.stderr and "ermitted" in done.stderr:
        pytest.skip("this machine allows no user namespaces")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("admin {'uid': 0") and done.stdout.strip().endswith(" 0")


@pytest.mark.req("W4")
async def test_killed_it_is_replaced_and_clients_come_back(core: SmallCore) -> None:
    states: list[ConnectionState] = []
    core.state[("log", "a")] = {"n": 1}
    async with Client(core.path, on_state=states.append) as client, client.subscribe(("log",), models=False) as subscription:
        assert isinstance(await anext(subscription), Snapshot)
        lost = asyncio.create_task(client.call("hang"))
        kept = asyncio.create_task(client.call("hang", key="k1"))
        await comes(lambda: sum(isinstance(frame, CallFrame) for frame in core.seen) == 2)
        pid, numbers = core.front.pid, set(core.callers)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(Unavailable) as raised:
            await lost
        assert raised.value.details["maybe_done"] is True
        item = await anext(subscription)
        assert isinstance(item, Snapshot) and item.state == (("log", "a", {"n": 1}),)
        await core.change(("log", "put", "b", {}))
        assert isinstance(await anext(subscription), Event)
        assert await client.call("echo", {"n": 2}) == {"n": 2}
        assert core.front.pid != pid and core.gone == numbers
        calls = [frame.call for frame in core.seen if isinstance(frame, CallFrame) and frame.call.key == "k1"]
        assert len(calls) == 2 and not kept.done()
        kept.cancel()
        await asyncio.gather(kept, return_exceptions=True)
        assert [state.connected for state in states] == [True, False, True]
        assert client.lost_for == 0.0


async def test_many_deaths(core: SmallCore, client: Client) -> None:
    for number in range(3):
        os.kill(core.front.pid, signal.SIGKILL)
        await comes(lambda: not client.connected)
        assert await client.call("info", {"n": number}) == {"n": number}
    assert core.front.starts == 4


async def test_one_that_hangs_is_replaced(core: SmallCore, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front_process, "HUNG_SECONDS", 1.0)
    pid = core.front.pid
    os.kill(pid, signal.SIGSTOP)
    await comes(lambda: core.front.pid not in (0, pid))
    await comes(lambda: client.connected)
    assert await client.call("info", {}) == {}
    assert not lives(pid)


async def test_who_was_stopped_meanwhile_takes_nobody_for_hung(socket_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The core and its client share a loop here: neither has heard anything, since neither listened."""
    for module, name, seconds in ((front_process, "CHECK_SECONDS", 0.5), (front_process, "HUNG_SECONDS", 2.0),
                                  (protocol.client, "PING_SECONDS", 0.5), (protocol.client, "SILENCE_SECONDS", 2.0)):
        monkeypatch.setattr(module, name, seconds)
    async with running_core(socket_directory) as core, Client(core.path) as client:
        since = client.state.since
        await asyncio.sleep(0.7)
        time.sleep(3.0)  # noqa: ASYNC251 - as SIGSTOP does
        await asyncio.sleep(0.7)
        assert core.front.starts == 1 and client.state.since == since


async def test_it_ends_with_the_core(socket_directory: Path) -> None:
    script = """
import asyncio, sys
from pathlib import Path
from tests.wire.small_core import running_core
async def main():
    async with running_core(Path(sys.argv[1])) as core:
        print(core.front.pid, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(socket_directory), cwd=ROOT, stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None
    front = int(await process.stdout.readline())
    async with Client(str(socket_directory / "helper.sock")) as client:
        process.kill()
        await process.wait()
        await comes(lambda: not lives(front))
        await comes(lambda: not client.connected)
        async with running_core(socket_directory):  # the next helper takes the place over
            await comes(lambda: client.connected)


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<I", MAX_TO_CORE + 1),
        struct.pack("<I", 3) + b"abc",
        struct.pack("<I", 4) + b"\x91\x91\x91\xc0",
        pack(CallFrame(Caller(1, 0, 0, 1), Call(-1, "x")), 1000),
        pack(CallFrame(Caller(1, -1, 0, 1), Call(1, "x")), 1000),
        pack(CallFrame(Caller(1, 2**32 - 1, 0, 1), Call(1, "x")), 1000),
        pack(CallFrame(Caller(1, 0, 0, 1), Call(1, "x" * 500)), 1000),
        pack(CallFrame(Caller(1, 0, 0, 1), Call(1, "x")), 1000) * 2,
        os.urandom(4000),
    ],
)
async def test_rubbish_from_the_front_ends_the_channel(data: bytes) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    channel = await FrontChannel.open(ours)
    theirs.sendall(pack(ReadyFrame(1), 100) + pack(GoneFrame(3), 100) + data)
    theirs.close()
    got = []
    try:
        with pytest.raises(FrameError):
            async for frame in channel:
                got.append(frame)
    finally:
        channel.close()
    assert got[:2] == [ReadyFrame(1), GoneFrame(3)]


async def test_the_core_waits_for_a_front_that_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    from helperd.frames import ChangesFrame

    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    channel = await FrontChannel.open(ours)
    monkeypatch.setattr("helperd.channel.SEND_TIMEOUT", 0.2)
    frame = ChangesFrame((("log", "put", "a", "x" * 100_000),))
    drained = []
    for _ in range(20):
        channel.post(frame)
        drained.append(await channel.drain())
    assert drained[0] and not drained[-1]
    assert channel.unsent > 1_000_000
    channel.close()
    theirs.close()
