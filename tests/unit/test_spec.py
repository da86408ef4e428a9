"""SPEC.md is true: its exchanges are sent as they stand, its programs run, its tables are those of the code."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest

from helperd.frames import CallFrame
from helperd.front_config import Limits
from protocol import errors, limits, messages, strict
from protocol.errors import NotFound
from protocol.messages import Progress, Result
from protocol.requests import OPERATIONS
from tests.spec_operations import BEGIN, END, SPEC, table
from tests.waiting import comes
from tests.wire.raw_client import RawClient
from tests.wire.small_core import SmallCore, running_core

pytestmark = pytest.mark.req("W8")

TEXT = SPEC.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
EXCHANGES = [body for language, body in BLOCKS if language == "exchange"]
PROGRAMS = [body for language, body in BLOCKS if language == "python"]
DB = {"id": "n2", "name": "db", "driver": "bridge", "created": 1.0}


class SpecCore(SmallCore):
    """Answers the operations of the examples."""

    async def on_frame(self, frame: Any) -> None:
        if isinstance(frame, CallFrame):
            caller, call = frame.caller, frame.call
            match call.op:
                case "network.list":
                    self._answer(caller, Result(call.id, [DB]))
                    return
                case "network.remove" if call.args["name"] == "nowhere":
                    self._refuse(caller, call.id, NotFound("no network 'nowhere'", name="nowhere"))
                    return
                case "network.remove":
                    for step in (1, 2):
                        self._answer(caller, Progress(call.id, "removing", step, 2))
                    self._answer(caller, Result(call.id, {}))
                    return
                case "container.stop" | "container.exec":
                    return
        await super().on_frame(frame)

    def _input(self, frame: Any) -> None:
        # A `cat` without a terminal says nothing about its size.
        if not frame.input.resize:
            super()._input(frame)

    async def happen(self, what: str) -> None:
        """Do what a line with an asterisk says."""
        match what:
            case "the network db is made":
                await self.change(("networks", "put", "n2", DB))
            case "the network db is removed":
                await self.change(("networks", "del", "n2", None))
            case "a packet passes":
                await comes(lambda: self.counters_free)
                self.count(1)
            case _:
                raise AssertionError(f"unknown event in SPEC.md: {what}")


@pytest.fixture
async def core(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SmallCore]:
    with TemporaryDirectory(prefix="nd-") as name:
        async with running_core(Path(name), core=SpecCore()) as running:
            yield running


def matches(expected: Any, got: Any) -> bool:
    """Whether `got` is what SPEC.md says; `...` stands for anything, as a key for more keys."""
    if expected is ...:
        return True
    if isinstance(expected, dict):
        wanted = {key: value for key, value in expected.items() if key is not ...}
        if not isinstance(got, dict) or not (set(wanted) == set(got) or (... in expected and set(wanted) <= set(got))):
            return False
        return all(matches(value, got[key]) for key, value in wanted.items())
    if isinstance(expected, list):
        if expected == [...]:
            return isinstance(got, list)
        return isinstance(got, list) and len(got) == len(expected) and all(map(matches, expected, got))
    return type(expected) is type(got) and bool(expected == got)


@pytest.mark.parametrize("exchange", EXCHANGES)
async def test_exchanges(core: SpecCore, exchange: str) -> None:
    greets = '"type": "hello"' in exchange
    with RawClient(core.path, greet=not greets) as raw:
        if not greets:
            await raw.receive_type("welcome")
        for line in exchange.splitlines():
            arrow, _, rest = line.partition(" ")
            match arrow:
                case "→":
                    raw.send(ast.literal_eval(rest))
                case "←":
                    got = await raw.receive()
                    assert matches(ast.literal_eval(rest), got), f"expected {rest}\ngot {got}"
                case "*":
                    await core.happen(rest)
                case _:
                    raise AssertionError(f"unknown line in SPEC.md: {line}")
        assert await raw.receive(0.2) is None


@pytest.mark.parametrize("program", PROGRAMS)
async def test_programs(core: SpecCore, program: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-c", program, env={**os.environ, "NETDECK_SOCKET": core.path}, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    if "network.list" in program:
        assert output.decode().splitlines()[1] == "db bridge"


def test_the_calls_of_the_examples_have_the_arguments_of_their_operations() -> None:
    for line in "".join(EXCHANGES).splitlines():
        sent = ast.literal_eval(line[2:]) if line.startswith("→") else None
        if isinstance(sent, dict) and sent["type"] == "call" and sent["op"] in OPERATIONS:
            msgspec.convert(sent.get("args", {}), OPERATIONS[sent["op"]][0])


def test_every_message_has_an_example() -> None:
    examples = "".join(EXCHANGES)
    for cls in (*messages.ClientMessage.__subclasses__(), *messages.HelperMessage.__subclasses__()):
        if cls.__module__ == messages.__name__ and cls is not messages.Resync:
            assert f'"type": "{cls.__struct_config__.tag}"' in examples, cls
    assert "`resync{id, reason}`" in TEXT


def test_operations_are_those_of_the_code() -> None:
    """``python -m tests.spec_operations`` brings the page up to date."""
    assert TEXT.partition(BEGIN)[2].partition(END)[0] == table()


def test_no_operation_is_missing() -> None:
    assert set(OPERATIONS) == set(re.findall(r"^\| `([a-z.-]+)` \| (?:view|operate|admin)", TEXT, re.MULTILINE))


def test_topics_and_codes() -> None:
    for topic in (*messages.TOPICS, messages.COUNTERS):
        assert f"`{topic}`" in TEXT
    for cls in errors.NetdeckError.__subclasses__():
        assert f"`{cls.code}`" in TEXT


def test_numbers() -> None:
    """The limits on the page are those of the code."""
    page = TEXT.replace("\n", " ")
    for number in (
        messages.MAX_MESSAGE, messages.MAX_ITEMS, strict.MAX_ITEMS_IN_ALL, messages.MAX_TEXT, messages.MAX_DATA,
        limits.MAX_WATCHED, int(Limits().burst), int(Limits().rate),
    ):  # fmt: skip
        assert f"{number:,}" in page, number
    assert f"at most {messages.QUEUE_LIMIT} events" in page
    assert f"At most {Limits().calls} calls" in page
    assert f"At most {Limits().subscriptions} are open" in page
    assert f"nothing for {Limits().silence:.0f} seconds" in page
