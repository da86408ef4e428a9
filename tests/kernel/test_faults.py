"""A fault at each step of each change: an error in words, and kernel, store and pools as before."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from helperd.changes import CallContext, Changes
from helperd.core import Core
from helperd.plan import Step
from protocol.errors import Internal, KernelRefused, NetdeckError
from protocol.requests import (
    AddressRelease,
    NetworkConnect,
    NetworkCreate,
    NetworkDisconnect,
    NetworkHostAccess,
    NetworkRemove,
    NetworkUpdate,
    PortPublish,
    PortWithdraw,
    Request,
    SubnetRequest,
)
from tests.kernel.core_in_host import STREAM, core_in, do, kernel_dump, stored
from tests.running_helper import ROOT
from tests.simulated_host import SimulatedHost
from tests.waiting import LONGEST_SECONDS

STAGES = ("apply", "verify", "finish")
CREATE = NetworkCreate(name="a", ipv6=True, subnets=(SubnetRequest(subnet="10.8.0.0/24"), SubnetRequest(subnet="fd00:8::/64")),
                       options={"name": "web0", "icc": "false"})
OTHER = NetworkCreate(name="b", subnets=(SubnetRequest(subnet="10.9.0.0/24"),))
CONNECT = NetworkConnect(network="a", container="netns:c1")
PUBLISH = PortPublish(container="netns:c1", ports=("8080:80", "8080:80/udp", "127.0.0.1:9000-9001:90-91"))
ON_PARENT = NetworkCreate(name="m", driver="macvlan", ipv6=True, options={"parent": "parent0"},
                          subnets=(SubnetRequest(subnet="10.7.0.0/24"), SubnetRequest(subnet="fd00:7::/64")))
UPLINKED = NetworkCreate(name="u", ipam="dhcp", options={"uplink": "parent0"})
JOIN = NetworkConnect(network="m", container="netns:c1")
SCENARIOS: dict[str, tuple[list[Request], Request]] = {
    "create": ([], CREATE),
    "connect": ([CREATE], CONNECT),
    "connect a second": ([CREATE, OTHER, NetworkConnect(network="b", container="netns:c1")], CONNECT),
    "disconnect": ([CREATE, CONNECT], NetworkDisconnect(network="a", container="netns:c1")),
    "disconnect the one with the route": ([CREATE, OTHER, CONNECT, NetworkConnect(network="b", container="netns:c1")],
                                          NetworkDisconnect(network="a", container="netns:c1")),
    "connect to a macvlan": ([ON_PARENT, CREATE, CONNECT], JOIN),
    "disconnect from a macvlan": ([ON_PARENT, JOIN, CREATE, CONNECT], NetworkDisconnect(network="m", container="netns:c1")),
    "host access on": ([ON_PARENT, JOIN], NetworkHostAccess(name="m", on=True)),
    "host access off": ([ON_PARENT, JOIN, NetworkHostAccess(name="m", on=True)], NetworkHostAccess(name="m", on=False)),
    "connect where the host has access": ([ON_PARENT, NetworkHostAccess(name="m", on=True)], JOIN),
    "create with an uplink": ([], UPLINKED),
    "remove with an uplink": ([UPLINKED], NetworkRemove(name="u")),
    "remove": ([CREATE], NetworkRemove(name="a")),
    "update": ([CREATE, OTHER, CONNECT, NetworkConnect(network="b", container="netns:c1")], NetworkUpdate(
        name="a", options={"mtu": "1400", "icc": "true", "masquerade": "false"}, labels={"x": "y"}, subnets=("10.10.0.0/24",),
        aux={"printer": "10.8.0.9"})),
    "update to internal": ([CREATE, CONNECT], NetworkUpdate(name="a", internal=True)),
    "update with a family more": ([OTHER, NetworkConnect(network="b", container="netns:c1")],
                                  NetworkUpdate(name="b", subnets=("fd00:9::/64",))),
    "publish": ([CREATE, CONNECT], PUBLISH),
    "withdraw": ([CREATE, CONNECT, PUBLISH], PortWithdraw(container="netns:c1", ports=("80", "9000:90"))),
    "connect to a network that ports move to": ([OTHER, NetworkConnect(network="b", container="netns:c1"), PUBLISH, CREATE], CONNECT),
    "disconnect from a network that ports move from": (
        [CREATE, OTHER, CONNECT, NetworkConnect(network="b", container="netns:c1"), PUBLISH],
        NetworkDisconnect(network="a", container="netns:c1")),
}


@pytest.mark.req("X1", "B2", "B6", "B9")
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_fault_at_each_step_is_taken_back(host: SimulatedHost, tmp_path: Path, scenario: str) -> None:
    host.add_namespace("c1")
    host.run("ip link add parent0 type veth peer name parent1 && ip link set parent0 up && ip link set parent1 up")
    before_it, change = SCENARIOS[scenario]

    async def inside() -> list[str]:
        async with core_in(tmp_path) as core:
            for request in before_it:
                await do(core, request)
            return await told_at_each_fault(core, tmp_path, change)

    told = host.call(inside)
    assert len(told) > 3 and all("made to fail" in line for line in told)


async def told_at_each_fault(core: Core, folder: Path, change: Request, about: str = "", stages: Sequence[str] = STAGES,
                             look: Callable[[], Any] = lambda: kernel_dump("c1")) -> list[str]:
    """Let `change` fail at each of its steps that speaks of `about`, and at each stage, which must leave all that `look` sees as it was;
    then carry it out. What each failure said."""
    told: list[str] = []
    # How the host is beforehand, and the fixed points that no step of the change may leave behind.
    before = look(), stored(folder)

    async def expect(stage: str, error: type[NetdeckError]) -> None:
        with pytest.raises(error) as caught:
            await do(core, change)
        told.append(f"{stage}: {caught.value.message}")
        after = look(), stored(folder)
        assert not (lines := differences(before[0], after[0])), (stage, lines)
        assert before[1] == after[1], stage

    dry: Any = await do(core, _dry(change))
    numbers = [number for number, step in enumerate(dry["plan"].steps) if re.search(about, step.text)]
    assert numbers
    for number in numbers:
        def fault(index: int, step: Step, number: int = number) -> None:
            if index == number:
                core.writer.fault = None  # the way back goes well
                raise KernelRefused(f"step {index} was made to fail")
        core.writer.fault = fault
        await expect(f"step {number}", KernelRefused)
    core.writer.fault = None
    for stage in stages:
        def failing(at: str, stage: str = stage) -> None:
            if at == stage:
                raise RuntimeError(f"{stage} was made to fail")
        _set_fault(core.changes, failing)
        await expect(stage, Internal)
    _set_fault(core.changes, lambda at: None)
    await do(core, change)
    assert differences(before[0], look())
    return told


def _dry(request: Request) -> Request:
    return msgspec.structs.replace(request, dry_run=True)


def _set_fault(changes: Changes, fault: Any) -> None:
    changes.fault = fault


# What the kernel counts up or lets follow later: a link that is made again has a new number, a carrier comes after its port,
# the near end of a veth has a random address, a bridge's offload limits are those of its ports.
_MOVES = frozenset({
    "ifindex", "link_index", "link_netnsid", "operstate", "flags", "index", "no", "id", "address", "link", "bridge_id", "root_id",
    "tso_max_size", "tso_max_segs", "gso_max_size", "gso_max_segs", "gso_ipv4_max_size", "gro_max_size", "gro_ipv4_max_size",
})


def differences(before: Any, after: Any, at: str = "") -> list[str]:
    """Where two dumps differ, a line each."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [line for key in {**before, **after} if key not in _MOVES
                for line in differences(before.get(key), after.get(key), f"{at}/{key}")]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [line for number, pair in enumerate(zip(before, after, strict=True)) for line in differences(*pair, f"{at}/{number}")]
    return [] if before == after else [f"{at}: {before} became {after}"]


_MARKED = """
from helperd.kernel.link_messages import new_address
from helperd.kernel.link_state import index_of
from helperd.kernel.namespaces import netlink_socket
from helperd.kernel.netlink_batch import one
with netlink_socket() as sock:
    for prefix in ("10.8.0.66/24", "fd00:8::66/64"):
        one(sock, new_address(index_of(sock, "eth0"), prefix))
"""


@pytest.mark.req("X8")
def test_a_fault_while_leaked_addresses_are_given_free_is_taken_back(host: SimulatedHost, tmp_path: Path) -> None:
    host.add_namespace("c1")
    release = AddressRelease(leaked=True)

    async def inside() -> int:
        async with core_in(tmp_path) as core:
            await do(core, CREATE)
            await do(core, CONNECT)
        with contextlib.closing(sqlite3.connect(tmp_path / "state" / "state.db")) as db, db:
            network, endpoint = db.execute("SELECT network, endpoint FROM leases WHERE address LIKE '10.8.%'").fetchone()
            db.execute("INSERT INTO leases VALUES (?, ?, ?)", (network, "10.8.0.67", endpoint))
        async with core_in(tmp_path) as core:
            await asyncio.to_thread(subprocess.run, ["ip", "netns", "exec", "c1", sys.executable, "-c", _MARKED], check=True,
                                    env={"PYTHONPATH": str(ROOT), **os.environ})

            def listed(answer: Any) -> set[str]:
                return {row["address"] for row in answer["released"]}

            async def ask(request: AddressRelease) -> Any:
                return await core.addresses.release(request, CallContext(user="root"), STREAM)

            dry: Any = {"released": ()}
            end = time.monotonic() + LONGEST_SECONDS
            while len(dry["released"]) < 3 and time.monotonic() < end:  # the kernel tells of the addresses in its time
                dry = await ask(msgspec.structs.replace(release, dry_run=True))
                await asyncio.sleep(0.05)
            assert listed(dry) == {"10.8.0.66", "10.8.0.67", "fd00:8::66"}
            before = kernel_dump("c1"), stored(tmp_path)
            steps = len(dry["plan"].steps)
            for number in range(steps):
                def fault(index: int, step: Step, number: int = number) -> None:
                    if index == number:
                        core.writer.fault = None
                        raise KernelRefused(f"step {index} was made to fail")
                core.writer.fault = fault
                with pytest.raises(KernelRefused, match="made to fail"):
                    await ask(release)
                assert not differences(before[0], kernel_dump("c1")) and before[1] == stored(tmp_path), number
            core.writer.fault = None
            for stage in ("apply", "verify", "finish"):
                def failing(at: str, stage: str = stage) -> None:
                    if at == stage:
                        raise RuntimeError(f"{stage} was made to fail")
                _set_fault(core.changes, failing)
                with pytest.raises(Internal, match="made to fail"):
                    await ask(release)
                assert not differences(before[0], kernel_dump("c1")) and before[1] == stored(tmp_path), stage
            _set_fault(core.changes, lambda at: None)
            assert listed(await ask(release)) == listed(dry)
            left = str(kernel_dump("c1")["c1 -j addr"])
            assert not any(f"'{address}'" in left for address in listed(dry))
        return steps

    assert host.call(inside) == 2
