"""Whoever owns a namespace, a container's user say, can neither fill the helper's memory nor keep the others' news from clients."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from helperd.kernel import event_limits, namespace_dump
from helperd.kernel.event_limits import EventLimits
from helperd.kernel.namespaces import identify, own_inode, own_namespace
from protocol.model import Namespace
from tests.kernel.live_host import Watcher, fresh, held, inode, sh, watching
from tests.simulated_host import SimulatedHost
from tests.waiting import comes

pytestmark = pytest.mark.req("W4")

ROUTES = "route add 203.0.113.0/24 dev v0\nroute del 203.0.113.0/24 dev v0\n" * 2000
LINKS = "link set v0 down\nlink set v0 up\n" * 500
NEIGHBOURS = "neigh replace 10.1.1.7 lladdr 02:00:00:00:00:07 dev v0\nneigh del 10.1.1.7 dev v0\n" * 1000


def batch(lines: str, name: str = "") -> None:
    subprocess.run(["ip", *(["-n", name] if name else []), "-batch", "-"], input=lines, text=True, check=True, timeout=60)


def prepared() -> None:
    sh("ip netns add loud; ip netns add calm; ip -n loud link set lo up; ip -n loud link add v0 type veth peer name v1; "
       "ip -n loud link set v0 up; ip -n loud link set v1 up; ip -n loud addr add 10.1.1.1/24 dev v0")


@contextlib.contextmanager
def flood(lines: str) -> Iterator[None]:
    """Change things in the namespace `loud` as fast as can be."""
    loop = 'while :; do printf "%s" "$LINES" | ip -n loud -batch - ; done'
    process = subprocess.Popen(["sh", "-c", loop], env={"PATH": os.environ["PATH"], "LINES": lines}, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def shown(it: Watcher, name: str) -> Namespace:
    row = it.world.get("namespaces", str(inode(name)))
    assert isinstance(row, Namespace)
    return row


@pytest.mark.parametrize(("lines", "topic"), [(ROUTES, "routes"), (LINKS, "links"), (NEIGHBOURS, "neighbours")])
def test_a_flood_in_one_namespace_delays_nobody_and_ends_exact(host: SimulatedHost, lines: str, topic: str) -> None:
    async def scenario() -> None:
        prepared()
        async with watching() as it:
            calm = inode("calm")
            with flood(lines):
                await comes(lambda: topic in shown(it, "loud").noisy)
                for number in range(10):
                    sh(f"ip -n calm link add x{number} type bridge")
                    await comes(lambda number=number: it.named(calm, f"x{number}"))  # type: ignore[misc]
            assert any(entry.action == "noisy" and topic in entry.text and entry.level == "warning" for entry in it.log("namespace"))
            sh("ip -n loud link set v0 up; ip -n loud route replace 203.0.117.0/24 dev v0; ip -n loud neigh flush dev v0")
            refs = [own_namespace(), *(identify(f"/run/netns/{name}") for name in ("loud", "calm"))]
            await comes(lambda: held(it.world) == fresh(it.world, refs))
            await comes(lambda: shown(it, "loud").noisy == ())
            sh("ip -n loud link add after type bridge")
            await comes(lambda: it.named(inode("loud"), "after"))
            assert it.whole()

    host.call(scenario)


def test_more_than_anybody_looks_at_is_counted_and_told(host: SimulatedHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_limits, "MAX_ROWS", 300)
    monkeypatch.setattr(namespace_dump, "COUNTED", 500)

    async def scenario() -> None:
        prepared()

        def routes(low: int, high: int) -> str:
            return "".join(f"route add 10.{n >> 8}.{n & 255}.0/24 dev v0\n" for n in range(1000 + low, 1000 + high))

        batch(routes(0, 400), "loud")
        batch("link add w0 type veth peer name w1\nlink set w0 up\n" + routes(0, 400).replace("v0", "w0"))
        async with watching() as it:
            loud = inode("loud")

            def found() -> tuple[int, int]:
                return len(list(it.world.rows("routes", loud))), shown(it, "loud").left_out.get("routes", 0)

            # v4: 400 and that of the link; v6: one for each link.
            await comes(lambda: found()[0] == 300 and 100 < found()[1] < 120)
            assert len(list(it.world.rows("routes", own_inode()))) >= 400  # the host's are looked at whole
            told = [entry for entry in it.log("namespace") if entry.action == "crowded"]
            assert len(told) == 1 and "routes are left out" in told[0].text and told[0].level == "warning"
            batch(routes(400, 2000), "loud")
            await comes(lambda: found()[0] == 300 and found()[1] >= 500)
            # The other topics are followed as ever.
            sh("ip -n loud addr add 10.2.2.2/24 dev v1; ip -n loud rule add from 10.9.9.9 lookup 77")
            await comes(lambda: {"10.2.2.2/24"} <= it.keys("addresses", loud))
            batch(routes(0, 1900).replace("add", "del"), "loud")
            refs = [own_namespace(), *(identify(f"/run/netns/{name}") for name in ("loud", "calm"))]
            await comes(lambda: found()[1] == 0 and held(it.world) == fresh(it.world, refs))
            batch(routes(0, 50), "loud")
            await comes(lambda: held(it.world) == fresh(it.world, refs))
            # Growing beyond by events alone.
            batch(routes(50, 400), "loud")
            await comes(lambda: found()[0] == 300 and found()[1] > 0)
            assert it.whole()

    host.call(scenario)


def test_what_is_admitted() -> None:
    limits = EventLimits(host=1)
    assert all(limits.admits(7, "routes", 0.0) for _ in range(int(event_limits.BURST)))
    assert not limits.admits(7, "routes", 0.0) and not limits.admits(7, "routes", 0.1)  # until it is read
    assert limits.admits(7, "links", 0.0) and limits.admits(8, "routes", 0.0) and limits.admits(1, "routes", 0.0)
    found = limits.news(7, ("links", "routes"))
    assert found is not None and found.noisy == ("routes",) and limits.news(7, ("links", "routes")) is None
    # Many went by: it stays so, and is looked at once more; then few.
    for _ in range(1000):
        limits.admits(7, "routes", 0.5)
    assert limits.begin(7, ("links", "routes"), 1.0) == ["routes"]
    limits.end(7, {"routes": 5}, {}, 1.2, 0.2, 0.2)
    assert limits.earliest(7) == pytest.approx(3.2) and not limits.admits(7, "routes", 1.5)
    assert limits.begin(7, ("routes",), 2.0) == [] and limits.admits(7, "routes", 2.0)
    limits.end(7, {"routes": 5}, {}, 2.0, 0.0, 0.0)
    found = limits.news(7, ("links", "routes"))
    assert found is not None and found.noisy == ()
    # Too many rows: by a reading, and by events since.
    limits.end(8, {"routes": event_limits.MAX_ROWS}, {"routes": 4}, 0.0, 0.0, 0.0)
    found = limits.news(8, ("routes",))
    assert found is not None and found.left_out == {"routes": 4} and found.noisy == () and not limits.admits(8, "routes", 1000.0)
    assert limits.begin(8, ("routes",), 1001.0) == []
    limits.end(8, {"routes": event_limits.MAX_ROWS - 1}, {}, 1001.0, 0.0, 0.0)
    assert limits.admits(8, "routes", 1001.0) and not limits.admits(8, "routes", 1001.0)
    # Who waited for others looks away no longer than he waited.
    limits.end(9, {}, {}, 5.0, took=0.5, worked=0.01)
    assert limits.earliest(9) == 5.5
    limits.forget(8)
    assert limits.admits(8, "routes", 1001.0) and limits.earliest(8) == 0.0
