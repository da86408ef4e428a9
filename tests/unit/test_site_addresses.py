"""Which addresses of a site a container or the host can have."""

from __future__ import annotations

import re

import pytest

from drivers.objects import HOST, Route
from helperd.plan import first_routes, plan
from helperd.site_addresses import Known, hindrance, taken, vouches
from helperd.subnets import HostAddress, HostRanges, HostRoute
from protocol.model import DHCP, Network, Subnet

pytestmark = pytest.mark.req("X7")
PUB = Network("a" * 64, "pub", "macvlan", 0.0, link="eth0", ipam=DHCP, host_addresses=("192.168.1.60",))
STATIC = Network("b" * 64, "st", "macvlan", 0.0, link="eth0", subnets=(
    Subnet("192.168.1.0/24", "192.168.1.1", "192.168.1.128/26", {"printer": "192.168.1.77"}),))
BRIDGE = Network("c" * 64, "bridge", "bridge", 0.0, (Subnet("172.17.0.0/16"),), link="netdeck0")
VLAN = Network("d" * 64, "guests", "macvlan", 0.0, (Subnet("10.8.0.0/24"),), link="eth0.8", host_addresses=("10.8.0.2",))
BARE = Network("e" * 64, "bare", "macvlan", 0.0, link="eth2", ipam=DHCP, host_addresses=("10.5.0.1",))
HOST_SIDE = HostRanges(
    (HostRoute("default", "eth0", "192.168.1.1"), HostRoute("192.168.1.0/24", "eth0"), HostRoute("10.0.0.0/24", "eth1"),
     HostRoute("10.99.0.0/16", "eth0", "192.168.1.2"), HostRoute("10.4.0.0/16", "eth1"), HostRoute("10.4.0.0/16", "eth0"),
     HostRoute("0.0.0.0/1", "tun0")),
    (HostAddress("192.168.1.250/24", "eth0"), HostAddress("10.0.0.1/24", "eth1")), ("192.168.1.53",))
LEASES = {STATIC.id: {"192.168.1.9": "nine"}, BARE.id: {"192.168.1.44": "other"}}
SEEN = Known((PUB, STATIC, BRIDGE, VLAN, BARE), lambda ident: LEASES.get(ident, {}), lambda ident: f"netns:{ident}", HOST_SIDE)


@pytest.mark.parametrize(("address", "always", "access"), [
    ("192.168.1.50", "", ""), ("192.168.1.1", "the router of the host's route default", None),
    ("192.168.1.2", "router of the host's route 10.99", None), ("192.168.1.250", "the host's own address on eth0", None),
    ("10.0.0.1", "the host's own address on eth1", None), ("192.168.1.53", "a name server of the host", None),
    ("192.168.1.60", "the host's own in network pub", None), ("10.8.0.2", "the host's own in network guests", None),
    ("192.168.1.9", "netns:nine's on network st", None), ("192.168.1.150", r"192\.168\.1\.128/26 of network st", None),
    ("192.168.1.77", "kept for something else in network st", None), ("224.0.0.9", "a multicast", None), ("240.0.0.1", "reserved", None),
    ("255.255.255.255", "reserved", None), ("169.254.169.254", "link-local", None), ("127.0.0.1", "loopback", None),
    # With host access only: what the host has its own way to, or what networks on other wires have.
    ("192.168.1.44", "", "netns:other's on network bare"), ("172.17.0.9", "", r"172\.17\.0\.0/16 of network bridge"),
    ("10.8.0.9", "", "of network guests"), ("10.0.0.7", "", r"its route 10\.0\.0\.0/24 on eth1"),
    ("10.99.0.1", "", r"10\.99\.0\.0/16 via 192\.168\.1\.2"), ("8.8.8.8", "", r"not where eth0 leads.*10\.4\.0\.0/16, 192"),
    ("192.168.1.255", "", "broadcast"), ("10.4.0.9", "", ""),
])
def test_what_can_not_be(address: str, always: str, access: str | None) -> None:
    for words, given in ((always, False), (always if access is None else access, True)):
        found = hindrance(address, PUB, SEEN, access=given, near=True)
        assert bool(found) == bool(words) and re.search(words, found), (found, words, given)


def test_where_the_host_has_no_part_the_network_s_own_address_speaks() -> None:
    assert hindrance("10.5.0.9", BARE, SEEN, access=True, near=True) == ""
    assert "nothing says" in hindrance("10.5.0.9", BARE, SEEN, access=True, near=False)
    assert "its route 10.0.0.0/24" in hindrance("10.0.0.9", BARE, SEEN, access=True, near=True)
    assert vouches("10.5.0.9/24", "10.5.0.1") and vouches("10.5.7.9/8", "10.5.0.1") and not vouches("10.99.0.9/8", "10.5.0.1")


def test_what_stays_where_it_is() -> None:
    found = taken(STATIC, SEEN)
    assert found["192.168.1.1"].startswith("the router") and found["192.168.1.44"] == "netns:other's on network bare"
    assert "192.168.1.9" not in found and found["192.168.1.60"] == "the host's own in network pub"


def test_the_first_of_two_routes_to_one_address_is_kept() -> None:
    first, second, inside = Route(HOST, "192.168.1.50/32", "ha-a"), Route(HOST, "192.168.1.50/32", "ha-b"), Route("c", "10.0.0.0/8", "eth0")
    assert first_routes((first, inside, second, first)) == ([first, inside, first], [second])
    assert plan(first_routes((first, second))[0], ()) != () == plan((), ())
