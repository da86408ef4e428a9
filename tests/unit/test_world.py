"""The world's tables, deltas and log, without a kernel."""

from __future__ import annotations

import random

import pytest

from helperd.departed import KEPT, MOST, Departed
from helperd.event_log import EventLog
from helperd.kernel.observations import NamespaceEnded, NamespaceRead, NamespaceSeen, Observation, PeersKnown
from helperd.kernel.rtnetlink import Record
from helperd.kernel_news import news
from helperd.world import Change, World
from protocol.model import Address, Endpoint, Link, Neighbour, Route

HOST, INNER = 10, 20


def _link(inode: int, index: int, name: str, *, put: bool = True, nsid: int | None = None, **fields: object) -> Record:
    return Record("links", f"{inode}/{index}", put, Link(inode, index, name, **fields), nsid)  # type: ignore[arg-type]


def _address(inode: int, index: int, prefix: str, *, put: bool = True) -> Record:
    return Record("addresses", f"{inode}/{index}/{prefix}", put, Address(inode, index, prefix))


def _world() -> tuple[World, list[list[Change]]]:
    world = World(HOST)
    world.apply([NamespaceSeen(HOST, None, (), 1, True), NamespaceSeen(INNER, 0, ("web",), 0, False)])
    batches: list[list[Change]] = []
    world.subscribe(batches.append)
    return world, batches


def _changes(batches: list[list[Change]]) -> list[tuple[str, str, str]]:
    found = [change[:3] for batch in batches for change in batch if change[0] != "log"]
    batches.clear()
    return found


@pytest.mark.req("W4")
async def test_deltas_are_differences_to_what_was_handed_out() -> None:
    world, batches = _world()
    world.apply([_link(HOST, 2, "eth0", mtu=1500), _link(HOST, 2, "eth0", mtu=1500)])
    world.flush()
    assert _changes(batches) == [("links", "put", "10/2")]
    world.apply([_link(HOST, 2, "eth0", mtu=9000), _link(HOST, 2, "eth0", mtu=1500)])
    world.apply([_link(HOST, 3, "eth1"), _link(HOST, 3, "eth1", put=False)])
    world.flush()
    assert _changes(batches) == []
    world.apply([_link(HOST, 2, "eth0", put=False), _link(HOST, 2, "eth9")])
    world.flush()
    assert _changes(batches) == [("links", "put", "10/2")]


@pytest.mark.req("W4")
async def test_what_is_gone_takes_along_what_was_in_it() -> None:
    world, batches = _world()
    world.apply([_link(INNER, 2, "e0"), _address(INNER, 2, "10.0.0.1/24"), _address(INNER, 3, "10.0.0.2/24"), _link(INNER, 3, "e1")])
    world.apply([_link(INNER, 2, "e0", put=False)])
    assert [row.address for row in world.rows("addresses")] == ["10.0.0.2/24"]  # type: ignore[attr-defined]
    world.flush()
    batches.clear()
    world.apply([NamespaceEnded(INNER), _link(INNER, 3, "late")])
    world.flush()
    assert sorted(_changes(batches)) == [
        ("addresses", "del", "20/3/10.0.0.2/24"), ("links", "del", "20/3"), ("namespaces", "del", "20"),
    ]
    assert world.snapshot(("links", "addresses")) == []


async def test_a_list_replaces_only_its_topics() -> None:
    world, _ = _world()
    world.apply([_link(INNER, 2, "e0"), _address(INNER, 2, "10.0.0.1/24"), _address(INNER, 2, "10.0.0.2/24")])
    world.apply([NamespaceRead(INNER, ("addresses",), [_address(INNER, 2, "10.0.0.2/24"), _address(INNER, 2, "10.0.0.3/24")])])
    assert {row.address for row in world.rows("addresses")} == {"10.0.0.2/24", "10.0.0.3/24"}  # type: ignore[attr-defined]
    assert world.link(INNER, 2) is not None


@pytest.mark.req("X10")
async def test_any_order_of_news_ends_in_the_same_peers() -> None:
    near = _link(HOST, 5, "h0", kind="veth", lower=2, nsid=0)
    far = _link(INNER, 2, "e0", kind="veth", lower=0)
    known = PeersKnown(HOST, {0: INNER})
    for seed in range(24):
        world, _ = _world()
        batch: list[Observation] = [near, far, known]
        random.Random(seed).shuffle(batch)
        world.apply(batch)
        one, other = world.link(HOST, 5), world.link(INNER, 2)
        assert one is not None and (one.peer_inode, one.peer_ifindex) == (INNER, 2)
        assert other is not None and (other.peer_inode, other.peer_ifindex) == (HOST, 5)
        world.apply([_link(INNER, 2, "e0", kind="veth", put=False)])
        one = world.link(HOST, 5)
        assert one is not None and (one.peer_inode, one.peer_ifindex) == (0, 0)


async def test_a_subscriber_that_left_hears_nothing_and_nothing_is_kept_for_nobody() -> None:
    world = World(HOST)
    world.apply([NamespaceSeen(HOST, None, (), 1, True)])
    heard: list[list[Change]] = []
    leave = world.subscribe(heard.append)
    leave()
    world.apply([_link(HOST, 2, "eth0")])
    world.flush()
    assert heard == []
    world.subscribe(heard.append)
    world.flush()
    assert heard == []
    assert [row[0] for row in world.snapshot(("links", "namespaces"))] == ["links", "namespaces"]
    assert world.snapshot(("links",), inodes=(INNER,)) == []


def test_the_log_is_bounded_and_numbered() -> None:
    log = EventLog(kept=3, clock=lambda: 5.0)
    for number in range(5):
        log.add("link", "new", f"e{number}")
    assert [entry.seq for entry in log.since()] == [3, 4, 5]
    assert [entry.subject for entry in log.since(4)] == ["e4"]
    assert log.since(5) == log.since(99) == ()
    assert [entry.seq for entry in log.since(0, limit=2)] == [4, 5]


def test_news_in_words() -> None:
    def name(index: int) -> str:
        return {1: "eth0", 2: "br0"}[index]

    up = Link(HOST, 1, "eth0", flags=0x10001, mtu=1500)
    down = Link(HOST, 1, "eth0", flags=0x1, mtu=1500)
    assert [line[1:] for line in news(up, down, name)] == [("down", "eth0", "no carrier", "notice")]
    assert [line[1:4] for line in news(down, up, name)] == [("up", "eth0", "")]
    moved = Link(HOST, 1, "eth\x1b", flags=0x10001, mtu=1400, master=2)
    assert [line[1:4] for line in news(up, moved, name)] == [
        ("changed", "eth\\x1b", "was eth0, mtu 1500 → 1400, master br0")]
    route = Route(HOST, 4, "default", gateway="10.0.0.1", ifindex=1, table=99)
    assert news(None, route, name)[0].text == "via 10.0.0.1 dev eth0 table 99"
    assert news(route, None, name)[0].level == "notice"
    neighbour = Neighbour(HOST, 1, "10.0.0.9", state="stale")
    assert news(None, neighbour, name) == []
    assert news(neighbour, Neighbour(HOST, 1, "10.0.0.9", state="failed"), name)[0].level == "warning"


@pytest.mark.req("W4")
async def test_that_nobody_answers_where_a_container_was_is_no_news() -> None:
    world, _ = _world()
    world.put("endpoints", "e1", Endpoint("e1", "n", "c", addresses=("10.0.0.9/24", "fd00::9/64")))

    def failed(address: str) -> list[str]:
        key = f"{INNER}/1 {address}"
        for state in ("reachable", "failed"):
            world.apply([Record("neighbours", key, True, Neighbour(INNER, 1, address, state=state))])
        return [entry.subject for entry in world.events() if entry.kind == "neighbour"]

    assert failed("10.0.0.9") == ["10.0.0.9"]  # it should answer
    world.delete("endpoints", "e1")
    assert failed("10.0.0.9") == failed("fd00::9") == ["10.0.0.9"]
    assert failed("10.0.0.8") == ["10.0.0.9", "10.0.0.8"]  # nobody of ours was there
    world.put("endpoints", "e2", Endpoint("e2", "n", "c", addresses=("10.0.0.9/24",)))
    assert failed("10.0.0.9") == ["10.0.0.9", "10.0.0.8", "10.0.0.9"]


def test_what_departed_long_ago_or_before_many_others_is_forgotten() -> None:
    now = 0.0
    departed = Departed(lambda: now)
    departed.left(["10.0.0.1/24"])
    assert departed.lately("10.0.0.1") and not departed.lately("10.0.0.2")
    now = KEPT + 1
    assert not departed.lately("10.0.0.1")
    departed.left(f"10.1.{number // 256}.{number % 256}/16" for number in range(MOST + 1))
    assert not departed.lately("10.1.0.0") and departed.lately("10.1.0.1")
