"""The doctor's checks on situations that are hard to make on a real host: pools that run out, many links, names that are hostile."""

from __future__ import annotations

import ipaddress
import shlex
from pathlib import Path
from typing import Any

import msgspec
import pytest

from drivers.driver import Hung, builtin
from helperd.doctor import drift, forwarding, parents, paths, ranges
from helperd.doctor.doctor import by_hand
from helperd.doctor.situation import Situation
from helperd.kernel.adapters import Adapter, adapter
from helperd.subnets import Cut, HostAddress, HostRanges, HostRoute
from protocol.findings import Finding
from protocol.model import Endpoint, Link, Network, Plan, Subnet

NETWORK = Network("n1", "web", "bridge", 1.0, (Subnet("10.1.0.0/24", "10.1.0.1"),), {"mtu": "1500"}, link="br-web")
BRIDGE = Link(1, 10, "br-web", "bridge", mtu=1500)
UPLINK = Link(1, 2, "eth0", mtu=1500)


def situation(**changes: Any) -> Situation:
    fields: dict[str, Any] = {
        "networks": [NETWORK], "endpoints": {}, "links": {"br-web": BRIDGE, "eth0": UPLINK}, "peers": {}, "uplinks": {4: ("eth0",), 6: ()},
        "sysctl": lambda name, link: "1" if "rp_filter" not in name else "0", "ranges": HostRanges(), "leases": lambda network: {},
        "pools": {4: (Cut(ipaddress.ip_network("10.0.0.0/8"), 24),)}, **changes}
    return Situation(**fields)


def test_what_netdeck_does_not_mend_is_left_to_whom_it_is_of() -> None:
    notice = Finding("limits.pub", "notice", "what pub can't do", "None of them is a fault.", "There is nothing to do.")
    assert by_hand(notice) == ": there is nothing to mend: None of them is a fault. There is nothing to do."
    theirs = Finding("drops", "error", "drops", "why", "Let it pass.", commands=("nft one", "nft two"))
    assert by_hand(theirs).endswith("Do it by hand: nft one; nft two")
    many = msgspec.structs.replace(theirs, commands=tuple(f"nft {number}" for number in range(20)))
    assert by_hand(many).endswith("Do it by hand: the 20 commands that netdeck doctor shows with it")


def test_a_healthy_host_has_no_findings() -> None:
    healthy = situation()
    assert not [*forwarding.forwarding(healthy), *forwarding.reverse_path(healthy), *paths.mtu_mismatch(healthy),
                *ranges.overlaps(healthy), *ranges.pools(healthy), *drift.drift(Plan(), Plan(), True)]


@pytest.mark.req("X8")
@pytest.mark.parametrize(("base", "size", "left", "severity"), [
    ("10.1.0.0/24", 24, "no IPv4 subnets", "warning"), ("10.0.0.0/15", 16, "1 IPv4 subnet left", "notice"), ("10.0.0.0/14", 16, "", "")])
def test_default_pools_that_run_out(base: str, size: int, left: str, severity: str) -> None:
    """The network 10.1.0.0/24 takes one of the parts."""
    found = list(ranges.pools(situation(pools={4: (Cut(ipaddress.ip_network(base), size),)})))
    assert [item.severity for item in found] == ([severity] if left else [])
    assert not left or left in found[0].what


@pytest.mark.req("X8")
@pytest.mark.parametrize(("used", "severity"), [(253, "error"), (240, "warning"), (100, "")])
def test_a_pool_that_runs_out(used: int, severity: str) -> None:
    leases = {f"10.1.0.{number}": f"e{number}" for number in range(2, 2 + used)}
    found = list(ranges.pools(situation(leases=lambda network: leases)))
    assert [item.severity for item in found] == ([severity] if severity else [])


@pytest.mark.req("X14")
def test_many_links_that_disagree_are_told_in_few_words() -> None:
    ports = {f"veth{number}": Link(1, 100 + number, f"veth{number}", "veth", mtu=1400, master=10) for number in range(30)}
    finding, = paths.mtu_mismatch(situation(links={"br-web": BRIDGE, "eth0": UPLINK, **ports}))
    assert len(finding.details) == 30 and "and 22 more" in finding.what and not finding.commands


@pytest.mark.req("X14")
@pytest.mark.parametrize(("mtu", "commands"), [
    (1400, ("netdeck network update -o mtu=1400 web", "ip -n site link set up0 mtu 1400")),
    (1270, ("ip link set eth1 mtu 1500", "ip link set br-web mtu 1500", "ip link set veth1 mtu 1500"))])
def test_commands_bring_an_uplink_and_all_else_to_one_mtu(mtu: int, commands: tuple[str, ...]) -> None:
    network = msgspec.structs.replace(NETWORK, options={**NETWORK.options, "uplink": "eth1"}, ipv6=True)
    links = {"br-web": msgspec.structs.replace(BRIDGE, mtu=1450), "eth0": msgspec.structs.replace(UPLINK, mtu=1300),
             "eth1": Link(1, 11, "eth1", mtu=mtu, master=10), "veth1": Link(1, 12, "veth1", "veth", mtu=1450, master=10)}
    endpoints = {network.id: [Endpoint("e", network.id, "c", host_link="veth1")]}
    peers = {11: ("netns:site", Link(2, 5, "up0", "veth", mtu=1500)), 12: ("netns:c1", Link(3, 5, "eth0", "veth", mtu=1500))}
    finding, = paths.mtu_mismatch(situation(networks=[network], endpoints=endpoints, links=links, peers=peers))
    assert finding.commands == commands and f"its uplink eth1 has {mtu}" in finding.details


@pytest.mark.req("X14")
def test_names_of_links_are_data() -> None:
    name = "e\x1b[31m\u202e"
    evil = msgspec.structs.replace(UPLINK, name=name, mtu=1400)
    found = [*paths.mtu_mismatch(situation(links={"br-web": BRIDGE, name: evil}, uplinks={4: (name,), 6: ()}))]
    found += [finding for finding, _ in forwarding.forwarding(situation(
        links={"br-web": BRIDGE, name: evil}, uplinks={4: (name,), 6: ()}, sysctl=lambda key, link: "0" if link == name else "1"))]
    assert len(found) == 2
    for finding in found:
        for text in (finding.id, finding.what, finding.why, finding.remedy, *finding.details):
            assert text.isprintable(), text


@pytest.mark.req("B11")
@pytest.mark.parametrize(("used", "change", "severity"), [
    (True, {}, "error"), (False, {}, "warning"), (True, {"internal": True}, None), (True, {"options": {"uplink": "eth1"}}, None)])
def test_how_bad_it_is_without_forwarding(used: bool, change: dict[str, Any], severity: str | None) -> None:
    network = msgspec.structs.replace(NETWORK, **change)
    endpoints = {"n1": [object()]} if used else {}
    found = list(forwarding.forwarding(situation(networks=[network], endpoints=endpoints, sysctl=lambda name, link: "0")))
    assert [finding.severity for finding, _ in found] == ([severity] if severity else [])


@pytest.mark.req("X8")
def test_a_network_of_the_site_may_be_where_the_host_is_too() -> None:
    here = HostRanges(routes=(HostRoute("10.1.0.0/24", "eth0"),), addresses=(HostAddress("10.1.0.9/24", "eth0"),))
    drivers = {name: driver for name, driver in builtin().items() if driver.info.parents}
    for change, wrong in (({}, True), ({"options": {"uplink": "eth1"}}, False), ({"driver": "macvlan", "link": "eth1"}, False)):
        network = msgspec.structs.replace(NETWORK, made_link="link" not in change, **change)
        found = list(ranges.overlaps(situation(networks=[network], ranges=here, parent_drivers=drivers)))
        assert [item.id for item in found] == ["overlap.web.10.1.0.0/24"] * wrong


SITE = Network("n2", "site", "macvlan", 1.0, (Subnet("192.0.2.0/24", "192.0.2.1"),), {"macvlan_mode": "bridge"}, link="eth0.20")
CARD, TAGGED = Link(1, 2, "eth0", flags=0x10001), Link(1, 3, "eth0.20", "vlan", flags=0x10001, lower=2)


def on_site(network: Network = SITE, card: Link = CARD, tagged: Link = TAGGED, behind: Adapter | None = None) -> dict[str, Any]:
    """The findings by their ids."""
    drivers = {name: driver for name, driver in builtin().items() if driver.info.parents}
    found = parents.parents(situation(
        networks=[network], endpoints={network.id: [object(), object()]}, links={"eth0": card, "eth0.20": tagged},
        parent_drivers=drivers, adapter=lambda name: behind if behind and name == "eth0" else Adapter()))
    return {item.id: item for item in found}


@pytest.mark.req("M4")
@pytest.mark.parametrize(("behind", "ident", "severity"), [
    (Adapter("iwlwifi", True), "wireless.site", "error"), (Adapter("ena"), "virtual.site", "error"),
    (Adapter("virtio_net"), "virtual.site", "notice"), (Adapter("igb"), "", "")])
def test_cards_that_pass_one_mac_address_only(behind: Adapter, ident: str, severity: str) -> None:
    """They are looked for below a VLAN, and where containers have MAC addresses of their own."""
    found = on_site(behind=behind)
    assert [item.severity for key, item in found.items() if key == ident] == ([severity] if ident else [])
    assert set(found) == {"limits.site", *([ident] if ident else [])}
    alone = msgspec.structs.replace(SITE, options={"macvlan_mode": "passthru"})
    shared = msgspec.structs.replace(SITE, driver="ipvlan", options={"ipvlan_mode": "l2", "ipvlan_flag": "bridge"})
    assert not {ident} - {""} & {*on_site(alone, behind=behind), *on_site(shared, behind=behind)}
    switch = msgspec.structs.replace(NETWORK, id="n2", name="site", options={"uplink": "eth0"})
    assert set(on_site(switch, behind=behind)) == {ident} - {""}


@pytest.mark.req("M4", "I1")
@pytest.mark.parametrize(("card", "tagged", "what", "commands"), [
    (0x10001, 0x10000, "is switched off", ("ip link set eth0.20 up",)), (0x10001, 0x1, "has no carrier", ()),
    (0, 0x1, "eth0 below it is switched off", ("ip link set eth0 up",))])
def test_what_is_wrong_with_a_parent(card: int, tagged: int, what: str, commands: tuple[str, ...]) -> None:
    finding = on_site(card=msgspec.structs.replace(CARD, flags=card), tagged=msgspec.structs.replace(TAGGED, flags=tagged))["parent.site"]
    assert what in finding.what and finding.commands == commands and "its 2 containers are cut off" in finding.why


@pytest.mark.req("I8")
def test_a_parent_that_is_gone_may_only_have_another_name() -> None:
    theirs = msgspec.structs.replace(SITE, link="lan7", made_link=False, options={"macvlan_mode": "bridge", "parent": "lan7"})
    finding = on_site(theirs)["parent.site"]
    assert finding.severity == "error" and "lan7" in finding.what and "its 2 containers are cut off" in finding.why
    assert "Where it only has another name, what hangs on it works" in finding.why
    assert finding.remedy.startswith("Bring lan7 back, or give it that name")


def test_what_is_behind_a_link_is_read_from_sysfs(tmp_path: Path) -> None:
    for name, driver, files in (("wlan0", "iwlwifi", ("phy80211",)), ("eth0", "igb", ()), ("br0", "", ())):
        folder = tmp_path / "class/net" / name
        folder.mkdir(parents=True)
        if driver:
            (folder / "device").mkdir()
            (folder / "device/driver").symlink_to(f"../../../bus/pci/drivers/{driver}")
        for file in files:
            (folder / file).mkdir()
    assert [adapter(name, tmp_path) for name in ("wlan0", "eth0", "br0", "gone")] == [
        Adapter("iwlwifi", True), Adapter("igb"), Adapter(), Adapter()]


def test_names_that_others_chose_are_quoted_where_a_command_is_to_be_copied() -> None:
    others = (Hung("x;$(reboot)", "macvlan", "bridge", "netns:c1"),)
    finding, = drift.left_behind({"eth0.20": others})
    assert shlex.split(finding.commands[0], comments=False) == [
        "ip", "link", "delete", "eth0.20", "#", "and", "with", "it", "the macvlan link x;$(reboot) in netns:c1, in mode bridge"]
