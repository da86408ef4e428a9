"""The observer on a real kernel: it finds what is ours and only that, however it came to be."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator

import msgspec
import pytest

from drivers.objects import HOST, LINK_GROUP, Address, AnyObject, Bridge, Up, Veth, mark
from helperd.plan import Step, plan
from protocol.errors import Conflict
from tests.kernel.written_objects import INSTANCE, Written, creates, endpoint, network, written
from tests.simulated_host import SimulatedHost

ALL: list[AnyObject] = [*network(), *endpoint("c1", 0, isolated=True), *endpoint("c1", 1), *endpoint("c2", 0)]


@pytest.fixture
async def rig(host: SimulatedHost) -> AsyncIterator[Written]:
    async with written(host, "c1", "c2") as made:
        yield made


def links(rig: Written, netns: str = "") -> dict[str, dict[str, object]]:
    return {link["ifname"]: link for link in json.loads(rig.host.run("ip -d -j link", netns=netns))}


async def test_an_adopted_bridge_keeps_its_own_addresses(rig: Written) -> None:
    rig.host.run("ip link add lan type bridge; ip link set lan up; ip addr add 10.5.0.1/24 dev lan")
    theirs, ours = Address(HOST, "lan", "10.5.0.1/24"), Address(HOST, "lan", "10.6.0.1/24")
    failed = await rig.fails([Step("create", ours), Step("create", theirs)])
    assert failed.index == 1 and isinstance(failed.cause, Conflict) and "did not give it" in failed.message
    assert await rig.observe([ours, theirs, Up(HOST, "lan")]) == {ours, Up(HOST, "lan")}
    assert await rig.observe() == frozenset()
    await rig.apply([Step("delete", item) for item in (Up(HOST, "lan"), theirs, ours)])
    shown = rig.host.run("ip -br addr show dev lan")
    assert "10.5.0.1/24" in shown and "10.6.0.1" not in shown and "DOWN" not in links(rig)["lan"]["flags"]  # type: ignore[operator]


async def test_a_link_that_a_killed_helper_left_half_made_is_found_and_finished(rig: Written) -> None:
    rig.host.run(
        f"ip link add br0 group {LINK_GROUP} type bridge; ip link add vc10 group {LINK_GROUP} up type veth "
        f"peer name eth0 group {LINK_GROUP} netns c1"
    )
    assert {(item.name, item.alias) for item in await rig.observe() if isinstance(item, Bridge | Veth)} == {
        ("br0", ""),
        ("vc10", ""),
    }
    objects = [*network(), *endpoint("c1", 0, isolated=True)]
    objects[9] = msgspec.structs.replace(objects[9], peer_mac="")
    await rig.apply(creates(objects))
    assert await rig.observe(objects) == frozenset(objects)


async def test_orphans_come_out_and_can_be_deleted(rig: Written) -> None:
    await rig.apply(creates(ALL))
    orphans = await rig.observe()
    assert {item.name for item in orphans if isinstance(item, Bridge | Veth)} == {"br0", "vc10", "vc11", "vc20"}
    await rig.apply(plan((), orphans))
    assert links(rig).keys() == {"lo"} and await rig.observe() == frozenset()


async def test_a_near_end_that_is_down_is_brought_up_again(rig: Written) -> None:
    objects = [*network(), *endpoint("c1", 0)]
    await rig.apply(creates(objects))
    rig.host.run("ip link set vc10 down; ip link set vc10 nomaster; ip link set br0 down")
    seen = await rig.observe(objects)
    steps = plan(objects, seen)
    # A bridge that goes down loses its v6 address.
    assert {type(step.object).__name__ for step in steps} == {"Veth", "Up", "Address"}
    await rig.apply(steps)
    assert await rig.observe(objects) == frozenset(objects)


async def test_observing_endpoints_is_not_slower_the_more_there_are(rig: Written) -> None:
    ends = [
        Veth(HOST, f"n{number}", mark(INSTANCE, "endpoint", str(number)), "c1", f"eth{number}") for number in range(300)
    ]
    took = []
    for new in (ends[:30], ends[30:]):
        await rig.apply(creates(new))
        tries = []
        for _ in range(3):
            start = time.process_time()
            await rig.observe(ends)
            tries.append(time.process_time() - start)
        took.append(min(tries))
    assert await rig.observe(ends) == frozenset(ends)
    assert took[1] < 40 * took[0]  # ten times as many; each looked for among all others would be a hundred times
    await rig.apply(plan((), ends))


async def test_containers_that_share_a_namespace(rig: Written) -> None:
    rig.places["pod"] = rig.places["c1"]
    rig.places["on-the-host"] = rig.places[HOST]
    objects = [
        *network(),
        *endpoint("c1", 0),
        *endpoint("pod", 1),
        Up("on-the-host", "br0"),
    ]
    await rig.apply(creates(objects))
    assert await rig.observe(objects) == frozenset(objects)
    assert len({item.key for item in await rig.observe()}) == len(await rig.observe())


async def test_what_a_container_does_to_its_own_routes_upsets_no_plan(rig: Written) -> None:
    objects = [*network(), *endpoint("c1", 0)]
    await rig.apply(creates(objects))
    for number in range(2, 6):
        rig.host.run(f"ip -6 route append default via fd00:0:0:1::{number} proto 171 metric 1024", netns="c1")
        rig.host.run(f"ip route append default via 10.0.1.{number} proto 171", netns="c1")
    seen = await rig.observe(objects)
    assert seen >= frozenset(objects) or plan(objects, seen)
    assert len({item.key for item in seen}) == len(seen)


async def test_both_ends_on_the_host(rig: Written) -> None:
    pair = Veth(HOST, "a1", mark(INSTANCE, "endpoint", "e"), HOST, "a2")
    await rig.apply(creates([pair]))
    assert await rig.observe([pair]) == {pair}
    await rig.apply(plan((), await rig.observe()))
    assert await rig.observe() == frozenset()
