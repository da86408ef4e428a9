"""A call with a key is carried out once, whatever happens meanwhile; one that is given up before its commit is taken back whole."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helperd.changes import CallContext
from protocol.blocking import BlockingClient
from protocol.client import Client
from protocol.errors import BadRequest, Cancelled, Conflict, NetdeckError, NotFound
from tests.kernel.core_in_host import STREAM, core_in, kernel_dump, stored
from tests.kernel.test_faults import differences
from tests.running_helper import RunningHelper
from tests.simulated_host import HostError, SimulatedHost
from tests.waiting import LONGEST_SECONDS, comes
from tests.wire.raw_client import RawClient

pytest_plugins = ("tests.kernel.helper_fixtures",)
pytestmark = pytest.mark.req("W3", "W8")
MANY = 30


def names(helper: RunningHelper) -> list[str]:
    return [row["name"] for row in helper.call("network.list") if not row["predefined"]]


# Keys ----------------------------------------------------------------------------------------------------------------------


def test_a_key_is_good_for_one_call(helper: RunningHelper) -> None:
    client = helper.client
    first = client.call("network.create", {"name": "a"}, key="one")
    assert client.call("network.create", {"name": "a"}, key="one") == first
    with pytest.raises(Conflict):
        client.call("network.create", {"name": "a"}, key="two")
    # What failed may be tried again under its key.
    client.call("network.remove", {"name": "a"})
    assert client.call("network.create", {"name": "a"}, key="two")["network"]["name"] == "a"
    with pytest.raises(BadRequest, match=r"used before for network\.create"):
        client.call("network.remove", {"name": "a"}, key="one")
    with pytest.raises(BadRequest, match="takes no key"):
        client.call("container.run", {"command": ["true"]}, key="three")
    helper.restart()
    assert helper.client.call("network.create", {"name": "a"}, key="one") == first
    assert names(helper) == ["a"]


async def test_the_same_key_from_two_at_once(helper: RunningHelper) -> None:
    async with Client(helper.socket) as one, Client(helper.socket) as other:
        calls = [client.call("network.create", {"name": "a"}, key="k") for client in (one, other) for _ in range(5)]
        found = await asyncio.gather(*calls)
        assert all(item == found[0] for item in found)
        mixed = await asyncio.gather(one.call("network.create", {"name": "b"}, key="m"), other.call("network.prune", key="m"),
                                     return_exceptions=True)
        assert sum(isinstance(item, BadRequest) for item in mixed) == 1
    # Which of the two came first is open: the other did nothing.
    assert sorted(names(helper)) == (["a", "b"] if isinstance(mixed[1], BadRequest) else [])


@pytest.mark.parametrize(("stage", "committed"), [("verify", False), ("finish", False), ("committed", True)])
def test_killed_around_the_commit(host: SimulatedHost, tmp_path: Path, stage: str, committed: bool) -> None:
    async def call(die: bool) -> tuple[Any, list[str]]:
        async with core_in(tmp_path) as core:
            if die:
                def kill(at: str) -> None:
                    if at == stage:
                        os.kill(os.getpid(), signal.SIGKILL)

                class Dying:
                    def changed(self, *_: object) -> None:
                        kill("committed")

                core.changes.fault = kill
                core.changes.listeners.insert(0, Dying())
            context = CallContext(user="root", op="network.create", key="k")
            value = await core.dispatcher.call("network.create", {"name": "a", "options": {"name": "br9"}}, "admin", context, STREAM)
            return value, [item.name for item in core.records.networks.values()]

    with pytest.raises(HostError, match="without an answer"):
        host.call(call, True)
    for _ in range(2):
        value, present = host.call(call, False)
        assert (value == {"carried_out": True, "answer_lost": True}) == committed
        assert present.count("a") == 1
        assert host.run("ip -br link show br9").split()[0] == "br9"


def test_a_client_with_a_key_lives_through_kills(helper: RunningHelper) -> None:
    dice = random.Random(4)
    for number in range(8):
        told: list[Any] = []

        def ask(number: int = number, told: list[Any] = told) -> None:
            try:
                with BlockingClient(helper.socket) as client:
                    told.append(client.call("network.create", {"name": f"n{number}"}, key=f"k{number}"))
            except NetdeckError as error:
                told.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(dice.random() * 0.06)
        helper.kill()
        helper.start()
        asking.join(30)
        assert told, helper.log()
        if isinstance(told[0], NetdeckError):  # killed before it had said hello
            assert told[0].code == "unavailable", told
            helper.client.call("network.create", {"name": f"n{number}"}, key=f"k{number}")
        assert names(helper).count(f"n{number}") == 1
    assert len(names(helper)) == 8


# Cancelling and deadlines --------------------------------------------------------------------------------------------------


@pytest.fixture
def many(helper: RunningHelper) -> Iterator[RunningHelper]:
    """A helper with so many networks that to remove them all takes a while."""
    for number in range(MANY):
        helper.call("network.create", name=f"n{number}", subnets=[{"subnet": f"10.9.{number}.0/24"}])
    yield helper


def untouched(helper: RunningHelper, before: dict[str, Any]) -> bool:
    """Whether the kernel is, or comes to be, as it was: carriers follow."""
    end = time.monotonic() + LONGEST_SECONDS
    while lines := differences(before, helper.host.call(kernel_dump)):
        assert time.monotonic() < end, "\n".join(lines)
        time.sleep(0.1)
    return True


async def test_a_cancelled_call_is_taken_back(many: RunningHelper) -> None:
    before, rows, listed = many.host.call(kernel_dump), stored(many.folder), many.call("network.list")
    async with Client(many.socket) as client:
        started = asyncio.Event()
        task = asyncio.create_task(client.call("network.prune", on_progress=lambda part: started.set(), key="k"))
        await started.wait()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert await client.call("network.list") == listed
        # The next one is another call, and is not held up.
        assert (await client.call("network.create", {"name": "later"}))["network"]["name"] == "later"
        await client.call("network.remove", {"name": "later"})
        assert untouched(many, before)
        assert stored(many.folder) == rows
        assert len((await client.call("network.prune", key="k"))["removed"]) == MANY


def test_a_deadline_takes_back(many: RunningHelper) -> None:
    before, rows = many.host.call(kernel_dump), stored(many.folder)
    with pytest.raises(Cancelled, match=r"deadline of 0\.03 s"):
        many.client.call("network.prune", deadline=0.03)
    assert untouched(many, before) and stored(many.folder) == rows
    assert len(many.client.call("network.prune", deadline=60)["removed"]) == MANY


async def test_cancelled_again_and_again(many: RunningHelper) -> None:
    """Whoever cancels twice must not get a change that runs on unheeded while the next begins."""
    before, rows = many.host.call(kernel_dump), stored(many.folder)
    with RawClient(many.socket) as raw:
        raw.send({"type": "call", "id": 1, "op": "network.prune", "deadline": 0.2})
        await raw.receive_type("progress")
        for number in range(5):
            raw.send({"type": "cancel", "id": 1})
            raw.send({"type": "call", "id": 10 + number, "op": "network.create", "args": {"name": f"x{number}", "dry_run": True}})
        answers: list[dict[str, Any]] = []
        while len(answers) < 6:
            message = await raw.receive()
            assert message is not None, answers
            if message["type"] in ("result", "error"):
                answers.append(message)
        given_up = next(item for item in answers if item["id"] == 1)
        assert given_up["error"]["code"] == "cancelled"
        assert all(item["type"] == "result" for item in answers if item["id"] != 1)
        assert answers[0]["id"] == 1, "a call that came later was begun before the change was taken back"
    assert untouched(many, before) and stored(many.folder) == rows


async def test_each_call_gets_an_answer_however_soon_it_is_cancelled(helper: RunningHelper) -> None:
    with RawClient(helper.socket) as raw:
        for number in range(50):
            raw.send({"type": "call", "id": number, "op": "network.list"})
            raw.send({"type": "cancel", "id": number})
        answers: dict[int, Any] = {}
        while len(answers) < 50:
            message = await raw.receive()
            assert message is not None, f"{sorted(set(range(50)) - set(answers))} got no answer"
            if message["type"] in ("result", "error"):
                assert message["id"] not in answers
                answers[message["id"]] = message
        assert {item["error"]["code"] for item in answers.values() if item["type"] == "error"} <= {"cancelled"}
        # One who waits for somebody else's call with the same key gives up alone.
        raw.send({"type": "call", "id": 100, "op": "network.create", "args": {"name": "a"}, "key": "k"})
        raw.send({"type": "call", "id": 101, "op": "network.create", "args": {"name": "a"}, "key": "k"})
        raw.send({"type": "cancel", "id": 101})
        found: dict[int, Any] = {}
        while len(found) < 2:
            message = await raw.receive()
            assert message is not None, found
            if message["type"] in ("result", "error"):
                found[message["id"]] = message
        assert found[100]["type"] == "result"
        assert found[101]["type"] == "result" or found[101]["error"]["code"] == "cancelled"
    assert helper.call("info")["networks"] == 4


async def test_a_cancelled_start_leaves_no_container(helper: RunningHelper) -> None:
    helper.call("network.create", name="a")
    before, rows = helper.host.call(kernel_dump), stored(helper.folder)

    def nothing_is_left() -> bool:
        if helper.call("container.list", all=True, foreign=False):  # it was too late, or is being taken back
            with contextlib.suppress(NotFound):
                helper.call("container.remove", name="s1", force=True)
        return not list((helper.folder / "run" / "containers").iterdir()) and "sleep" not in helper.host.run("ps -eo comm")

    for delay in (0.0, 0.02, 0.04, 0.06, 0.1):
        async with Client(helper.socket) as client:
            task = asyncio.create_task(client.call("container.run", {"command": ["sleep", "99"], "networks": ["a"], "detach": True,
                                                                     "name": "s1"}))
            await asyncio.sleep(delay)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, NetdeckError):
                await task
            await client.call("info")  # by then it has been heard of
        await asyncio.sleep(0.5)
        await comes(nothing_is_left, "what it made is taken back")
        assert untouched(helper, before)
        assert {key: value for key, value in stored(helper.folder).items() if key != "last_address"} == {
            key: value for key, value in rows.items() if key != "last_address"}
