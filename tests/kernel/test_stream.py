"""What clients are told live, from the real helper: every topic, and everything that is in a snapshot made later."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from protocol.client import Client
from protocol.messages import TOPICS, Counters, Snapshot
from protocol.model import LogEntry
from tests.kernel.test_networks import attach, reaches
from tests.running_helper import RunningHelper
from tests.waiting import comes

pytest_plugins = ("tests.kernel.helper_fixtures",)

State = dict[tuple[str, str], Any]


class Follower:
    """One subscription, folded into a state as a client does it."""

    def __init__(self, client: Client, topics: tuple[str, ...] = TOPICS) -> None:
        self.subscription = client.subscribe(topics)
        self.state: State = {}
        self.told: set[tuple[str, str]] = set()  # (topic, "put" or "del") of the deltas
        self.log: list[LogEntry] = []
        self._task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        async for item in self.subscription:
            if isinstance(item, Snapshot):
                self.state = {(topic, key): value for topic, key, value in item.state}
                continue
            assert not isinstance(item, Counters)
            for topic, what, key, value in item.changes:
                self.told.add((topic, what))
                if topic == "log":
                    self.log.append(value)
                elif what == "put":
                    self.state[(topic, key)] = value
                else:
                    assert (topic, key) in self.state, f"{topic} {key} went and was never there"
                    del self.state[(topic, key)]

    def rows(self, topic: str) -> list[Any]:
        return [row for (name, _), row in self.state.items() if name == topic]

    def links(self) -> set[str]:
        return {row.name for row in self.rows("links")}

    async def close(self) -> None:
        assert not self._task.done(), self._task
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.subscription.close()


@contextlib.asynccontextmanager
async def following(helper: RunningHelper, topics: tuple[str, ...] = TOPICS) -> AsyncIterator[tuple[Client, Follower]]:
    async with Client(helper.socket) as client:
        follower = Follower(client, topics)
        await comes(lambda: bool(follower.state))
        yield client, follower
        await follower.close()


def steady(state: State) -> State:
    """Without what moves by itself: neighbours come and go with packets, log entries only come."""
    return {key: value for key, value in state.items() if key[0] not in ("neighbours", "log")}


@pytest.mark.req("W4", "W8", "X10")
async def test_a_snapshot_and_then_every_change(helper: RunningHelper) -> None:
    host = helper.host
    async with following(helper) as (client, one):
        assert {topic for topic, _ in one.state} >= {"namespaces", "links", "addresses", "routes", "rules", "networks", "log"}
        network = (await client.call("network.create", {"name": "a", "ipv6": True}))["network"]
        await comes(lambda: ("networks", network["id"]) in one.state)
        await comes(lambda: network["link"] in one.links())
        await asyncio.to_thread(attach, helper, "a", "c1")
        await comes(lambda: bool(one.rows("endpoints")))
        endpoint = one.rows("endpoints")[0]
        await comes(lambda: endpoint.host_link in one.links())
        await comes(lambda: any(row.name == "eth0" and row.container == "netns:c1" for row in one.rows("links")))
        inner = [row for row in one.rows("links") if row.name == "eth0" and row.container == "netns:c1"]
        assert len(inner) == 1 and inner[0].network == "a"
        run = await client.call("container.run", {"command": ["sleep", "600"], "detach": True, "name": "s1", "networks": ["a"]})
        await comes(lambda: any(row.inode == run["container"]["inode"] for row in one.rows("links")))
        assert one.state[("containers", run["container"]["id"])].status == "running"
        assert reaches(helper, "c1", endpoint_address(helper, "s1"))
        host.run("ip netns exec c1 ip rule add from 10.99.0.0/16 lookup 99 priority 1234; ip -n c1 route add 10.98.0.0/16 dev eth0")
        await comes(lambda: ("rules", "put") in one.told)
        await comes(lambda: any(row.destination == "10.98.0.0/16" for row in one.rows("routes")))
        host.run("ip -n c1 rule del priority 1234; ip -n c1 route del 10.98.0.0/16; ip -n c1 neigh flush all")
        await comes(lambda: {("rules", "del"), ("routes", "del"), ("neighbours", "put")} <= one.told)
        # Somebody who comes later is given what the first one has put together.
        async with following(helper) as (_, other):
            await comes(lambda: steady(one.state) == steady(other.state))
        await client.call("container.remove", {"name": "s1", "force": True})
        await client.call("network.disconnect", {"network": "a", "container": "netns:c1"})
        await client.call("network.remove", {"name": "a"})
        host.run("ip netns del c1")
        await comes(lambda: network["link"] not in one.links() and not one.rows("endpoints"))
        gone = {(topic, "del") for topic in ("namespaces", "links", "addresses", "networks", "endpoints", "containers")}
        await comes(lambda: gone <= one.told)
        async with following(helper) as (_, other):
            await comes(lambda: steady(one.state) == steady(other.state))
        assert one.subscription.resyncs == 0
        actions = [(entry.kind, entry.action, entry.subject, entry.actor) for entry in one.log if entry.kind in ("network", "endpoint")]
        assert [item[:3] for item in actions] == [
            ("network", "created", "a"), *[("endpoint", "connected", "a")] * 2, *[("endpoint", "disconnected", "a")] * 2,
            ("network", "removed", "a")]
        assert {actor for *_, actor in actions} <= {"root", ""}
        assert [entry.action for entry in one.log if entry.kind == "container" and entry.subject == "s1"] == [
            "running", "exited", "removed"]
        assert sorted(entry.seq for entry in one.log) == [entry.seq for entry in one.log]


def endpoint_address(helper: RunningHelper, name: str) -> str:
    networks = helper.call("container.inspect", names=[name])[0]["NetworkSettings"]["Networks"]
    return str(next(iter(networks.values()))["IPAddress"])


@pytest.mark.req("W4", "W3")
async def test_a_follower_lives_over_restarts_of_the_helper(helper: RunningHelper) -> None:
    async with following(helper, ("networks", "endpoints", "containers", "links")) as (client, one):
        await client.call("network.create", {"name": "a"})
        await asyncio.to_thread(attach, helper, "a", "c1")
        await comes(lambda: bool(one.rows("endpoints")))
        before = dict(one.state)
        await asyncio.to_thread(helper.kill)
        helper.host.run("ip netns del c1")
        await asyncio.to_thread(helper.start)
        await comes(lambda: client.connected and not (one.rows("endpoints")))
        assert {key for key in before if key[0] == "networks"} == {key for key in one.state if key[0] == "networks"}
        await client.call("network.create", {"name": "b"})
        await comes(lambda: "b" in {row.name for row in one.rows("networks")})


@pytest.mark.req("X9", "B3")
@pytest.mark.parametrize("harm", ["nft flush ruleset", "nft delete table inet netdeck", "nft flush table inet netdeck",
                                  "nft flush map inet netdeck forward-to"])
async def test_a_firewall_table_that_somebody_takes_is_back_by_itself(helper: RunningHelper, harm: str) -> None:
    host = helper.host
    helper.call("network.create", name="a", options={"icc": "false"})
    helper.call("network.create", name="b")
    attach(helper, "a", "c1")
    second = str(attach(helper, "b", "c2")["addresses"][0]).partition("/")[0]
    assert not reaches(helper, "c1", second) and reaches(helper, "c1", "192.0.2.1")
    rules = "nft list table inet netdeck | sed 's/packets [0-9]* bytes [0-9]*//'"
    before = lines(host.run(rules))
    async with following(helper, ("log", "networks")) as (_, one):
        host.run(harm)
        await comes(lambda: lines(host.run(rules, check=False)) == before)
        await comes(lambda: any(entry.action == "restored" for entry in one.log))
        entry = next(entry for entry in one.log if entry.action == "restored")
        assert entry.subject == "firewall table inet netdeck" and entry.level == "warning"
        assert entry.text.startswith("nft (pid ")
        # Twice in a moment, and while changes are made.
        for number in range(5):
            host.run(harm)
            helper.call("network.create", name=f"n{number}")
        await comes(lambda: not reaches(helper, "c1", second) and reaches(helper, "c1", "192.0.2.1"))
        for number in range(5):
            helper.call("network.remove", name=f"n{number}")
        await comes(lambda: lines(host.run(rules, check=False)) == before)
    attach(helper, "a", "c3")
    assert "repair" not in helper.log()


def lines(text: str) -> list[str]:
    """A table's lines in an order that does not say what was made first."""
    return sorted(line.strip() for line in re.split(r"\n|, |,$|elements = \{|\}", text) if line and line.strip())
