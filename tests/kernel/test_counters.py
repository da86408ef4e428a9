"""Counters are what `ip -s link` says, for both ends of every link, as fast as asked for."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

from helperd.kernel.counter_table import CounterBatch
from helperd.kernel.counters import FIRST_VISITS
from helperd.kernel.namespaces import own_inode
from tests.kernel.live_host import Watcher, inode, sh, watching
from tests.simulated_host import SimulatedHost
from tests.waiting import LONGEST_SECONDS, comes

Numbers = dict[tuple[int, int], tuple[int, ...]]


def _unpack(batch: CounterBatch) -> Iterator[tuple[tuple[int, int], tuple[int, ...]]]:
    ns, ifindex, columns = memoryview(batch.ns).cast("Q"), memoryview(batch.ifindex).cast("I"), memoryview(batch.columns).cast("Q")
    count = len(ns)
    for row in range(count):
        yield (ns[row], ifindex[row]), tuple(columns[row + count * column] for column in range(8))


def _ip(netns: str = "") -> dict[str, tuple[int, ...]]:
    """What `ip` says: name → the eight counters in the order of the wire."""
    found = {}
    for link in json.loads(sh(f"ip {'-n ' + netns if netns else ''} -s -j link")):
        rx, tx = link["stats64"]["rx"], link["stats64"]["tx"]
        found[link["ifname"]] = tuple(side[what] for what in ("bytes", "packets", "errors", "dropped") for side in (rx, tx))
    return found


def _held(it: Watcher, numbers: Numbers, place: int) -> dict[str, tuple[int, ...]]:
    return {link.name: numbers[link.inode, link.ifindex] for link in it.world.links(place)
            if (link.inode, link.ifindex) in numbers}


@pytest.mark.req("W5", "W7")
def test_exact_for_both_ends_and_for_links_without_a_host_end(host: SimulatedHost) -> None:
    async def scenario() -> None:
        sh("ip netns add web; ip netns add db; ip link add h0 type veth peer name e0 netns web; ip link set h0 up")
        sh("ip -n web link set lo up; ip -n web link set e0 up; ip addr add 10.0.0.1/24 dev h0")
        sh("ip -n web addr add 10.0.0.2/24 dev e0; ip link add mv0 link h0 type macvlan mode bridge; ip link set mv0 netns db")
        sh("ip -n db link set mv0 up; ip -n db addr add 10.0.0.3/24 dev mv0; ip -n db link set lo up")
        sh("for n in h0 lo; do sysctl -qw net.ipv6.conf.$n.disable_ipv6=1; done")
        for place in ("web", "db"):
            sh("for n in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 > $n; done", place)
        async with watching() as it:
            numbers: Numbers = {}

            def deliver(batch: CounterBatch) -> None:
                numbers.update(_unpack(batch))
                feed.sent()

            feed = it.live.counters.open(deliver)
            sh("ping -q -c 20 -i 0.01 10.0.0.2; ping -q -c 3 -i 0.01 -s 9000 10.0.0.2")
            sh("ping -q -c 7 -i 0.01 10.0.0.2", "db")
            sh("ping -q -c 5 -i 0.01 127.0.0.1", "web")
            places = {"": own_inode(), "web": inode("web"), "db": inode("db")}
            feed.watch([(place, link.ifindex) for place in places.values() for link in it.world.links(place)], 0.1)

            def exact() -> bool:
                return all(_held(it, numbers, place) == _ip(name) for name, place in places.items())

            await comes(exact)
            inner, near = _held(it, numbers, places["web"])["e0"], _held(it, numbers, places[""])["h0"]
            assert inner[:4] == (near[1], near[0], near[3], near[2]) and inner[2] > 23
            assert _held(it, numbers, places["db"])["mv0"][3] >= 7

    host.call(scenario)


@pytest.mark.req("W5")
def test_drops_of_an_inner_end_are_right_within_seconds_where_it_is_watched(host: SimulatedHost) -> None:
    """A frame that nobody in the container takes is a drop of its own end: the host's end does not know of it."""
    async def scenario() -> None:
        for name in ("web", "far"):
            sh(f"ip netns add {name}; ip link add {name}0 type veth peer name e0 netns {name}; ip link set {name}0 up; "
               f"ip -n {name} link set e0 up")
        async with watching() as it:
            numbers: Numbers = {}

            def deliver(batch: CounterBatch) -> None:
                numbers.update(_unpack(batch))
                feed.sent()

            feed = it.live.counters.open(deliver)
            ends = {name: it.named(inode(name), "e0") for name in ("web", "far")}
            watched, far = ends["web"], ends["far"]
            assert watched is not None and far is not None
            await asyncio.sleep(FIRST_VISITS + 1)  # both have been read from inside once
            feed.watch([(watched.inode, watched.ifindex)], 0.1)
            for name in ("web", "far"):
                with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
                    sock.bind((f"{name}0", 0))
                    for _ in range(7):
                        sock.send(b"\xff" * 6 + b"\2\0\0\0\0\1" + b"\x88\xb5" + bytes(46))
            assert _ip("web")["e0"][6] >= 7 and _ip("far")["e0"][6] >= 7
            await comes(lambda: numbers[watched.inode, watched.ifindex][6] == _ip("web")["e0"][6])
            assert numbers[far.inode, far.ifindex][6] == 0, "what nobody looks at is read once a minute"

    host.call(scenario)


@pytest.mark.req("W5")
def test_only_what_changed_and_at_the_pace_asked_for(host: SimulatedHost) -> None:
    async def scenario() -> None:
        sh("ip link add h0 type veth peer name h1; ip link set h0 up; ip link set h1 up; ip link add idle type bridge")
        async with watching() as it:
            own = own_inode()
            near = it.named(own, "h0")
            assert near is not None
            batches: list[CounterBatch] = []
            slow: list[CounterBatch] = []

            def deliver(batch: CounterBatch) -> None:
                batches.append(batch)
                feed.sent()

            feed = it.live.counters.open(deliver, links=[(own, near.ifindex)])
            stuck = it.live.counters.open(slow.append)
            await comes(lambda: batches and slow)
            assert {key for key, _ in _unpack(slow[0])} >= {(own, link.ifindex) for link in it.world.links(own)}
            feed.watch([(own, near.ifindex)], 0.1)
            sh("ip addr add 10.0.0.1/24 dev h0; ip neigh add 10.0.0.2 lladdr 02:00:00:00:00:02 dev h0")
            traffic = await asyncio.create_subprocess_exec("ping", "-q", "-i", "0.02", "10.0.0.2", stdout=subprocess.DEVNULL)
            try:
                del batches[:]
                await comes(lambda: sum(0.08 <= after.time - before.time <= 0.15 for before, after in pairwise(batches)) >= 5)
            finally:
                traffic.kill()
                await traffic.wait()
            assert len(batches) <= 10 * (batches[-1].time - batches[0].time) + 3, "no faster than asked for"
            assert {key for batch in batches for key, _ in _unpack(batch)} == {(own, near.ifindex)}
            assert len(slow) == 1  # it was never told that the first has left
            stuck.sent()
            await comes(lambda: len(slow) == 2)
            assert (own, near.ifindex) in dict(_unpack(slow[1]))
            idle = it.named(own, "idle")
            assert idle is not None and (own, idle.ifindex) not in dict(_unpack(slow[1]))
            feed.watch(())
            await asyncio.sleep(1.2)
            del batches[:]
            sh("ip link del h0")
            sh("ip link add new0 type bridge")
            await comes(lambda: it.named(own, "new0"))
            new = it.named(own, "new0")
            assert new is not None
            whole = dict(_unpack(await it.live.counters.sample()))
            assert (own, new.ifindex) in whole
            end = time.monotonic() + LONGEST_SECONDS
            while (own, near.ifindex) in whole:
                assert time.monotonic() < end, "counters of a link that is gone"
                await asyncio.sleep(0.1)
                whole = dict(_unpack(await it.live.counters.sample()))
            assert (own, new.ifindex) in whole
            feed.close()
            stuck.close()

    host.call(scenario)
