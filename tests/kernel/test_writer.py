"""The writer and the observer on a real kernel: what is planned is there, what fails has done exactly what it says."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator

import msgspec
import pytest

from drivers.objects import HOST, LINK_GROUP, Address, AnyObject, Bridge, Chain, Route, Rule, Sysctl, Up, Veth, mark
from helperd.kernel.writer import StepFailed, Writer
from helperd.plan import Step, plan, undo
from protocol.errors import Cancelled, Conflict, Gone, Internal, InvalidValue, KernelRefused, NotFound, Unavailable
from tests.kernel.written_objects import INSTANCE, Written, creates, deletes, endpoint, network, written
from tests.simulated_host import SimulatedHost
from tests.waiting import LONGEST_SECONDS, comes

ALL: list[AnyObject] = [*network(), *endpoint("c1", 0, isolated=True), *endpoint("c1", 1), *endpoint("c2", 0)]


@pytest.fixture
async def rig(host: SimulatedHost) -> AsyncIterator[Written]:
    async with written(host, "c1", "c2") as made:
        yield made


def links(rig: Written, netns: str = "") -> dict[str, dict[str, object]]:
    return {link["ifname"]: link for link in json.loads(rig.host.run("ip -d -j link", netns=netns))}


@pytest.mark.req("B7", "B2")
async def test_what_is_made_is_observed_and_goes_without_a_trace(rig: Written) -> None:
    before = [rig.host.run("ip -d link; ip addr; ip route", netns=name) for name in ("", "c1", "c2")]
    progress: list[tuple[int, int]] = []
    await rig.writer.apply(creates(ALL), rig.places, lambda done, total: progress.append((done, total)))
    assert progress[-1] == (len(ALL), len(ALL)) and progress == sorted(progress)
    assert await rig.observe(ALL) == frozenset(ALL)
    await rig.apply(creates(ALL))  # all of it exists with our mark
    assert await rig.observe(ALL) == frozenset(ALL)
    await rig.apply(plan((), ALL))
    await rig.apply(deletes(ALL))  # all of it is gone
    assert await rig.observe(ALL) == frozenset()
    assert before == [rig.host.run("ip -d link; ip addr; ip route", netns=name) for name in ("", "c1", "c2")]


async def test_marks_ports_and_flags(rig: Written) -> None:
    await rig.apply(creates(ALL))
    near, far = links(rig)["vc10"], links(rig, "c1")["eth0"]
    for link in (near, far, links(rig)["br0"]):
        assert link["group"] == str(LINK_GROUP)
    assert near["ifalias"] == far["ifalias"] == mark(INSTANCE, "endpoint", "c10")
    assert near["master"] == "br0" and "UP" in near["flags"] and near["linkinfo"]["info_slave_data"]["isolated"]  # type: ignore[operator,index]
    assert not links(rig)["vc11"]["linkinfo"]["info_slave_data"]["isolated"]  # type: ignore[index]
    assert far["address"] == "02:00:00:00:01:00"
    six = json.loads(rig.host.run("ip -j -6 addr show dev eth0 scope global", netns="c1"))[0]["addr_info"]
    assert all(item.get("nodad") and not item.get("tentative") for item in six if item)
    assert json.loads(rig.host.run("ip -j route show default", netns="c1"))[0]["protocol"] == "171"


async def test_a_fault_at_any_step_leaves_exactly_the_steps_before_it(rig: Written) -> None:
    objects = [*network(), *endpoint("c1", 0, isolated=True), *endpoint("c2", 0)]
    steps = creates(objects)
    for broken in range(len(steps)):

        def fault(index: int, step: Step, broken: int = broken) -> None:
            if index == broken:
                raise RuntimeError("injected")

        rig.writer.fault = fault
        failed = await rig.fails(steps)
        assert failed.index == broken and failed.step == steps[broken] and isinstance(failed.cause, Internal)
        rig.writer.fault = None
        assert without_settings(await rig.observe(objects)) == without_settings(step.object for step in steps[:broken])
        await rig.apply(undo(steps[: failed.index]))
        assert await rig.observe(objects) == frozenset()
    assert links(rig).keys() == {"lo"} == links(rig, "c1").keys()


async def test_a_fault_at_any_deletion_leaves_exactly_the_steps_before_it(rig: Written) -> None:
    objects = [*network(), *endpoint("c1", 0), *endpoint("c2", 0)]
    everything = deletes(objects)
    await rig.apply(creates(objects))
    for broken in range(len(everything)):

        def fault(index: int, step: Step, broken: int = broken) -> None:
            if index == broken:
                raise RuntimeError("injected")

        rig.writer.fault = fault
        failed = await rig.fails(everything)
        rig.writer.fault = None
        assert failed.index == broken
        gone = {step.object for step in everything[:broken]}
        left = without_settings(await rig.observe(objects))
        # A veth that went has taken along what was on it; everything else that isn't deleted is still there.
        assert left == without_settings(item for item in objects if item not in gone)
        await rig.apply(creates(objects))
        assert await rig.observe(objects) == frozenset(objects)


def without_settings(objects: object) -> set[AnyObject]:
    """All but sysctls: they exist from the moment their link does, and are not deleted."""
    assert isinstance(objects, frozenset) or hasattr(objects, "__iter__")
    return {item for item in objects if not isinstance(item, Sysctl)}


async def test_refused_in_the_middle_of_a_batch_of_addresses_and_routes(rig: Written) -> None:
    await rig.apply(creates([*network(), *endpoint("c1", 0)]))
    rig.host.run("ip addr add fd00:0:0:9::9/128 dev eth0", netns="c1")
    good, bad, behind = (Address("c1", "eth0", text) for text in ("10.9.0.1/24", "fd00:0:0:9::9/64", "10.9.0.2/24"))
    failed = await rig.fails([Step("create", item) for item in (good, bad, behind)])
    assert failed.index == 1 and isinstance(failed.cause, Conflict)
    assert "fd00:0:0:9::9/64 on eth0 in container c1" in failed.message
    shown = rig.host.run("ip -br addr show dev eth0", netns="c1")
    assert "10.9.0.1/24" in shown and "10.9.0.2/24" not in shown and "fd00:0:0:9::9/128" in shown
    routes = [
        Route("c1", "192.0.2.0/24", "eth0", "10.0.1.1"),
        Route("c1", "192.0.3.0/24", "eth0", "172.31.9.9"),
        Route("c1", "192.0.4.0/24", "eth0", "10.0.1.1"),
    ]
    failed = await rig.fails([Step("create", item) for item in routes])
    assert failed.index == 1 and isinstance(failed.cause, KernelRefused)
    assert failed.cause.details["errno"] == 101 and failed.cause.details["kernel"] == "Nexthop has invalid gateway"
    assert failed.message.endswith("Nexthop has invalid gateway (ENETUNREACH)")
    shown = rig.host.run("ip route", netns="c1")
    assert "192.0.2.0/24" in shown and "192.0.4.0/24" not in shown


async def test_a_failure_behind_up_keeps_the_addresses(rig: Written) -> None:
    objects = [*network(), *endpoint("c1", 0)]
    steps = [step for step in creates(objects) if not isinstance(step.object, Route)]
    await rig.apply(steps)
    await rig.apply([Step("delete", Up("c1", "eth0"))])
    rig.host.run("ip -6 addr add fd00:0:0:7::7/64 dev eth0 nodad", netns="c1")
    failed = await rig.fails(
        [
            Step("create", Address("c1", "eth0", "fd00:0:0:8::8/64")),
            Step("create", Up("c1", "eth0")),
            Step("create", Route("c1", "192.0.2.0/24", "eth0", "172.31.9.9")),
        ]
    )
    assert failed.index == 2
    shown = rig.host.run("ip -br addr show dev eth0", netns="c1")
    assert "UP" in shown and "fd00:0:0:8::8/64" in shown and "fd00:0:0:7::7/64" in shown


@pytest.mark.parametrize("fault", ["peer", "name", "master", "alias"])
async def test_refused_in_the_middle_of_a_batch_of_links(rig: Written, fault: str) -> None:
    await rig.apply(creates(network()))
    ends = [
        Veth(HOST, f"n{number}", mark(INSTANCE, "endpoint", str(number)), "c1", f"eth{number}", master="br0")
        for number in range(4)
    ]
    match fault:
        case "peer":
            rig.host.run("ip link add eth2 type bridge", netns="c1")
        case "name":
            rig.host.run("ip link add n2 type bridge")
        case "master":
            ends[2] = msgspec.structs.replace(ends[2], master="nosuch")
        case "alias":
            ends[2] = msgspec.structs.replace(ends[2], alias="x" * 300)
    before = rig.host.run("ip -br link", netns="c1")
    failed = await rig.fails(creates(ends))
    assert failed.index == 2
    expected = {"peer": Conflict, "name": Conflict, "master": NotFound, "alias": KernelRefused}[fault]
    assert isinstance(failed.cause, expected), failed.cause
    assert links(rig).keys() == {"lo", "br0", "n0", "n1"} | ({"n2"} if fault == "name" else set())
    await rig.apply(undo(creates(ends)[:2]))
    assert rig.host.run("ip -br link", netns="c1") == before


async def test_what_is_not_ours_is_never_touched(rig: Written) -> None:
    rig.host.run("ip link add br0 type bridge; ip link set br0 alias other; ip link add vc10 type veth peer name x")
    rig.host.run(
        f"ip link add br9 group {LINK_GROUP} type bridge; ip link set br9 alias {mark('ffffffff', 'network', 'n')}"
    )
    before = rig.host.run("ip -d link")
    for item, words in (
        (Bridge(HOST, "br0", mark(INSTANCE, "network", "n1")), "alias 'other'"),
        (endpoint("c1", 0)[0], "without netdeck's mark"),
        (Bridge(HOST, "br9", mark(INSTANCE, "network", "n1")), "ffffffff"),
    ):
        for action in ("create", "delete", "change"):
            failed = await rig.fails([Step(action, item, item if action == "change" else None)])
            assert failed.index == 0 and isinstance(failed.cause, Conflict) and words in failed.message, failed.message
    await rig.apply([Step("delete", Up(HOST, "lo"))])
    assert rig.host.run("ip -d link") == before
    assert await rig.observe() == frozenset()


async def test_routes_of_others_stay(rig: Written) -> None:
    await rig.apply(creates([*network(), *endpoint("c1", 0)]))
    rig.host.run("ip route add 192.0.2.0/24 via 10.0.1.1 proto static", netns="c1")
    route = Route("c1", "192.0.2.0/24", "eth0", "10.0.1.1")
    failed = await rig.fails([Step("create", route)])
    assert isinstance(failed.cause, Conflict) and "did not make it" in failed.message
    await rig.apply([Step("delete", route)])
    assert "192.0.2.0/24" in rig.host.run("ip route", netns="c1")
    assert route not in await rig.observe([route])
    moved = Route("c1", "198.51.100.0/24", "eth0", "10.0.1.9")
    await rig.apply(
        [
            Step("create", msgspec.structs.replace(moved, gateway="10.0.1.1")),
            Step("change", moved, msgspec.structs.replace(moved, gateway="10.0.1.1")),
        ]
    )
    assert "198.51.100.0/24 via 10.0.1.9 dev eth0 proto 171" in rig.host.run("ip route", netns="c1")


async def test_many_links_go_together_and_only_ours(rig: Written) -> None:
    ends = [
        Veth(HOST, f"n{number}", mark(INSTANCE, "endpoint", str(number)), "c1", f"eth{number}") for number in range(100)
    ]
    await rig.apply(creates(ends))
    rig.host.run(
        f"ip link add theirs group {LINK_GROUP} type bridge; ip link set theirs alias x; ip link add plain type bridge"
    )
    assert await rig.observe(ends) == frozenset(ends)
    await rig.apply(plan((), ends))
    assert links(rig).keys() == {"lo", "theirs", "plain"}


async def test_links_change_in_place_or_stay_as_they_were(rig: Written) -> None:
    objects = [*network(), *network("br1", 2), *endpoint("c1", 0)]
    await rig.apply(creates(objects))
    old = objects[18]
    assert isinstance(old, Veth)
    new = msgspec.structs.replace(old, mtu=1400, isolated=True, master="br1", alias=mark(INSTANCE, "endpoint", "other"))
    index = links(rig)["vc10"]["ifindex"]
    await rig.apply([Step("change", new, old)])
    assert links(rig)["vc10"]["ifindex"] == index and links(rig, "c1")["eth0"]["mtu"] == 1400
    assert new in await rig.observe([new])
    await rig.apply([Step("change", old, new)])
    assert old in await rig.observe([old])
    for broken in (msgspec.structs.replace(new, mtu=20), msgspec.structs.replace(new, master="lo")):
        failed = await rig.fails([Step("change", broken, old)])
        assert failed.index == 0 and isinstance(failed.cause, KernelRefused)
        assert old in await rig.observe([old])
    failed = await rig.fails([Step("change", msgspec.structs.replace(new, peer_name="eth9"), old)])
    assert isinstance(failed.cause, Conflict)
    smaller = msgspec.structs.replace(objects[0], mtu=1280)
    await rig.apply([Step("change", smaller, objects[0])])
    assert smaller in await rig.observe([smaller])


@pytest.mark.req("B7")
async def test_a_bridge_keeps_its_mtu_when_its_ports_go(rig: Written) -> None:
    for mtu in (1280, 1400, 9000):
        objects = network(mtu=mtu)
        port = msgspec.structs.replace(endpoint("c1", 0)[0], mtu=mtu)
        await rig.apply(creates([*objects, port]))
        assert await rig.observe([*objects, port]) == {*objects, port}
        await rig.apply([Step("delete", port)])
        assert await rig.observe(objects) == frozenset(objects)
        await rig.apply(plan((), objects))


async def test_settings_of_links_with_dots(rig: Written) -> None:
    await rig.apply(creates([Bridge(HOST, "br.0.5", mark(INSTANCE, "network", "x"))]))
    on, off = (Sysctl(HOST, "net.ipv4.conf.*.arp_notify", value, "br.0.5") for value in "10")
    await rig.apply([Step("create", on)])
    assert on in await rig.observe([on]) and on in await rig.observe([on, on])
    step = Step("change", off, on)
    await rig.apply([step])
    assert off in await rig.observe([on]) and on not in await rig.observe([on])
    await rig.apply(undo([step]))
    await rig.apply([Step("delete", on)])
    assert rig.host.run("cat /proc/sys/net/ipv4/conf/br.0.5/arp_notify") == "1\n"
    ports = Sysctl("c1", "net.ipv4.ip_local_port_range", "20000 30000")
    await rig.apply([Step("create", ports)])
    assert ports in await rig.observe([ports])
    assert "20000\t30000" not in rig.host.run("cat /proc/sys/net/ipv4/ip_local_port_range")
    failed = await rig.fails(
        [
            Step("create", off),
            Step("create", Sysctl(HOST, "net.ipv4.conf.*.arp_notify", "1", "nosuch")),
            Step("create", on),
        ]
    )
    assert failed.index == 1 and isinstance(failed.cause, KernelRefused) and failed.cause.details["errno"] == 2
    assert off in await rig.observe([on])
    for name, link in (("kernel.hostname", ""), ("net.ipv4.conf.*.x", "../../.."), ("net..x", ""), ("net.ipv4.*", "")):
        failed = await rig.fails([Step("create", Sysctl(HOST, name, "1", link))])
        assert isinstance(failed.cause, InvalidValue)


async def test_a_namespace_that_is_gone(rig: Written) -> None:
    objects = [*network(), *endpoint("c1", 0), *endpoint("c2", 0)]
    await rig.apply(creates(objects))
    rig.host.run("ip netns del c2")
    await comes(lambda: "vc20" not in links(rig))
    left = [item for item in objects if "c2" not in str(item)]
    assert await rig.observe(objects) == frozenset(left)
    for item in endpoint("c2", 0):
        if item.place == "c2":
            failed = await rig.fails([Step("create", item)])
            assert isinstance(failed.cause, Gone) and "c2" in failed.message
    failed = await rig.fails([Step("create", endpoint("c2", 0)[0])])
    assert isinstance(failed.cause, Gone) and "vc20" not in links(rig)
    await rig.apply(deletes(endpoint("c2", 0)))
    del rig.places["c2"]
    await rig.apply(deletes(endpoint("c2", 0)))
    failed = await rig.fails([Step("create", Up("c2", "eth0"))])
    assert isinstance(failed.cause, Gone)


async def test_being_cancelled_stops_at_a_step(rig: Written) -> None:
    steps = creates(network())
    reached, go_on = threading.Event(), threading.Event()

    def fault(index: int, step: Step) -> None:
        if index == 3:
            reached.set()
            go_on.wait(LONGEST_SECONDS)

    rig.writer.fault = fault
    task = asyncio.create_task(rig.apply(steps))
    await asyncio.to_thread(reached.wait, LONGEST_SECONDS)
    task.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(StepFailed) as caught:
        await task
    assert caught.value.cancelled and isinstance(caught.value.cause, Cancelled) and 3 <= caught.value.index < len(steps)
    rig.writer.fault = None
    await rig.apply(undo(steps[: caught.value.index]))
    assert await rig.observe(network()) == frozenset()


async def test_a_firewall_step_that_fails_among_many(rig: Written) -> None:
    rules = (Rule((), "snat to 192.0.2.1", "not possible in a chain that is reached from a filter hook"),)
    chains = [Chain(HOST, "a", ()), Chain(HOST, "b c", ()), Chain(HOST, "d", rules)]
    failed = await rig.fails([Step("create", item) for item in chains])
    assert failed.index == 1 and isinstance(failed.cause, InvalidValue) and "b c" in failed.message
    assert await rig.observe() == {chains[0]}
    plain = Writer()
    with pytest.raises(StepFailed) as caught:
        await plain.apply([Step("create", chains[0])], rig.places)
    assert isinstance(caught.value.cause, Unavailable)
    await plain.close()


async def test_it_all_works_in_a_user_namespace(host: SimulatedHost) -> None:
    assert (
        host.run(["unshare", "-Urn", "--", __import__("sys").executable, "-c", USER_NAMESPACE]).strip() == "equal True"
    )


USER_NAMESPACE = """
import asyncio
from tests.kernel.written_objects import *
async def main():
    objects = network()
    firewall = Firewall()
    writer, observer = Writer(firewall), Observer(INSTANCE, firewall)
    await writer.apply(creates(objects), {})
    print("equal", await observer.observe({}, objects) == frozenset(objects))
    await writer.apply(deletes(objects), {})
    await writer.close(); await observer.close(); await firewall.close()
asyncio.run(main())
"""
