"""Networks with an MTU below 1280, where the kernel has no IPv6 on a link, nor the settings of it (RFC 8200, section 5)."""

from __future__ import annotations

import pytest

from protocol.errors import InvalidValue
from tests.kernel.lan import attach, reaches
from tests.running_helper import RunningHelper

pytest_plugins = ("tests.kernel.lan_fixtures",)
pytestmark = pytest.mark.req("B7")


def ipv6_of(helper: RunningHelper, link: str, netns: str = "") -> str:
    """The link's setting disable_ipv6, "" where there is none."""
    return helper.host.run(f"cat /proc/sys/net/ipv6/conf/{link}/disable_ipv6 2>/dev/null", netns=netns, check=False).strip()


def whole(helper: RunningHelper) -> bool:
    """Nothing differs from what is stored."""
    found = {row["id"]: row for row in helper.call("doctor.list")}
    return not {"changed", "orphans"} & found.keys()


def test_a_bridge_takes_it_and_ipv6_stays_off_when_it_is_raised(lan: RunningHelper) -> None:
    made = lan.call("network.create", name="a", options={"mtu": "1200", "name": "a0"})
    assert not any("ipv6" in line for line in made["plan"]["commands"])
    near = [attach(lan, "a", "c1")["host_link"]]
    assert ipv6_of(lan, "a0") == ipv6_of(lan, near[0]) == ipv6_of(lan, "eth0", "c1") == "" and whole(lan)
    dry = lan.call("network.update", name="a", options={"mtu": "1500"}, dry_run=True)["plan"]["commands"]
    mtu, off = (next(at for at, line in enumerate(dry) if words in line) for words in ("dev a0 mtu 1500", "ipv6/conf/a0/disable_ipv6=1"))
    assert mtu < off
    lan.call("network.update", name="a", options={"mtu": "1500"})
    assert ipv6_of(lan, "a0") == ipv6_of(lan, near[0]) == ipv6_of(lan, "eth0", "c1") == "1" and whole(lan)
    near.append(attach(lan, "a", "c2")["host_link"])
    lan.call("network.update", name="a", options={"mtu": "1279"})
    assert ipv6_of(lan, "a0") == ipv6_of(lan, near[1]) == ipv6_of(lan, "eth0", "c2") == "" and whole(lan)
    attach(lan, "a", "c3")
    assert reaches(lan, "c3", lan.host.run("ip -4 -br addr show eth0", netns="c1").split()[2].partition("/")[0])
    lan.restart()
    assert whole(lan)
    lan.host.run("ip link set a0 mtu 1500")  # by somebody else
    assert not whole(lan)
    lan.call("doctor.fix", id="changed")
    assert whole(lan)
    lan.call("network.update", name="a", options={"mtu": ""})
    assert {ipv6_of(lan, "eth0", name) for name in ("c1", "c2", "c3")} == {"1"} and whole(lan)
    for name in ("c1", "c2", "c3"):
        lan.call("network.disconnect", network="a", container=f"netns:{name}")
    lan.call("network.remove", name="a")


def test_a_macvlan_takes_it_and_the_host_s_own_link_too(lan: RunningHelper) -> None:
    lan.call("network.create", name="pub", driver="macvlan", options={"parent": "eth0", "mtu": "1200"},
             subnets=[{"subnet": "192.168.1.0/24"}])
    attach(lan, "pub", "c1")
    assert ipv6_of(lan, "eth0", "c1") == "" and reaches(lan, "c1", "192.168.1.1") and whole(lan)
    lan.call("network.host-access", name="pub", on=True)
    assert reaches(lan, "", "192.168.1.2") and whole(lan)
    lan.call("network.disconnect", network="pub", container="netns:c1")
    lan.call("network.remove", name="pub")


def test_with_ipv6_it_is_refused_in_words(lan: RunningHelper) -> None:
    words = r"option mtu=1200 is too small for IPv6: expected at least 1280 \(RFC 8200\)"
    for driver, options in (("bridge", {}), ("macvlan", {"parent": "eth0"})):
        with pytest.raises(InvalidValue, match=words):
            lan.call("network.create", name="n", driver=driver, ipv6=True, options={"mtu": "1200", **options},
                     subnets=[{"subnet": "192.168.1.0/24"} if options else {"subnet": "10.5.0.0/24"}, {"subnet": "fd00:5::/64"}])
    lan.call("network.create", name="six", ipv6=True)
    lan.call("network.create", name="four", options={"mtu": "1200"})
    with pytest.raises(InvalidValue, match=words):
        lan.call("network.update", name="six", options={"mtu": "1200"})
    with pytest.raises(InvalidValue, match=words):
        lan.call("network.update", name="four", subnets=["fd00:6::/64"])
    assert whole(lan)


def test_a_parent_whose_mtu_was_lowered_carries_smaller_packets_and_takes_more_containers(lan: RunningHelper) -> None:
    lan.call("network.create", name="pub", driver="macvlan", options={"parent": "eth0"}, subnets=[{"subnet": "192.168.1.0/24"}])
    attach(lan, "pub", "c1")
    lan.host.run("ip link set eth0 mtu 1400")
    assert attach(lan, "pub", "c2")["addresses"] == ["192.168.1.3/24"] and reaches(lan, "c2", "192.168.1.2")

    def mtu(name: str) -> str:
        return lan.host.run("cat /sys/class/net/eth0/mtu", netns=name).strip()

    assert (mtu("c1"), mtu("c2")) == ("1400", "1400") and whole(lan), "the kernel lowered it with the parent's"
    lan.restart()
    assert whole(lan) and "repair failed" not in {row["action"] for row in lan.call("event.list")}
    (row,) = [row for row in lan.call("doctor.list") if row["id"] == "limits.pub"]
    assert any("packets over 1400 bytes: eth0 takes no larger ones now, where the network's MTU is 1500" in text for text in row["details"])
    lan.host.run("ip link set eth0 mtu 1500")
    assert not whole(lan)
    lan.call("doctor.fix", id="changed")
    assert (mtu("c1"), mtu("c2")) == ("1500", "1500") and whole(lan)
    for name in ("c1", "c2"):
        lan.call("network.disconnect", network="pub", container=f"netns:{name}")
    lan.call("network.remove", name="pub")
