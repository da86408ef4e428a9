"""The host's own link among ipvlan containers, and DHCP for links that share a MAC address."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from protocol.errors import Conflict, InvalidValue
from tests.vm.site import Site


@pytest.mark.req("X6")
@pytest.mark.parametrize(("mode", "subnet"), [("l2", "192.168.1.0/24"), ("l3", "192.168.214.0/24")])
def test_the_host_reaches_ipvlan_containers(site: Site, mode: str, subnet: str) -> None:
    site.create("n", "ipvlan", subnet, parent="eth0", ipvlan_mode=mode)
    first = site.attach("n", "c1")["addresses"][0].partition("/")[0]
    before = site.sh("ip route; ip -o addr")
    network = site.call("network.host-access", name="n", on=True)["network"]
    own = network["host_addresses"][0]
    second = site.attach("n", "c2")["addresses"][0].partition("/")[0]
    site.meet(("", first, True), ("", second, True), ("c1", own, True), ("c2", own, True), ("", "192.168.1.1", True),
              ("outside", "192.168.1.250", True))
    assert "dev eth0" in site.sh("ip route get 192.168.1.1")
    site.detach("n", "c2")
    site.call("network.host-access", name="n", on=False)
    assert site.sh("ip route; ip -o addr") == before
    site.meet(("", first, False))


@pytest.mark.req("X7")
def test_containers_with_one_mac_address_have_a_lease_each(site: Site) -> None:
    with pytest.raises(InvalidValue, match="no broadcast"):
        site.call("network.create", name="n", driver="ipvlan", ipam="dhcp", options={"parent": "eth0", "ipvlan_mode": "l3"})
    site.call("network.create", name="n", driver="ipvlan", ipam="dhcp", options={"parent": "eth0"})

    def said(words: str) -> int:
        return site.sh("cat /run/dhcp-log", "outside").count(words)

    site.sh("dnsmasq --conf-file=/dev/null --user=root --no-ping --log-dhcp --interface=lan0 --except-interface=lo --bind-interfaces "
            "--dhcp-authoritative --no-resolv --no-hosts --dhcp-range=192.168.1.100,192.168.1.120,255.255.255.0,2m "
            "--dhcp-option=option:T1,5 --dhcp-option=option:T2,100 --log-facility=/run/dhcp-log --dhcp-leasefile=/run/dhcp-leases "
            "--pid-file=/run/dhcp-pid", "outside")
    try:
        first, second = (site.attach("n", name)["addresses"][0].partition("/")[0] for name in ("c1", "c2"))
        assert first != second
        site.meet(("c1", second, True), ("c1", "192.168.1.1", True), ("c2", "203.0.113.1", True), ("outside", first, True))
        end = time.monotonic() + 90
        while any(said(f"DHCPACK(lan0) {address}") < 2 for address in (first, second)):
            assert time.monotonic() < end, "they are not renewed"
            time.sleep(0.2)
        site.detach("n", "c1", "c2")
        while said("DHCPRELEASE") < 2:
            assert time.monotonic() < end, "they are not released"
            time.sleep(0.2)
    finally:
        site.sh("kill $(cat /run/dhcp-pid)", "outside")


def ports(site: Site) -> dict[str, str]:
    """The VLANs of each port, as `bridge vlan` shows them, by the link's name."""
    found = {}
    for row in json.loads(site.sh("bridge -j -compressvlans vlan show")):
        words = []
        for item in row["vlans"]:
            span = str(item["vlan"]) + (f"-{item['vlanEnd']}" if "vlanEnd" in item else "")
            flags = item.get("flags", ())
            words.append(span + ("u" if "Egress Untagged" in flags else "") + ("p" if "PVID" in flags else ""))
        found[row["ifname"]] = " ".join(words)
    return found


@pytest.fixture
def trunk(site: Site) -> Iterator[Site]:
    """The trunk `trunk0` to the site, where VLANs 10 and 20 have a host each, `r10` and `r20` with 10.9.0.VLAN; nothing is left of it."""
    before = site.foreign()
    site.sh("ip link add trunk0 type veth peer name trunk1 netns outside && ip link set trunk0 up && ip -n outside link set trunk1 up && "
            "for v in 10 20; do ip netns add r$v && ip -n outside link add link trunk1 name vlan$v type vlan id $v && "
            "ip -n outside link set vlan$v netns r$v && ip -n r$v link set vlan$v up && ip -n r$v addr add 10.9.0.$v/24 dev vlan$v; done")
    try:
        yield site
    finally:
        site.clear()
        master = "master" in site.sh("ip -o link show trunk0")
        site.sh("ip link del trunk0")
    assert not master and site.foreign() == before


@pytest.mark.req("X7", "X20")
def test_each_vlan_has_its_own_dhcp_server_and_others_are_asked_in_it(trunk: Site) -> None:
    site = trunk
    options = {"uplink": "trunk0", "vlan_filtering": "1", "uplink_vlans": "10,20"}
    site.call("network.create", name="n", ipam="dhcp", options=options)
    for vlan in (10, 20):
        site.sh(f"dnsmasq --conf-file=/dev/null --user=root --no-ping --log-dhcp --interface=vlan{vlan} --except-interface=lo "
                f"--bind-interfaces --dhcp-authoritative --no-resolv --no-hosts --dhcp-range=10.9.0.{vlan}1,10.9.0.{vlan}9,255.255.255.0 "
                f"--dhcp-option=option:T1,4 --dhcp-option=option:T2,100 --log-facility=/run/dhcp-log-{vlan} "
                f"--dhcp-leasefile=/run/dhcp-leases-{vlan} --pid-file=/run/dhcp-pid-{vlan}", f"r{vlan}")

    def said(vlan: int, words: str) -> int:
        return site.sh(f"cat /run/dhcp-log-{vlan}", f"r{vlan}").count(words)

    try:
        first = site.attach("n", "a1", vlans=["10"])["addresses"][0]
        second = site.attach("n", "b1", vlans=["10"], untagged=20)["addresses"][0]
        assert first.startswith("10.9.0.10") and second.startswith("10.9.0.20"), (first, second)
        site.meet(("a1", "10.9.0.10", True), ("b1", "10.9.0.20", True), ("a1", "10.9.0.20", False))
        for vlans, untagged, words in ((["10,20"], None, "--untagged"), (["30"], None, "VLAN 30 does not leave by trunk0.*10,20")):
            with pytest.raises(InvalidValue, match=words):
                site.attach("n", "c1", vlans=vlans, untagged=untagged)
        site.until(lambda: said(10, "DHCPACK") >= 2 and said(20, "DHCPACK") >= 2, "both are renewed")
        site.detach("n", "a1", "b1")
        site.until(lambda: said(10, "DHCPRELEASE") == said(20, "DHCPRELEASE") == 1, "both are released, each by its server")
        site.remove("n")
        # Addresses of a pool: somebody in VLAN 10 has one, and nobody in VLAN 20 has.
        site.call("network.create", name="n", options=options, subnets=[{"subnet": "10.9.0.0/24", "gateway": "10.9.0.254"}])
        with pytest.raises(Conflict, match="answers for it on trunk0"):
            site.attach("n", "a1", ip="10.9.0.10", vlans=["10"])
        assert site.attach("n", "b1", ip="10.9.0.10", vlans=["20"])["addresses"] == ["10.9.0.10/24"]
    finally:
        for vlan in (10, 20):
            site.sh(f"kill $(cat /run/dhcp-pid-{vlan})", f"r{vlan}")


@pytest.mark.req("X20")
def test_ports_of_a_bridge_have_vlans(trunk: Site) -> None:
    site = trunk
    for options, words in (({"uplink_vlans": "10"}, "without uplink and vlan_filtering"),
                           ({"uplink": "trunk0", "vlan_filtering": "1", "uplink_vlans": "0"}, "no VLAN id")):
        with pytest.raises(InvalidValue, match=words):
            site.call("network.create", name="n", options=options)
    made = site.call("network.create", name="n", subnets=[{"subnet": "10.9.0.0/24", "gateway": "10.9.0.254"}],
                     options={"uplink": "trunk0", "vlan_filtering": "1", "uplink_vlans": "20,10"})["network"]
    assert ports(site)["trunk0"] == "1up 10 20" and made["options"]["uplink_vlans"] == "10,20"
    with pytest.raises(Conflict, match="take the frames of VLAN 10 from network n, whose uplink trunk0 carries it"):
        site.call("network.create", name="m", driver="macvlan", options={"parent": "trunk0.10"})
    site.sh("ip netns add c9 && ip netns add c8")
    for vlans, untagged, words in ((["0"], None, "no VLAN id"), (["4095"], None, "no VLAN id"), (["x"], None, "no VLAN id"),
                                   (["30-20"], None, "ends before"), (["10-20"], 15, "both tagged")):
        with pytest.raises(InvalidValue, match=words):
            site.call("network.connect", network="n", container="netns:c9", vlans=vlans, untagged=untagged)
    with pytest.raises(InvalidValue, match="not aware of VLANs"):
        site.call("network.connect", network="bridge", container="netns:c9", vlans=["10"])
    site.attach("n", "a1", "a2", vlans=["10"])
    site.attach("n", "b1", vlans=["20"])
    plain = site.attach("n", "d1")
    quiet, told = (site.call("network.connect", network="n", container="netns:c8", dry_run=True, vlans=vlans)["warnings"]
                   for vlans in ([], ["10"]))
    assert any("of VLAN 1." in text for text in quiet) and not any("VLAN" in text for text in told), (quiet, told)
    assert "bridge vlan add vid 30-40 dev veth" in site.netdeck("network connect --dry-run --vlan 20,30-40 --untagged 10 n netns:c9")
    tagged = site.call("network.connect", network="n", container="netns:c9", vlans=["20", "30-32,33-40"], untagged=10)["endpoint"]
    assert (tagged["vlans"], tagged["untagged"]) == (["20", "30-40"], 10)
    assert ports(site)[tagged["host_link"]] == "10up 20 30-40" and ports(site)[plain["host_link"]] == "1up"
    address = {name: site.sh("ip -o -4 addr show eth0", name).split()[3].partition("/")[0] for name in ("a1", "a2", "b1", "d1", "c9")}
    # The native VLAN of the trunk is 10; a sub-interface in the container is in 20, as b1 and the site's router are.
    site.sh("ip link add link eth0 name eth0.20 type vlan id 20 && ip link set eth0.20 up && ip addr add 10.9.0.99/32 dev eth0.20 && "
            f"ip route add {address['b1']}/32 dev eth0.20 src 10.9.0.99 && ip route add 10.9.0.20/32 dev eth0.20 src 10.9.0.99", "c9")
    site.sh(f"ip route add 10.9.0.99/32 dev eth0 src {address['b1']}", "b1")
    site.meet(("a1", address["a2"], True), ("a1", address["b1"], False), ("a1", address["d1"], False), ("b1", address["d1"], False),
              ("a1", "10.9.0.10", True), ("b1", "10.9.0.20", True), ("a1", "10.9.0.20", False), ("d1", "10.9.0.10", False),
              ("c9", address["a1"], True), ("c9", address["b1"], True))
    # What is shown; somebody's change is put right at the next start's plan, which is that of doctor's drift.
    member = next(item for item in site.inspect("n")["Containers"].values() if item["Name"] == "netns:c9")
    assert member["VLANs"] == "10 untagged, 20,30-40 tagged" and "10 untagged, 20,30-40 tagged" in site.netdeck("interfaces")
    port = tagged["host_link"]
    site.sh(f"bridge vlan del vid 20 dev {port} && bridge vlan add vid 10 dev {port} pvid && bridge vlan add vid 31 dev {port} untagged && "
            f"bridge vlan add vid 50 dev {port} untagged")
    assert ports(site)[port] == "10p 30 31u 32-40 50u"
    assert any("VLANs of" in detail for finding in site.call("doctor.list") for detail in (*finding["details"], finding["what"]))
    site.call("doctor.fix", id="changed")
    before = ports(site)
    assert before[port] == "10up 20 30-40"
    # A bridge that must be made anew has its ports back with their VLANs, in one go.
    site.sh(f"ip link set {made['link']} type bridge vlan_filtering 0")
    site.call("doctor.fix", id="changed")
    assert ports(site) == before and f"master {made['link']}" in site.sh("ip -o link show trunk0")
    # A link that somebody has made a port of his own bridge keeps the VLANs that he gave it.
    site.sh("ip link add theirs up type bridge vlan_filtering 1 && ip link set trunk0 master theirs && bridge vlan add vid 7 dev trunk0")
    assert not any("VLANs of trunk0" in detail for finding in site.call("doctor.list") for detail in finding["details"]
                   if detail.startswith("change"))
    site.detach("n", "a1", "a2", "b1", "c9", "d1")
    site.remove("n")
    assert ports(site)["trunk0"] == "1up 7"
    site.sh("ip link set trunk0 nomaster && ip link del theirs")
