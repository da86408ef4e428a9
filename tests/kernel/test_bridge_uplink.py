"""A bridge network that is a switch of the site's network, by a link of the host as its port."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from protocol.errors import Conflict, InvalidValue, NetdeckError, NotFound
from tests.kernel.lan import attach, reaches, silent
from tests.kernel.site_dhcp import Dnsmasq
from tests.kernel.steady import same_again, steady
from tests.running_helper import RunningHelper
from tests.waiting import until

pytest_plugins = ("tests.kernel.lan_fixtures",)


def create(helper: RunningHelper, **args: Any) -> dict[str, Any]:
    options = {"uplink": "eth1", **args.pop("options", {})}
    return dict(helper.call("network.create", name="site", options=options, **args)["network"])


def eth1(helper: RunningHelper) -> dict[str, Any]:
    row = json.loads(helper.host.run("ip -j link show eth1"))[0]
    return {"master": row.get("master"), "up": "UP" in row["flags"], "mtu": row["mtu"], "mac": row["address"], "group": row["group"]}


def parent_news(lan: RunningHelper) -> list[str]:
    return [row["action"] for row in lan.call("event.list") if row["action"].startswith("parent")]


@pytest.mark.req("X7", "B7")
def test_leases_through_a_bridge_and_the_link_given_back(lan: RunningHelper, tmp_path: Path) -> None:
    lan.host.run("ip link set eth1 down && ip -n outside addr flush dev up0 && ip -n outside addr add 192.168.1.1/24 dev up1")
    before = eth1(lan)
    dry = lan.command("network", "create", "--dry-run", "-o", "uplink=eth1", "--ipam-driver", "dhcp", "site")
    assert "eth1 on the host as a port of br-" in dry and "ip link set dev eth1 master br-" in dry and eth1(lan) == before
    network = create(lan, ipam="dhcp")
    assert eth1(lan) == {**before, "master": network["link"], "up": True}
    assert not json.loads(lan.host.run(f"ip -j addr show {network['link']}"))[0]["addr_info"], "the host takes no part"
    server = Dnsmasq(lan.host, tmp_path, "--dhcp-option=option:T1,4", "--dhcp-option=option:T2,7", link="up1")
    first, second = attach(lan, "site", "c1"), attach(lan, "site", "c2")
    assert {first["addresses"][0][:-3], second["addresses"][0][:-3]} == set(server.leases().values())
    assert reaches(lan, "c1", "10.99.0.1") and reaches(lan, "c1", second["addresses"][0][:-3])
    assert reaches(lan, "outside", first["addresses"][0][:-3]), "from the site, without a published port"
    assert parent_news(lan) == [], "it was down before it became a port, which is no news"
    until(lambda: server.said(f"DHCPACK(up1) {first['addresses'][0][:-3]}") >= 2, "it is renewed")
    # It is a port again after a restart, and when it was away.
    lan.kill()
    lan.host.run("ip link set eth1 nomaster")
    lan.start()
    assert eth1(lan)["master"] == network["link"] and reaches(lan, "c1", "10.99.0.1")
    lan.host.run("ip link del eth1 && ip link add eth1 type veth peer name up1 netns outside && ip -n outside link set up1 up && "
                 "ip -n outside addr add 192.168.1.1/24 dev up1")
    until(lambda: eth1(lan)["master"] == network["link"] and reaches(lan, "c1", "10.99.0.1"), "it is back")
    # The leases go on over the new link, by T2 at the latest: its other end, the server, has another MAC address.
    server.stop()
    acks = server.said("DHCPACK(up1)")
    server = Dnsmasq(lan.host, tmp_path, "--dhcp-option=option:T1,100", link="up1")
    until(lambda: server.said("DHCPACK(up1)") >= acks + 2, "both are lengthened")
    for name in ("c1", "c2"):
        lan.call("network.disconnect", network="site", container=f"netns:{name}")
    until(lambda: not server.leases(), "both are released")
    news = parent_news(lan)
    lan.call("network.remove", name="site")
    time.sleep(1)
    assert parent_news(lan) == news, "it is switched off as it was, which is no news either"
    assert {**eth1(lan), "mac": ""} == {**before, "mac": ""}, "given back, and down as it was"


@pytest.mark.req("B7")
def test_addresses_of_a_pool_on_the_site(lan: RunningHelper) -> None:
    lan.host.run("ip -n outside addr add 10.5.0.1/24 dev up1; ip link set eth1 mtu 9000; ip -n outside link set up1 mtu 9000")
    dry = lan.call("network.create", name="site", subnets=[{"subnet": "10.5.0.0/24"}], options={"uplink": "eth1"}, dry_run=True)
    words = [line for line in dry["plan"]["commands"] if line.startswith(("ip link add name br-", "ip link set dev"))]
    bridge = words[0].split()[4]
    assert lan.host.run(" && ".join([*words, f"cat /sys/class/net/{bridge}/mtu", f"ip link del {bridge}"])) == "1500\n", words
    network = create(lan, subnets=[{"subnet": "10.5.0.0/24"}])
    assert network["subnets"][0]["gateway"] == "10.5.0.1", "the site's router"
    attach(lan, "site", "c1")
    assert reaches(lan, "c1", "10.5.0.1") and reaches(lan, "c1", "10.99.0.1") and silent(lan, "c1", "192.168.1.250")
    with pytest.raises(NetdeckError):
        lan.call("port.publish", container="netns:c1", ports=["8080:80"])
    def disagree() -> list[str]:
        return [command for row in lan.call("doctor.list") if row["id"].startswith("mtu.site") for command in row["commands"]]
    until(lambda: disagree() == ["netdeck network update -o mtu=9000 site"], "the uplink takes more than the network's default")
    lan.command(*disagree()[0].split()[1:])
    until(lambda: disagree() == [], "that is enough")
    for change, wrong in (({"options": {"mtu": "9001"}}, "more than eth1 has"), ({"internal": True}, "can't become internal: its uplink")):
        with pytest.raises(InvalidValue, match=wrong):
            lan.call("network.update", name="site", **change)
    more = lan.call("network.update", name="site", subnets=["192.168.1.0/24"], dry_run=True)
    assert more["changes"], "the host may be on the site's subnet by another link"

    def said() -> tuple[str, str]:
        return lan.command("network", "ls", "--filter", "name=site", "--format", "{{.Traits}}").strip(), " ".join(
            f"{row['action']}: {row['text']}" for row in lan.call("event.list") if row["action"].startswith("uplink"))
    lan.host.run("ip netns add c2")

    def joining() -> list[str]:
        """What is told to who joins it now, beside what is said of names."""
        told = [lan.call("network.connect", network="site", container="netns:c2", dry_run=dry)["warnings"][:-1] for dry in (True, False)]
        lan.call("network.disconnect", network="site", container="netns:c2")
        assert told[0] == told[1], "a dry run says the same as the change"
        return list(told[1])

    assert joining() == []
    lan.host.run("ip link set eth1 nomaster")  # somebody takes it out, for what reason ever: that is told, and left
    out = [f"eth1 is no port of {network['link']} any more: containers on site are cut off until it is one again, by netdeck doctor --fix "
           f"changed or ip link set eth1 master {network['link']}"]
    assert joining() == out and lan.call("container.run", command=["true"], networks=["site"], detach=True)["warnings"] == out
    assert lan.call("container.run", command=["true"], networks=["site"], dry_run=True)["warnings"] == out
    until(lambda: said()[0] == "detached" and "netns:c1 is cut off" in said()[1], "it says so")
    document = lan.call("network.inspect", names=["site"])[0]
    alone = out[0].replace("containers on site are", "netns:c1 is")
    assert document["Netdeck"]["State"] == "detached" and [item["CutOff"] for item in document["Containers"].values()] == [alone]
    assert lan.call("container.inspect", names=["netns:c1"])[0]["NetworkSettings"]["Networks"]["site"]["CutOff"] == alone
    assert "site (cut off: detached)" in lan.command("ps")
    assert {"site": "cut off: detached"} in [row["lost"] for row in json.loads(lan.command("ps", "--format", "json"))]
    lan.call("doctor.fix", id="changed")
    until(lambda: "CutOff" not in json.dumps(lan.call("container.inspect", names=["netns:c1"])) and "cut off" not in lan.command("ps"))
    until(lambda: said()[0] == "" and f"eth1 is a port of {network['link']} again" in said()[1], "all is well again")
    # Whoever joins is told what of others stops its frames, and where they don't leave the host.
    lan.host.run("nft add table bridge x && nft 'add chain bridge x f { type filter hook forward priority 0; policy drop; }'")
    until(lambda: any(row["id"].startswith("foreign-drop.bridge") for row in lan.call("doctor.list")), "it is found")
    lan.host.run("ip -n outside link set up1 down")
    told = lan.call("network.connect", network="site", container="netns:c2")["warnings"]
    assert "eth1 has no carrier" in told[0] and any("bridge x" in text for text in told) and not any("forwarding" in text for text in told)
    lan.host.run("ip link del eth1; ip netns add c3")
    told = lan.call("network.connect", network="site", container="netns:c3")["warnings"]
    assert told[0] == "the link eth1 is gone: containers on site are cut off until it is back"


@pytest.mark.req("B7")
@pytest.mark.parametrize("bridged", [0, 1], ids=["plain", "with br_netfilter"])
def test_without_icc_the_site_is_reached_and_no_other_container(lan: RunningHelper, bridged: int) -> None:
    lan.host.run("ip -n outside addr add 10.5.0.1/24 dev up1; "
                 f"sysctl -qw net.bridge.bridge-nf-call-iptables={bridged} net.bridge.bridge-nf-call-ip6tables={bridged}")
    create(lan, subnets=[{"subnet": "10.5.0.0/24"}], options={"icc": "false"})
    first, second = (attach(lan, "site", name)["addresses"][0][:-3] for name in ("c1", "c2"))
    assert reaches(lan, "c1", "10.5.0.1") and reaches(lan, "outside", first) and silent(lan, "c1", second)


BAD: list[tuple[dict[str, str], type[NetdeckError], str]] = [
    ({"uplink": "eth0"}, Conflict, "192.168.1.250/24.*could not be reached any more.*macvlan with -o parent=eth0"),
    ({"uplink": "eth7"}, NotFound, "no link eth7.*known are (?!.*netdeck0).*eth0"),
    ({"uplink": "eth1.4095"}, NotFound, "no link eth1.4095 .*'4095' is no VLAN id of eth1: expected 1 to 4094"),
    ({"uplink": "eth1.30"}, NotFound, "no link eth1.30 .*`ip link add link eth1 name eth1.30 type vlan id 30 && ip link set eth1.30 up`"),
    ({"uplink": "lo"}, NetdeckError, "loopback|reserved"),
    ({"uplink": "port"}, Conflict, "a port of br0"),
    ({"uplink": "br0"}, Conflict, "it is a bridge.*-o name=br0"),
    ({"uplink": "netdeck0"}, Conflict, "network bridge has it"),
    ({"uplink": "base"}, Conflict, "theirs hangs on it"),
    ({"uplink": "far"}, Conflict, "the macvlan link moved in netns:c2, in mode bridge, hangs on it"),
    ({"uplink": "way"}, Conflict, "routes by it"),
    ({"uplink": "eth1", "mtu": "9000"}, InvalidValue, "at most 1500"),
]


@pytest.mark.req("B7")
def test_links_that_the_host_lives_by_are_refused(lan: RunningHelper) -> None:
    lan.host.add_namespace("c2")
    lan.host.run(
        "ip link add br0 type bridge && for n in port base way far; do ip link add $n type veth peer name ${n}p && ip link set $n up; done "
        "&& ip link set port master br0 && ip link add link base name theirs type macvlan mode bridge && ip route add 10.66.0.0/16 dev way "
        "&& ip link add link far name moved netns c2 type macvlan mode bridge")
    until(lambda: any("moved in netns:c2" in row["why"] for row in lan.call("driver.parents", driver="bridge")), "it is seen there")

    def state() -> str:
        return lan.host.run("ip -o addr; ip route; bridge link")
    before = steady(state)
    for options, error, words in BAD:
        with pytest.raises(error, match=words):
            create(lan, options=options)
    with pytest.raises(InvalidValue, match="leads nowhere"):
        create(lan, internal=True)
    assert same_again(state, before) == before
    create(lan, ipam="dhcp")
    with pytest.raises(Conflict, match="network site has it"):
        lan.call("network.create", name="more", options={"uplink": "eth1"}, ipam="dhcp")
    with pytest.raises(InvalidValue, match="given back when the network is removed"):
        lan.call("network.update", name="site", options={"uplink": ""})
    # Somebody gives it an address meanwhile: after a restart it is not taken.
    lan.kill()
    lan.host.run("ip link set eth1 nomaster && ip addr add 10.77.0.1/24 dev eth1")
    lan.start()
    assert eth1(lan)["master"] is None and "10.77.0.1" in lan.host.run("ip addr show eth1")
    assert any("10.77.0.1/24" in row["text"] for row in lan.call("event.list") if row["action"] == "repair failed")
