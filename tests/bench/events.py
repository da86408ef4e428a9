"""How long a link's event takes from the kernel to a client: ours over the wire, and ``ip monitor`` by its pipe, of the
same links at the same time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator

from protocol.client import Client
from protocol.messages import Event, Snapshot
from protocol.model import Link
from tests.bench.measures import middle, spread
from tests.bench.ours import Run, our_helper
from tests.bench.rows import Row
from tests.running_helper import RunningHelper

COUNT = 30
PAUSE = 0.15
NAME = re.compile(r"\bevent\d+\b")


def rows(run: Run) -> Iterator[Row]:
    with our_helper() as helper:
        made, ours, theirs = asyncio.run(_watch(helper))
    here = [(ours[name] - made[name]) * 1000 for name in made if name in ours]
    there = [(theirs[name] - made[name]) * 1000 for name in made if name in theirs]
    lost = f"; {len(made) - len(here)} of {len(made)} not seen" if len(here) < len(made) else ""
    yield Row("link event to a client", middle(here), "ms", "ip monitor", middle(there), None,
              f"ours {spread(here)}{lost}; theirs {spread(there)}; ours gathers changes for up to 30 ms")


async def _watch(helper: RunningHelper) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """When each link was made, when our client had it, when ip monitor had printed it; CLOCK_MONOTONIC seconds by name."""
    ours: dict[str, float] = {}
    theirs: dict[str, float] = {}
    monitor = helper.host.popen(["ip", "-o", "monitor", "link"], stderr=subprocess.DEVNULL)
    assert monitor.stdout is not None
    pipe = monitor.stdout.fileno()

    def heard() -> None:
        moment = time.monotonic()
        for name in NAME.findall(os.read(pipe, 65536).decode(errors="backslashreplace")):
            theirs.setdefault(name, moment)

    client = Client(helper.socket)
    await client.connect()
    ready = asyncio.Event()

    async def follow() -> None:
        async for item in client.subscribe(("links",)):
            moment = time.monotonic()
            if isinstance(item, Snapshot):
                ready.set()
            elif isinstance(item, Event):
                for _, action, _, value in item.changes:
                    if action == "put" and isinstance(value, Link) and value.name.startswith("event"):
                        ours.setdefault(value.name, moment)

    following = asyncio.create_task(follow())
    loop = asyncio.get_running_loop()
    loop.add_reader(pipe, heard)
    try:
        await asyncio.wait_for(ready.wait(), 10)
        await asyncio.sleep(0.5)
        maker = helper.host.popen([sys.executable, "-m", "tests.bench.link_maker", str(COUNT), str(PAUSE)])
        said = await asyncio.to_thread(maker.communicate)
        await asyncio.sleep(0.5)
    finally:
        loop.remove_reader(pipe)
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
        await client.close()
        monitor.kill()
    made = {line.split()[0]: float(line.split()[1]) for line in said[0].splitlines()}
    return made, ours, theirs
