"""The host among the containers of a macvlan network, on a real kernel, with real packets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from protocol.errors import Conflict, InUse, InvalidValue
from tests.kernel.lan import attach, reaches, silent
from tests.kernel.steady import same_again, steady
from tests.running_helper import RunningHelper
from tests.waiting import until

pytest_plugins = ("tests.kernel.lan_fixtures",)
V4, V6 = {"subnet": "192.168.1.0/24"}, {"subnet": "2001:db8:1::/64", "gateway": "2001:db8:1::1"}


def create(helper: RunningHelper, name: str = "pub", **args: Any) -> dict[str, Any]:
    options = {"parent": "eth0", **args.pop("options", {})}
    return dict(helper.call("network.create", name=name, driver="macvlan", options=options, **args)["network"])


def host_state(helper: RunningHelper) -> str:
    """Addresses and routes of the host, and its links without what counts up. Link-local ones come and go by themselves."""
    run = helper.host.run
    quiet = "grep -ve netdeck0 -e fe80:"
    links = [(row["ifname"], row["mtu"], row["address"], row["flags"]) for row in json.loads(run("ip -j link show"))]
    return f"{links}\n{run(f'ip -o addr show | {quiet}')}\n{run(f'ip route show; ip -6 route show | {quiet}')}"


def access(helper: RunningHelper, on: bool, **args: Any) -> dict[str, Any]:
    return dict(helper.call("network.host-access", name="pub", on=on, **args))


def own_link(helper: RunningHelper) -> str:
    return "ha-" + str(helper.call("network.inspect", names=["pub"])[0]["Id"])[:12]


@pytest.mark.req("X6")
def test_host_and_containers_reach_each_other_and_all_else_stays(lan: RunningHelper) -> None:
    create(lan, ipv6=True, subnets=[V4, V6])
    first = attach(lan, "pub", "c1")
    assert silent(lan, "", "192.168.1.2") and silent(lan, "c1", "192.168.1.250")
    before = steady(lambda: host_state(lan))
    dry = lan.command("network", "host-access", "--dry-run", "pub", "on")
    assert "type macvlan mode bridge" in dry and "192.168.1.2/32" in dry and host_state(lan) == before
    assert "host access: on, as 192.168.1.3, 2001:db8:1::3" in lan.command("network", "host-access", "pub", "on")
    link = own_link(lan)
    # One that comes later has a route too, and does not get the host's address.
    second = attach(lan, "pub", "c2")
    assert [item["addresses"][0] for item in (first, second)] == ["192.168.1.2/24", "192.168.1.4/24"]
    for address in ("192.168.1.2", "192.168.1.4", "2001:db8:1::2", "2001:db8:1::4"):
        assert reaches(lan, "", address), address
    assert reaches(lan, "c1", "192.168.1.3") and reaches(lan, "c2", "2001:db8:1::3")
    assert reaches(lan, "c1", "192.168.1.4") and reaches(lan, "c1", "192.168.1.1") and reaches(lan, "c1", "10.99.0.1")
    # The host goes to the rest of the site as before, and is there for it at the MAC address that it had.
    assert "dev eth0" in lan.host.run("ip route get 192.168.1.1") and "dev eth0" in lan.host.run("ip -6 route get 2001:db8:1::1")
    lan.host.run("ip -n outside neigh flush all")
    assert reaches(lan, "outside", "192.168.1.250") and reaches(lan, "", "192.168.1.1")
    own, theirs = lan.host.run("cat /sys/class/net/eth0/address").strip(), lan.host.run(f"cat /sys/class/net/{link}/address").strip()
    neighbours = lan.host.run("ip -n outside neigh show 192.168.1.250")
    assert own in neighbours and theirs not in neighbours
    # netdeck's mark, and what is shown.
    assert lan.host.run(f"ip -d link show {link}").count("alias netdeck:1:") == 1
    document = lan.call("network.inspect", names=["pub"])[0]
    assert document["Netdeck"]["HostAccess"] == {"Link": link, "Addresses": ["192.168.1.3", "2001:db8:1::3"]}
    uses = {use["address"]: use for pool in lan.call("address.list", network="pub") for use in pool["addresses"]}
    assert uses["192.168.1.3"]["owner"] == "host-access" and not [use for use in uses.values() if use["use"] in ("leaked", "conflict")]
    with pytest.raises(InvalidValue, match="aux-address host-access"):
        attach(lan, "pub", "c3", ip="192.168.1.3")
    with pytest.raises(InUse, match="switch host access off"):
        lan.call("network.update", name="pub", remove_aux=["host-access"])
    lan.call("network.disconnect", network="pub", container="netns:c2")
    assert "already" in lan.command("network", "host-access", "pub", "on")
    # Off: the host is as it was.
    assert "host access: off" in lan.command("network", "host-access", "pub", "off")
    assert same_again(lambda: host_state(lan), before) == before and silent(lan, "", "192.168.1.2") and reaches(lan, "c1", "192.168.1.1")
    assert [row["text"] for row in lan.call("event.list") if row["subject"] == "pub" and row["action"] == "changed"] == [
        "host access: on, as 192.168.1.3, 2001:db8:1::3; aux-address host-access added: 192.168.1.3; aux-address host-access added: "
        "2001:db8:1::3", "host access: off; aux-address host-access removed; aux-address host-access removed"]


@pytest.mark.req("X6")
def test_a_range_is_one_route_and_the_host_forwards_nothing(lan: RunningHelper) -> None:
    create(lan, subnets=[{**V4, "ip_range": "192.168.1.128/26", "gateway": "192.168.1.1"}])
    lan.host.run("sysctl -qw net.ipv4.ip_forward=1")
    access(lan, True, ip="192.168.1.190")
    link = own_link(lan)
    attach(lan, "pub", "c1")
    attach(lan, "pub", "c2", ip="192.168.1.7")
    attach(lan, "bridge", "b1")
    routes = lan.host.run(f"ip route show dev {link}")
    assert "192.168.1.128/26 proto 171" in routes and "192.168.1.7 proto 171" in routes and routes.count("\n") == 2
    assert reaches(lan, "", "192.168.1.128") and reaches(lan, "", "192.168.1.7") and reaches(lan, "c1", "192.168.1.190")
    assert silent(lan, "b1", "192.168.1.128"), "networks stay apart"
    lan.host.run("ip -n c1 route add 10.99.0.0/24 via 192.168.1.190")
    assert silent(lan, "c1", "10.99.0.1"), "the host is no router for its containers"
    rules = lan.call("firewall.rules", network="pub")
    assert any(row["packets"] for row in rules if "forwards nothing" in row["comment"])
    # It survives the helper, and goes with the network.
    lan.kill()
    lan.host.run(f"ip link del {link}")
    lan.start()
    assert reaches(lan, "", "192.168.1.128") and reaches(lan, "", "192.168.1.7") and lan.host.run(f"ip route show dev {link}") == routes
    for name in ("c1", "c2"):
        lan.call("network.disconnect", network="pub", container=f"netns:{name}")
    assert "192.168.1.7 " not in lan.host.run("ip route")
    lan.call("network.remove", name="pub")
    assert link not in lan.host.run("ip link") and "192.168.1.128" not in lan.host.run("ip route") + lan.host.run("nft list ruleset")


@pytest.mark.req("X6")
def test_the_host_s_link_comes_back_with_the_parent(lan: RunningHelper) -> None:
    create(lan, subnets=[{"subnet": "10.5.0.0/24"}], options={"parent": "eth1"})
    attach(lan, "pub", "c1")
    access(lan, True)
    lan.host.run("ip link del eth1 && ip link add eth1 type veth peer name up1 netns outside && ip link set eth1 up && "
                 "ip -n outside link set up1 up")
    until(lambda: reaches(lan, "", "10.5.0.2"), "the host reaches it again")


@pytest.mark.req("X6")
def test_what_can_not_be_is_told_and_leaves_nothing(lan: RunningHelper) -> None:
    for mode, words in (("private", "private: nothing on the parent"), ("vepa", "hairpin"), ("passthru", "for itself")):
        create(lan, subnets=[V4], options={"macvlan_mode": mode})
        with pytest.raises(InvalidValue, match=words):
            access(lan, True)
        lan.call("network.remove", name="pub")
    with pytest.raises(InvalidValue, match="reaches its containers as it is"):
        lan.call("network.host-access", name="bridge", on=True)
    create(lan, subnets=[V4])
    attach(lan, "pub", "c1")
    before = steady(lambda: host_state(lan))
    for args, error, words in (
            ({"ip": "192.168.1.250"}, InvalidValue, "aux-address eth0"), ({"ip": "192.168.1.1"}, InvalidValue, "the gateway"),
            ({"ip": "192.168.1.2"}, Conflict, "in use by container netns:c1"), ({"ip": "10.0.0.1"}, InvalidValue, "outside network pub"),
            ({"ip6": "2001:db8::1"}, InvalidValue, "has no IPv6"), ({"ip": "x"}, InvalidValue, "x")):
        with pytest.raises(error, match=words):
            access(lan, True, **args)
    # A link of that name which is not ours stops it, and is left alone.
    link = own_link(lan)
    lan.host.run(f"ip link add link eth1 name {link} type macvlan mode bridge")
    theirs = lan.host.run(f"ip -o link show {link}")
    with pytest.raises(Conflict, match=f"the host has a macvlan {link} without netdeck's mark.*give it another name"):
        access(lan, True)
    assert lan.host.run(f"ip -o link show {link}") == theirs
    lan.host.run(f"ip link del {link}")
    assert same_again(lambda: host_state(lan), before) == before
    assert lan.call("network.inspect", names=["pub"])[0]["Netdeck"]["HostAccess"] is None
