"""Which link is the other end of which, and whose it is."""

from __future__ import annotations

import pytest

from helperd.kernel.namespaces import identify_process, own_inode
from protocol.model import Container, Endpoint, Namespace, Network
from tests.kernel.live_host import Watcher, anonymous, end, inode, sh, watching
from tests.simulated_host import SimulatedHost
from tests.waiting import comes


def _ends(it: Watcher, place: int, name: str) -> tuple[int, str]:
    """Namespace and name of the other end of a link."""
    link = it.named(place, name)
    assert link is not None
    other = it.world.link(link.peer_inode, link.peer_ifindex)
    return link.peer_inode, "" if other is None else other.name


@pytest.mark.req("X10")
def test_both_ends_know_each_other(host: SimulatedHost) -> None:
    async def scenario() -> None:
        process = anonymous()
        sh("ip netns add web; ip netns add db")
        sh(f"ip link add h0 type veth peer name e0 netns web; ip link add h1 type veth peer name e1 netns {process.pid}")
        sh("ip -n web link add to-db type veth peer name to-web netns db; ip link add same0 type veth peer name same1")
        async with watching([process]) as it:
            own, web, db, hidden = own_inode(), inode("web"), inode("db"), identify_process(process.pid).inode
            sh(f"ip link add h2 type veth peer name e2 netns web; ip link add h3 type veth peer name e3 netns {process.pid}")
            sh("ip -n web link add late0 type veth peer name late1 netns db")
            pairs = [
                (own, "h0", web, "e0"), (own, "h1", hidden, "e1"), (own, "h2", web, "e2"), (own, "h3", hidden, "e3"),
                (web, "to-db", db, "to-web"), (web, "late0", db, "late1"), (own, "same0", own, "same1"),
            ]
            for place, name, there, far in pairs:
                await comes(lambda: it.named(place, name) and it.named(there, far))  # noqa: B023
                await comes(lambda: _ends(it, place, name) == (there, far))  # noqa: B023
                await comes(lambda: _ends(it, there, far) == (place, name))  # noqa: B023
            assert it.whole()
        end(process)

    host.call(scenario)


@pytest.mark.req("X10")
def test_ends_that_move_between_namespaces(host: SimulatedHost) -> None:
    async def scenario() -> None:
        sh("ip netns add one; ip netns add two; ip link add h0 type veth peer name e0")
        async with watching() as it:
            own, one, two = own_inode(), inode("one"), inode("two")
            assert _ends(it, own, "h0") == (own, "e0")
            for step, place in (("ip link set e0 netns one", one), ("ip -n one link set e0 netns two", two)):
                sh(step)
                await comes(lambda: it.named(place, "e0"))  # noqa: B023
                await comes(lambda: _ends(it, own, "h0") == (place, "e0"))  # noqa: B023
                await comes(lambda: _ends(it, place, "e0") == (own, "h0"))  # noqa: B023
            sh("ip link set h0 netns one")
            await comes(lambda: it.named(one, "h0") and _ends(it, one, "h0") == (two, "e0"))
            await comes(lambda: _ends(it, two, "e0") == (one, "h0"))
            sh("ip -n one link del h0")
            await comes(lambda: not it.named(two, "e0") and not it.named(one, "h0"))
            assert it.whole()

    host.call(scenario)


@pytest.mark.req("X10")
def test_links_and_namespaces_say_whose_they_are(host: SimulatedHost) -> None:
    async def scenario() -> None:
        sh("ip netns add web; ip netns add evil; ip link add br0 type bridge; ip link set br0 alias netdeck:1:01234567:network:n1")
        sh("ip link add h0 type veth peer name e0 netns web")
        sh("ip link set h0 alias netdeck:1:01234567:endpoint:p1; ip -n web link set e0 alias netdeck:1:01234567:endpoint:p1")
        async with watching() as it:
            own, web, evil = own_inode(), inode("web"), inode("evil")
            # The kernel tells of an alias only while the link is up.
            sh("ip -n evil link set lo up; ip -n evil link set lo alias netdeck:1:01234567:endpoint:p1")
            it.world.put("networks", "n1", Network(id="n1", name="front", driver="bridge", created=0.0))
            it.world.put("endpoints", "p1", Endpoint(id="p1", network="n1", container="c1"))
            it.world.put("containers", "c1", Container(id="c1", name="web", ref="web", runtime="netdeck", inode=web))
            await comes(lambda: it.named(evil, "lo").alias)  # type: ignore[union-attr]
            near, far, bridge = it.named(own, "h0"), it.named(web, "e0"), it.named(own, "br0")
            assert near is not None and far is not None and bridge is not None
            assert (near.network, far.network, bridge.network) == ("front", "front", "front")
            assert (near.container, far.container) == ("", "web")
            assert it.world.owner(own, near.ifindex) == it.world.owner(web, far.ifindex) == "web"
            assert it.named(evil, "lo").network == ""  # type: ignore[union-attr]  # a mark that the container wrote itself
            namespace = it.world.get("namespaces", str(web))
            assert isinstance(namespace, Namespace) and namespace.container == "web" and it.world.place(web) == "web"
            it.world.put("networks", "n1", Network(id="n1", name="back", driver="bridge", created=0.0))
            assert it.named(web, "e0").network == "back"  # type: ignore[union-attr]
            it.world.delete("containers", "c1")
            it.world.delete("endpoints", "p1")
            assert it.named(web, "e0").container == it.named(web, "e0").network == ""  # type: ignore[union-attr]
            assert it.world.owner(own, near.ifindex) == ""
            assert it.whole()

    host.call(scenario)


@pytest.mark.req("W4")
def test_the_log_tells_it_in_words(host: SimulatedHost) -> None:
    async def scenario() -> None:
        sh("ip netns add web; ip -n web link set lo up")
        async with watching() as it:
            web = inode("web")
            sh("ip link add h0 type veth peer name e0 netns web; ip link set h0 up; ip -n web link set e0 up")
            sh("ip -n web addr add 10.0.0.1/24 dev e0; ip -n web route add default via 10.0.0.2")
            await comes(lambda: "default" in it.keys("routes", web))
            sh("ping -c1 -W1 10.0.0.2 || true", "web")
            await comes(lambda: any(entry.action == "failed" for entry in it.log("neighbour")))
            sh("ip -n web link set e0 mtu 1400; ip link set h0 down")
            await comes(lambda: it.named(web, "e0").state != "up")  # type: ignore[union-attr]
            sh("ip netns del web")
            await comes(lambda: any(entry.action == "gone" for entry in it.log("namespace")))
            told = {(entry.kind, entry.action, entry.subject, entry.where, entry.text) for entry in it.world.events()}
            assert {
                ("link", "new", "e0", "netns:web", "veth mtu 1500"),
                ("link", "new", "h0", "host", "veth mtu 1500"),
                ("link", "up", "e0", "netns:web", ""),
                ("link", "changed", "e0", "netns:web", "mtu 1500 → 1400"),
                ("link", "down", "e0", "netns:web", "no carrier"),
                ("link", "down", "h0", "host", "switched off"),
                ("address", "new", "10.0.0.1/24", "netns:web", "on e0"),
                ("route", "new", "default", "netns:web", "via 10.0.0.2 dev e0"),
                ("neighbour", "failed", "10.0.0.2", "netns:web", "no answer on e0"),
                ("namespace", "gone", "netns:web", "netns:web", ""),
            } <= told
            numbers = [entry.seq for entry in it.world.events()]
            assert numbers == list(range(1, len(numbers) + 1))
            assert [entry.seq for entry in it.world.events(since=5)] == numbers[5:]
            it.world.flush()
            assert [int(key) for topic, _, key, _ in it.changes if topic == "log"] == numbers[-len(
                [change for change in it.changes if change[0] == "log"]):]

    host.call(scenario)
