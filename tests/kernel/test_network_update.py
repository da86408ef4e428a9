"""A network changed in place, with containers that run and real packets through them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from protocol.errors import Conflict, InUse, InvalidValue, NetdeckError, NotFound
from protocol.requests import NetworkConnect, NetworkCreate, NetworkUpdate
from tests.kernel.core_in_host import core_in, do
from tests.kernel.test_networks import address, attach, reaches
from tests.kernel.test_survival import check
from tests.running_helper import RunningHelper
from tests.simulated_host import HostError, SimulatedHost
from tests.waiting import until

pytest_plugins = ("tests.kernel.helper_fixtures",)
pytestmark = pytest.mark.req("X15")


def link(helper: RunningHelper, name: str, netns: str = "") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(helper.host.run(f"ip -d -j link show {name}", netns=netns))[0]
    return found


def test_settings_reach_every_link_and_come_back(helper: RunningHelper) -> None:
    helper.call("network.create", name="a", options={"name": "web0"}, labels={"team": "ops", "tier": "front"})
    ends = {name: attach(helper, "a", name)["host_link"] for name in ("c1", "c2")}
    before = helper.host.run("ip route", netns="c1")
    dry = helper.call("network.update", name="a", options={"mtu": "1400"}, dry_run=True)
    assert link(helper, "web0")["mtu"] == 1500 and dry["changes"] == ["mtu: 1500 -> 1400"] and len(dry["plan"]["steps"]) == 3
    done = helper.call("network.update", name="a", options={"com.docker.network.driver.mtu": "1400", "icc": "false"},
                       labels={"team": "web"}, remove_labels=["tier"])
    assert done["changes"] == ["mtu: 1500 -> 1400", "icc: true -> false", "label team: ops -> web", "label tier removed"]
    for name, near in ends.items():
        assert [link(helper, "web0")["mtu"], link(helper, near)["mtu"], link(helper, "eth0", name)["mtu"]] == [1400] * 3
        assert link(helper, near)["linkinfo"]["info_slave_data"]["isolated"] is True
    assert helper.host.run("ip route", netns="c1") == before
    assert not reaches(helper, "c1", helper.host.run("ip -4 -br addr show eth0", netns="c2").split()[2].partition("/")[0])
    assert helper.call("network.inspect", names=["a"])[0]["Labels"] == {"team": "web"}
    entry = [item for item in helper.call("event.list") if item["kind"] == "network" and item["subject"] == "a"][-1]
    assert entry["action"] == "changed" and "mtu: 1500 -> 1400; icc: true -> false; label team: ops -> web" in entry["text"]
    helper.kill()
    helper.start()
    assert helper.call("network.inspect", names=["a"])[0]["Options"]["mtu"] == "1400"
    again = helper.call("network.update", name="a", options={"mtu": "", "icc": ""})
    assert again["changes"] == ["mtu: 1400 -> 1500", "icc: false -> true"]
    assert link(helper, "eth0", "c2")["mtu"] == 1500 and reaches(helper, "c1", "192.0.2.1")
    assert helper.call("network.update", name="a", options={"mtu": "1500"})["changes"] == []


def test_no_packet_is_lost_while_the_network_changes(helper: RunningHelper) -> None:
    helper.call("network.create", name="a")
    attach(helper, "a", "c1")
    peer = address(attach(helper, "a", "c2"))
    for name in ("c3", "c4", "c5"):
        attach(helper, "a", name)
    pings = [helper.host.popen(["ping", "-n", "-q", "-i", "0.002", "-c", "1500", target], netns=name)
             for name, target in (("c1", peer), ("c2", "192.0.2.1"))]
    updates: list[dict[str, Any]] = [
        {"options": {"mtu": "9000"}}, {"options": {"mtu": "1400"}}, {"subnets": ["10.50.0.0/24", "fd00:50::/64"]},
        {"aux": {"printer": "172.18.200.1"}, "labels": {"a": "b"}}, {"options": {"mtu": "1500"}}, {"remove_subnets": ["10.50.0.0/24"]}]
    for change in updates:
        assert helper.call("network.update", name="a", **change)["changes"]
    for ping in pings:
        out, _ = ping.communicate(timeout=60)
        assert "1500 packets transmitted, 1500 received" in out, out


# Name and MTU of every link that the kernel tells of (RTM_NEWLINK), of all namespaces that have an id here. `ip monitor` looks up
# the other ends as it prints, and can wait for an answer without end.
LISTENER = """
import socket, struct
sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
sock.setsockopt(270, 8, 1)  # SOL_NETLINK, NETLINK_LISTEN_ALL_NSID
sock.setsockopt(socket.SOL_SOCKET, 33, 8388608)  # SO_RCVBUFFORCE
sock.bind((0, 1))  # RTMGRP_LINK
while True:
    data = sock.recv(65536)
    while data:
        length, kind = struct.unpack_from("=IH", data)
        message, data, found = data[32:length], data[(length + 3) & ~3:], {}
        while kind == 16 and len(message) >= 4:
            size, attribute = struct.unpack_from("=HH", message)
            found[attribute], message = message[4:size], message[(size + 3) & ~3:]
        if 3 in found and 4 in found:  # IFLA_IFNAME, IFLA_MTU
            print(found[3].rstrip(b"\\0").decode(), *struct.unpack("=I", found[4]), flush=True)
"""


def test_what_carries_is_raised_before_what_sends_and_lowered_after_it(helper: RunningHelper) -> None:
    helper.call("network.create", name="a", options={"name": "web0"})
    near = [attach(helper, "a", f"c{number}")["host_link"] for number in range(1, 7)]
    heard = helper.folder / "heard"
    with heard.open("w") as file:
        monitor = helper.host.popen([sys.executable, "-c", LISTENER], stdout=file)
    try:
        helper.host.run("ip link add tell0 type bridge")

        def listens() -> bool:
            helper.host.run("ip link set tell0 down; ip link set tell0 up")  # again and again: what was told before it listens is lost
            return "tell0" in heard.read_text()

        until(listens)
        for mtu, carriers_first in (("9000", True), ("1400", False)):
            helper.call("network.update", name="a", options={"mtu": mtu})
            # The far ends are told of by their own names, from the namespaces they are in.
            until(functools.partial(all_told, heard, mtu, {"web0", "eth0", *near}))
            first: dict[str, int] = {}
            last: dict[str, int] = {}
            for at, (name, value) in enumerate(told(heard)):
                if value == mtu and name in ("web0", *near, "eth0"):
                    kind = "sends" if name == "eth0" else "carries" if name != "web0" else "web0"
                    first.setdefault(kind, at)
                    if name not in last:
                        last[name] = at
            carried = max(last[name] for name in near)
            assert carried < first["sends"] if carriers_first else first["sends"] < first["web0"] < first["carries"]
    finally:
        monitor.kill()
        monitor.wait()


def all_told(heard: Path, mtu: str, names: set[str]) -> bool:
    return {name for name, value in told(heard) if value == mtu} >= names


def told(heard: Path) -> list[tuple[str, str]]:
    """(link, MTU) of each notice, in the kernel's order."""
    lines = [line for line in heard.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [(name, mtu) for name, mtu in (line.split() for line in lines)]


def test_ends_that_a_change_left_apart_are_brought_together_at_the_next_start(helper: RunningHelper) -> None:
    helper.call("network.create", name="a")
    near = {name: attach(helper, "a", name)["host_link"] for name in ("c1", "c2")}
    helper.kill()
    helper.host.run("ip link set eth0 mtu 1400", netns="c1")  # as a lowering leaves it that was cut off after its first half
    helper.host.run(f"ip link set {near['c2']} mtu 9000")  # and a raising
    helper.start()
    assert [link(helper, "eth0", name)["mtu"] for name in near] == [1500, 1500]
    assert [link(helper, name)["mtu"] for name in near.values()] == [1500, 1500]


def test_added_subnets_hand_out_addresses_and_reach_the_outside(helper: RunningHelper) -> None:
    helper.call("network.create", name="a", subnets=[{"subnet": "10.1.0.0/30"}])
    attach(helper, "a", "c1")
    with pytest.raises(NetdeckError, match="no free IPv4"):
        attach(helper, "a", "c2")
    told = helper.call("network.update", name="a", subnets=["10.2.0.0/24", "fd00:2::/64"], gateways=["10.2.0.254"],
                       ip_ranges=["10.2.0.128/25"], aux={"nas": "10.2.0.128"})
    assert any("no IPv6 address" in text for text in told["warnings"])
    endpoint = attach(helper, "a", "c2")
    assert address(endpoint) == "10.2.0.129" and address(endpoint, 6).startswith("fd00:2::")
    assert reaches(helper, "c2", "192.0.2.1") and reaches(helper, "c2", "2001:db8::1") and reaches(helper, "c1", "192.0.2.1")
    with pytest.raises(InUse, match=r"10\.2\.0\.0/24.*in use by netns:c2"):
        helper.call("network.update", name="a", remove_subnets=["10.2.0.0/24"])
    helper.call("network.disconnect", network="a", container="netns:c2")
    helper.call("network.update", name="a", remove_subnets=["10.2.0.0/24", "fd00:2::/64"])
    assert "10.2.0.254" not in helper.host.run("ip addr")
    assert helper.call("network.inspect", names=["a"])[0]["EnableIPv6"] is False


def test_internal_and_back(helper: RunningHelper) -> None:
    helper.call("network.create", name="a")
    attach(helper, "a", "c1")
    helper.call("network.update", name="a", internal=True)
    assert "default" not in helper.host.run("ip route", netns="c1") and not reaches(helper, "c1", "192.0.2.1")
    assert helper.call("network.update", name="a", internal=False)["changes"] == ["internal: off"]
    assert reaches(helper, "c1", "192.0.2.1")


BAD: list[tuple[dict[str, Any], type[NetdeckError], str]] = [
    ({"name": "nothere"}, NotFound, "nothere"),
    ({"options": {"name": "br9"}}, InvalidValue, r"option name can't be changed: every container hangs on the bridge"),
    ({"options": {"mtuu": "1400"}}, InvalidValue, "did you mean 'mtu'"),
    ({"options": {"mtu": "20"}}, InvalidValue, "from 68 to 65535"),
    ({"options": {"mtu": "1000"}, "subnets": ["fd00:6::/64"]}, InvalidValue, "too small for IPv6"),
    ({"options": {"host_ipv4": "192.0.2.2"}, "internal": True}, InvalidValue, "no effect on an internal network"),
    ({"remove_labels": ["tema"]}, NotFound, "did you mean 'team'"),
    ({"labels": {"team": "x"}, "remove_labels": ["team"]}, InvalidValue, "both set and removed"),
    ({"subnets": ["10.7.0.0/25"]}, Conflict, "overlaps network a"),
    ({"subnets": ["192.0.2.0/25"]}, Conflict, "eth0"),
    ({"subnets": ["10.9.0.1/24"]}, InvalidValue, r"10\.9\.0\.0/24"),
    ({"subnets": ["10.9.0.0/24"], "gateways": ["10.8.0.1"]}, InvalidValue, "in no subnet of network a"),
    ({"gateways": ["10.7.0.200"]}, InUse, "netns:c1 route by"),
    ({"gateways": ["10.7.0.9"]}, Conflict, "in use by container netns:c1"),
    ({"ip_ranges": ["10.8.0.0/25"]}, InvalidValue, "in no subnet"),
    ({"aux": {"printer": "10.7.0.9"}}, Conflict, "in use by container netns:c1"),
    ({"aux": {"printer": "10.7.0.1"}}, InvalidValue, "the gateway"),
    ({"aux": {"other": "10.7.0.50"}}, InvalidValue, "aux-address printer"),
    ({"remove_aux": ["prnter"]}, NotFound, "did you mean 'printer'"),
    ({"remove_subnets": ["10.7.0.0/24"]}, InUse, "netns:c1"),
    ({"remove_subnets": ["10.99.0.0/24"]}, NotFound, r"10\.7\.0\.0/24"),
    ({"name": "host", "subnets": ["10.9.0.0/24"]}, InvalidValue, "can't be changed"),
    ({"name": "none", "internal": True}, InvalidValue, "can't be changed"),
]


def test_bad_input_changes_nothing(helper: RunningHelper) -> None:
    helper.call("network.create", name="a", subnets=[{"subnet": "10.7.0.0/24", "aux": {"printer": "10.7.0.50"}}], labels={"team": "ops"})
    attach(helper, "a", "c1", ip="10.7.0.9")
    before = helper.call("network.list"), helper.host.run("ip -br addr; ip -br link")
    for arguments, kind, words in BAD:
        with pytest.raises(kind, match=words):
            helper.call("network.update", **{"name": "a", **arguments})
        assert (helper.call("network.list"), helper.host.run("ip -br addr; ip -br link")) == before, arguments


def test_the_command_line(helper: RunningHelper) -> None:
    helper.call("network.create", name="a")
    attach(helper, "a", "c1")
    told = helper.command("network", "update", "-o", "mtu=1400", "--label", "team=ops", "--dry-run", "a")
    assert told.startswith("mtu: 1500 -> 1400\nlabel team added: ops\n") and "ip link set" in told
    assert link(helper, "eth0", "c1")["mtu"] == 1500
    assert helper.command("network", "update", "-o", "mtu=1400", "--internal", "a") == "mtu: 1500 -> 1400\ninternal: on\n"
    assert helper.command("network", "update", "--no-internal", "a") == "internal: off\n"
    assert helper.command("network", "update", "-o", "mtu=1400", "a") == "nothing differs\n"
    said = helper.command("network", "update", "-o", "name=x", "a", check=False)
    assert "can't be changed" in said and len(said.splitlines()) == 1


@pytest.mark.timeout(300)
def test_killed_at_any_moment_the_next_start_has_the_whole_or_nothing(host: SimulatedHost, tmp_path: Path) -> None:
    for number in range(4):
        host.add_namespace(f"n{number}")
    kinds: tuple[dict[str, Any], ...] = (
        {"options": {"mtu": "1400", "icc": "false"}}, {"options": {"mtu": "9000", "icc": "true"}}, {"internal": True}, {"internal": False},
        {"options": {"masquerade": "false"}}, {"options": {"masquerade": "true"}})

    async def prepare() -> None:
        async with core_in(tmp_path) as core:
            await do(core, NetworkCreate(name="a", ipv6=True))
            for number in range(4):
                await do(core, NetworkConnect(network="a", container=f"netns:n{number}"))

    async def round_of(seed: int) -> None:
        dice = random.Random(seed)
        async with core_in(tmp_path) as core:
            await check(core)
            if seed < 0:
                return
            delay = dice.random() * 0.12

            def kill() -> None:
                time.sleep(delay)
                os.kill(os.getpid(), signal.SIGKILL)

            threading.Thread(target=kill, daemon=True).start()
            while True:
                with contextlib.suppress(NetdeckError):
                    await do(core, NetworkUpdate(name="a", **dice.choice(kinds)))
                await asyncio.sleep(0)

    host.call(prepare)
    for number in range(25):
        with pytest.raises(HostError, match="ended without an answer"):
            host.call(round_of, number)
    host.call(round_of, -1)
    ends = {json.loads(host.run("ip -j link show eth0", netns=f"n{number}"))[0]["mtu"] for number in range(4)}
    assert len(ends) == 1, ends
