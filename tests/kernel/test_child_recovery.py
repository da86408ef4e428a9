"""SIGKILL at each step of an attachment to a link of the host: what is left is in the container, where nothing on the host shows it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from drivers.objects import Uplink
from helperd.kernel.netlink_batch import one
from helperd.plan import Step
from helperd.repair import Repair
from helperd.store import Change
from protocol.requests import NetworkConnect, NetworkCreate, NetworkDisconnect, NetworkRemove, SubnetRequest
from tests.kernel.core_in_host import core_in, do
from tests.simulated_host import HostError, SimulatedHost

CREATE = NetworkCreate(name="m", driver="macvlan", options={"parent": "parent0"}, subnets=(SubnetRequest(subnet="10.7.0.0/24"),))
CONNECT = NetworkConnect(network="m", container="netns:c1")
DISCONNECT = NetworkDisconnect(network="m", container="netns:c1")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.req("W3", "I15", "B6")
@pytest.mark.parametrize("change", ["connect", "disconnect"])
def test_killed_at_each_step(host: SimulatedHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    host.add_namespace("c1")
    host.run("ip link add parent0 type veth peer name parent1 && ip link set parent0 up && ip link set parent1 up")

    async def prepared() -> int:
        async with core_in(tmp_path) as core:
            if not any(item.name == "m" for item in core.records.networks.values()):
                await do(core, CREATE)
            if change == "disconnect" and not core.records.endpoints:
                await do(core, CONNECT)
            if change == "connect" and core.records.endpoints:
                await do(core, DISCONNECT)
            request = CONNECT if change == "connect" else DISCONNECT
            answer: Any = await do(core, type(request)(network="m", container="netns:c1", dry_run=True))
            return len(answer["plan"].steps)

    async def killed(number: int) -> None:
        async with core_in(tmp_path) as core:
            def fault(index: int, step: Step) -> None:
                if index == number:
                    die()
            core.writer.fault = fault
            if number == -1:  # between the making of the link and its naming
                counted = 0

                def once(*args: Any) -> None:
                    nonlocal counted
                    counted += 1
                    if counted == 2:
                        die()
                    one(*args)
                monkeypatch.setattr("helperd.kernel.child_steps.one", once)
            core.changes.fault = lambda stage: die() if stage == "finish" and number >= 100 else None
            await do(core, CONNECT if change == "connect" else DISCONNECT)

    async def whole() -> tuple[int, str]:
        async with core_in(tmp_path) as core:
            desired = set(core.records.desired())
            observed = set(await core.observer.observe(Repair(core.changes, core.firewall, core.live.world).places(), desired))
            assert observed == desired, f"too much: {observed - desired}, missing: {desired - observed}"
            return len(core.records.endpoints), "ok"

    steps = host.call(prepared)
    assert steps > 0
    for number in (*range(steps), 100, *((-1,) if change == "connect" else ())):
        host.call(prepared)
        with pytest.raises(HostError, match="ended without an answer"):
            host.call(killed, number)
        endpoints, _ = host.call(whole)
        inside = host.run("ip -br link", netns="c1").splitlines()
        assert len(inside) == 1 + endpoints, (number, inside)


@pytest.mark.req("W3", "B7", "B2")
@pytest.mark.parametrize("change", ["create", "remove"])
def test_an_uplink_is_given_back_as_it_was_when_killed_at_a_step(host: SimulatedHost, tmp_path: Path, change: str) -> None:
    """It is not netdeck's and bears no mark: after a kill only the journal knows that it was brought up."""
    host.run("ip link add up0 type veth peer name far0 && ip link set far0 up")
    site = NetworkCreate(name="site", options={"uplink": "up0"}, subnets=(SubnetRequest(subnet="10.6.0.0/24"),))

    async def killed(number: int) -> None:
        async with core_in(tmp_path) as core:
            if change == "remove":
                await do(core, site)
            core.writer.fault = lambda index, step: die() if index == number else None
            await do(core, site if change == "create" else NetworkRemove(name="site"))

    async def started() -> list[str]:
        async with core_in(tmp_path) as core:
            return [item.name for item in core.records.networks.values()]

    async def steps() -> list[Step]:
        async with core_in(tmp_path) as core:
            making = Change("network.create", 0, networks=(core.networks._wanted(site, 0),))
            if change == "create":
                return list(core.changes.steps(making))
            await do(core, site)
            going = core.changes.steps(core.networks._removal(core.records.network("site"), 0))
            await do(core, NetworkRemove(name="site"))
            return list(going)

    planned = host.call(steps)
    at = next(number for number, step in enumerate(planned) if isinstance(step.object, Uplink))
    for number in (at, at + 1):
        with pytest.raises(HostError, match="ended without an answer"):
            host.call(killed, number)
        assert "site" not in host.call(started)
        (row,) = json.loads(host.run("ip -j link show up0"))
        assert "UP" not in row["flags"] and "master" not in row, (number, row)


@pytest.mark.req("I15", "M1")
def test_what_works_is_not_taken_away_where_it_can_not_be_made_anew(host: SimulatedHost, tmp_path: Path) -> None:
    """A parent has another name for a while: all on it goes on, also through a start of the helper."""
    host.add_namespace("c1")
    host.run("ip link add parent0 type veth peer name parent1 && ip link set parent0 up && ip link set parent1 up")

    async def made() -> None:
        async with core_in(tmp_path) as core:
            await do(core, CREATE)
            await do(core, CONNECT)

    async def told() -> list[str]:
        async with core_in(tmp_path) as core:
            return [row.text for row in core.live.world.events() if row.action == "repair failed"]

    host.call(made)
    before = host.run("ip -o link; ip -o addr; ip route", netns="c1")
    host.run("ip link set parent0 name other0")
    assert host.call(told) == ["links on parent0 can't be made anew, for it is gone: what there is stays as it is until it is back"]
    assert host.run("ip -o link; ip -o addr; ip route", netns="c1") == before
    host.run("ip link set other0 name parent0")
    assert host.call(told) == [] and host.run("ip -o link; ip -o addr; ip route", netns="c1") == before
    # Another link in its place is another wire.
    host.run("ip link set parent0 name other0 && ip link add parent0 type veth peer name parent2 && ip link set parent0 up")
    assert host.call(told) == [] and host.run("ip -o link", netns="c1") != before
    assert "eth0@" in host.run("ip -o link", netns="c1")
