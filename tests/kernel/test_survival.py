"""The helper ends in every way there is; networks, containers and their traffic stay, and nothing half-made is left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from drivers.objects import AnyObject, PortSocket
from helperd.core import Core
from helperd.repair import Repair
from protocol.errors import NetdeckError
from protocol.requests import (
    ContainerRemove,
    ContainerRun,
    NetworkConnect,
    NetworkCreate,
    NetworkDisconnect,
    NetworkRemove,
    PortPublish,
    PortWithdraw,
    Request,
)
from tests.kernel.core_in_host import STREAM, core_in, do
from tests.kernel.test_networks import attach
from tests.running_helper import ROOT, RunningHelper
from tests.simulated_host import HostError, SimulatedHost
from tests.waiting import LONGEST_SECONDS

pytest_plugins = ("tests.kernel.helper_fixtures",)
KILLS = 200


@pytest.mark.req("W3", "B2")
def test_traffic_goes_on_while_the_helper_is_down(helper: RunningHelper) -> None:
    helper.call("network.create", name="a")
    attach(helper, "a", "c1")
    attach(helper, "a", "c2", ip="172.18.9.9")
    inside = helper.host.popen(["ping", "-n", "-i", "0.02", "-c", "250", "172.18.9.9"], netns="c1")
    outside = helper.host.popen(["ping", "-n", "-i", "0.02", "-c", "250", "192.0.2.1"], netns="c2")
    time.sleep(1)
    helper.kill()
    time.sleep(0.5)
    helper.start()
    for ping in (inside, outside):
        out, _ = ping.communicate(timeout=30)
        assert " 0% packet loss" in out, out


@pytest.mark.req("W3", "I15")
def test_everything_comes_back_after_a_restart(helper: RunningHelper) -> None:
    helper.call("network.create", name="a", options={"icc": "false"}, labels={"x": "y"})
    attach(helper, "a", "c1", aliases=["web"])
    run = helper.call("container.run", command=["sleep", "600"], networks=["a"], name="s1", detach=True)["container"]
    short = helper.call("container.run", command=["sleep", "600"], networks=["a"], name="s2", detach=True)["container"]
    before = helper.call("network.inspect", names=["a", "bridge"])
    helper.kill()
    pid = helper.host.run(["pgrep", "-f", "sleep 600"]).split()
    assert len(pid) >= 2
    helper.start()
    assert helper.call("network.inspect", names=["a", "bridge"]) == before
    assert helper.call("container.inspect", names=["s1"])[0]["State"]["Pid"] == run["pid"]
    # One that ends while nobody looks gives back what it had.
    helper.kill()
    helper.host.run(["kill", "-9", str(short["pid"])])
    helper.start()
    members = helper.call("network.inspect", names=["a"])[0]["Containers"]
    assert sorted(item["Name"] for item in members.values()) == ["netns:c1", "s1"]
    assert helper.call("container.inspect", names=["s2"])[0]["State"]["ExitCode"] == 137
    assert helper.call("container.stop", name="s1", timeout=0.1)["exit_code"] in (137, 143)


@pytest.mark.req("W3")
def test_a_second_helper_refuses_to_start(helper: RunningHelper) -> None:
    said = helper.host.run(
        ["env", f"PYTHONPATH={ROOT}", sys.executable, "-P", "-m", "helperd", "--socket", helper.socket, "--state-dir",
         str(helper.folder / "state"), "--run-dir", str(helper.folder / "run")], check=False, timeout=20)
    assert said.startswith("netdeck helper: another helper") and "stop it first" in said, said
    assert helper.call("info")["networks"] == 3


@pytest.mark.req("W3")
def test_a_front_that_dies_is_started_anew_and_nobody_notices(helper: RunningHelper) -> None:
    helper.call("network.create", name="a")
    fronts = helper.host.run(["pgrep", "-f", "helperd.front"]).split()
    helper.host.run(["kill", "-9", *fronts])
    assert "a" in {item["name"] for item in helper.call("network.list")}
    assert not set(fronts) & set(helper.host.run(["pgrep", "-f", "helperd.front"]).split())


@pytest.mark.req("W3")
def test_it_works_from_a_directory_that_only_root_may_enter(host: SimulatedHost, tmp_path: Path) -> None:
    """A checkout in root's home: the front has another user, and of the core's few capabilities none that reads there."""
    home = tmp_path / "home"
    for room in ("protocol", "drivers", "helperd"):
        shutil.copytree(ROOT / room, home / room, ignore=shutil.ignore_patterns("__pycache__"))
    home.chmod(0o700)
    helper = RunningHelper(host, tmp_path)
    try:
        helper.start({"PYTHONPATH": str(home), "PYTHONSAFEPATH": "1"})
        (front,) = helper.host.run(["pgrep", "-f", "helperd.front"]).split()
        status = helper.host.run(["cat", f"/proc/{front}/status"])
        assert re.search(r"^CapEff:\s0+$", status, re.M) and not re.search(r"^Uid:\s0\b", status, re.M), status
        ran = helper.call("container.run", command=["grep", "CapBnd", "/proc/self/status"], networks=["none"])
        assert ran["exit_code"] == 0
    finally:
        helper.close()


async def check(core: Core) -> None:
    """Kernel against store, both ways."""
    desired = set(core.records.desired())
    end = time.monotonic() + LONGEST_SECONDS
    while True:
        observed: set[AnyObject] = set(await core.observer.observe(Repair(core.changes, core.firewall, core.live.world).places(), desired))
        if observed == desired or time.monotonic() > end:
            break
        if observed < desired and all(isinstance(item, PortSocket) for item in desired - observed):
            # The relay of the helper that was killed had a port a moment longer: `Ports.run`, which nobody runs here, sees to that.
            async with core.changes.lock:
                await core.repair.reconcile()
        await asyncio.sleep(0.05)
    assert observed == desired, f"too much: {observed - desired}\nmissing: {desired - observed}"
    assert not core.store.journal()
    assert await core.firewall.intact()
    running = {item.pid for item in core.records.containers.values() if item.runtime == "netdeck" and item.status == "running"}
    sleepers = {int(item) for item in os.listdir("/proc") if item.isdigit() and _command(item).startswith("sleep 7")}
    assert sleepers == running, (sleepers, running)


def _command(pid: str) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return ""


def _next(core: Core, dice: random.Random) -> Request | None:
    networks = [item for item in core.records.networks.values() if not item.predefined]
    mine = [item for item in core.records.containers.values() if item.runtime == "netdeck"]
    space = f"netns:n{dice.randrange(4)}"
    kinds = ["create"] * 2 + ["connect"] * 4 * bool(networks) + ["disconnect"] * 2 * bool(networks) + ["remove"] * bool(networks)
    kinds += ["run"] * (len(mine) < 4) + ["rm"] * bool(mine)
    attached = sorted({core.records.containers[item.container].ref for item in core.records.endpoints.values()})
    kinds += ["publish"] * 3 * bool(attached) + ["withdraw"] * bool(attached)
    match dice.choice(kinds):
        case "create":
            return NetworkCreate(name=f"net{dice.randrange(6)}", ipv6=dice.random() < 0.5, internal=dice.random() < 0.2)
        case "connect":
            return NetworkConnect(network=dice.choice(networks).name, container=space)
        case "disconnect":
            return NetworkDisconnect(network=dice.choice(networks).name, container=space)
        case "remove":
            return NetworkRemove(name=dice.choice(networks).name)
        case "publish":
            port = f"{dice.randrange(8080, 8100)}:{dice.randrange(80, 90)}{dice.choice(('', '/udp'))}"
            return PortPublish(container=dice.choice(attached), ports=(dice.choice(("", "127.0.0.1:")) + port,))
        case "withdraw":
            return PortWithdraw(container=dice.choice(attached), all=True)
        case "run":
            return ContainerRun(command=("sleep", "7777"), detach=True,
                                networks=(dice.choice(networks).name,) if networks else ())
        case _:
            return ContainerRemove(name=dice.choice(mine).name, force=True)


async def _do(core: Core, request: Request) -> Any:
    from helperd.changes import CallContext

    if isinstance(request, ContainerRun):
        return await core.runs.run(request, CallContext(user="root"), STREAM)
    if isinstance(request, ContainerRemove):
        return await core.runs.remove(request, CallContext(user="root"), STREAM)
    return await do(core, request)


@pytest.mark.slow
@pytest.mark.req("W3", "B2", "B6", "B9")
@pytest.mark.timeout(900)
def test_two_hundred_kills_leave_nothing_half_made(host: SimulatedHost, tmp_path: Path) -> None:
    for number in range(4):
        host.add_namespace(f"n{number}")

    async def round_of(seed: int, last: bool) -> str:
        dice = random.Random(seed)
        done = 0
        async with core_in(tmp_path) as core:
            await check(core)
            if last:
                return f"{len(core.records.networks)} networks"
            delay = dice.random() * 0.25

            def kill() -> None:
                time.sleep(delay)
                os.kill(os.getpid(), signal.SIGKILL)

            threading.Thread(target=kill, daemon=True).start()
            while True:
                request = _next(core, dice)
                if request is not None:
                    with contextlib.suppress(NetdeckError):
                        await _do(core, request)
                        done += 1

    for number in range(KILLS):
        with pytest.raises(HostError, match="ended without an answer"):
            host.call(round_of, number, False)
    assert re.search(r"networks", host.call(round_of, KILLS, True))
