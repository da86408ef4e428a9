"""A fault at each step of what a lease brings and takes: an error in words, everything as before, and the lease given back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from helperd.dhcp.frames import Leased
from helperd.dhcp.terms import Terms
from helperd.plan import Step
from protocol.errors import Internal, KernelRefused, NetdeckError
from protocol.model import DHCP
from protocol.requests import NetworkConnect, NetworkCreate
from tests.kernel.core_in_host import core_in, do, kernel_dump, stored
from tests.kernel.lan import Lan
from tests.kernel.site_dhcp import Dnsmasq
from tests.kernel.test_faults import differences
from tests.simulated_host import SimulatedHost


def failing(stage: str) -> Callable[[str], None]:
    """A fault at one stage of a change."""
    def fault(at: str) -> None:
        if at == stage:
            raise RuntimeError(f"{stage} was made to fail")
    return fault


@pytest.mark.req("X7")
def test_a_connect_that_fails_gives_its_lease_back(host: SimulatedHost, tmp_path: Path) -> None:
    Lan(host)
    host.add_namespace("c1")
    Dnsmasq(host, tmp_path, "--dhcp-option=option:T1,100")
    connect = NetworkConnect(network="pub", container="netns:c1")

    async def inside() -> tuple[int, int]:
        failed = 0
        async with core_in(tmp_path) as core:
            jobs = asyncio.create_task(core.leases.run())
            await do(core, NetworkCreate(name="pub", driver="macvlan", ipam=DHCP, options={"parent": "eth0"}))
            before = kernel_dump("c1"), stored(tmp_path)

            async def expect(error: type[NetdeckError]) -> None:
                with pytest.raises(error, match="made to fail"):
                    await do(core, connect)
                assert not differences(before[0], kernel_dump("c1")) and before[1] == stored(tmp_path)

            dry: Any = await do(core, msgspec.structs.replace(connect, dry_run=True))
            steps = len(dry["plan"].steps) + 2  # the address and the route that a dry run does not know
            for number in range(steps):
                def fault(index: int, step: Step, number: int = number) -> None:
                    if index == number:
                        core.writer.fault = None
                        raise KernelRefused(f"step {index} was made to fail")
                core.writer.fault = fault
                await expect(KernelRefused)
                failed += 1
            core.writer.fault = None
            for stage in ("apply", "verify", "finish"):
                core.changes.fault = failing(stage)
                await expect(Internal)
                failed += 1
            core.changes.fault = lambda at: None
            # A lease that changes, and the change fails: the endpoint stays as it was, in the store too.
            await do(core, connect)
            endpoint = next(iter(core.records.endpoints.values()))
            before = kernel_dump("c1"), stored(tmp_path)
            assert endpoint.lease is not None
            other = Leased(endpoint.id, Terms("192.168.1.99", 24, "192.168.1.1", endpoint.lease.server_mac, 120, 100, 110, "192.168.1.2"))
            core.changes.fault = failing("finish")
            with pytest.raises(Internal):
                await core.leases._granted(other)
            assert not differences(before[0], kernel_dump("c1")) and before[1] == stored(tmp_path)
            core.changes.fault = lambda at: None
            await core.leases._granted(other)
            routes = str(kernel_dump("c1")["c1 -j route"])
            assert "'gateway': '192.168.1.2'" in routes and "'prefsrc': '192.168.1.99'" in routes
            assert stored(tmp_path)["leases"][0][1] == "192.168.1.99" and len(stored(tmp_path)["leases"]) == 1
            jobs.cancel()
            await asyncio.gather(jobs, return_exceptions=True)
        return failed, steps

    failed, steps = host.call(inside)
    log = (tmp_path / "dnsmasq.log").read_text()
    assert failed == steps + 3 >= 8 and log.count("DHCPRELEASE(up0)") == failed and log.count("DHCPACK(up0)") == failed + 1
