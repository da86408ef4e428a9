"""Links where containers may not talk to each other: they open what they name, and nothing else. With real packets."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from helperd.bridge_settings import BridgeSettings
from helperd.configuration import Configuration
from helperd.core import Settings
from helperd.link_openings import opened
from helperd.plan import Step
from helperd.store import Change
from protocol.errors import KernelRefused
from protocol.model import ContainerLink
from protocol.requests import NetworkConnect, NetworkUpdate, PortPublish, PortWithdraw, Request
from tests.kernel.core_in_host import core_in, do, kernel_dump, stored
from tests.kernel.port_traffic import SERVE, Try, ask
from tests.kernel.test_faults import differences
from tests.running_helper import RunningHelper
from tests.simulated_host import SimulatedHost
from tests.waiting import until

pytestmark = pytest.mark.req("B5")
SHUT = 1.5  # seconds without an answer


@pytest.fixture
def helper(host: SimulatedHost, tmp_path: Path) -> Iterator[RunningHelper]:
    """A helper whose default bridge has both families and icc off."""
    host.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
    (tmp_path / "config.toml").write_text('icc = false\nbip = "10.20.0.1/16"\nfixed-cidr-v6 = "fd00:20::/64"\n')
    running = RunningHelper(host, tmp_path)
    running.start()
    try:
        yield running
    finally:
        running.close()


def run(helper: RunningHelper, name: str, *ports: int, **args: Any) -> None:
    """A container that serves `ports`, exposed or not."""
    helper.call("container.run", command=[sys.executable, "-c", SERVE, name, *map(str, ports or (7000,))], name=name, detach=True, **args)


def facts(helper: RunningHelper, name: str) -> tuple[str, str, str]:
    """(pid, IPv4 address, IPv6 address)."""
    found = helper.call("container.inspect", names=[name])[0]
    network = found["NetworkSettings"]["Networks"]["bridge"]
    return str(found["State"]["Pid"]), network["IPAddress"], network["GlobalIPv6Address"]


def answers(helper: RunningHelper, source: str, target: str, *tries: tuple[str, int]) -> list[list[bool]]:
    """Of each (protocol, port), whether `target` answers `source` by IPv4 and by IPv6, in a second and a half."""
    pid = facts(helper, source)[0]
    _, four, six = facts(helper, target)
    asked: list[Try] = [(protocol, address, port) for protocol, port in tries for address in (four, six)]
    found = ask(helper.host, "", asked, SHUT, within=["nsenter", "-t", pid, "-n"])
    sources = facts(helper, source)[1:]
    assert all(answer is None or answer == f"{target} {sources[number % 2]}" for number, answer in enumerate(found)), found
    return [[found[number] is not None, found[number + 1] is not None] for number in range(0, len(found), 2)]


def opens(helper: RunningHelper, source: str, target: str, *tries: tuple[str, int]) -> None:
    """Wait until all of `tries` are answered: what a container serves is there a moment after it has started."""
    until(lambda: answers(helper, source, target, *tries) == [[True, True]] * len(tries), f"{source} reaches {target}: {tries}")


def traces(helper: RunningHelper, *names: str) -> list[str]:
    """What there is of links: elements of the sets, routes in containers."""
    listed = helper.host.run("nft list set inet netdeck linked-4 && nft list set inet netdeck linked-6")
    found = [line.strip() for line in listed.splitlines() if " . tcp . " in line or " . udp . " in line]
    for name in names:
        for family in ("-4", "-6"):
            pid = facts(helper, name)[0]
            found += helper.host.run(["nsenter", "-t", pid, "-n", "ip", family, "route", "show", "proto", "171"]).splitlines()
    return [line for line in found if not line.startswith("default")]


def test_a_link_opens_what_the_other_exposes_and_nothing_else(helper: RunningHelper) -> None:
    run(helper, "db", 5432, 53, 9999, expose=["5432"], publish=["127.0.0.1:8053:53/udp"])
    plan = helper.command("run", "--dry-run", "--link", "db:store", "sleep", "9")
    assert "10.20.0.2:5432/tcp, by a link" in plan and "[fd00:20::2]:53/udp, by a link" in plan
    assert "add element inet netdeck linked-4 { 10.20.0.3 . 10.20.0.2 . tcp . 5432 }" in plan
    run(helper, "web", links=["db:store"])
    run(helper, "other")
    opens(helper, "web", "db", ("tcp", 5432), ("udp", 53))
    shut = [("tcp", 9999), ("udp", 5432), ("tcp", 53)]
    assert answers(helper, "web", "db", *shut) == [[False, False]] * 3
    assert answers(helper, "other", "db", ("tcp", 5432), ("udp", 53)) == [[False, False]] * 2
    assert answers(helper, "db", "web", ("tcp", 7000)) == [[False, False]]
    # Whoever sends by the host as the two do gets no further.
    _, four, six = facts(helper, "db")
    pid = facts(helper, "other")[0]
    helper.host.run(f"nsenter -t {pid} -n sh -c 'ip route add {four} via 10.20.0.1; ip -6 route add {six} via fd00:20::1'")
    assert answers(helper, "other", "db", ("tcp", 5432)) == [[False, False]]
    # Routers tell their neighbours of shorter ways: the two must not believe that there is one.
    for _ in range(3):
        opens(helper, "web", "db", ("tcp", 5432))
    # A helper that was killed, a table that was flushed.
    helper.kill()
    helper.host.run("nft flush ruleset")
    helper.start()
    opens(helper, "web", "db", ("tcp", 5432), ("udp", 53))
    assert answers(helper, "web", "db", *shut) == [[False, False]] * 3
    assert [entry for entry in helper.call("event.list") if entry["action"] == "repaired"] == []
    # What is published while both run opens too.
    helper.call("port.publish", container="db", ports=["9999"])
    opens(helper, "web", "db", ("tcp", 9999))
    helper.call("port.withdraw", container="db", ports=["9999"])
    assert answers(helper, "web", "db", ("tcp", 9999)) == [[False, False]]


def test_what_a_link_opens_goes_and_comes_with_both_and_with_icc(helper: RunningHelper) -> None:
    run(helper, "db", 5432, expose=["5432"])
    run(helper, "web", links=["db"])
    opens(helper, "web", "db", ("tcp", 5432))
    assert len(traces(helper, "web", "db")) == 6
    helper.call("container.remove", name="db", force=True)
    assert traces(helper, "web") == []
    run(helper, "db", 5432, expose=["5432"])
    opens(helper, "web", "db", ("tcp", 5432))
    helper.call("network.update", name="bridge", options={"icc": "true"})
    assert traces(helper, "web", "db") == []
    opens(helper, "web", "db", ("tcp", 5432))
    helper.call("network.update", name="bridge", options={"icc": "false"})
    assert len(traces(helper, "web", "db")) == 6
    opens(helper, "web", "db", ("tcp", 5432))
    helper.call("container.stop", name="web", timeout=0.1)
    assert traces(helper, "db") == []
    assert helper.call("doctor.list") == []


def test_a_link_that_can_open_nothing_says_so(helper: RunningHelper) -> None:
    run(helper, "bare")
    told = helper.command("run", "-d", "--link", "bare", "sleep", "600", check=False)
    assert "icc is off and bare exposes no port: the link opens nothing until one is published" in told
    assert traces(helper, "bare") == []


LINKED_CHANGES: dict[str, Request] = {
    "publish": PortPublish(container="c1", ports=("8080:80", "8081:81/udp")),
    "withdraw": PortWithdraw(container="c1", ports=("9000",)),
    "update": NetworkUpdate(name="bridge", options={"icc": "true"}),
}


@pytest.mark.parametrize("change", LINKED_CHANGES)
def test_a_fault_at_each_step_leaves_what_links_open_as_it_was(host: SimulatedHost, tmp_path: Path, change: str) -> None:
    for name in ("c1", "c2"):
        host.add_namespace(name)
    settings = msgspec.structs.replace(Settings(tmp_path / "state", tmp_path / "run"), configuration=Configuration(
        bridge=BridgeSettings(icc=False, bip="10.20.0.1/16", fixed_cidr_v6="fd00:20::/64")))

    async def inside() -> int:
        async with core_in(tmp_path, settings) as core:
            await do(core, NetworkConnect(network="bridge", container="netns:c2"))
            await do(core, NetworkConnect(network="bridge", container="netns:c1"))
            await do(core, PortPublish(container="netns:c1", ports=("9000:9000",)))
            # Only containers of netdeck's own are linked: these two pass for such.
            target, source = (core.records.container(f"netns:{name}") for name in ("c1", "c2"))
            assert target is not None and source is not None
            put = Change("test", 0, containers=(
                msgspec.structs.replace(target, runtime="netdeck", name="c1", ref="c1"),
                msgspec.structs.replace(source, runtime="netdeck", name="c2", ref="c2", links=(ContainerLink("c1", "c1"),))))
            await core.changes.carry_out(put)
            before = kernel_dump("c1", "c2"), stored(tmp_path)
            assert len(opened(core.records)) == 6 and "fd00:20::3" in str(before[0]["firewall"])

            dry: Any = await do(core, msgspec.structs.replace(LINKED_CHANGES[change], dry_run=True))
            steps = dry["plan"].steps
            assert any(step.object["object"] == "linked" for step in steps)
            for number in range(len(steps)):
                def fault(index: int, step: Step, number: int = number) -> None:
                    if index == number:
                        core.writer.fault = None
                        raise KernelRefused(f"step {index} was made to fail")
                core.writer.fault = fault
                with pytest.raises(KernelRefused, match="made to fail"):
                    await do(core, LINKED_CHANGES[change])
                assert differences(before[0], kernel_dump("c1", "c2")) == [] and before[1] == stored(tmp_path), number
            await do(core, LINKED_CHANGES[change])
            return len(opened(core.records))

    assert host.call(inside) == {"publish": 10, "withdraw": 0, "update": 0}[change]
