"""The core sees for itself who a client is: a front that was taken over can't speak for somebody who never connected."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import helperd.witness as witness
from helperd.child_process import child_environment
from helperd.frames import Caller, CallFrame, FrameError
from helperd.front_config import FrontConfig
from helperd.front_process import FrontProcess
from helperd.listener import Listener, open_listener
from helperd.showing import credentials, show
from helperd.witness import Witness, file_of, peer_of, place
from helperd.zap import Peer
from protocol.client import Client
from tests.waiting import comes
from tests.wire.small_core import SmallCore, running_core

pytestmark = [pytest.mark.req("W2", "W3"), pytest.mark.root]
HOSTILE = Path(__file__).with_name("hostile_front.py")


class HostileProcess(FrontProcess):
    """Starts a front that was taken over."""

    what = ""

    async def _start(self, theirs: socket.socket, shown: socket.socket | None) -> asyncio.subprocess.Process:
        assert shown is not None
        numbers = self.listener.fileno(), theirs.fileno(), shown.fileno()
        return await asyncio.create_subprocess_exec(sys.executable, str(HOSTILE), self.what, *map(str, numbers), pass_fds=numbers,
                                                    env=child_environment(), start_new_session=True)


@contextlib.asynccontextmanager
async def hostile(directory: Path, what: str) -> AsyncIterator[tuple[SmallCore, Listener]]:
    core = SmallCore()
    with open_listener(directory / "helper.sock") as listener:
        os.chmod(listener.path, 0o666)
        core.front = HostileProcess(listener, FrontConfig("epoch-1"), core.on_frame)
        core.front.what = what
        task = asyncio.create_task(core.front.run())
        try:
            yield core, listener
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("what", ["nothing", "listening", "pipe", "pipe with the name", "near end", "file", "two", "own"])
async def test_it_can_not_be_root(socket_directory: Path, what: str, monkeypatch: pytest.MonkeyPatch,
                                  caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(witness, "SHOWN_SECONDS", 0.5)
    os.chmod(socket_directory, 0o755)
    with caplog.at_level(logging.WARNING, "netdeck.front"):
        async with hostile(socket_directory, what) as (core, _):
            await comes(lambda: core.front.starts > 1)
            assert not [frame for frame in core.seen if isinstance(frame, CallFrame)]
    told = "one of user 4242" if what == "own" else "no connection of it"
    assert f"the front says that client 7 is user 0, and showed {told}" in caplog.text


async def test_it_can_speak_for_who_has_connected(socket_directory: Path) -> None:
    """As far as it goes: a front holds the connections of its clients."""
    async with hostile(socket_directory, "theirs") as (core, listener):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(listener.path))
            await comes(lambda: core.callers)
            assert core.callers[7] == Caller(7, 0, 0, os.getpid())


async def test_what_counts_as_a_connection(socket_directory: Path) -> None:
    with open_listener(socket_directory / "helper.sock") as listener, socket.socket(socket.AF_UNIX) as client:
        here = place(listener.socket)
        assert here == file_of(listener.socket) == ((state := os.stat(listener.path)).st_dev, state.st_ino)
        client.connect(str(listener.path))
        accepted, _ = listener.socket.accept()
        with accepted:
            peer = Peer(os.getuid(), os.getgid(), os.getpid())
            assert peer_of(os.dup(accepted.fileno()), here) == peer == credentials(accepted)
            assert peer_of(os.dup(accepted.fileno()), (here[0], here[1] + 1)) is None
            for other in (client, listener.socket):
                assert peer_of(os.dup(other.fileno()), here) is None
            near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with near, far:
                assert not show(near, 1, accepted.fileno(), Peer(peer.uid, peer.gid, peer.pid + 1))  # another's by now
                assert not show(near, 1, 999, peer)
                far.setblocking(False)
                with pytest.raises(BlockingIOError):
                    far.recv(100)


async def test_who_left_before_he_was_seen_is_forgotten(socket_directory: Path) -> None:
    with open_listener(socket_directory / "helper.sock") as listener, socket.socket(socket.AF_UNIX) as client:
        here = place(listener.socket)
        assert here is not None
        client.connect(str(listener.path))
        accepted, _ = listener.socket.accept()
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        seen = Witness(far, here)
        peer = credentials(accepted)
        try:
            seen.forget(1)
            for number in (1, 2):
                assert show(near, number, accepted.fileno(), peer)
            await seen.check(Caller(2, peer.uid, peer.gid, peer.pid))
            assert set(seen._peers) == {2}
            with pytest.raises(FrameError):
                await seen.check(Caller(2, peer.uid, peer.gid, peer.pid + 1))
            seen.forget(2)
            assert not seen._peers and not seen._early
        finally:
            seen.close()
            near.close()
            accepted.close()


async def test_many_clients_that_come_and_go(socket_directory: Path) -> None:
    async with running_core(socket_directory) as core:
        for _ in range(40):
            async with asyncio.TaskGroup() as group:
                for _ in range(5):
                    group.create_task(once(core.path))
        assert core.front.starts == 1
        files = len(os.listdir("/proc/self/fd"))
        for _ in range(10):
            await once(core.path)
        assert len(os.listdir("/proc/self/fd")) <= files + 2


async def once(path: str) -> None:
    async with Client(path) as client:
        assert (await client.call("whoami"))["uid"] == os.getuid()
