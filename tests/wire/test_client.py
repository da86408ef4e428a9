"""The two client libraries against a real front."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from protocol.blocking import BlockingClient
from protocol.client import Client
from protocol.errors import Cancelled, InvalidValue, NotFound, TooMuch, Unavailable
from protocol.messages import Progress
from protocol.requests import NetworkRemove
from tests.waiting import LONGEST_SECONDS, comes
from tests.wire.small_core import SmallCore

pytestmark = pytest.mark.req("W8")
ROOT = Path(__file__).resolve().parents[2]


async def test_calls(core: SmallCore, client: Client) -> None:
    assert client.welcome is not None and client.welcome.host == "test" and client.connected
    assert await client.call("echo", NetworkRemove("web")) == {"name": "web", "dry_run": False}
    with pytest.raises(InvalidValue) as raised:
        await client.call("fail")
    assert raised.value.details == {"field": "mtu", "value": 1}
    with pytest.raises(NotFound, match="no operation"):
        await client.call("__class__")
    heard: list[Progress] = []
    assert await client.call("steps", on_progress=heard.append) is None
    assert [(item.step, item.steps, item.text) for item in heard] == [(1, 3, "step 1"), (2, 3, "step 2"), (3, 3, "step 3")]


async def test_many_calls_at_once(core: SmallCore, client: Client) -> None:
    """More than the helper allows: the client lets them wait."""
    values = await asyncio.gather(*(client.call("echo", {"n": number}) for number in range(500)))
    assert [value["n"] for value in values] == list(range(500))


async def test_giving_up(core: SmallCore, client: Client) -> None:
    task = asyncio.create_task(client.call("hang"))
    await comes(lambda: core.seen)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await comes(lambda: any(type(frame).__name__ == "CancelFrame" for frame in core.seen))
    assert (await core.front.stats())["calls"] == 0


async def test_a_message_that_is_too_long_is_not_sent(core: SmallCore, client: Client) -> None:
    with pytest.raises(TooMuch):
        await client.call("echo", {"a": [b"x" * 100_000] * 3})
    assert await client.call("echo", {}) == {}
    assert client.connected


async def test_a_deadline_without_an_answer(core: SmallCore, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protocol.client.DEADLINE_GRACE", 0.0)
    with pytest.raises(Cancelled, match=r"0\.2 s"):
        await client.call("hang", deadline=0.2)


async def test_no_helper_is_told_with_what_to_do(socket_directory: Path) -> None:
    path = socket_directory / "helper.sock"
    with pytest.raises(Unavailable, match=f"{path}.*netdeck helper"):
        await Client(str(path)).connect()
    with pytest.raises(Unavailable, match=f"{path}.*netdeck helper"):
        BlockingClient(str(path))
    client = Client(str(path))
    with pytest.raises(Unavailable):
        await client.call("echo")
    with pytest.raises(Unavailable):
        client.stream("cat")


async def test_a_stream(core: SmallCore, client: Client) -> None:
    async with client.stream("cat") as stream:
        await stream.send(b"hello")
        part = await anext(stream)
        assert (part.stream, part.data) == ("stdout", b"hello")
        await stream.resize(50, 120)
        assert (await anext(stream)).data == b"(50, 120)"
        await stream.eof()
        assert [part async for part in stream] == []
        assert await stream.result() == {"exit_code": 0}
    async with client.stream("cat") as stream:
        await stream.signal("INT")
        assert await stream.result() == {"exit_code": 130}


async def test_much_input_and_output(core: SmallCore, client: Client) -> None:
    """Both ways at once, far more than the windows."""
    data = os.urandom(1_500_000)
    async with client.stream("cat") as stream:

        async def write() -> None:
            await stream.send(data)
            await stream.eof()

        writer = asyncio.create_task(write())
        got = b"".join([part.data async for part in stream])
        await writer
        assert got == data


async def test_output_waits_for_its_reader(core: SmallCore, client: Client) -> None:
    async with client.stream("flood") as stream:
        await asyncio.sleep(0.3)
        assert core._floods  # it stopped at the window
        assert sum([len(part.data) async for part in stream]) == 1_048_576
        assert await stream.result() == {"exit_code": 0}


async def test_leaving_a_stream_cancels_it(core: SmallCore, client: Client) -> None:
    async with client.stream("cat"):
        pass
    await comes(lambda: any(type(frame).__name__ == "CancelFrame" for frame in core.seen))
    assert await client.call("echo", {}) == {}


async def test_closing_ends_what_waits(core: SmallCore) -> None:
    client = Client(core.path)
    await client.connect()
    subscription = client.subscribe(("log",))
    call = asyncio.create_task(client.call("hang"))
    await comes(lambda: core.seen)
    await client.close()
    with pytest.raises(Unavailable):
        await call
    with pytest.raises(Unavailable):
        while True:
            await anext(subscription)


def use_blocking(path: str) -> list[object]:
    heard: list[int] = []
    with BlockingClient(path, "script") as client:
        values: list[object] = [client.welcome.role, client.call("echo", {"a": [1, b"\x00"]})]
        client.call("steps", on_progress=lambda item: heard.append(item.step))
        try:
            client.call("fail")
        except InvalidValue as error:
            values.append(error.details["field"])
    return [*values, heard]


async def test_the_blocking_client(core: SmallCore) -> None:
    expected = ["admin" if os.getuid() == 0 else "none", {"a": [1, b"\x00"]}, "mtu", [1, 2, 3]]
    assert await asyncio.to_thread(use_blocking, core.path) == expected


async def test_the_blocking_client_lives_over_a_new_front(core: SmallCore) -> None:
    def use(started: threading.Event) -> tuple[object, bool]:
        with BlockingClient(core.path) as client:
            started.set()
            try:
                client.call("hang")
            except Unavailable as error:
                return client.call("echo", {"a": 1}), bool(error.details["maybe_done"])
        return None, False

    started = threading.Event()
    task = asyncio.create_task(asyncio.to_thread(use, started))
    await comes(lambda: any(type(frame).__name__ == "CallFrame" for frame in core.seen))
    os.kill(core.front.pid, 9)
    assert await asyncio.wait_for(task, LONGEST_SECONDS) == ({"a": 1}, True)


async def test_a_call_that_reaches_a_new_front_first_is_done_there(core: SmallCore) -> None:
    """Nothing was sent to the front that greeted: the call itself is what tells that there is another."""

    def use(greeted: threading.Event, replaced: threading.Event) -> object:
        with BlockingClient(core.path) as client:
            values = []
            for _ in range(3):
                greeted.set()
                replaced.wait()
                values.append([client.call("info", {"n": 1}), client.call("echo", {"a": 1}, key="k")])
                replaced.clear()
        return values

    greeted, replaced = threading.Event(), threading.Event()
    task = asyncio.create_task(asyncio.to_thread(use, greeted, replaced))
    for _ in range(3):
        await comes(greeted.is_set)
        greeted.clear()
        starts = core.front.starts
        os.kill(core.front.pid, 9)
        await comes(lambda: core.front.starts > starts and core.front.ready.is_set())  # noqa: B023 - waited for here
        await asyncio.sleep(0.2)  # libzmq connects again meanwhile
        replaced.set()
    assert await asyncio.wait_for(task, LONGEST_SECONDS) == [[{"n": 1}, {"a": 1}]] * 3


@pytest.mark.req("W9")
def test_the_blocking_client_loads_little() -> None:
    """The command line starts with it."""
    script = "import sys; import protocol.blocking; print(sorted(set(sys.modules) & {'asyncio', 'textual', 'pyroute2', 'msgpack'}))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def test_the_blocking_client_acknowledges_output(core: SmallCore) -> None:
    """More than the helper keeps on the way."""
    heard: list[int] = []

    def blocking() -> None:
        with BlockingClient(core.path) as client:
            client.call("flood", deadline=30, on_progress=lambda part: heard.append(len(part.data)))

    await asyncio.to_thread(blocking)
    assert sum(heard) == 1_048_576


@pytest.mark.parametrize("kind", ["BlockingClient", "ClientSocket"])
async def test_a_client_that_is_dropped_is_closed(core: SmallCore, kind: str) -> None:
    """Also where only the garbage collector finds it: a script must not hang on what it forgot."""
    make = {"BlockingClient": "BlockingClient(path)", "ClientSocket": "ClientSocket(path, print, print)"}[kind]
    text = f"""
import asyncio, gc, sys, threading
from protocol.blocking import BlockingClient
from protocol.client_socket import ClientSocket
def drop(path):
    client = {make}
    circle = [client]
    circle.append(circle)
gc.disable()  # nothing but the collection below finds it
async def main(path):
    drop(path)
asyncio.run(main(sys.argv[1]))
before = len(__import__("os").listdir("/proc/self/fd"))
gc.collect()
print(before - len(__import__("os").listdir("/proc/self/fd")) > 5)
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", text, core.path, cwd=ROOT, stdout=subprocess.PIPE,
                                                   stderr=subprocess.PIPE)
    try:
        said, errors = await asyncio.wait_for(process.communicate(), LONGEST_SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0 and said == b"True\n", errors.decode()
