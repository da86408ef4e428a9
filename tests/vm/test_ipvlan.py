"""ipvlan networks with real packets: modes, flags, families, addresses."""

from __future__ import annotations

import pytest

from protocol.errors import Conflict, InvalidValue
from tests.vm.site import Site


@pytest.mark.req("I1", "I2", "I3", "I13", "I14")
def test_l2_is_on_the_site_s_segment_with_the_parent_s_mac_address(site: Site) -> None:
    made = site.create("db_net", "ipvlan", "192.168.1.0/24", "2001:db8:1::/64,2001:db8:1::1", ipv6=True, parent="eth0")
    assert made["options"]["ipvlan_mode"] == "l2" and made["subnets"][0]["gateway"] == "192.168.1.1" and not made["made_link"]
    with pytest.raises(InvalidValue, match="MAC address can't be chosen"):
        site.attach("db_net", "c1", mac_address="02:00:00:00:00:01")
    for name in ("c1", "c2", "c1"):  # the same addresses again at once, by another and by the same
        endpoint = site.attach("db_net", name, ip="192.168.1.7", ip6="2001:db8:1::51")
        assert endpoint["addresses"] == ["192.168.1.7/24", "2001:db8:1::51/64"] and endpoint["mac"] == ""
        site.meet((name, "2001:db8:1::1", True), (name, "192.168.1.1", True))
        site.detach("db_net", name)
    assert site.links("c1") == set()
    site.attach("db_net", "c1", "c2")
    assert site.sh("cat /sys/class/net/eth0/address", "c1") == site.sh("cat /sys/class/net/eth0/address")
    assert "default via 192.168.1.1 dev eth0" in site.sh("ip route", "c1")
    assert "default via 2001:db8:1::1 dev eth0" in site.sh("ip -6 route", "c1")
    site.meet(("c1", "192.168.1.3", True), ("c1", "192.168.1.1", True), ("outside", "192.168.1.3", True), ("c1", "203.0.113.1", True),
              ("c1", "192.168.1.250", False), ("c1", "2001:db8:1::250", False), ("", "192.168.1.2", False), ("c2", "2001:db8:1::1", True))
    assert "kernel keeps them apart" in " ".join(site.inspect("db_net")["Netdeck"]["Notes"])


@pytest.mark.req("I1")
@pytest.mark.parametrize("flag", ["private", "vepa"])
def test_flags_that_keep_containers_apart(site: Site, flag: str) -> None:
    site.create("n", "ipvlan", "192.168.1.0/24", parent="eth0", ipvlan_flag=flag)
    site.attach("n", "c1", "c2")
    assert f"l2 {flag}" in " ".join(site.sh("ip -d link show eth0", "c1").split())
    site.meet(("c1", "192.168.1.3", False), ("c1", "192.168.1.1", True), ("c2", "192.168.1.1", True))


@pytest.mark.req("I1", "I10", "I11", "I12", "I13")
def test_l3s_routes_by_the_parent(site: Site) -> None:
    mode = "l3s"
    with pytest.raises(InvalidValue, match=r"holds 192\.168\.1\.250, the address of eth0"):
        site.create("n", "ipvlan", "192.168.1.0/24", parent="eth0", ipvlan_mode=mode)
    answer = site.call("network.create", name="n", driver="ipvlan", ipv6=True, options={"parent": "eth0", "ipvlan_mode": mode}, subnets=[
        {"subnet": "192.168.214.0/24", "gateway": "192.168.214.1"}, {"subnet": "10.1.214.0/24"}, {"subnet": "2001:db8:214::/64"}])
    assert all(item["gateway"] is None for item in answer["network"]["subnets"])
    assert [text for text in answer["warnings"] if "gateway 192.168.214.1 has no effect" in text]
    site.attach("n", "c1", ip="192.168.214.10")
    site.attach("n", "c2", ip="10.1.214.10", ip6="2001:db8:214::10")
    assert "default dev eth0" in site.sh("ip route", "c1") and "default dev eth0" in site.sh("ip -6 route", "c1")
    site.create("six", "ipvlan", "2001:db8:215::/64", ipv6=True, parent="eth0", ipvlan_mode=mode)
    assert site.attach("six", "c3")["addresses"][0].startswith("172."), "IPv4 from the default pool"
    site.sh("for net in 10.1.214.0/24 192.168.214.0/24; do ip route add $net via 192.168.1.250; done", "outside")
    site.meet(("c1", "10.1.214.10", True), ("c2", "192.168.214.10", True), ("c1", "2001:db8:214::10", True), ("c3", "10.1.214.10", True),
              ("c1", "192.168.1.1", True), ("outside", "10.1.214.10", True))
    assert site.links("c1") == {"eth0"}
    # No broadcast: the link asks nobody for a MAC address.
    assert "NOARP" in site.sh("ip link show eth0", "c1")
    with pytest.raises(Conflict, match=f"network n has {mode} there"):
        site.create("other", "ipvlan", "10.2.0.0/24", parent="eth0")
    site.sh("for net in 10.1.214.0/24 192.168.214.0/24; do ip route del $net; done", "outside")
