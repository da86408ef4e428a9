"""Endpoints are released when their container is gone, and not before."""

from __future__ import annotations

from pathlib import Path

import pytest

from helperd.changes import CallContext
from protocol.requests import NetworkConnect
from tests.kernel.core_in_host import STREAM, core_in
from tests.kernel.live_host import sh
from tests.simulated_host import SimulatedHost
from tests.waiting import comes


@pytest.mark.req("B6", "I14")
def test_a_container_that_no_scan_has_seen_yet_keeps_its_endpoint(host: SimulatedHost, tmp_path: Path) -> None:
    """One that is attached between a scan and the look at what it found: it was released, and its interface taken away."""

    async def scenario() -> None:
        async with core_in(tmp_path) as core:
            sh("ip netns add old; ip netns add new")
            for name in ("old", "new"):
                await core.endpoints.connect(NetworkConnect(network="bridge", container=f"netns:{name}"), CallContext(), STREAM)

            async def blind(fresh: float = 0.0) -> dict[int, object]:
                return {}

            core.known.scan = blind  # type: ignore[method-assign, assignment]
            core.watcher._world = type("Nothing", (), {"rows": lambda *_: iter(()), "log": core.live.world.log})()
            await core.watcher.look()
            assert len(core.records.endpoints) == 2 and "eth0" in sh("ip -n new -br link")
            sh("ip netns del old")
            await core.watcher.look()
            assert len(core.records.endpoints) == 1 and "eth0" in sh("ip -n new -br link")
            await comes(lambda: len(core.records.containers) == 1)

    host.call(scenario)
