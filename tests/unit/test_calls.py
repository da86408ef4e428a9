"""How much one user may have under way at once."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

import helperd.calls as calls_module
from helperd.calls import Calls
from helperd.frames import Caller, CallFrame, FromCore, GoneFrame, ReplyFrame
from helperd.roles import Roles
from protocol.messages import Call


class Waiting:
    """A dispatcher whose calls wait until they may end."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()

    async def call(self, *arguments: Any, **named: Any) -> str:
        await self.may_end.wait()
        return "done"


def refused(posted: list[FromCore]) -> int:
    bodies = [msgspec.msgpack.decode(frame.body) for frame in posted if isinstance(frame, ReplyFrame)]
    return sum(body["type"] == "error" and body["error"]["code"] == "too_much" for body in bodies)


@pytest.mark.req("W3")
@pytest.mark.parametrize(("most", "size", "fit"), [(5, 10_000_000, 5), (100, 5_000, 4)])
async def test_one_user_can_not_pile_calls_up(monkeypatch: pytest.MonkeyPatch, most: int, size: int, fit: int) -> None:
    monkeypatch.setattr(calls_module, "MAX_CALLS_OF_USER", most)
    monkeypatch.setattr(calls_module, "MAX_BYTES_OF_USER", size)
    posted: list[FromCore] = []
    dispatcher = Waiting()
    calls = Calls(dispatcher, Roles(), posted.append)  # type: ignore[arg-type]

    def start(uid: int, count: int) -> None:
        # Each over a connection of its own that is closed at once: the front's limits are for one connection.
        for client in range(1000 * uid, 1000 * uid + count):
            calls.start(CallFrame(Caller(client, uid, uid, 1), Call(1, "network.create", {"name": "x" * 1_200})))
            calls.gone(GoneFrame(client).client)

    start(7, 10)
    await asyncio.sleep(0)
    assert refused(posted) == 10 - fit
    start(8, 2)  # another user
    start(0, 20)  # root
    await asyncio.sleep(0)
    assert refused(posted) == 10 - fit
    dispatcher.may_end.set()
    await asyncio.gather(*(running.task for running in calls._running.values()))
    await asyncio.sleep(0)
    assert calls._held == {}
    start(7, fit)
    assert refused(posted) == 10 - fit
    await calls.close()
