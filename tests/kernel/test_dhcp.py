"""Addresses from a real DHCP server, on a real kernel, with real packets."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from helperd.dhcp.packets import ACK, NAK
from protocol.client import Client
from protocol.errors import Conflict, InvalidValue, NotFound, Unavailable
from protocol.messages import Snapshot
from protocol.model import Network
from tests.kernel.lan import attach, reaches
from tests.kernel.site_dhcp import Dnsmasq
from tests.running_helper import RunningHelper
from tests.waiting import until

pytest_plugins = ("tests.kernel.lan_fixtures",)


def create(helper: RunningHelper, name: str = "pub", **args: Any) -> dict[str, Any]:
    options = {"parent": "eth0", **args.pop("options", {})}
    return dict(helper.call("network.create", name=name, driver="macvlan", ipam="dhcp", options=options, **args)["network"])


def member(helper: RunningHelper, network: str = "pub") -> dict[str, Any]:
    """The container netns:c1 of a network, as inspect shows it."""
    found = helper.call("network.inspect", names=[network])[0]["Containers"].values()
    return next(dict(item) for item in found if item["Name"] == "netns:c1")


def events(helper: RunningHelper) -> list[tuple[str, str]]:
    return [(row["action"], row["text"]) for row in helper.call("event.list") if row["kind"] == "lease"]


def state(helper: RunningHelper, network: str = "pub") -> tuple[str, str]:
    """What is said of a network where all are listed, and to those that follow the networks."""
    async def streamed() -> str:
        async with Client(helper.socket) as client:
            async for item in client.subscribe(("networks",)):
                assert isinstance(item, Snapshot)
                return next(value.state for _, _, value in item.state if isinstance(value, Network) and value.name == network)
        return ""
    listed = helper.command("network", "ls", "--filter", f"name={network}", "--format", "{{.Traits}}")
    return listed.strip(), asyncio.run(streamed())


@pytest.mark.req("X7")
def test_address_gateway_names_renewal_restart_and_release(lan: RunningHelper, tmp_path: Path) -> None:
    server = Dnsmasq(lan.host, tmp_path, "--dhcp-option=option:T1,4", "--dhcp-option=option:T2,100")
    create(lan)
    lan.host.add_namespace("c1")
    dry = lan.call("network.connect", network="pub", container="netns:c1", dry_run=True)
    assert "macvlan" in str(dry["plan"]) and "does not ask" in dry["warnings"][-1] and not server.leases()
    first = attach(lan, "pub", "c1")
    (pool,) = lan.call("address.list", network="pub")
    assert (pool["subnet"], pool["used"], pool["free"]) == ("192.168.1.0/24", 1, "")
    assert {use["use"]: use["address"] for use in pool["addresses"]}["container"] == first["addresses"][0].partition("/")[0]
    assert server.leases() == {first["mac"]: first["addresses"][0].partition("/")[0]} and first["addresses"][0].startswith("192.168.1.1")
    assert "default via 192.168.1.1 " in lan.host.run("ip route", netns="c1") and reaches(lan, "c1", "10.99.0.1")
    assert "192.168.1.77" in lan.host.run("dig +short +tries=2 @127.0.0.11 printer.site.test", netns="c1"), "the site's name server"
    shown = member(lan)["DHCP"]
    assert (shown["State"], shown["Server"], shown["Gateway"], shown["DNS"], shown["Domain"]) == (
        "bound", "192.168.1.1", "192.168.1.1", ["192.168.1.1"], "site.test")
    # A container of ours, by its name.
    lan.command("run", "-d", "--name", "shop", "--network", "pub", "--", "sleep", "600", timeout=60)
    until(lambda: "shop" in (tmp_path / "dnsmasq.leases").read_text(), "the server knows its name")
    # Renewal, by unicast to the server, again after a restart of the helper.
    until(lambda: server.said(f"DHCPACK(up0) {first['addresses'][0][:-3]}") >= 2, "it is renewed")
    until(lambda: any(action == "renewed" for action, _ in events(lan)), "that is told")
    assert shown["Expires"] < member(lan)["DHCP"]["Expires"]
    # What speaks to servers has no privilege. It may die, and the helper too: leases go on.
    pid = lan.host.run("pgrep -f helperd.dhcp").split()[0]
    status = dict(line.split(":\t") for line in lan.host.run(f"cat /proc/{pid}/status").splitlines() if ":\t" in line)
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == int(status["CapBnd"], 16) == 0 and status["NoNewPrivs"] == "1"
    assert "0" not in status["Uid"].split()
    before = server.said("DHCPDISCOVER"), server.said("DHCPREQUEST")
    lan.host.run(f"kill -9 {pid}")
    until(lambda: server.said("DHCPREQUEST") >= before[1] + 2, "both are renewed by the process after it")
    lan.kill()
    lan.start()
    before = before[0], server.said("DHCPREQUEST")
    until(lambda: server.said("DHCPREQUEST") >= before[1] + 2, "both are renewed after the start")
    assert server.said("DHCPDISCOVER") == before[0] and member(lan)["IPv4Address"] == first["addresses"][0]
    # The end of the container gives the lease back, and so does a disconnect.
    lan.command("stop", "-t", "0", "shop")
    lan.call("network.disconnect", network="pub", container="netns:c1")
    until(lambda: server.said("DHCPRELEASE") == 2 and not server.leases(), "both are released")
    lan.command("rm", "shop")
    lan.call("network.remove", name="pub")


@pytest.mark.req("X7")
def test_a_server_that_is_not_there_and_what_is_asked_wrongly(lan: RunningHelper) -> None:
    create(lan)
    lan.host.add_namespace("c1")
    links = lan.host.run("ip -o link", netns="c1")
    began = time.monotonic()
    with pytest.raises(Unavailable, match=r"no address for netns:c1 on network pub: no DHCP server answered on eth0 within 12 s.*tcpdump"):
        attach(lan, "pub", "c1")
    assert time.monotonic() - began < 60 and lan.host.run("ip -o link", netns="c1") == links
    assert not lan.call("network.inspect", names=["pub"])[0]["Containers"]
    with pytest.raises(InvalidValue, match="come from the site's DHCP server"):
        attach(lan, "pub", "c1", ip="192.168.1.7")
    for args, words in (({"ipam": "dhpc"}, "did you mean 'dhcp'|known are default, dhcp"), ({"ipv6": True}, "IPv6"),
                        ({"internal": True, "options": {}}, "internal"), ({"options": {}}, "leads to no DHCP server.*parent"),
                        ({"subnets": [{"subnet": "10.0.0.0/24"}]}, "subnets of your own"), ({"driver": "bridge", "options": {}}, "uplink")):
        with pytest.raises(InvalidValue, match=words):
            lan.call("network.create", **{"name": "x", "driver": "macvlan", "ipam": "dhcp", "options": {"parent": "eth0"}, **args})
    with pytest.raises(InvalidValue, match="DHCP server"):
        lan.call("network.update", name="pub", subnets=["10.0.0.0/24"])
    for change, words in (("ip -n outside link set up0 down", "has no carrier, so no DHCP server can answer. See to what is at"),
                          ("ip link set eth0 down", "is switched off, so no DHCP server can answer. Switch it on with `ip link set")):
        lan.host.run(change)
        with pytest.raises(Unavailable, match=f"on network pub: eth0 {words}.*; nothing was changed"):  # nobody is waited for
            attach(lan, "pub", "c1")
    lan.host.run("ip link del eth0")
    with pytest.raises(NotFound, match="eth0"):
        attach(lan, "pub", "c1", mac_address="02:00:00:00:00:07")


class Odd:
    """The server of `hostile_dhcp`; what it says can change while it runs."""

    def __init__(self, helper: RunningHelper, folder: Path) -> None:
        self._path = folder / "rules.json"
        self.says()
        self._process = helper.host.popen([sys.executable, "-m", "tests.kernel.hostile_dhcp", str(self._path)], netns="outside")
        assert self._process.stdout is not None and self._process.stdout.readline() == "ready\n"

    def says(self, address: str = "192.168.1.50", server: str = "192.168.1.1", answer: int = ACK, **options: str | None) -> None:
        """`options` are hex by ``oCODE``; None leaves one out. Without more: a /24 with a router, for 4 s."""
        found = {"o1": "ffffff00", "o3": "c0a80101", "o51": f"{4:08x}", **options}
        rules = {"address": address, "server": server, "answer": answer,
                 "options": {name[1:]: value for name, value in found.items() if value is not None}}
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps(rules))
        fresh.replace(self._path)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.mark.req("X7")
def test_a_lease_that_is_lost_is_taken_away_shown_and_had_again(lan: RunningHelper, tmp_path: Path) -> None:
    server = Odd(lan, tmp_path)
    create(lan)
    first = attach(lan, "pub", "c1")
    assert first["addresses"] == ["192.168.1.50/24"] and reaches(lan, "c1", "192.168.1.1")
    until(lambda: any(action == "renewed" for action, _ in events(lan)), "it is renewed while the server is there")
    server.stop()
    until(lambda: any(action == "lost" for action, _ in events(lan)), "the loss is told")
    assert "192.168.1.50" not in lan.host.run("ip addr; ip route", netns="c1") and "default" not in lan.host.run("ip route", netns="c1")
    assert member(lan)["DHCP"]["State"].startswith("lost: no server renewed it") and member(lan)["IPv4Address"] == ""
    finding = next(item for item in lan.call("doctor.list") if item["id"].startswith("lease-"))
    assert finding["severity"] == "error" and "netns:c1" in finding["what"] and finding["networks"] == ["pub"]
    assert not lan.call("address.list", network="pub")
    assert "pub (lease lost)" in lan.command("ps") and state(lan) == ("no lease", "no lease")
    # Another server, which gives another address; then one that takes it back and gives the third.
    server = Odd(lan, tmp_path)
    server.says("192.168.1.60", o51=f"{6:08x}")
    until(lambda: member(lan)["IPv4Address"] == "192.168.1.60/24", "it has one again", seconds=90)
    assert reaches(lan, "c1", "10.99.0.1") and any(action == "back" for action, _ in events(lan)) and state(lan) == ("", "ready")
    assert not [item for item in lan.call("doctor.list") if item["id"].startswith("lease-")]
    server.says("192.168.1.61", answer=NAK)
    until(lambda: any("took it back" in text for _, text in events(lan)), "a NAK ends it")
    server.says("192.168.1.61", o51="ffffffff")
    until(lambda: member(lan)["IPv4Address"] == "192.168.1.61/24", "it has the third", seconds=90)
    assert member(lan)["DHCP"]["Expires"] == "never" and reaches(lan, "c1", "192.168.1.1")
    # The helper is killed while a lease that is stored is lost: what it was is asked for again.
    lan.kill()
    lan.start()
    assert member(lan)["IPv4Address"] == "192.168.1.61/24"


@pytest.mark.req("X7")
def test_what_a_server_says_without_reason_is_refused_in_words(lan: RunningHelper, tmp_path: Path) -> None:
    server = Odd(lan, tmp_path)
    create(lan)
    server.says(o3="0a000001", o12="6576696c1b5b324a0a", o15=b"a\n".hex() + "00", o6="ffffffffc0a80101", o51=f"{3600:08x}")
    lan.host.add_namespace("c1")
    told = lan.call("network.connect", network="pub", container="netns:c1")
    lease = told["endpoint"]["lease"]
    assert (lease["gateway"], lease["dns"], lease["domain"]) == ("", ["192.168.1.1"], "")
    assert any("its router 10.0.0.1 is no host of 192.168.1.0/24" in text for text in told["warnings"])
    assert "default" not in lan.host.run("ip route", netns="c1")
    # The same address once more: the second container does not get it.
    with pytest.raises(Conflict, match=r"192\.168\.1\.50 for netns:c2 .* it is netns:c1's"):
        attach(lan, "pub", "c2")
    server.says("192.168.1.51", o51=f"{0:08x}")
    with pytest.raises(Unavailable, match=r"a DHCP server answered on eth0.*1\.1: it offers 192\.168\.1\.51 for 0 seconds"):
        attach(lan, "pub", "c2")
    server.says("192.168.1.51", answer=NAK)
    with pytest.raises(Unavailable, match=r"does not give 192\.168\.1\.51, which was offered"):
        attach(lan, "pub", "c2")
    assert len(lan.call("network.inspect", names=["pub"])[0]["Containers"]) == 1 and reaches(lan, "c1", "192.168.1.1")
