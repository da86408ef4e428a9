"""Every topic of every namespace arrives live, and goes with its namespace."""

from __future__ import annotations

import asyncio

import pytest

from helperd.kernel.namespaces import identify, identify_process, own_inode, own_namespace
from protocol.model import Namespace
from tests.kernel.live_host import anonymous, end, fresh, held, inode, sh, watching
from tests.simulated_host import SimulatedHost
from tests.waiting import comes


@pytest.mark.req("W4", "W7")
def test_every_topic_in_named_and_anonymous_namespaces(host: SimulatedHost) -> None:
    async def scenario() -> None:
        process = anonymous()
        sh("ip netns add web; ip -n web link set lo up")
        async with watching([process]) as it:
            hidden = identify_process(process.pid).inode
            web = inode("web")
            assert {own_inode(), web, hidden} <= {row.inode for row in it.world.rows("namespaces")}  # type: ignore[attr-defined]
            sh("ip netns add late; ip -n late link set lo up")
            await comes(lambda: it.named(inode("late"), "lo"))
            pid = process.pid
            for number, (place, enter) in enumerate([
                (own_inode(), ""), (web, "nsenter --net=/run/netns/web "), (inode("late"), "nsenter --net=/run/netns/late "),
                (hidden, f"nsenter --net=/proc/{pid}/ns/net "),
            ], 1):
                for line in (
                    "ip link add v0 type veth peer name v1",
                    "ip link add br0 type bridge",
                    "ip link set v1 master br0 up",
                    "ip link set v0 up",
                    "ip link set br0 up",
                    f"ip addr add 10.{number}.0.1/24 dev v0",
                    f"ip -6 addr add fd00:{number}::1/64 dev v0 nodad",
                    f"ip route add 10.99.0.0/16 via 10.{number}.0.2 metric 7",
                    f"ip -6 route add fd99::/32 via fd00:{number}::2",
                    f"ip neigh add 10.{number}.0.2 lladdr 02:00:00:00:00:02 dev v0 nud permanent",
                    "bridge fdb add 02:00:00:00:00:09 dev v1 master static",
                    "ip rule add from 10.99.0.0/16 lookup 99 priority 1234",
                    "ip route add blackhole 10.98.0.0/16 table 99",
                ):
                    sh(enter + line)
                await comes(lambda: {"v0", "v1", "br0"} <= it.keys("links", place))  # noqa: B023
                await comes(lambda: f"10.{number}.0.1/24" in it.keys("addresses", place))  # noqa: B023
                await comes(lambda: f"fd00:{number}::1/64" in it.keys("addresses", place))  # noqa: B023
                await comes(lambda: {"10.99.0.0/16", "fd99::/32", "10.98.0.0/16"} <= it.keys("routes", place))  # noqa: B023
                await comes(lambda: f"10.{number}.0.2" in it.keys("neighbours", place))  # noqa: B023
                await comes(lambda: any(row.family == 7 and row.mac == "02:00:00:00:00:09"  # type: ignore[attr-defined]
                                        for row in it.world.rows("neighbours", place)))  # noqa: B023
                await comes(lambda: 1234 in it.keys("rules", place))  # noqa: B023
                bridge, port = it.named(place, "br0"), it.named(place, "v1")
                assert bridge is not None and port is not None and port.master == bridge.ifindex
                assert (bridge.kind, port.kind) == ("bridge", "veth")
                sh(f"{enter}ip rule del priority 1234; {enter}ip link set v0 mtu 1400")
                sh(f"{enter}ip neigh del 10.{number}.0.2 dev v0; {enter}ip addr del fd00:{number}::1/64 dev v0")
                await comes(lambda: 1234 not in it.keys("rules", place))  # noqa: B023
                await comes(lambda: it.named(place, "v0").mtu == 1400)  # type: ignore[union-attr]  # noqa: B023
                await comes(lambda: f"fd00:{number}::1/64" not in it.keys("addresses", place))  # noqa: B023
                sh(f"{enter}ip link del v0")
                await comes(lambda: it.keys("links", place) == {"lo", "br0"})  # noqa: B023
                await comes(lambda: "10.99.0.0/16" not in it.keys("routes", place))  # noqa: B023
            refs = [own_namespace(), identify("/run/netns/web"), identify("/run/netns/late"), identify_process(pid)]
            # An IPv6 address is listed at once, and told of when its duplicate detection is over.
            await comes(lambda: held(it.world) == fresh(it.world, refs))
            assert it.whole()
        end(process)

    host.call(scenario)


@pytest.mark.req("W4")
def test_a_dead_namespace_takes_all_that_was_in_it_along(host: SimulatedHost) -> None:
    async def scenario() -> None:
        process = anonymous()
        sh("ip netns add web; ip -n web link set lo up; ip link add h0 type veth peer name e0 netns web; ip -n web link set e0 up")
        sh(f"ip link add h1 type veth peer name e1 netns {process.pid}")
        async with watching([process]) as it:
            web, hidden = inode("web"), identify_process(process.pid).inode
            assert it.named(web, "e0") and it.named(hidden, "e1")
            sh("ip netns del web")
            end(process)
            for gone in (web, hidden):
                await comes(lambda: it.world.get("namespaces", str(gone)) is None)  # noqa: B023
                assert not any(list(it.world.rows(topic, gone)) for topic in ("links", "addresses", "routes", "rules"))
            await comes(lambda: it.keys("links", own_inode()) == {"lo"})
            assert it.whole()
            assert [entry.action for entry in it.log("namespace")][-2:] == ["gone", "gone"]
            assert any(change[:2] == ("links", "del") for change in it.changes)

    host.call(scenario)


@pytest.mark.req("W7")
def test_routes_that_the_kernel_drops_without_an_event(host: SimulatedHost) -> None:
    async def scenario() -> None:
        async with watching() as it:
            own = own_inode()
            sh("ip link add v0 type veth peer name v1; ip addr add 10.0.0.1/24 dev v0; ip addr add 10.5.0.1/32 dev v1")
            sh("ip link set v0 up; ip link set v1 up; ip route add 10.9.0.0/16 via 10.0.0.2")
            sh("ip route add 10.8.0.0/16 via 10.0.0.2 src 10.5.0.1")
            await comes(lambda: {"10.0.0.0/24", "10.9.0.0/16", "10.8.0.0/16"} <= it.keys("routes", own))
            sh("ip addr del 10.5.0.1/32 dev v1")
            await comes(lambda: "10.8.0.0/16" not in it.keys("routes", own))
            sh("ip route replace 10.9.0.0/16 via 10.0.0.3")
            await comes(lambda: [row.gateway for row in it.world.rows("routes", own)  # type: ignore[attr-defined]
                                 if row.destination == "10.9.0.0/16"] == ["10.0.0.3"])  # type: ignore[attr-defined]
            sh("ip link set v0 down")
            await comes(lambda: not {"10.0.0.0/24", "10.9.0.0/16"} & it.keys("routes", own))
            assert it.whole()

    host.call(scenario)


@pytest.mark.req("W4")
def test_names_of_a_namespace_come_and_go(host: SimulatedHost) -> None:
    async def scenario() -> None:
        process = anonymous()
        async with watching([process]) as it:
            hidden = str(identify_process(process.pid).inode)

            def names() -> tuple[str, ...]:
                row = it.world.get("namespaces", hidden)
                return row.names if isinstance(row, Namespace) else ("?",)

            assert names() == ()
            sh(f"ip netns attach one {process.pid}; ip netns attach two {process.pid}")
            await comes(lambda: names() == ("one", "two"))
            sh("ip netns del two")
            await comes(lambda: names() == ("one",))
            end(process)
            await asyncio.sleep(0.2)
            assert names() == ("one",)
            sh("ip netns del one")
            await comes(lambda: it.world.get("namespaces", hidden) is None)

    host.call(scenario)


@pytest.mark.req("W4")
def test_the_first_named_namespace_of_a_host(host: SimulatedHost) -> None:
    async def scenario() -> None:
        sh("mount -t tmpfs none /run")  # the host has a mount namespace of its own
        async with watching() as it:
            await asyncio.sleep(1.2)
            sh("ip netns add web")
            await comes(lambda: it.named(inode("web"), "lo"))
            sh("ip netns add db")
            await comes(lambda: it.named(inode("db"), "lo"))

    host.call(scenario)


@pytest.mark.req("W7", "X10")
def test_identity_survives_swapped_names(host: SimulatedHost) -> None:
    async def scenario() -> None:
        sh("ip link add a0 type veth peer name a1; ip link add b0 type veth peer name b1")
        async with watching() as it:
            own = own_inode()
            first, second = it.named(own, "a0"), it.named(own, "b0")
            assert first is not None and second is not None
            sh("ip link set a0 name tmp; ip link set b0 name a0; ip link set tmp name b0")
            await comes(lambda: it.world.link(own, second.ifindex).name == "a0")  # type: ignore[union-attr]
            await comes(lambda: it.world.link(own, first.ifindex).name == "b0")  # type: ignore[union-attr]
            kept = it.world.link(own, first.ifindex)
            assert kept is not None and kept.mac == first.mac and kept.peer_ifindex == first.peer_ifindex
            assert any("was a0" in entry.text for entry in it.log("link"))

    host.call(scenario)
