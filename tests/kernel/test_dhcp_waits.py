"""What waits in the core's side of DHCP, and what servers say too often."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from helperd.dhcp import leases
from helperd.dhcp.frames import LeaseRefused
from protocol.errors import Unavailable
from protocol.model import DHCP
from protocol.requests import NetworkConnect, NetworkCreate, NetworkDisconnect
from tests.kernel.core_in_host import core_in, do
from tests.kernel.lan import Lan
from tests.kernel.site_dhcp import Dnsmasq
from tests.simulated_host import SimulatedHost
from tests.waiting import until


@pytest.mark.req("X7")
def test_a_lease_waits_for_its_parent_and_refusals_are_told_once_a_minute(host: SimulatedHost, tmp_path: Path) -> None:
    Lan(host)
    host.add_namespace("c1")
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps({"address": "192.168.1.50", "server": "192.168.1.1", "options": {"1": "ffffff00", "51": f"{400:08x}"}}))
    server = host.popen([sys.executable, "-m", "tests.kernel.hostile_dhcp", str(rules)], netns="outside")
    assert server.stdout is not None and server.stdout.readline() == "ready\n"

    async def first() -> int:
        leases.PATIENCE = 60.0
        async with core_in(tmp_path) as core:
            jobs = asyncio.create_task(core.leases.run())
            await do(core, NetworkCreate(name="pub", driver="macvlan", ipam=DHCP, options={"parent": "eth0"}))
            await do(core, NetworkConnect(network="pub", container="netns:c1"))
            endpoint = next(iter(core.records.endpoints))
            for number in range(40):
                core.leases._heard(LeaseRefused(endpoint, f"reason {number}"))
            jobs.cancel()
            await asyncio.gather(jobs, return_exceptions=True)
            return sum(event.action == "refused" for event in core.live.world.events())

    assert host.call(first) == 1
    host.run("ip link del eth0")

    async def second() -> tuple[bool, bool]:
        async with core_in(tmp_path) as core:
            for ident, endpoint in core.records.endpoints.items():  # as on ipvlan, which this kernel may not have: that of the parent
                core.records.endpoints[ident] = msgspec.structs.replace(endpoint, mac="")
            jobs = asyncio.create_task(core.leases.run())
            await asyncio.wait_for(core.leases.process.ready.wait(), 60)
            await asyncio.sleep(1)
            before = bool(core.leases._held)
            (tmp_path / "now").touch()
            await asyncio.to_thread(until, lambda: core.leases._held, "it is told of when the parent is back")
            jobs.cancel()
            await asyncio.gather(jobs, return_exceptions=True)
            return before, bool(core.leases._held)

    def back() -> None:
        until((tmp_path / "now").exists, "the core runs", seconds=90)
        host.run("ip link add eth0 type veth peer name up0 netns outside && ip link set eth0 up && ip -n outside link set up0 up")

    thread = threading.Thread(target=back)
    thread.start()
    assert host.call(second) == (False, True)
    thread.join()
    server.kill()


@pytest.mark.req("X7")
def test_no_socket_stays_where_no_lease_comes(host: SimulatedHost, tmp_path: Path) -> None:
    Lan(host)
    host.add_namespace("c1")

    def sockets() -> int:
        return len([line for line in Path("/proc/self/net/packet").read_text().splitlines()[1:] if line.split()[3] == "0003"])

    async def inside() -> None:
        leases.PATIENCE = 1.0
        async with core_in(tmp_path) as core:
            jobs = asyncio.create_task(core.leases.run())
            await do(core, NetworkCreate(name="pub", driver="macvlan", ipam=DHCP, options={"parent": "eth0"}))
            before = sockets()
            with pytest.raises(Unavailable):
                await do(core, NetworkConnect(network="pub", container="netns:c1"))
            await asyncio.to_thread(until, lambda: sockets() == before, "the socket is closed where no server answers")
            (tmp_path / "now").touch()
            await asyncio.to_thread(until, (tmp_path / "served").exists, "there is a server", 90)
            leases.PATIENCE = 60.0
            await do(core, NetworkConnect(network="pub", container="netns:c1"))
            await asyncio.to_thread(until, lambda: sockets() == before + 1, "it is there while there is a lease")
            await do(core, NetworkDisconnect(network="pub", container="netns:c1"))
            await asyncio.to_thread(until, lambda: sockets() == before, "it is closed with the last lease")
            jobs.cancel()
            await asyncio.gather(jobs, return_exceptions=True)

    def serve() -> None:
        until((tmp_path / "now").exists, "nobody answered", seconds=90)
        served.append(Dnsmasq(host, tmp_path))
        (tmp_path / "served").touch()

    served: list[Dnsmasq] = []
    thread = threading.Thread(target=serve)
    thread.start()
    host.call(inside)
    thread.join()
    assert served[0].said("DHCPRELEASE") == 1, "which is sent before"
