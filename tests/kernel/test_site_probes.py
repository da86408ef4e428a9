"""Addresses that somebody on the site has already are not used: asked for there, with real answers."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from helperd import address_conflicts, site_probes
from protocol.errors import Conflict
from protocol.model import Endpoint
from protocol.requests import DoctorList, NetworkConnect, NetworkCreate, NetworkInspect, NetworkUpdate, SubnetRequest
from tests.kernel.core_in_host import CALL, STREAM, core_in, do
from tests.kernel.lan import Lan, attach, reaches
from tests.kernel.site_dhcp import Dnsmasq
from tests.running_helper import RunningHelper
from tests.simulated_host import SimulatedHost
from tests.waiting import comes, until

pytest_plugins = ("tests.kernel.lan_fixtures",)


# Answers an announcement of an address (RFC 5227, 2.3) as one who has it too.
LATE = """
import socket, sys
mac, address = map(bytes.fromhex, sys.argv[1:])
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x806))
wire.bind(("p0", 0x806))
print("ready", flush=True)
while True:
    frame = wire.recv(128)
    if frame[28:32] == address and frame[22:28] != mac:
        wire.send(frame[6:12] + mac + frame[12:20] + b"\\0\\2" + mac + address + frame[22:32])
        wire.send(b"\\xff" * 6 + mac + frame[12:20] + b"\\0\\1" + mac + address + bytes(6) + address)
"""


def neighbour(lan: RunningHelper | Lan, name: str, *prefixes: str, link: str = "up0") -> str:
    """A host of the site with addresses; its MAC address."""
    host = lan.host
    host.add_namespace(name)
    host.run(f"ip -n outside link add link {link} name p0 netns {name} type macvlan mode bridge && ip -n {name} link set p0 up && "
             + " && ".join(f"ip -n {name} addr add {prefix} dev p0{' nodad' if ':' in prefix else ''}" for prefix in prefixes))
    return str(re.findall(r"link/ether (\S+)", host.run(f"ip -n {name} link show p0"))[0])


@pytest.mark.req("I14", "M3", "X8")
def test_what_others_have_is_passed_over_or_refused_with_their_mac(lan: RunningHelper) -> None:
    pool = [{"subnet": "192.168.1.0/24", "gateway": "192.168.1.1", "ip_range": "192.168.1.64/26"}, {"subnet": "2001:db8:1::/64"}]
    lan.call("network.create", name="pub", driver="macvlan", ipv6=True, options={"parent": "eth0"}, subnets=pool)
    mac = neighbour(lan, "printer", "192.168.1.64/24", "192.168.1.66/24", "192.168.1.99/24", "2001:db8:1::2/64", "2001:db8:1::99/64")
    first, second = attach(lan, "pub", "c1"), attach(lan, "pub", "c2")
    assert first["addresses"] == ["192.168.1.65/24", "2001:db8:1::3/64"] and second["addresses"] == ["192.168.1.67/24", "2001:db8:1::4/64"]
    assert reaches(lan, "c1", "192.168.1.64"), "which goes on as before"
    lan.host.add_namespace("c3")
    before = lan.host.run("ip -o addr; ip -o link", netns="c3")
    for asked in ({"ip": "192.168.1.99"}, {"ip6": "2001:db8:1::99"}):
        with pytest.raises(Conflict, match=rf"{next(iter(asked.values()))} can't be used on network pub: {mac} answers for it on eth0.*"
                                           "address_probe=false pub"):
            attach(lan, "pub", "c3", **asked)
    assert lan.host.run("ip -o addr; ip -o link", netns="c3") == before
    # The host does not answer itself: what it has there since is known without asking.
    lan.host.run("ip addr add 192.168.1.68/24 dev eth0 && ip -6 addr add 2001:db8:1::5/64 dev eth0 nodad")
    until(lambda: any({"192.168.1.68/24", "2001:db8:1::5/64"} <= {*row["addresses"]}
                      for row in lan.call("driver.parents", driver="macvlan")), "the host has more addresses")
    with pytest.raises(Conflict, match=r"192\.168\.1\.68 can't be used on network pub: it is the host's own address on eth0"):
        attach(lan, "pub", "c3", ip="192.168.1.68")
    third = attach(lan, "pub", "c4")
    assert third["addresses"] == ["192.168.1.69/24", "2001:db8:1::6/64"]
    lan.call("network.disconnect", network="pub", container="netns:c4")
    lan.host.run("ip addr del 192.168.1.68/24 dev eth0 && ip -6 addr del 2001:db8:1::5/64 dev eth0")
    refused = lan.command("run", "--rm", "--network", "pub", "--ip", "192.168.1.99", "true", check=False)
    assert f"{mac} answers for it" in refused, "at the start of a container too"
    lan.host.run("ip -n printer addr add 192.168.1.68/24 dev p0 && ip -n printer addr add 2001:db8:1::5/64 dev p0 nodad")
    with pytest.raises(Conflict, match=f"192.168.1.99 can't be used.*{mac} answers"):
        lan.call("network.host-access", name="pub", on=True, ip="192.168.1.99")
    given = lan.call("network.host-access", name="pub", on=True)["network"]["host_addresses"]
    assert given == ["192.168.1.70", "2001:db8:1::7"], "the host's own link gets none of them either"
    lan.call("network.host-access", name="pub", on=False)
    # Once the other has let go of it; what was heard before does not count.
    lan.host.run("ip -n printer addr del 192.168.1.99/24 dev p0")
    assert "192.168.1.99/24" in attach(lan, "pub", "c3", ip="192.168.1.99")["addresses"]
    lan.call("network.disconnect", network="pub", container="netns:c3")
    # An operator may know better.
    lan.call("network.update", name="pub", options={"address_probe": "false"})
    assert "192.168.1.66/24" in attach(lan, "pub", "c3", ip="192.168.1.66")["addresses"]


@pytest.mark.req("I14", "B7")
def test_an_answer_that_comes_late_is_told_and_a_bridge_asks_by_its_uplink(lan: RunningHelper) -> None:
    mac = neighbour(lan, "printer", "10.5.0.9/24", link="up1")
    lan.call("network.create", name="site", options={"uplink": "eth1"}, subnets=[{"subnet": "10.5.0.0/24", "gateway": "10.5.0.1"}])
    lan.call("network.create", name="inner", subnets=[{"subnet": "10.6.0.0/24"}])
    with pytest.raises(Conflict, match=f"{mac} answers for it on eth1"):
        attach(lan, "site", "c1", ip="10.5.0.9")
    # Who answers only when the container speaks of its address already: it has that, and an event says so.
    script = lan.host.popen([sys.executable, "-c", LATE, mac.replace(":", ""), "0a050002"], netns="printer")
    assert script.stdout is not None and script.stdout.readline() == "ready\n"
    assert attach(lan, "site", "c1")["addresses"] == ["10.5.0.2/24"]

    def told() -> list[dict[str, Any]]:
        return [row for row in lan.call("event.list") if row["kind"] == "address" and row["action"] == "conflict"]

    until(lambda: told(), "the conflict is told")
    row = told()[0]
    assert row["where"] == "netns:c1" and f"{mac} on eth1 has 10.5.0.2 too" in row["text"] and "--aux-address" in row["text"]
    assert attach(lan, "inner", "c2", ip="10.6.0.9")["addresses"] == ["10.6.0.9/24"]


@pytest.mark.req("I14", "X8")
def test_who_takes_an_address_long_after_is_found(lan: RunningHelper) -> None:
    """By the doctor at once, and without him in time."""
    lan.call("network.create", name="pub", driver="macvlan", options={"parent": "eth0"},
             subnets=[{"subnet": "192.168.1.0/24", "ip_range": "192.168.1.128/26"}])
    taken = [attach(lan, "pub", name)["addresses"][0] for name in ("c1", "c2")]
    time.sleep(3.5)  # what is asked at an attachment is over

    def found() -> set[str]:
        return {item["id"] for item in lan.call("doctor.list") if item["id"].startswith("address-conflict.")}

    assert not found()
    neighbour(lan, "printer", taken[0])
    assert found() == {f"address-conflict.pub.{taken[0][:-3]}"}
    lan.host.run(f"ip addr add {taken[1]} dev p0", netns="printer")

    def told() -> set[str]:
        return {row["where"] for row in lan.call("event.list") if row["kind"] == "address" and row["action"] == "conflict"}

    until(lambda: told() == {"netns:c1", "netns:c2"}, "it is told without being asked")
    assert [use["use"] for pool in lan.call("address.list") for use in pool["addresses"] if use["address"] == taken[1][:-3]] == ["conflict"]


@pytest.mark.req("X7")
def test_a_leased_address_that_somebody_has_is_declined(lan: RunningHelper, tmp_path: Path) -> None:
    server = Dnsmasq(lan.host, tmp_path, "--dhcp-option=option:T1,100")
    mac = neighbour(lan, "printer", "192.168.1.90/24")
    lan.call("network.create", name="pub", driver="macvlan", ipam="dhcp", options={"parent": "eth0"})
    own = {"mac_address": "02:00:00:00:00:01"}  # from which the server makes its choice
    first = attach(lan, "pub", "c1", **own)["addresses"]
    lan.call("network.disconnect", network="pub", container="netns:c1")
    until(lambda: not server.leases(), "it is given back")
    lan.host.run(f"ip addr add {first[0]} dev p0", netns="printer")
    began = time.monotonic()
    second = attach(lan, "pub", "c1", **own)["addresses"]
    print(f"after {time.monotonic() - began:.2f} s")
    assert server.said("DHCPDECLINE") == 1 and second != first and list(server.leases().values()) == [second[0][:-3]]
    # Only such as others have: an error, and nothing is kept.
    lan.host.run(" ; ".join(f"ip addr add 192.168.1.{last}/24 dev p0" for last in range(100, 121)) + " ; true", netns="printer")
    with pytest.raises(Conflict, match=rf"can't be: {mac} answers for it on eth0\. 4 addresses in a row"):
        attach(lan, "pub", "c2")
    assert len(lan.call("network.inspect", names=["pub"])[0]["Containers"]) == 1


@pytest.mark.req("I14")
def test_what_was_heard_counts_for_a_minute(host: SimulatedHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    neighbour(Lan(host), "printer", "192.168.1.130/24")
    for number in range(4):
        host.add_namespace(f"x{number}")

    async def inside() -> list[str]:
        async with core_in(tmp_path) as core:
            subnet = SubnetRequest("192.168.1.0/24", gateway="192.168.1.1", ip_range="192.168.1.128/28")
            await do(core, NetworkCreate(name="pub", driver="macvlan", options={"parent": "eth0"}, subnets=(subnet,)))

            async def connect(number: int) -> str:
                return str((await do(core, NetworkConnect(network="pub", container=f"netns:x{number}")))["endpoint"].addresses[0])

            got = [await connect(0)]
            assert [key[2] for key in core.probes._held] == ["192.168.1.130"], "it is asked for with the first"
            await asyncio.to_thread(subprocess.run, "ip -n printer addr del 192.168.1.130/24 dev p0", shell=True, check=True)
            monkeypatch.setattr(site_probes, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + 62))
            return [*got, *[await connect(number) for number in (1, 2, 3)]]

    assert host.call(inside) == [f"192.168.1.{last}/24" for last in (128, 129, 130, 131)]


@pytest.mark.req("I14")
def test_of_many_that_come_at_once_each_gets_an_address_that_was_asked_for(host: SimulatedHost, tmp_path: Path) -> None:
    neighbour(Lan(host), "printer", "192.168.1.138/24")
    for number in range(14):
        host.add_namespace(f"y{number}")

    async def inside() -> list[list[str]]:
        async with core_in(tmp_path) as core:
            subnet = SubnetRequest("192.168.1.0/24", gateway="192.168.1.1", ip_range="192.168.1.128/27")
            await do(core, NetworkCreate(name="pub", driver="macvlan", options={"parent": "eth0"}, subnets=(subnet,)))

            async def connect(*numbers: int) -> list[str]:
                done = await asyncio.gather(*(do(core, NetworkConnect(network="pub", container=f"netns:y{n}")) for n in numbers))
                return sorted(item["endpoint"].addresses[0] for item in done)

            on_the_wire = await connect(*range(12))
            await asyncio.to_thread(subprocess.run, "ip link set eth0 down", shell=True, check=True)
            core.probes._silent.clear()
            return [on_the_wire, await connect(12, 13)]

    assert host.call(inside) == [[f"192.168.1.{last}/24" for last in lasts] for lasts in (
        (*range(128, 138), 139, 140), (141, 142))], "those of them that were not asked for at first; without a wire as they are"


# Asks for addresses as whoever is about to take them does (RFC 5227, 2.1.1; RFC 4862, 5.4.3), from the moment that somebody else does.
RIVAL = """
import socket, sys
from ipaddress import ip_address
from helperd.kernel.site_probe import arp_probe, solicitation
mac = bytes.fromhex(sys.argv[1])
mine = {item.packed: item for item in map(ip_address, sys.argv[2:])}
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
wire.bind(("p0", 3))
print("ready", flush=True)
while True:
    frame = wire.recv(128)
    item = mine.get(frame[38:42]) or mine.get(frame[62:78])
    if item is not None and frame[6:12] != mac:
        wire.send(arp_probe(mac, item) if item.version == 4 else solicitation(mac, item))
"""


@pytest.mark.req("I14")
def test_who_asks_for_an_address_at_the_same_time_means_to_have_it(lan: RunningHelper) -> None:
    """An address of a pool is passed over, one that was named refused; to whom a container has it already it is no conflict."""
    pool = [{"subnet": "192.168.1.0/24", "gateway": "192.168.1.1", "ip_range": "192.168.1.64/26"}, {"subnet": "2001:db8:1::/64"}]
    lan.call("network.create", name="pub", driver="macvlan", ipv6=True, options={"parent": "eth0"}, subnets=pool)
    mac = neighbour(lan, "rival", "10.9.9.9/24")
    lan.host.run("ip -n rival link set p0 allmulticast on")  # so that it hears the groups of addresses that it does not have yet
    wanted = ("192.168.1.64", "192.168.1.66", "192.168.1.99", "2001:db8:1::2", "2001:db8:1::99")
    script = lan.host.popen([sys.executable, "-c", RIVAL, mac.replace(":", ""), *wanted], netns="rival")
    assert script.stdout is not None and script.stdout.readline() == "ready\n"
    assert attach(lan, "pub", "c1")["addresses"] == ["192.168.1.65/24", "2001:db8:1::3/64"]
    assert attach(lan, "pub", "c2")["addresses"] == ["192.168.1.67/24", "2001:db8:1::4/64"]
    lan.host.add_namespace("c3")
    for asked in ({"ip": "192.168.1.99"}, {"ip6": "2001:db8:1::99"}):
        with pytest.raises(Conflict, match=rf"{next(iter(asked.values()))} can't be used.*: {mac} asks for it too, to take it, on eth0"):
            attach(lan, "pub", "c3", **asked)
    script.kill()
    again = lan.host.popen([sys.executable, "-c", RIVAL, mac.replace(":", ""), "192.168.1.65"], netns="rival")
    assert again.stdout is not None and again.stdout.readline() == "ready\n"
    attach(lan, "pub", "c3")  # for which a question goes on, about the addresses of before too
    assert not [row for row in lan.call("event.list") if row["action"].startswith("conflict")]


@pytest.mark.req("I14", "X14")
def test_an_address_that_somebody_else_has_too_is_shown_while_he_has_it(host: SimulatedHost, tmp_path: Path,
                                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    mac = neighbour(Lan(host), "printer", "10.9.9.9/24")
    host.add_namespace("z1")
    monkeypatch.setattr(site_probes, "_AGAIN", 0.05)
    monkeypatch.setattr(site_probes, "_POOL", (0.02, 0.03, 0.25, 120))  # time to take the address, on a busy machine too
    taken = "ip -n printer addr add 192.168.1.140/24 dev p0; ip netns exec printer ping -c 1 -W 1 192.168.1.1"

    async def inside() -> list[Any]:
        async with core_in(tmp_path) as core:
            async def seen() -> tuple[list[Any], list[Any], list[Any], list[Any]]:
                document = (await core.networks.inspect(NetworkInspect(("pub",)), CALL, STREAM))[0]
                shown = [item.conflicts for item in core.live.world.rows("endpoints") if isinstance(item, Endpoint)]
                events = [row.action for row in core.live.world.events() if row.action.startswith("conflict")]
                findings = [item for item in await core.doctor.listing(DoctorList(), CALL, STREAM) if item.id.startswith("address-")]
                return [item.get("Conflicts") for item in document["Containers"].values()], shown, findings, events

            subnet = SubnetRequest("192.168.1.0/24", gateway="192.168.1.1", ip_range="192.168.1.140/30")
            await do(core, NetworkCreate(name="pub", driver="macvlan", options={"parent": "eth0"}, subnets=(subnet,)))
            asking = asyncio.create_task(core.probes.run())
            await do(core, NetworkConnect(network="pub", container="netns:z1"))
            before = await seen()
            await asyncio.to_thread(subprocess.run, taken, shell=True, check=False)
            await comes(core.probes.conflicts.all)
            meanwhile = await seen()
            await asyncio.to_thread(subprocess.run, "ip -n printer addr del 192.168.1.140/24 dev p0", shell=True, check=True)
            await comes(lambda: not core.probes.conflicts.all())
            after = await seen()
            endpoint, = core.records.endpoints.values()
            network = core.records.networks[endpoint.network]
            core.probes.conflicts.heard(endpoint.id, network, "eth0", "192.168.1.140", mac)
            assert core.probes.conflicts.all()
            await do(core, NetworkUpdate("pub", options={"address_probe": "false"}))  # as where a router answers for all addresses
            await comes(lambda: not core.probes.conflicts.all())
            asking.cancel()
            return [before, meanwhile, after, (await seen())[3]]

    before, meanwhile, after, at_last = host.call(inside)
    assert before == ([None], [()], [], [])
    (document,), (conflict,), (finding,), events = meanwhile
    assert conflict[0].address == "192.168.1.140" and conflict[0].mac == mac and time.time() - conflict[0].since < 300
    assert document == [{"Address": "192.168.1.140", "MacAddress": mac, "Link": "eth0", "Since": document[0]["Since"]}]
    assert finding.severity == "error" and f"somebody else has too: {mac} on eth0, since 20" in finding.what
    assert finding.commands[1] == "netdeck network update --aux-address other=192.168.1.140 pub" and events == ["conflict"]
    assert after == ([None], [()], [], ["conflict", "conflict over"]) and at_last == [*after[3], "conflict"]


@pytest.mark.req("I14")
def test_who_answers_as_another_each_time_is_shown_and_does_not_flood_the_events(host: SimulatedHost, tmp_path: Path,
                                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address_conflicts, "_MOST", 1)
    neighbour(Lan(host), "printer", "10.9.9.9/24")
    host.add_namespace("z1")
    host.add_namespace("z2")

    async def inside() -> list[Any]:
        async with core_in(tmp_path) as core:
            subnet = SubnetRequest("192.168.1.0/24")
            await do(core, NetworkCreate(name="pub", driver="macvlan", options={"parent": "eth0"}, subnets=(subnet,)))
            first, second = [(await do(core, NetworkConnect(network="pub", container=f"netns:z{n}")))["endpoint"] for n in (1, 2)]
            network, conflicts = core.records.network("pub"), core.probes.conflicts

            def heard(endpoint: Endpoint, *macs: int) -> int:
                for number in macs:
                    conflicts.heard(endpoint.id, network, "eth0", endpoint.addresses[0][:-3], f"02:00:00:00:00:{number:02x}")
                return sum(row.action == "conflict" for row in core.live.world.events())

            def shown(endpoint: Endpoint) -> list[str]:
                row = core.live.world.get("endpoints", endpoint.id)
                return [item.mac[-2:] for item in row.conflicts] if isinstance(row, Endpoint) else []

            once = heard(first, *range(50)), shown(first)
            monkeypatch.setattr(address_conflicts, "TOLD_SECONDS", 0.0)
            return [*once, heard(first, 60), heard(second, 70), shown(first), shown(second)]

    assert host.call(inside) == [1, ["31"], 2, 3, [], ["46"]], "there is room for one only: the older is not shown any more"
