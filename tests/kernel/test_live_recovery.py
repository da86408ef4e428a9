"""Nothing stays wrong: lost events, many namespaces, a flushed firewall."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import time

import pytest

from helperd.kernel.namespaces import identify, own_inode, own_namespace
from tests.kernel.live_host import fresh, held, inode, sh, watching
from tests.simulated_host import SimulatedHost
from tests.waiting import comes


def _batch(lines: list[str], netns: str = "") -> None:
    subprocess.run(["ip", *(["-n", netns] if netns else []), "-batch", "-"], input="\n".join(lines), text=True, check=True)


@pytest.mark.req("W4")
def test_lost_events_end_in_the_state_of_a_fresh_dump(host: SimulatedHost) -> None:
    async def scenario() -> None:
        sh("ip netns add web; ip netns add dies; ip netns add stays")
        async with watching(receive_buffer=2304) as it:
            web = inode("web")
            for name in ("web", ""):
                _batch([f"link add x{n} type veth peer name y{n}" for n in range(60)], name)
                _batch([f"link set x{n} up mtu 1400" for n in range(0, 60, 2)], name)
                _batch([f"link del x{n}" for n in range(0, 60, 3)], name)
                _batch([f"addr add 10.0.{n}.1/24 dev x{n}" for n in range(1, 60, 3)], name)
            sh("ip netns del dies; ip netns add born")
            await comes(lambda: it.world.epoch > 1)
            born = inode("born")
            refs = [own_namespace(), *(identify(f"/run/netns/{name}") for name in ("web", "stays", "born"))]
            await comes(lambda: it.named(born, "lo") and held(it.world) == fresh(it.world, refs))
            assert it.whole()
            assert len(it.keys("links", web)) == 81 and len(it.keys("links", own_inode())) == 81
            assert {row.names for row in it.world.rows("namespaces")} == {  # type: ignore[attr-defined]
                (), ("web",), ("stays",), ("born",)}
            assert it.log("helper")[0].level == "warning"

    host.call(scenario)


@pytest.mark.req("W4", "W7")
def test_five_hundred_namespaces(host: SimulatedHost) -> None:
    async def scenario() -> tuple[float, float, float]:
        count = 500
        _batch([f"netns add n{n}" for n in range(count)])
        _batch([f"link add h{n} type veth peer name e{n} netns n{n}" for n in range(count)])
        before = time.process_time()
        async with watching() as it:
            started = time.process_time() - before
            inodes = {inode(f"n{n}") for n in range(count)}
            assert {row.inode for row in it.world.rows("namespaces")} == inodes | {own_inode()}  # type: ignore[attr-defined]
            mirrored = [link for link in it.world.links(own_inode()) if link.peer_inode in inodes]
            assert len(mirrored) == count
            for link in mirrored:
                inner = it.world.link(link.peer_inode, link.peer_ifindex)
                assert inner is not None and inner.name == "e" + link.name[1:]
            last = inode("n499")
            tries = []
            for state in ("up", "down") * 4:
                moment = time.monotonic()
                sh(f"ip -n n499 link set e499 {state}; ip link set h499 {state}")
                await comes(lambda state=state: it.named(last, "e499").state == state)  # type: ignore[union-attr, misc]
                tries.append(time.monotonic() - moment)
            heard = min(tries)
            _batch([f"netns del n{n}" for n in range(count - 1)])
            await comes(lambda: len(list(it.world.rows("namespaces"))) == 2)
            await comes(lambda: len(it.keys("links", own_inode())) == 2)
            assert it.whole()
            return started, heard, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    started, heard, memory = host.call(scenario)
    print(f"500 namespaces: start {started:.2f} s of CPU, event after {heard * 1000:.0f} ms, {memory:.0f} MiB")
    assert heard < started / 2  # not by reading all of them again


@pytest.mark.req("W4")
def test_somebody_else_flushes_the_firewall(host: SimulatedHost) -> None:
    async def scenario() -> None:
        sh("nft add table inet netdeck; nft add chain inet netdeck c; nft add table inet other")
        async with watching() as it:
            sh("nft add rule inet other x counter || true; nft add chain inet other x; nft delete table inet other")
            await comes(lambda: it.elsewhere)
            await asyncio.sleep(0.2)
            assert it.firewall == []
            sh("nft add rule inet netdeck c counter")
            await comes(lambda: len(it.firewall) == 1)
            assert it.firewall[0].process == "nft" and not it.firewall[0].deleted and it.firewall[0].pid > 0
            sh("nft flush ruleset")
            await comes(lambda: len(it.firewall) == 2)
            assert it.firewall[1].deleted and it.firewall[1].generation > it.firewall[0].generation
            sh("nft 'add table inet netdeck; add chain inet netdeck c'")
            await comes(lambda: len(it.firewall) == 3)
            sh("nft 'delete table inet netdeck; add table inet netdeck; add chain inet netdeck d'")
            await comes(lambda: len(it.firewall) == 4)
            assert not it.firewall[3].deleted

    host.call(scenario)


def test_own_changes_of_the_firewall_are_not_told(host: SimulatedHost) -> None:
    async def scenario() -> None:
        import ctypes

        nft = ctypes.CDLL("libnftables.so.1")
        nft.nft_ctx_new.restype = ctypes.c_void_p
        context = ctypes.c_void_p(nft.nft_ctx_new(0))
        async with watching() as it:
            assert nft.nft_run_cmd_from_buffer(context, b"add table inet netdeck") == 0
            assert nft.nft_run_cmd_from_buffer(context, b"flush ruleset") == 0
            sh("nft add table inet netdeck")
            await comes(lambda: it.firewall)
            await asyncio.sleep(0.1)
            assert [change.process for change in it.firewall] == ["nft"]
        nft.nft_ctx_free(context)

    host.call(scenario)
