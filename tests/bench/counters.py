"""What the counters cost the helper: CPU time of core and front while one client is told of every interface each second."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sys
import time
from collections.abc import Iterator

from protocol.client import Client
from protocol.messages import Counters
from tests.bench.measures import cpu_seconds
from tests.bench.ours import Run, core_pid, front_pid, our_helper
from tests.bench.places import add_namespaces
from tests.bench.rows import Row
from tests.running_helper import RunningHelper
from tests.simulated_host import SimulatedHost

AIMS = {1000: 1.0, 10_000: 5.0}  # interfaces → per cent of a core
PLACES = 10
SECONDS = 8.0
IDLE = 3.0


def rows(run: Run) -> Iterator[Row]:
    for count, aim in AIMS.items():
        with our_helper(functools.partial(fill, count=count)) as helper:
            traffic = helper.host.popen([sys.executable, "-m", "tests.bench.link_traffic", "out"])
            quiet(helper)
            idle = sum(usage(helper, IDLE).values())
            used, told = asyncio.run(_watched(helper))
            traffic.kill()
        note = (f"core {used['core']:.2g}, front {used['front']:.2g}; without a subscription {idle:.2g}; "
                f"{told:.0f} interfaces changed a second")
        yield Row(f"CPU for counters of {count:,} interfaces at 1 Hz", sum(used.values()), "%", "the aim", aim, 1.0, note)


def fill(host: SimulatedHost, count: int) -> None:
    """Pairs of links, as containers have them: one end outside, the other in one of a few namespaces; all up."""
    places = [f"place{number}" for number in range(PLACES)]
    add_namespaces(host, places)
    for place in ("", *places):
        host.run("sysctl -qw net.ipv6.conf.default.disable_ipv6=1 net.ipv6.conf.all.disable_ipv6=1", netns=place)
    batch = "".join(
        f"link add name out{number} up group 7 type veth peer name in{number} group 7 netns {places[number % PLACES]}\n"
        for number in range(count // 2))
    host.run(["ip", "-batch", "-"], input=batch, timeout=90)
    for place in places:
        host.run("ip link set group 7 up", netns=place, timeout=60)


def usage(helper: RunningHelper, seconds: float) -> dict[str, float]:
    """Per cent of a core that core and front use for the next `seconds`."""
    processes = {"core": core_pid(helper), "front": front_pid(helper)}
    before = {name: cpu_seconds(pid) for name, pid in processes.items()}
    start = time.monotonic()
    time.sleep(seconds)
    taken = time.monotonic() - start
    return {name: (cpu_seconds(pid) - before[name]) / taken * 100 for name, pid in processes.items()}


def quiet(helper: RunningHelper, seconds: float = 20.0) -> None:
    """Waits until the helper has read everything, that is until it uses little for a second."""
    end = time.monotonic() + seconds
    last = float("inf")
    while time.monotonic() < end:
        now = sum(usage(helper, 1.0).values())
        if abs(now - last) < max(1.0, last * 0.2):
            return
        last = now


async def _watched(helper: RunningHelper) -> tuple[dict[str, float], float]:
    """Usage while a client takes all counters each second, and how many interfaces a second it was told of."""
    told = 0
    client = Client(helper.socket)
    await client.connect()

    async def follow() -> None:
        nonlocal told
        async for item in client.subscribe(("counters",), period=1.0):
            if isinstance(item, Counters):
                told += len(item.ifindex) // 4

    following = asyncio.create_task(follow())
    try:
        await asyncio.sleep(2.5)  # the first message holds everything
        told = 0
        used = await asyncio.to_thread(usage, helper, SECONDS)
        return used, told / SECONDS
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
        await client.close()
