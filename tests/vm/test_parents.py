"""802.1Q sub-interfaces and dummy links as parents."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from drivers.commands import commands
from drivers.objects import HOST, Address, AnyObject, Dummy, Ipvlan, Sysctl, Up, Vlan, mark
from helperd.plan import plan
from protocol.errors import Conflict, KernelRefused, NetdeckError
from protocol.requests import NetworkCreate, SubnetRequest
from tests.kernel.core_in_host import core_in, do
from tests.kernel.written_objects import INSTANCE, Written, creates, written
from tests.simulated_host import SimulatedHost
from tests.vm.site import Site

DRIVER = "macvlan"  # ipvlan has the same parents, and those of the overview page are its


@pytest.mark.req("I2", "I7", "I9", "M2", "W7")
def test_a_vlan_is_made_shared_and_taken_away(site: Site) -> None:
    made = site.create("v20", DRIVER, "192.168.20.0/24", parent="eth0.20")
    assert made["made_link"] and made["subnets"][0]["gateway"] == "192.168.20.1"
    shown = site.sh("ip -d link show eth0.20")
    assert "id 20" in shown and "LOWER_UP" in shown and "alias netdeck:1:" in shown
    site.create("v30", DRIVER, "192.168.30.0/24,192.168.30.1", parent="eth0.30")
    site.create("more", DRIVER, "10.20.0.0/24", parent="eth0.20")
    site.attach("v20", "c1", "c2")
    site.attach("v30", "c3")
    site.attach("more", "c4")
    assert "default via 192.168.20.1 dev eth0" in site.sh("ip route", "c1")
    site.meet(("c1", "192.168.20.3", True), ("c1", "192.168.20.1", True), ("c3", "192.168.30.1", True), ("c1", "192.168.30.2", False),
              ("c3", "192.168.20.2", False), ("outside", "192.168.20.2", True))
    site.detach("v20", "c1", "c2")
    site.detach("v30", "c3")
    site.remove("v20", "v30")
    assert "eth0.20" in site.links() and "eth0.30" not in site.links() and site.links("c4") == {"eth0"}
    site.detach("more", "c4")
    site.remove("more")
    assert site.links() == {"eth0", "eth1"}


@pytest.mark.req("I8", "M2")
def test_hand_made_links_of_any_name_are_used_and_left(site: Site) -> None:
    site.sh("ip link add link eth0 name eth0.40 type vlan id 40 && ip link set eth0.40 up && "
            "ip link add link eth0 name foo type vlan id 30 && ip link set foo up")
    try:
        before = site.foreign()
        with pytest.raises(Conflict, match="already, as foo"):
            site.create("v30", DRIVER, "192.168.30.0/24", parent="eth0.30")
        site.create("v40", DRIVER, "192.168.40.0/24", parent="eth0.40")
        site.create("v30", DRIVER, "192.168.30.0/24", parent="foo")
        site.attach("v40", "c1")
        site.attach("v30", "c2")
        site.meet(("c1", "192.168.40.1", True), ("c2", "192.168.30.1", True), ("c1", "192.168.30.2", False))
        site.detach("v40", "c1")
        site.detach("v30", "c2")
        site.remove("v40", "v30")
        assert site.foreign() == before
    finally:
        site.clear()
        site.sh("ip link del foo; ip link del eth0.40")


@pytest.mark.req("I5", "I6")
def test_without_a_parent_a_network_leads_nowhere(site: Site) -> None:
    for name, internal in (("isolated1", False), ("isolated2", True)):
        made = site.create(name, DRIVER, internal=internal)
        assert made["internal"] and made["link"] in site.links() and made["link"].startswith("dm-")
        assert made["subnets"][0]["subnet"].startswith("172.")
    site.attach("isolated1", "c1")
    other = site.attach("isolated1", "c2")["addresses"][0].partition("/")[0]
    site.attach("isolated2", "c3")
    assert "default" not in site.sh("ip route", "c1")
    for name in ("c1", "c3"):
        site.sh("ip route add default dev eth0", name)
    site.meet(("c1", other, True), ("c1", "192.168.1.1", False), ("c1", "192.168.1.250", False), ("c3", other, False))
    site.clear()
    assert site.links() == {"eth0", "eth1"}


@pytest.mark.req("I8", "M1", "I1")
def test_a_link_carries_one_kind(site: Site) -> None:
    site.create("first", "ipvlan", "10.1.0.0/24", parent="eth0")
    with pytest.raises(Conflict, match=r"network first \(driver ipvlan\)"):
        site.create("other", "macvlan", "10.2.0.0/24", parent="eth0")
    # One that somebody else hung on it, whether it was heard of or the kernel refuses.
    site.sh("ip link add link eth0 name theirs type macvlan mode bridge")
    try:
        with pytest.raises(NetdeckError, match=r"carries either macvlan or ipvlan|carries a link of another kind"):
            site.attach("first", "c1")
        assert site.links("c1") == set() and "theirs" in site.links()
    finally:
        site.sh("ip link del theirs")


@pytest.mark.req("I15", "I7", "M2")
def test_all_comes_back_after_a_crash_and_when_the_parent_is_late(site: Site) -> None:
    cable = "ip link add uplink type veth peer name uplinkp netns outside && ip link set uplink up && ip -n outside link set uplinkp up"
    site.sh(cable)
    site.create("v20", "ipvlan", "192.168.20.0/24", parent="eth0.20")
    site.create("v30", "macvlan", "192.168.30.0/24", parent="eth0.30")
    site.create("alone", "ipvlan", "10.9.0.0/24")
    site.create("late", "ipvlan", "10.0.7.0/24", parent="uplink.7", ipvlan_mode="l3s")
    site.attach("v20", "c1")
    site.attach("v30", "c2")
    site.attach("late", "c3", "c4")
    documents = {name: site.inspect(name) for name in ("v20", "v30", "alone", "late")}
    pinging = site.lab.popen(["ping", "-n", "-q", "-i", "0.5", "192.168.20.1"], netns="c1")
    # The link of one is gone when the helper comes back, with all that hung on it, as at a start of the host.
    site.lose_helper("ip link del uplink")
    site.sh("pkill -INT -x ping || kill -INT $(pidof ping)")
    said = pinging.communicate(timeout=240)[0]
    assert " 0% packet loss" in said, f"what runs needs no helper: {said}"
    assert {name: site.inspect(name) for name in documents if name != "late"} | {"late": documents["late"]} == documents
    site.meet(("c1", "192.168.20.1", True), ("c2", "192.168.30.1", True))

    document = site.inspect("late")
    assert document["Netdeck"]["State"] == "missing"
    assert [member.pop("CutOff") for member in document["Containers"].values()] == [
        f"the link uplink.7 is gone: {member['Name']} is cut off until it is back" for member in document["Containers"].values()]
    assert document["Containers"] == documents["late"]["Containers"]
    assert site.links("c3") == set()
    site.sh(cable)
    site.until(lambda: "uplink.7" in site.links() and site.links("c3") == site.links("c4") == {"eth0"}, "all is made again")
    site.until(lambda: site.inspect("late") == documents["late"], "the network is well")
    site.meet(("c3", "10.0.7.2", True))  # in l3s no address is the gateway's
    site.clear()
    site.sh("ip link del uplink")


@pytest.mark.req("X1", "I7")
def test_a_fault_at_each_step_leaves_no_vlan(host: SimulatedHost, tmp_path: Path) -> None:
    host.run("ip link add eth0 type veth peer name far0 && ip link set eth0 up")

    async def inside() -> list[str]:
        left = []
        async with core_in(tmp_path) as core:
            before = len(core.records.networks)
            for number in range(3):
                def fault(index: int, step: Any, number: int = number) -> None:
                    if index == number:
                        core.writer.fault = None
                        raise KernelRefused("made to fail")
                core.writer.fault = fault
                with pytest.raises(KernelRefused, match="made to fail"):
                    await do(core, NetworkCreate(name="v20", driver="ipvlan", subnets=(SubnetRequest(subnet="192.168.20.0/24"),),
                                                 options={"parent": "eth0.20"}))
                assert len(core.records.networks) == before
                left += [name for _, name in socket.if_nameindex() if "." in name]
        return left

    assert host.call(inside) == []


@pytest.fixture
async def rig(host: SimulatedHost) -> AsyncIterator[Written]:
    async with written(host, "c1") as made:
        yield made


@pytest.mark.req("X1", "I1", "I7")
async def test_a_shell_makes_the_same(rig: Written) -> None:
    rig.host.run("ip link add eth0 type veth peer name far0 && ip link set eth0 up")
    objects: list[AnyObject] = [
        Vlan(HOST, "eth0.20", mark(INSTANCE, "parent", "eth0.20"), "eth0", 20), Dummy(HOST, "di-1", mark(INSTANCE, "network", "n1"), 1400),
        Up(HOST, "eth0.20"), Ipvlan("c1", "eth0", mark(INSTANCE, "endpoint", "e1"), "eth0.20", "l3", "private", 1300),
        Sysctl("c1", "net.ipv6.conf.*.disable_ipv6", "1", "eth0"), Address("c1", "eth0", "10.0.0.2/24"), Up("c1", "eth0")]
    await rig.apply(creates(objects))
    assert await rig.observe(objects) == frozenset(objects)
    unseen = {item for item in await rig.observe() if isinstance(item, Vlan | Dummy | Ipvlan)}
    assert unseen == {item for item in objects if isinstance(item, Vlan | Dummy | Ipvlan)}, "found by their marks alone"
    await rig.apply(plan((), objects))
    assert await rig.observe(objects) == frozenset()
    rig.host.run("set -e\n" + "\n".join(commands(creates(objects), {"c1": "netns:c1"})))
    assert await rig.observe(objects) >= {item for item in objects if not isinstance(item, Address)}
    rig.host.run("set -e\n" + "\n".join(commands(plan((), objects), {"c1": "netns:c1"})))
    assert await rig.observe(objects) == frozenset()
