"""What a container printed: while it runs, when it has ended, after a restart of the helper, and to a reader that doesn't keep up."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from typing import Any

import pytest

from helperd.containers import frames
from helperd.containers.sandbox import Sandbox
from helperd.logs import MAX_READERS
from protocol.client import Client
from protocol.errors import InvalidValue, NotFound, TooMuch
from tests.kernel.sandbox_runs import Place, a_place, read_until, started
from tests.running_helper import RunningHelper
from tests.waiting import LONGEST_SECONDS, until

pytest_plugins = ("tests.kernel.helper_fixtures",)


@pytest.fixture
def place() -> Iterator[Place]:
    with a_place() as made:
        yield made


def start(helper: RunningHelper, name: str, script: str, **arguments: Any) -> None:
    helper.call("container.run", command=["sh", "-c", script], name=name, networks=["none"], detach=True, **arguments)


def logs(helper: RunningHelper, name: str, **arguments: Any) -> tuple[str, str]:
    said = {"stdout": b"", "stderr": b""}

    def take(part: Any) -> None:
        said[part.stream] += part.data

    assert helper.client.call("container.logs", {"name": name, **arguments}, on_progress=take) == {}
    return said["stdout"].decode(), said["stderr"].decode()


def status(helper: RunningHelper, name: str) -> str:
    return {row["name"]: str(row["status"]) for row in helper.call("container.list", all=True)}[name]


def test_what_was_printed_is_shown_while_it_runs_and_when_it_has_ended(helper: RunningHelper) -> None:
    start(helper, "talker", "for n in 1 2 3; do echo line $n; done; echo oops >&2; while [ ! -e /tmp/stop ]; do sleep 0.1; done")
    wanted = ("line 1\nline 2\nline 3\n", "oops\n")
    until(lambda: logs(helper, "talker") == wanted, "all lines have come")
    assert logs(helper, "talker", tail=2) == ("line 3\n", "oops\n")
    assert logs(helper, "talker", tail=0) == ("", "")
    helper.restart()
    assert logs(helper, "talker") == wanted and status(helper, "talker") == "running"
    helper.call("container.stop", name="talker", timeout=0.1)
    assert status(helper, "talker") == "exited" and logs(helper, "talker") == wanted
    helper.restart()
    assert logs(helper, "talker", tail=1) == ("", "oops\n") == logs(helper, "talker", tail=1, follow=True)
    helper.call("container.remove", name="talker")
    with pytest.raises(NotFound, match="talker"):
        logs(helper, "talker")


def test_of_much_the_last_64_kib_are_kept(helper: RunningHelper) -> None:
    start(helper, "flood", "i=0; while [ $i -lt 30000 ]; do echo $i; i=$((i+1)); done")
    until(lambda: status(helper, "flood") == "exited", "it has ended")
    out, _ = logs(helper, "flood")
    assert len(out) == frames.RING and out.endswith("29998\n29999\n")
    assert logs(helper, "flood", tail=3)[0] == "29997\n29998\n29999\n"


def test_followers_come_and_go_and_too_many_are_told(helper: RunningHelper) -> None:
    start(helper, "beat", "while echo beat; do sleep 0.1; done")

    async def follow() -> None:
        async with contextlib.AsyncExitStack() as stack:
            client = await stack.enter_async_context(Client(helper.socket))
            for _ in range(MAX_READERS):
                stream = await stack.enter_async_context(client.stream("container.logs", {"name": "beat", "follow": True}))
                assert b"beat" in ((await anext(aiter(stream))).data or b"")
            with pytest.raises(TooMuch, match="8 callers"):
                await client.call("container.logs", {"name": "beat"})

    asyncio.run(follow())
    end = time.monotonic() + LONGEST_SECONDS
    while True:
        try:
            assert "beat" in logs(helper, "beat", tail=1)[0]
            break
        except TooMuch:
            assert time.monotonic() < end
    assert status(helper, "beat") == "running"


def test_others_are_refused_in_words(helper: RunningHelper) -> None:
    helper.host.add_namespace("c1")
    with pytest.raises(InvalidValue, match="not of netdeck's own"):
        logs(helper, "netns:c1")
    with pytest.raises(NotFound, match="ps -a"):
        logs(helper, "nobody")


async def test_a_reader_that_does_not_keep_up_is_told_and_holds_nobody_up(place: Place) -> None:
    spec = place.spec("sh", "-c", "yes | head -c 2000000; echo; echo done >&2; exec cat", interactive=True)
    async with started(spec) as sandbox:
        slow = await Sandbox.listen(spec.run_dir)
        lazy = slow.attach(frames.PASSING)
        quick = sandbox.attach()
        await sandbox.go()
        await read_until(quick, "done\n")  # it got there, although nobody took anything of the other
        said = await read_until(lazy, " bytes of output were passed over\n")
        assert len(said) <= frames.WINDOW + 100
        await sandbox.write_stdin(b"more\n")
        assert await read_until(lazy, "more\n") == "more\n"
        lazy.close()
        await slow.close()
        sandbox.eof()
        await read_until(quick, "more\n")
        assert (await sandbox.wait()).code == 0
