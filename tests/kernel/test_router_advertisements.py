"""Router advertisements of the site, and containers on its wire: netdeck gives addresses, not a router."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from protocol.errors import InvalidValue
from protocol.model import DriverInfo
from tests.kernel.lan import attach
from tests.kernel.site_dhcp import Dnsmasq
from tests.running_helper import RunningHelper
from tests.waiting import until

pytest_plugins = ("tests.kernel.lan_fixtures",)


@pytest.mark.req("B10", "M5")
def test_containers_follow_no_router_and_that_is_said(lan: RunningHelper, tmp_path: Path) -> None:
    host = lan.host
    host.run("ip netns add w && ip link add link eth0 name witness netns w type macvlan mode bridge && "
             "ip netns exec w sysctl -qw net.ipv6.conf.witness.accept_ra=2 && ip -n w link set witness up")
    lan.call("network.create", name="six", driver="macvlan", ipv4=False, ipv6=True, options={"parent": "eth0"},
             subnets=[{"subnet": "2001:db8:1::/64", "gateway": "2001:db8:1::1"}])
    lan.call("network.create", name="four", driver="macvlan", options={"parent": "eth0"},
             subnets=[{"subnet": "10.77.0.0/24", "gateway": "10.77.0.1"}])
    attach(lan, "six", "c1")
    attach(lan, "four", "c2")
    Dnsmasq(host, tmp_path, "--enable-ra", "--ra-param=up0,4,60", "--dhcp-range=2001:db8:1::,ra-only")
    until(lambda: "scope global dynamic" in host.run("ip -6 -o addr", netns="w"), "a host of the site follows the router")
    six, four = (host.run("ip -6 -o addr; ip -6 route", netns=name) for name in ("c1", "c2"))
    assert "default via 2001:db8:1::1 " in six and "via fe80" not in six and "dynamic" not in six and "eth0" not in four
    with pytest.raises(InvalidValue, match=r"SLAAC.*second network"):
        lan.call("network.create", name="x", driver="macvlan", ipam="dhcp", ipv6=True, options={"parent": "eth0"})
    for driver in lan.call("driver.list"):
        if driver["leases"]:
            info = msgspec.convert(driver, DriverInfo)
            assert any("SLAAC" in note for note in info.notes_of({"uplink": "eth0"})), info.name
    # What the refusal proposes: leases of one network, IPv6 of another, on one link.
    lan.call("network.create", name="leased", driver="macvlan", ipam="dhcp", options={"parent": "eth0"})
    attach(lan, "leased", "c3")
    lan.call("network.create", name="only6", driver="macvlan", ipv4=False, ipv6=True, options={"parent": "eth0"},
             subnets=[{"subnet": "2001:db8:2::/64", "gateway": "2001:db8:2::1"}])
    attach(lan, "only6", "c3")
    routes = host.run("ip route; ip -6 route", netns="c3")
    assert re.search(r"default via 192.168.1.1 .*default via 2001:db8:2::1 ", routes, re.DOTALL)


@pytest.mark.req("I6")
def test_a_subnet_of_its_own_on_a_link_of_the_site_is_warned_of(lan: RunningHelper) -> None:
    for options, warned in (({"parent": "eth0"}, True), ({"parent": "eth1"}, False)):
        told = lan.call("network.create", name="n", driver="macvlan", options=options)
        found = [text for text in told["warnings"] if "nobody there knows the way" in text]
        assert len(found) == warned and all("--subnet 192.168.1.0/24" in text and "--ipam-driver dhcp" in text for text in found)
        lan.call("network.remove", name="n")
    asked = lan.call("network.create", name="n", driver="macvlan", options={"parent": "eth0"}, subnets=[{"subnet": "10.44.0.0/24"}])
    assert not any("knows the way" in text for text in asked["warnings"]), "who names a subnet has his reasons"
