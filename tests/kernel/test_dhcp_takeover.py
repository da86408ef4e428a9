"""A DHCP server of the site, or an address that is named wrongly, takes no way of the host's own over."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from pathlib import Path

import pytest

from helperd.dhcp import leases
from helperd.dhcp.frames import LeaseLost
from helperd.dhcp.packets import NAK
from protocol.errors import Conflict, NetdeckError
from protocol.model import DHCP
from protocol.requests import NetworkConnect, NetworkCreate, NetworkHostAccess
from tests.kernel.core_in_host import core_in, do
from tests.kernel.lan import Lan, attach, reaches
from tests.kernel.test_dhcp import Odd, create, events, member
from tests.kernel.test_dhcp_faults import failing
from tests.running_helper import RunningHelper
from tests.simulated_host import HostError, SimulatedHost
from tests.waiting import until

pytest_plugins = ("tests.kernel.lan_fixtures",)


@pytest.mark.req("X6", "X7")
def test_no_way_of_the_host_is_taken_over(lan: RunningHelper, tmp_path: Path) -> None:
    lan.host.run("ip route add default via 192.168.1.1; ip addr add 10.0.0.1/24 dev eth1")
    server = Odd(lan, tmp_path)
    create(lan)
    for address, words in (("192.168.1.1", "router of the host's route default"), ("192.168.1.250", "own address on eth0"),
                           ("10.0.0.1", "own address on eth1"), ("8.8.8.8", "not where eth0 leads"), ("172.17.0.2", "of network bridge"),
                           ("255.255.255.255", "reserved"), ("169.254.169.254", "link-local")):
        with pytest.raises(Conflict, match=words):
            lan.call("network.host-access", name="pub", on=True, ip=address)
    lan.call("network.host-access", name="pub", on=True, ip="192.168.1.60")
    before = lan.host.run("ip -4 route show table all")
    for address, words in (("10.0.0.7", r"its route 10\.0\.0\.0/24 on eth1"), ("192.168.1.1", "router of the host's"),
                           ("10.99.0.1", "not where eth0 leads"), ("192.168.1.250", "own address on eth0"),
                           ("192.168.1.60", "the host's own in network pub"), ("192.168.1.9", "the server's own")):
        server.says(address, server="192.168.1.9", o51=f"{400:08x}")
        with pytest.raises(Conflict, match=f"gives {address} for netns:c1 on network pub, which can't be: .*{words}"):
            attach(lan, "pub", "c1")
    assert lan.host.run("ip -4 route show table all") == before
    assert "eth0" not in lan.host.run("ip -o link", netns="c1").replace("eth0@", "")
    # What it gives to one network it does not give to the other.
    server.says(o51=f"{400:08x}")
    assert attach(lan, "pub", "c1")["addresses"] == ["192.168.1.50/24"]
    create(lan, "pub2")
    with pytest.raises(Conflict, match="it is netns:c1's on network pub"):
        attach(lan, "pub2", "c2")
    # Nor does netdeck, where it gives out addresses of the same subnet itself; it keeps off the host's router too.
    subnet = {"subnet": "192.168.1.0/24", "gateway": "192.168.1.254", "ip_range": "192.168.1.0/24"}
    lan.call("network.create", name="st", driver="macvlan", options={"parent": "eth0"}, subnets=[subnet])
    with pytest.raises(Conflict, match="router of the host's route default"):
        lan.call("network.host-access", name="st", on=True, ip="192.168.1.1")
    told = lan.call("network.host-access", name="st", on=True)["network"]
    assert told["host_addresses"] == ["192.168.1.2"]
    with pytest.raises(Conflict, match="it is netns:c1's on network pub"):
        attach(lan, "st", "c3", ip="192.168.1.50")
    lan.call("network.remove", name="st")
    lan.call("network.create", name="st", driver="macvlan", options={"parent": "eth0"}, subnets=[{**subnet, "ip_range": "192.168.1.0/29"}])
    with pytest.raises(Conflict, match=r"the ip-range 192\.168\.1\.0/29 would be its way to 192\.168\.1\.1 too.*--aux-address"):
        lan.call("network.host-access", name="st", on=True)
    lan.call("network.update", name="st", ip_ranges=["192.168.1.0/24"])
    lan.call("network.host-access", name="st", on=True)
    with pytest.raises(Conflict, match=r"st can't be changed so while the host has access to it: .* its way to 192\.168\.1\.1 too"):
        lan.call("network.update", name="st", ip_ranges=["192.168.1.0/29"])
    assert "dev eth0" in lan.host.run("ip route get 192.168.1.1")
    assert reaches(lan, "", "10.99.0.1") and reaches(lan, "", "192.168.1.50")


@pytest.mark.req("X7")
def test_a_lease_that_two_wait_for_and_a_network_that_goes_meanwhile(lan: RunningHelper, tmp_path: Path) -> None:
    create(lan)
    lan.host.add_namespace("c0")
    said: dict[str, str] = {}

    def connect(name: str) -> None:
        try:
            said[name] = lan.command("network", "connect", "pub", f"netns:{name}", timeout=90)
        except HostError as error:
            said[name] = str(error)

    waiting = threading.Thread(target=connect, args=("c0",))
    waiting.start()
    until(lambda: "DISCOVER" in lan.host.run("timeout 3 tcpdump -vnc1 -i up0 port 67 || true", netns="outside").upper(), "it asks")
    lan.call("network.remove", name="pub")
    waiting.join()
    assert "the network was removed while a DHCP server was asked" in said["c0"]
    server = Odd(lan, tmp_path)
    server.says(o51=f"{400:08x}")
    create(lan)
    names = ("c1", "c2", "c3")
    for name in names:
        lan.host.add_namespace(name)
    threads = [threading.Thread(target=connect, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lost = [said[name] for name in names if "can't be: it is netns:c" in said[name]]
    assert len(lost) == 2 and not any("UNIQUE" in text for text in said.values()), said


@pytest.mark.req("X7")
def test_refusals_are_told_once_and_after_a_decline_another_is_had(lan: RunningHelper, tmp_path: Path) -> None:
    server = Odd(lan, tmp_path)
    create(lan)
    attach(lan, "pub", "c1")
    server.says("192.168.1.51", o51=f"{4000:08x}")
    attach(lan, "pub", "c2")
    server.says("192.168.1.51", answer=NAK)
    until(lambda: any(action == "lost" for action, _ in events(lan)), "it is lost")
    for number in range(4):
        server.says("192.168.1.51", o51="00000000", server=f"192.168.1.{number + 2}")
        time.sleep(1.5)
    server.says("192.168.1.51")
    until(lambda: any(action == "declined" for action, _ in events(lan)), "c2 has it", seconds=90)
    server.says("192.168.1.52", o51=f"{40:08x}")
    until(lambda: member(lan)["IPv4Address"] == "192.168.1.52/24", "it is asked for again, and had", seconds=90)
    assert sum(action == "refused" for action, _ in events(lan)) <= 1 + 1


@pytest.mark.req("X6", "X7")
def test_a_loss_that_could_not_be_set_is_set_later_and_two_with_one_address_stop_nothing(host: SimulatedHost, tmp_path: Path) -> None:
    Lan(host)
    for name in ("c1", "c2"):
        host.add_namespace(name)
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps({"address": "192.168.1.50", "server": "192.168.1.1", "options": {"1": "ffffff00", "51": f"{400:08x}"}}))
    server = host.popen([sys.executable, "-m", "tests.kernel.hostile_dhcp", str(rules)], netns="outside")
    assert server.stdout is not None and server.stdout.readline() == "ready\n"

    async def inside() -> tuple[list[str], tuple[str, ...], tuple[str, ...]]:
        leases.STORE_SECONDS, leases.PATIENCE = 0.5, 60.0
        async with core_in(tmp_path) as core:
            jobs = asyncio.create_task(core.leases.run())
            core.leases._hindrance = lambda network, endpoint, lease: ""  # type: ignore[method-assign]  # a helper that did not look
            for number, name in enumerate(("pub", "pub2")):
                await do(core, NetworkCreate(name=name, driver="macvlan", ipam=DHCP, options={"parent": "eth0"}))
                await do(core, NetworkHostAccess(name=name, on=True, ip=f"192.168.1.{60 + number}"))
                await do(core, NetworkConnect(network=name, container=f"netns:c{number + 1}"))
            jobs.cancel()
            await asyncio.gather(jobs, return_exceptions=True)
        async with core_in(tmp_path) as core:  # it starts all the same
            async with core.changes.lock:
                await core.repair.reconcile()
                doubled = (await core.repair.look()).doubled
            jobs = asyncio.create_task(core.leases._follow())
            endpoint = next(iter(core.records.endpoints.values()))
            core.changes.fault = failing("finish")
            core.leases._heard(LeaseLost(endpoint.id, "it is over"))
            await asyncio.sleep(1)
            held = core.records.endpoints[endpoint.id].addresses
            core.changes.fault = lambda at: None
            await asyncio.to_thread(until, lambda: not core.records.endpoints[endpoint.id].addresses, "it is set later")
            jobs.cancel()
            await asyncio.gather(jobs, return_exceptions=True)
            return [item.destination for item in doubled], held, core.records.endpoints[endpoint.id].addresses

    assert host.call(inside) == (["192.168.1.50/32"], ("192.168.1.50/24",), ())
    server.kill()


@pytest.mark.req("X6")
@pytest.mark.parametrize("damage", ["link del {0}", "link set {0} down", "addr flush dev {0}"])
def test_the_host_s_link_is_put_right_before_it_is_needed(lan: RunningHelper, damage: str) -> None:
    lan.call("network.create", name="pub", driver="macvlan", options={"parent": "eth0"}, subnets=[{"subnet": "192.168.1.0/24"}])
    attach(lan, "pub", "c1")
    link = "ha-" + lan.call("network.host-access", name="pub", on=True)["network"]["id"][:12]
    lan.host.run("ip " + damage.format(link))
    told = lan.call("network.host-access", name="pub", on=True)
    assert any(f"{link}, the host's own link" in text for text in told["warnings"]) and reaches(lan, "", "192.168.1.2")
    lan.host.run("ip " + damage.format(link))
    try:
        second = attach(lan, "pub", "c2")
    except NetdeckError as error:
        pytest.fail(error.message)
    assert reaches(lan, "", second["addresses"][0].partition("/")[0]) and reaches(lan, "", "192.168.1.2")
