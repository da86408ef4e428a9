"""Faults and SIGKILL at each step of every change on ipvlan, and on VLAN parents of both drivers. On a plain parent macvlan has the same in
tests/kernel/test_faults.py and test_child_recovery.py, with more looked at: here each program that is started costs."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from helperd.core import Core
from helperd.kernel.link_state import all_addresses, all_links, all_routes
from helperd.kernel.namespaces import identify, netlink_socket
from helperd.plan import Step
from helperd.repair import Repair
from protocol.errors import Internal, KernelRefused, NetdeckError
from protocol.requests import NetworkConnect, NetworkCreate, NetworkDisconnect, NetworkRemove, Request, SubnetRequest
from tests.kernel.core_in_host import core_in, do, stored
from tests.simulated_host import HostError, SimulatedHost

C1 = "netns:c1"
STAGES = ("apply", "verify", "finish")


def life(driver: str, parent: str, *, ipv6: bool = True, **options: str) -> list[Request]:
    """All that becomes of a network: made, joined, left and removed."""
    subnets = (SubnetRequest(subnet="10.7.0.0/24"), *((SubnetRequest(subnet="fd00:7::/64"),) if ipv6 else ()))
    create = NetworkCreate(name="m", driver=driver, ipv6=ipv6, options={"parent": parent, **options}, subnets=subnets)
    return [create, NetworkConnect(network="m", container=C1), NetworkDisconnect(network="m", container=C1), NetworkRemove(name="m")]


LIVES = {"ipvlan on a link": life("ipvlan", "link0", ipvlan_mode="l3"), "ipvlan on a VLAN": life("ipvlan", "trunk0.20"),
         "macvlan on a VLAN": life("macvlan", "trunk0.20")}


def dump() -> list[Any]:
    """What the kernel holds in the host and in the container, by netlink: links, addresses, routes."""
    found: list[Any] = []
    for place in (None, identify("/run/netns/c1")):
        with netlink_socket(place) as sock:
            names = {link.index: link.name for link in all_links(sock)}
            found += sorted((link.name, link.kind, link.up, link.mtu, link.alias, link.group, link.vlan, link.mode, link.flag)
                            for link in all_links(sock))
            found += sorted((names[item.index], item.prefix) for item in all_addresses(sock) if not item.prefix.startswith("fe80:"))
            found += sorted((item.destination, item.gateway, names.get(item.index, ""), item.metric) for item in all_routes(sock))
    return found


def prepare(host: SimulatedHost) -> None:
    host.add_namespace("c1")
    host.run("for link in trunk0 link0; do ip link add $link type veth peer name far$link && ip link set $link up && "
             "ip link set far$link up; done")


@pytest.mark.req("X1", "I1", "I7", "M1", "M2")
@pytest.mark.timeout(600)
def test_a_fault_at_each_step_is_taken_back(host: SimulatedHost, tmp_path: Path) -> None:
    prepare(host)

    async def inside() -> dict[str, int]:
        counted: dict[str, int] = {}
        async with core_in(tmp_path) as core:
            for name, requests in LIVES.items():
                for request in requests:
                    counted[f"{name}: {type(request).__name__}"] = await _each_fault(core, request, tmp_path)
                    await do(core, request)
        return counted

    counted = host.call(inside)
    assert len(counted) == 12 and counted["ipvlan on a VLAN: NetworkCreate"] == 3, counted
    assert counted["ipvlan on a link: NetworkConnect"] >= 5, counted


async def _each_fault(core: Core, request: Request, folder: Path) -> int:
    before = dump(), stored(folder)
    dry: Any = await do(core, msgspec.structs.replace(request, dry_run=True))
    steps = len(dry["plan"].steps)

    async def expect(stage: object, error: type[NetdeckError]) -> None:
        with pytest.raises(error, match="made to fail"):
            await do(core, request)
        assert (dump(), stored(folder)) == before, (request, stage)

    for number in range(steps):
        def fault(index: int, step: Step, number: int = number) -> None:
            if index == number:
                core.writer.fault = None  # the way back goes well
                raise KernelRefused("made to fail")
        core.writer.fault = fault
        await expect(number, KernelRefused)
    core.writer.fault = None
    for stage in STAGES if steps else ("apply", "finish"):  # on a parent that is there, a network itself needs nothing
        def failing(at: str, stage: str = stage) -> None:
            if at == stage:
                raise RuntimeError("made to fail")
        core.changes.fault = failing
        await expect(stage, Internal)
    core.changes.fault = lambda at: None
    return steps


@pytest.mark.req("W3", "I15", "I7")
@pytest.mark.timeout(600)
def test_killed_at_each_step(host: SimulatedHost, tmp_path: Path) -> None:
    """Each process finds what the one before left when it was killed, puts it right, and is killed at the step behind."""
    prepare(host)
    requests = life("ipvlan", "trunk0.20", ipv6=False)

    async def whole(core: Core) -> None:
        desired = set(core.records.desired())
        places = {**Repair(core.changes, core.firewall, core.live.world).places(), "c1": identify("/run/netns/c1")}
        observed = set(await core.observer.observe(places, desired))
        assert observed == desired, f"too much: {observed - desired}, missing: {desired - observed}"
        assert not core.store.journal()

    async def killed(request: Request, number: int) -> str:
        """At step `number`; behind the last, between apply and commit. Says so where there is no such step any more."""
        async with core_in(tmp_path) as core:
            await whole(core)
            if isinstance(request, NetworkDisconnect | NetworkRemove) and number:  # a removal that was cut off is done to its end
                for earlier in requests[:2 if isinstance(request, NetworkDisconnect) else 1]:
                    if not (core.records.endpoints if isinstance(earlier, NetworkConnect) else _made(core)):
                        await do(core, earlier)
            dry: Any = await do(core, msgspec.structs.replace(request, dry_run=True))
            steps = len(dry["plan"].steps)
            if number <= steps:
                core.writer.fault = lambda index, step: _die() if index == number else None
                core.changes.fault = lambda stage: _die() if stage == "finish" else None
            await do(core, request)
            return f"{steps} steps"

    kills = 0
    for request in requests:
        for number in range(30):
            try:
                said = host.call(killed, request, number)
            except HostError as error:
                assert "ended without an answer" in str(error), error
                kills += 1
                continue
            assert said.endswith("steps") and number >= 1, (request, number, said)
            break
    assert kills >= 12 and host.call(_links_of_ours) == []


def _made(core: Core) -> bool:
    return any(item.name == "m" for item in core.records.networks.values())


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _links_of_ours() -> list[str]:
    found: list[str] = []
    for place in (None, identify("/run/netns/c1")):
        with netlink_socket(place) as sock:
            found += [link.name for link in all_links(sock) if link.ours and link.name != "netdeck0"]
    return found
