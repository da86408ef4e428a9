"""Steps as commands and objects as lines: quoting, places, words."""

from __future__ import annotations

import shlex

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.commands import commands, describe, planned, skeleton_commands
from drivers.objects import (
    HOST,
    Address,
    AnyObject,
    Bridge,
    Chain,
    Jump,
    Match,
    Route,
    Rule,
    Sysctl,
    Up,
    Veth,
)
from helperd.plan import Step

VETH = Veth(HOST, "veth1", "netdeck:1:0a1b2c3d:endpoint:e", "c1", "eth0", 1400, "02:00:00:00:00:02", "br0", True)
OBJECTS: tuple[AnyObject, ...] = (
    Bridge(HOST, "br0", "netdeck:1:0a1b2c3d:network:n"),
    Chain(HOST, "to-br0", (Rule((Match("iifname", ("br0",)),), "accept", "it's ours"),)),
    Jump(HOST, "forward-to", "br0", "to-br0"),
    VETH,
    Sysctl("c1", "net.ipv6.conf.*.accept_ra", "0", "br.5"),
    Address("c1", "eth0", "fd00::2/64"),
    Up("c1", "eth0"),
    Route("c1", "0.0.0.0/0", "eth0", "10.0.0.1", 7),
)


@pytest.mark.req("X1")
def test_a_plan_shows_objects_words_and_commands() -> None:
    steps = tuple(Step("create", item) for item in OBJECTS)
    plan = planned(steps, {"c1": "netns:web"})
    assert [step.object for step in plan.steps] == [msgspec.to_builtins(item) for item in OBJECTS]
    assert [step.text for step in plan.steps] == [
        "bridge br0 on the host, mtu 1500",
        "firewall chain to-br0, 1 rule",
        "firewall: forward-to of br0 to chain to-br0",
        "veth veth1 on the host, port of br0, isolated, mtu 1400, to eth0 in netns:web",
        "setting net.ipv6.conf.br.5.accept_ra = 0 in netns:web",
        "address fd00::2/64 on eth0 in netns:web",
        "eth0 up in netns:web",
        "route 0.0.0.0/0 via 10.0.0.1 by eth0 in netns:web, metric 7",
    ]
    assert plan.commands == (
        "ip link add name br0 mtu 1501 group 28260 type bridge",
        "ip link set dev br0 mtu 1500 alias netdeck:1:0a1b2c3d:network:n",
        "nft 'add chain inet netdeck to-br0'",
        'nft \'add rule inet netdeck to-br0 iifname "br0" counter accept comment "it\'"\'"\'s ours"\'',
        "nft 'add element inet netdeck forward-to { \"br0\" : jump to-br0 }'",
        "ip link add name veth1 mtu 1400 group 28260 up master br0 type veth peer name eth0 address 02:00:00:00:00:02 mtu 1400 "
        "group 28260 netns web",
        "ip link set dev veth1 alias netdeck:1:0a1b2c3d:endpoint:e",
        "ip -n web link set dev eth0 alias netdeck:1:0a1b2c3d:endpoint:e",
        "bridge link set dev veth1 isolated on",
        "ip netns exec web sysctl -w net/ipv6/conf/br.5/accept_ra=0",
        "ip -n web address add fd00::2/64 dev eth0 nodad",
        "ip -n web link set dev eth0 up",
        "ip -n web route add 0.0.0.0/0 via 10.0.0.1 dev eth0 proto 171 metric 7",
    )


def test_a_container_by_process() -> None:
    shown = commands([Step("create", VETH), Step("delete", Address("c1", "eth0", "10.0.0.2/24"))], {"c1": "pid:77"})
    assert shown[0].endswith("netns 77") and shown[-1] == "nsenter -t 77 -n ip address delete 10.0.0.2/24 dev eth0"


@given(st.text(min_size=1).filter(lambda text: "\0" not in text))
def test_whatever_a_name_holds_it_stays_one_word(text: str) -> None:
    item = Bridge(HOST, text, text)
    for line in commands([Step("create", item), Step("delete", item)], {}):
        assert text in shlex.split(line)
    shown = describe(Address(text, text, "10.0.0.1/8"), {text: text})
    assert shown.isprintable()


def test_the_skeleton_is_made_of_nft_commands() -> None:
    lines = skeleton_commands()
    assert all(shlex.split(line)[0] == "nft" and len(shlex.split(line)) == 2 for line in lines)
    assert shlex.split(lines[0])[1] == "add table inet netdeck"


def test_deleting_a_setting_takes_no_command() -> None:
    assert commands([Step("delete", Sysctl(HOST, "net.ipv4.ip_forward", "1"))], {}) == ()
