"""The doctor's checks on situations that are hard to make on a real host: pools that run out, many links, names that are hostile."""

from __future__ import annotations

import ipaddress
from typing import Any

import msgspec
import pytest

from helperd.doctor import drift, forwarding, paths, ranges
from helperd.doctor.situation import Situation
from helperd.subnets import Cut, HostRanges
from protocol.model import Link, Network, Plan, Subnet

NETWORK = Network("n1", "web", "bridge", 1.0, (Subnet("10.1.0.0/24", "10.1.0.1"),), {"mtu": "1500"}, link="br-web")
BRIDGE = Link(1, 10, "br-web", "bridge", mtu=1500)
UPLINK = Link(1, 2, "eth0", mtu=1500)


def situation(**changes: Any) -> Situation:
    fields: dict[str, Any] = {
        "networks": [NETWORK], "endpoints": {}, "links": {"br-web": BRIDGE, "eth0": UPLINK}, "peers": {}, "uplinks": {4: ("eth0",), 6: ()},
        "sysctl": lambda name, link: "1" if "rp_filter" not in name else "0", "ranges": HostRanges(), "leases": lambda network: {},
        "pools": {4: (Cut(ipaddress.ip_network("10.0.0.0/8"), 24),)}, **changes}
    return Situation(**fields)


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
@pytest.mark.parametrize(("used", "internal", "severity"), [(True, False, "error"), (False, False, "warning"), (True, True, None)])
def test_how_bad_it_is_without_forwarding(used: bool, internal: bool, severity: str | None) -> None:
    network = msgspec.structs.replace(NETWORK, internal=internal)
    endpoints = {"n1": [object()]} if used else {}
    found = list(forwarding.forwarding(situation(networks=[network], endpoints=endpoints, sysctl=lambda name, link: "0")))
    assert [finding.severity for finding, _ in found] == ([severity] if severity else [])
