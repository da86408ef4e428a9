"""macvlan networks on a real kernel, with real packets."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest

from protocol.errors import Conflict, InUse, InvalidValue, NetdeckError, NotFound
from protocol.model import DriverInfo
from tests.kernel.lan import attach, reaches, silent
from tests.running_helper import RunningHelper
from tests.waiting import until

pytest_plugins = ("tests.kernel.lan_fixtures",)
LAN = {"subnet": "192.168.1.0/24"}


def create(helper: RunningHelper, name: str = "pub", parent: str = "eth0", **args: Any) -> dict[str, Any]:
    options = {"parent": parent, **args.pop("options", {})}
    return dict(helper.call("network.create", name=name, driver="macvlan", options=options, **args)["network"])


def links(helper: RunningHelper, netns: str = "") -> dict[str, dict[str, Any]]:
    return {row["ifname"]: row for row in json.loads(helper.host.run("ip -d -j link show", netns=netns))}


@pytest.mark.req("M1", "X13")
def test_containers_are_on_the_site_s_network_and_not_on_the_host_s(lan: RunningHelper) -> None:
    network = create(lan, subnets=[LAN])
    assert network["subnets"][0]["gateway"] == "192.168.1.1" and network["link"] == "eth0" and not network["made_link"]
    heard = lan.host.popen(["timeout", "60", "tcpdump", "-lnei", "up0", "-c", "1", "arp and src host 192.168.1.2"], netns="outside")
    assert heard.stdout is not None and any("listening on" in line for line in iter(heard.stdout.readline, ""))
    first, second = attach(lan, "pub", "c1"), attach(lan, "pub", "c2")
    assert [item["addresses"] for item in (first, second)] == [["192.168.1.2/24"], ["192.168.1.3/24"]]
    inside = links(lan, "c1")["eth0"]
    assert inside["address"] == first["mac"] != second["mac"] and inside["linkinfo"]["info_data"]["mode"] == "bridge"
    assert reaches(lan, "c1", "192.168.1.3") and reaches(lan, "c1", "192.168.1.1") and reaches(lan, "outside", "192.168.1.3")
    assert reaches(lan, "c1", "10.99.0.1"), "by the site's gateway"
    assert silent(lan, "c1", "192.168.1.250"), "the kernel keeps the host's own addresses apart"
    notes = " ".join(lan.call("network.inspect", names=["pub"])[0]["Netdeck"]["Notes"])
    assert "host and the containers can't reach each other" in notes
    assert "192.168.1.2" in heard.communicate(timeout=60)[0]


@pytest.mark.req("M4")
def test_the_dangers_are_shown(lan: RunningHelper) -> None:
    info = msgspec.convert(next(item for item in lan.call("driver.list") if item["name"] == "macvlan"), DriverInfo)
    notes = " ".join(info.notes_of({"macvlan_mode": "vepa"}))
    assert "MAC address" in notes and "promiscuous" in notes and "hairpin" in notes
    create(lan, subnets=[LAN])
    shown = lan.command("network", "inspect", "pub")
    assert "promiscuous" in shown and "hairpin" not in shown, "of its own mode only"


@pytest.mark.req("M4", "X6")
def test_the_doctor_says_what_a_mode_can_not_do_and_what_a_parent_lacks(lan: RunningHelper) -> None:
    def doctor() -> dict[str, dict[str, Any]]:
        return {row["id"]: row for row in lan.call("doctor.list") if row["id"].endswith(".pub")}

    create(lan, subnets=[LAN])
    assert doctor() == {}, "nobody is on it"
    attach(lan, "pub", "c1")
    limits = doctor()["limits.pub"]
    assert limits["severity"] == "notice" and "netdeck network host-access pub on" in limits["details"][0]
    assert "eth0 sends with 1 MAC address beside its own" in limits["details"][1] and "can't do" in lan.command("doctor", check=False)
    with pytest.raises(InvalidValue, match=r"limits\.pub: there is nothing to mend: The kernel sets these limits"):
        lan.call("doctor.fix", id="limits.pub")
    lan.call("network.host-access", name="pub", on=True)
    details = doctor()["limits.pub"]["details"]
    assert not any("host-access" in line for line in details)
    assert "2 MAC addresses beside its own" in details[0], "the host's way has one too"
    lan.host.run("ip link set eth0 down")
    until(lambda: "parent.pub" in doctor())
    found = doctor()["parent.pub"]
    assert found["severity"] == "error" and "eth0" in found["what"] and "its container is cut off" in found["why"]
    with pytest.raises(InvalidValue, match="ip link set eth0 up"):
        lan.call("doctor.fix", id="parent.pub")
    lan.host.run(found["commands"][0])
    until(lambda: set(doctor()) == {"limits.pub"})
    lan.host.run("ip -n outside link set up0 down; ip netns add c2")
    told = lan.call("network.connect", network="pub", container="netns:c2")["warnings"]
    assert told[0] == "eth0 has no carrier, so nothing leaves by it: see to what is at its other end"
    until(lambda: "has no carrier" in doctor().get("parent.pub", {"what": ""})["what"])


@pytest.mark.req("M1")
@pytest.mark.parametrize("mode", ["vepa", "private"])
def test_modes_in_which_containers_do_not_meet_on_the_host(lan: RunningHelper, mode: str) -> None:
    create(lan, subnets=[LAN], options={"macvlan_mode": mode})
    attach(lan, "pub", "c1")
    attach(lan, "pub", "c2")
    assert links(lan, "c1")["eth0"]["linkinfo"]["info_data"]["mode"] == mode
    assert reaches(lan, "c1", "192.168.1.1") and reaches(lan, "c2", "192.168.1.1")
    assert silent(lan, "c1", "192.168.1.3")


@pytest.mark.req("M1")
def test_passthru_gives_one_container_the_parent_with_its_address(lan: RunningHelper) -> None:
    mac = links(lan)["eth1"]["address"]
    create(lan, parent="eth1", subnets=[{"subnet": "10.5.0.0/24"}], options={"macvlan_mode": "passthru"})
    with pytest.raises(InvalidValue, match="passthru"):
        attach(lan, "pub", "c1", mac_address="02:00:00:00:00:01")
    attach(lan, "pub", "c1")
    assert links(lan, "c1")["eth0"]["address"] == mac == links(lan)["eth1"]["address"]
    lan.host.run("ip -n outside addr add 10.5.0.1/24 dev up1")
    assert reaches(lan, "c1", "10.5.0.1")
    with pytest.raises(Conflict, match="takes one container: disconnect netns:c1 first"):
        attach(lan, "pub", "c2")
    with pytest.raises(Conflict, match="network pub has it in mode passthru"):
        create(lan, "other", "eth1", subnets=[{"subnet": "10.6.0.0/24"}])
    create(lan, "shared", subnets=[LAN])
    with pytest.raises(Conflict, match="network shared is on it"):
        create(lan, "whole", subnets=[{"subnet": "10.7.0.0/24"}], options={"macvlan_mode": "passthru"})


@pytest.mark.req("I8", "M1")
def test_macvlan_links_of_others_on_the_parent(lan: RunningHelper) -> None:
    """Modes go beside each other, but passthru is for one. All modes of ipvlan are in tests/vm/test_beside_others.py."""
    def passthru(name: str = "whole") -> dict[str, Any]:
        return create(lan, name, "eth1", subnets=[{"subnet": "10.5.0.0/24"}], options={"macvlan_mode": "passthru"})

    def known(link: str) -> bool:
        return any(row["link"]["name"] == link and row["link"]["lower_inode"] for row in lan.call("interface.list"))

    lan.host.add_namespace("x")
    lan.host.run("ip link add link eth1 name theirs netns x type macvlan mode private")
    until(lambda: known("theirs"))
    with pytest.raises(Conflict, match="can't hang on eth1 in mode passthru: the macvlan link theirs in netns:x, in mode private, hangs"):
        passthru()
    why = {row["name"]: row["why"] for row in lan.call("driver.parents", driver="macvlan", options={"macvlan_mode": "passthru"})}
    assert "theirs in netns:x" in why["eth1"] and why["eth0"] == ""
    create(lan, "shared", "eth1", subnets=[{"subnet": "10.6.0.0/24"}])
    attach(lan, "shared", "c1")
    lan.call("network.disconnect", network="shared", container="netns:c1")
    lan.call("network.remove", name="shared")
    lan.host.run("ip -n x link del theirs")
    until(lambda: not known("theirs"))
    passthru()
    lan.host.run("ip link add link eth1 name theirs netns x type macvlan mode passthru")
    problem = "damaged: the macvlan link theirs in netns:x, in mode passthru, hangs on eth1 too, .*only one"
    until(lambda: any(row["problem"] for row in lan.call("network.list")))
    with pytest.raises(Conflict, match=problem):
        attach(lan, "whole", "c1")
    lan.host.run("ip -n x link del theirs")
    until(lambda: not any(row["problem"] for row in lan.call("network.list")))
    attach(lan, "whole", "c1")


@pytest.mark.req("M4")
def test_a_parent_that_is_switched_off_is_told(lan: RunningHelper) -> None:
    def warnings() -> list[str]:
        answer = lan.call("network.create", name="pub", driver="macvlan", options={"parent": "eth1"}, subnets=[LAN], dry_run=True)
        return list(answer["warnings"])

    assert warnings() == []
    lan.host.run("ip link set eth1 down")
    assert warnings() == ["eth1 is down, so nothing leaves by it: bring it up with ip link set eth1 up"]


@pytest.mark.req("M3", "M5")
def test_ranges_reserved_addresses_several_subnets_and_both_families(lan: RunningHelper) -> None:
    create(lan, ipv6=True, subnets=[
        {"subnet": "192.168.1.0/24", "ip_range": "192.168.1.128/25", "gateway": "192.168.1.1", "aux": {"my-router": "192.168.1.128"}},
        {"subnet": "192.168.32.0/24", "gateway": "192.168.32.254"}, {"subnet": "2001:db8:1::/64", "gateway": "2001:db8:1::1"}])
    first = attach(lan, "pub", "c1")
    assert first["addresses"] == ["192.168.1.129/24", "2001:db8:1::2/64"]
    second = attach(lan, "pub", "c2", ip="192.168.32.7", ip6="2001:db8:1::77")
    assert second["addresses"] == ["192.168.32.7/24", "2001:db8:1::77/64"]
    assert "default via 192.168.1.1 " in lan.host.run("ip route", netns="c1")
    assert "default via 192.168.32.254 " in lan.host.run("ip route", netns="c2")
    assert "default via 2001:db8:1::1 " in lan.host.run("ip -6 route", netns="c1")
    assert reaches(lan, "c1", "2001:db8:1::77") and reaches(lan, "c2", "2001:db8:1::1") and reaches(lan, "c2", "2001:db8:99::1")
    for taken, word in (("192.168.1.128", "aux-address my-router"), ("192.168.1.250", "aux-address eth0"), ("192.168.1.1", "the gateway")):
        with pytest.raises(InvalidValue, match=word):
            attach(lan, "pub", "c3", ip=taken)


@pytest.mark.req("M5")
def test_default_pools_where_no_subnet_is_given(lan: RunningHelper) -> None:
    network = create(lan)
    assert network["subnets"][0]["subnet"] == "172.18.0.0/16" and network["subnets"][0]["gateway"] == "172.18.0.1"
    both = create(lan, "six", ipv6=True, subnets=[{"subnet": "2001:db8:abc2::/64", "gateway": "2001:db8:abc2::22"}])
    assert [item["subnet"] for item in both["subnets"]] == ["2001:db8:abc2::/64", "172.19.0.0/16"]
    assert attach(lan, "six", "c1")["addresses"] == ["172.19.0.2/16", "2001:db8:abc2::1/64"]


@pytest.mark.req("I14")
def test_an_address_is_free_at_once(lan: RunningHelper) -> None:
    create(lan, ipv6=True, subnets=[LAN, {"subnet": "2001:db8:1::/64"}])
    for name in ("c1", "c2", "c1"):
        attach(lan, "pub", name, ip="192.168.1.10", ip6="2001:db8:1::10")
        assert reaches(lan, name, "192.168.1.1") and reaches(lan, "outside", "2001:db8:1::10")
        lan.call("network.disconnect", network="pub", container=f"netns:{name}")
        assert set(links(lan, name)) == {"lo"}


@pytest.mark.req("I8", "B2")
def test_the_host_s_links_are_never_touched(lan: RunningHelper) -> None:
    before = links(lan)
    create(lan, subnets=[LAN])
    create(lan, "more", subnets=[{"subnet": "10.8.0.0/24"}])
    attach(lan, "pub", "c1")
    attach(lan, "more", "c1")
    assert sorted(links(lan, "c1")) == ["eth0", "eth1", "lo"]
    with pytest.raises(InUse, match="netns:c1"):
        lan.call("network.remove", name="pub")
    for name in ("pub", "more"):
        lan.call("network.disconnect", network=name, container="netns:c1")
        lan.call("network.remove", name=name)
    after = links(lan)
    for name in ("lo", "eth0", "eth1"):
        for row in (before[name], after[name]):
            row.pop("promiscuity", None)
            row.pop("allmulti", None)
        assert before[name] == after[name]


BAD: list[tuple[dict[str, Any], type[NetdeckError], str]] = [
    ({"parent": "eth7"}, NotFound, r"no link eth7 .*known are .*eth0.*LINK\.VLAN"),
    ({"parent": "lo"}, InvalidValue, "'lo' is reserved"),
    ({"parent": "port"}, Conflict, "port of br0"),
    ({"parent": "eth0.0"}, InvalidValue, "from 1 to 4094"),
    ({"parent": "eth0.4095"}, InvalidValue, "from 1 to 4094"),
    ({"parent": "eth0.x"}, InvalidValue, "'x' is no VLAN id"),
    ({"parent": "eth0.1.2"}, NotFound, "two dots"),
    ({"parent": "eth7.5"}, NotFound, "no link eth7"),
    ({"parent": "lo.5"}, InvalidValue, "loopback"),
    ({"parent": "off.5"}, Conflict, "off is down"),
    ({"parent": "eth0", "macvlan_mode": "brige"}, InvalidValue, "bridge, vepa, private, passthru"),
    ({"parent": "eth0", "mtu": "9000"}, InvalidValue, "at most 1500"),
    ({"parent": "eth0", "ipvlan_mode": "l2"}, InvalidValue, "no option 'ipvlan_mode'"),
    ({"parent": "theirs"}, Conflict, "macvlan itself"),
]


@pytest.mark.req("I8")
def test_bad_input_is_told_and_leaves_nothing(lan: RunningHelper) -> None:
    lan.host.run("ip link add br0 type bridge && ip link add port type veth peer name portp && ip link set port master br0 && "
                 "ip link add off type veth peer name offp && ip link add link eth1 name theirs type macvlan mode bridge")
    before = links(lan)
    before.pop("netdeck0")  # whose timers run
    for options, error, words in BAD:
        with pytest.raises(error, match=words):
            lan.call("network.create", name="pub", driver="macvlan", options=options, subnets=[{"subnet": "10.5.0.0/24"}])
    with pytest.raises(InvalidValue, match="leave out one"):
        create(lan, internal=True)
    with pytest.raises(InvalidValue, match="address of eth0 itself"):
        create(lan, subnets=[{"subnet": "192.168.1.0/24", "gateway": "192.168.1.250"}])
    assert [row["name"] for row in lan.call("network.list")] == ["bridge", "host", "none"]
    after = links(lan)
    after.pop("netdeck0")
    assert before == after


@pytest.mark.req("I8")
def test_what_others_made_in_a_container_is_kept(lan: RunningHelper) -> None:
    """A link of another program with the name that ours would have is passed by; one of the kind that ours has is never taken."""
    create(lan, subnets=[LAN])
    lan.host.add_namespace("c1")
    lan.host.run("ip link add link eth0 name eth0 netns c1 type macvlan mode bridge || "
                 "(ip link add link eth0 name tmp0 netns c1 type macvlan mode bridge && ip -n c1 link set tmp0 name eth0)")
    theirs = links(lan, "c1")["eth0"]
    assert attach(lan, "pub", "c1")["ifname"] == "eth1"
    lan.call("network.disconnect", network="pub", container="netns:c1")
    assert links(lan, "c1") == {"lo": links(lan, "c1")["lo"], "eth0": theirs}


@pytest.mark.req("I8")
def test_a_container_can_not_keep_its_link_by_giving_it_another_name(lan: RunningHelper) -> None:
    create(lan, subnets=[LAN])
    attach(lan, "pub", "c1")
    lan.host.run("ip -n c1 link set eth0 down && ip -n c1 link set eth0 name mine && ip -n c1 link set mine alias x group 0")
    lan.call("network.disconnect", network="pub", container="netns:c1")
    assert set(links(lan, "c1")) == {"lo"}


@pytest.mark.req("I15")
def test_a_lost_parent_is_shown_and_what_hung_on_it_is_made_again(lan: RunningHelper) -> None:
    create(lan, parent="eth1", subnets=[{"subnet": "10.5.0.0/24"}])
    attach(lan, "pub", "c1")
    attach(lan, "pub", "c2")

    def state() -> str:
        return next(str(row["state"]) for row in lan.call("network.list") if row["name"] == "pub")

    def told() -> str:
        return " ".join(f"{row['action']}: {row['text']}" for row in lan.call("event.list") if row["kind"] == "network")

    create(lan, name="more", parent="eth1", subnets=[{"subnet": "10.6.0.0/24"}])
    rows = [line.split()[:5] for line in lan.command("interfaces").splitlines()]
    assert ["host", "eth1", "veth", "up", "more,pub"] in rows, "it names the networks that it is the parent of"
    lan.host.run("ip -n outside link set up1 down")
    until(lambda: state() == "down")
    assert "pub (cut off: down)" in lan.command("ps")
    assert re.search(r"eth1 +yes +veth NO-CARRIER\n", lan.command("network", "parents"))
    lan.host.run("ip -n outside link set up1 up")
    until(lambda: state() == "ready")
    lan.host.run("ip link del eth1")
    until(lambda: state() == "missing")
    until(lambda: "netns:c1, netns:c2 are cut off" in told())
    assert "eth0" not in links(lan, "c1")
    assert lan.call("network.inspect", names=["pub"])[0]["Netdeck"]["State"] == "missing"
    inspected = lan.call("container.inspect", names=["netns:c1"])[0]["NetworkSettings"]["Networks"]["pub"]
    assert inspected["CutOff"] == "the link eth1 is gone: netns:c1 is cut off until it is back"
    for dry in (False, True):
        with pytest.raises(Conflict, match="damaged: the link eth1 that it hangs on is gone; what hangs on it is made again"):
            lan.call("container.run", command=["true"], networks=["pub"], dry_run=dry)
    lan.host.run("ip link add eth1 type veth peer name up1 netns outside && ip link set eth1 up && ip -n outside link set up1 up && "
                 "ip -n outside addr add 10.5.0.1/24 dev up1")
    until(lambda: state() == "ready" and "eth0" in links(lan, "c1") and "eth0" in links(lan, "c2"))
    until(lambda: reaches(lan, "c1", "10.5.0.3") and reaches(lan, "c2", "10.5.0.1"))
    assert "default via 10.5.0.1" in lan.host.run("ip route", netns="c1")
    until(lambda: "are connected again" in told())


@pytest.mark.req("I15")
@pytest.mark.parametrize("gone", [False, True])
def test_all_comes_back_after_a_restart_and_when_the_parent_is_late(lan: RunningHelper, gone: bool) -> None:
    create(lan, parent="eth1", subnets=[{"subnet": "10.5.0.0/24"}])
    before = attach(lan, "pub", "c1")
    attach(lan, "pub", "c2")
    document = lan.call("network.inspect", names=["pub"])
    number = links(lan, "c1")["eth0"]["ifindex"]
    lan.kill()
    if gone:
        lan.host.run("ip link del eth1")
    lan.start()
    if gone:
        assert lan.call("network.inspect", names=["pub"])[0]["Netdeck"]["State"] == "missing"
        lan.host.run("ip link add eth1 type veth peer name up1 netns outside && ip link set eth1 up && ip -n outside link set up1 up")
        until(lambda: "eth0" in links(lan, "c1"))
        until(lambda: lan.call("network.inspect", names=["pub"]) == document)
    assert lan.call("network.inspect", names=["pub"]) == document
    assert (links(lan, "c1")["eth0"]["ifindex"] == number) is not gone
    until(lambda: reaches(lan, "c1", "10.5.0.3"))
    assert before["mac"] == links(lan, "c1")["eth0"]["address"]


@pytest.mark.req("B4", "M1")
def test_a_container_of_ours_starts_on_it(lan: RunningHelper) -> None:
    create(lan, subnets=[LAN])
    out = lan.command("run", "--rm", "--network", "pub", "--ip", "192.168.1.9", "--", "ping", "-n", "-c", "1", "-W", "5", "192.168.1.1")
    assert "1 received" in out
    lan.command("run", "-d", "--name", "s1", "--network", "pub", "--", "sleep", "600")
    lan.command("stop", "-t", "0", "s1")
    lan.command("rm", "s1")
    lan.call("network.remove", name="pub")


@pytest.mark.req("M1", "I1")
def test_a_kernel_without_a_module_is_told(lan: RunningHelper) -> None:
    """Only where the running kernel lacks 802.1Q, dummy links or ipvlan; elsewhere what needs them is made."""
    for kind, args, module, words in (("vlan id 99", {"parent": "eth0.20"}, "8021q", "no 802.1Q VLANs"),
                                      ("dummy", {}, "dummy", "no parent was given, .* this kernel has none: name one with -o parent=LINK")):
        probe = f"ip link add link eth0 name probe type {kind} && ip link del probe && echo made"
        if "made" not in lan.host.run(probe, check=False):
            for dry_run in (True, False):
                with pytest.raises(NetdeckError, match=f"{words}.* module {module} .*linux-image-amd64"):
                    lan.call("network.create", name="n", driver="macvlan", options=args, dry_run=dry_run)
        else:
            lan.call("network.create", name="n", driver="macvlan", options=args)
            lan.call("network.remove", name="n")
        assert [row["name"] for row in lan.call("network.list")] == ["bridge", "host", "none"]
    if "made" not in lan.host.run("ip link add link eth0 name probe type ipvlan && ip link del probe && echo made", check=False):
        with pytest.raises(NetdeckError, match=r"network n can't be made: this kernel has no ipvlan.* module ipvlan .*linux-image-amd64"):
            lan.call("network.create", name="n", driver="ipvlan", options={"parent": "eth0"}, dry_run=True)
        assert [row["name"] for row in lan.call("network.list")] == ["bridge", "host", "none"]
    else:
        lan.call("network.create", name="n", driver="ipvlan", options={"parent": "eth0"})
    if "made" not in lan.host.run("ip link add probe type bridge vlan_filtering 1 && ip link del probe && echo made", check=False):
        for dry_run in (True, False):
            with pytest.raises(NetdeckError, match="network v can't be made: bridges of this kernel can't keep VLANs apart"):
                lan.call("network.create", name="v", options={"vlan_filtering": "1"}, dry_run=dry_run)
    lan.call("network.create", name="m", driver="macvlan", options={"parent": "eth1"})
    assert set(links(lan)) == {"lo", "eth0", "eth1", "netdeck0"}, "the question makes no link"
