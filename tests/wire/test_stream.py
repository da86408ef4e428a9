"""Subscriptions: order, gaps, credit, slow readers, epochs, counters."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from protocol.client import Client, unpack_counters
from protocol.messages import Counters, Event, Snapshot
from protocol.model import Network
from tests.waiting import comes
from tests.wire.raw_client import RawClient
from tests.wire.small_core import SmallCore

pytestmark = pytest.mark.req("W4")

NETWORK = {"id": "n1", "name": "web", "driver": "bridge", "created": 1.0}


async def test_snapshot_then_changes(core: SmallCore, client: Client) -> None:
    core.state[("networks", "n1")] = NETWORK
    async with client.subscribe(("networks",)) as subscription:
        first = await anext(subscription)
        assert isinstance(first, Snapshot)
        [(topic, key, value)] = first.state
        assert (topic, key, value.name) == ("networks", "n1", "web") and isinstance(value, Network)
        await core.change(("networks", "put", "n2", {**NETWORK, "id": "n2"}), ("links", "put", "1/2", {}))
        await core.change(("links", "put", "1/2", {}))
        await core.change(("networks", "del", "n1", None))
        events = [await anext(subscription), await anext(subscription)]
        assert [event.seq for event in events if isinstance(event, Event)] == [1, 2]
        rows = [row for event in events if isinstance(event, Event) for row in event.changes]
        assert [row[:3] for row in rows] == [("networks", "put", "n2"), ("networks", "del", "n1")]
        assert rows[1][3] is None


async def test_a_big_snapshot_comes_in_parts(core: SmallCore, client: Client) -> None:
    for number in range(3_000):
        core.state[("log", str(number))] = {"text": "x" * 50}
    async with client.subscribe(("log",), models=False) as subscription:
        first = await anext(subscription)
        assert isinstance(first, Snapshot) and len(first.state) == 3_000
    with RawClient(core.path) as raw:
        raw.send({"type": "subscribe", "id": "all", "topics": ["log"]})
        parts = [await raw.receive_type("snapshot")]
        while parts[-1]["more"]:
            parts.append(await raw.receive_type("snapshot"))
        assert len(parts) > 4 and {part["seq"] for part in parts} == {0}


async def test_only_what_was_asked_for(core: SmallCore, client: Client) -> None:
    async with client.subscribe(("links", "networks"), inodes=(7,), models=False) as subscription:
        await anext(subscription)
        await core.change(("links", "put", "7/1", {}), ("links", "put", "77/1", {}), ("networks", "put", "n", {}))
        event = await anext(subscription)
        assert isinstance(event, Event) and [row[2] for row in event.changes] == ["7/1", "n"]


async def test_credit_is_kept(core: SmallCore) -> None:
    with RawClient(core.path) as raw:
        raw.send({"type": "subscribe", "id": 1, "topics": ["log"], "credit": 3})
        await raw.receive_type("snapshot")
        for number in range(10):
            await core.change(("log", "put", str(number), {}))
        assert [(await raw.receive_type("event"))["seq"] for _ in range(3)] == [1, 2, 3]
        assert await raw.receive(0.3) is None
        raw.send({"type": "credit", "id": 1, "n": 2})
        assert [(await raw.receive_type("event"))["seq"] for _ in range(2)] == [4, 5]
        assert await raw.receive(0.3) is None


async def test_a_slow_reader_begins_anew_and_others_notice_nothing(core: SmallCore, client: Client) -> None:
    with RawClient(core.path, receive_queue=1) as slow:
        slow.send({"type": "subscribe", "id": 1, "topics": ["log"], "credit": 10})
        await slow.receive_type("snapshot")
        got: list[int] = []

        async def read() -> None:
            async with client.subscribe(("log",), models=False) as subscription:
                async for item in subscription:
                    if isinstance(item, Event):
                        got.extend(int(row[2]) for row in item.changes)

        reader = asyncio.create_task(read())
        await comes(lambda: len(core.subscriptions) == 2)
        for number in range(2_000):
            await core.change(("log", "put", str(number), {"text": "x" * 200}))
            if number % 20 == 0:
                # On a busy machine the reader that keeps up is given the time to.
                await comes(lambda: len(got) > number - 100)  # noqa: B023 - waited for here
        await comes(lambda: len(got) == 2_000)
        assert got == list(range(2_000))
        assert (await core.front.stats())["resyncs"] == 1
        kinds = []
        while (message := await slow.receive(0.3)) is not None:
            kinds.append(message["type"])
        assert kinds == ["event"] * 10 + ["resync"]
        slow.send({"type": "subscribe", "id": 1, "topics": ["log"], "credit": 10})
        assert (await slow.receive_type("snapshot"))["seq"] == 0
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)


async def test_a_reader_that_stops_does_not_hold_up_calls(core: SmallCore, client: Client) -> None:
    """It has credit without end, and reads nothing: its connection fills up."""
    with RawClient(core.path, receive_queue=1) as stopped:
        await stopped.receive_type("welcome")
        stopped.send({"type": "subscribe", "id": 1, "topics": ["log"], "credit": 1024})
        await stopped.receive_type("snapshot")
        for number in range(600):
            await core.change(("log", "put", "k", {"text": "x" * 30_000}))
            if number % 100 == 0:
                assert await client.call("echo", {"n": number}) == {"n": number}
        await comes(lambda: not core.subscriptions)
        assert (await core.front.stats())["waiting_bytes"] < 1_000
        last = None
        while (message := await stopped.receive(0.5)) is not None:
            last = message
        assert last is not None and last["type"] == "resync"


async def test_a_gap_leads_to_a_new_snapshot(core: SmallCore, client: Client) -> None:
    async with client.subscribe(("log",), models=False) as subscription:
        await anext(subscription)
        subscription._seq += 5  # as if five events had been lost on the way
        await core.change(("log", "put", "a", {}))
        item = await anext(subscription)
        assert isinstance(item, Snapshot) and item.state == (("log", "a", {}),)
        await core.change(("log", "put", "b", {}))
        assert isinstance(await anext(subscription), Event)
        assert subscription.resyncs == 1


async def test_a_new_epoch_leads_to_a_new_snapshot(core: SmallCore, client: Client) -> None:
    async with client.subscribe(("log",), models=False) as subscription:
        first = await anext(subscription)
        assert isinstance(first, Snapshot) and first.epoch == "epoch-1"
        core.front.set_epoch("epoch-2")
        second = await anext(subscription)
        assert isinstance(second, Snapshot) and second.epoch == "epoch-2"


async def test_counters_are_never_queued(core: SmallCore, client: Client) -> None:
    """With no credit left only the newest reading waits; the core is told when it may send another."""
    with RawClient(core.path) as raw:
        raw.send({"type": "subscribe", "id": 1, "topics": ["counters"], "credit": 2, "period": 0.1})
        await raw.receive_type("snapshot")
        for number in range(2):
            await comes(lambda: core.counters_free)
            core.count(number)
            assert (await raw.receive_type("counters"))["id"] == 1
        await comes(lambda: core.counters_free)
        core.count(2)
        assert await raw.receive(0.3) is None
        assert not core.counters_free
        raw.send({"type": "credit", "id": 1, "n": 1})
        message = await raw.receive_type("counters")
        assert message["columns"] == b"".join((2 + column).to_bytes(8, "little") for column in range(8))
        await comes(lambda: core.counters_free)


async def test_counters_unpack(core: SmallCore, client: Client) -> None:
    async with client.subscribe(("counters",)) as subscription:
        assert isinstance(await anext(subscription), Snapshot)
        await subscription.watch(((7, 3),), 0.1)
        core.count(100)
        item: Any = await anext(subscription)
        assert isinstance(item, Counters)
        assert list(unpack_counters(item)) == [(7, 3, tuple(range(100, 108)))]
        await comes(lambda: any(type(frame).__name__ == "WatchFrame" for frame in core.seen))


async def test_changes_while_the_snapshot_loads_come_after_it(core: SmallCore) -> None:
    """The core may send changes between two parts: the front holds them back."""
    from helperd.frames import ChangesFrame, StateFrame, SubscribeFrame

    async def parts(frame: Any) -> None:
        if isinstance(frame, SubscribeFrame):
            client, sub = frame.caller.client, frame.sub
            core.front.post(ChangesFrame((("log", "put", "early", None),)))
            core.front.post(StateFrame(client, sub, (("log", "a", 1),), True))
            core.front.post(ChangesFrame((("log", "put", "between", 2),)))
            core.front.post(StateFrame(client, sub, (("log", "b", 3),), False))

    core.front._on_frame = parts
    with RawClient(core.path) as raw:
        raw.send({"type": "subscribe", "id": 1, "topics": ["log"]})
        await raw.receive_type("welcome")
        messages = [await raw.receive() for _ in range(3)]
        assert [message["type"] for message in messages] == ["snapshot", "snapshot", "event"]
        assert messages[2]["changes"] == [["log", "put", "between", 2]] and messages[2]["seq"] == 1
