"""The ipvlan driver as data: modes, flags, who shares a parent, and the objects that follow. Parents are macvlan's too: see there."""

from __future__ import annotations

import shlex

import msgspec
import pytest

from drivers.commands import commands, describe
from drivers.default_route import choose_default_routes
from drivers.driver import Driver, HostLink, HostView, parse_options
from drivers.ipvlan import DRIVER
from drivers.macvlan import DRIVER as MACVLAN
from drivers.objects import HOST, Address, AnyObject, Dummy, Ipvlan, Route, Sysctl, Up, Vlan, mark
from helperd.plan import plan
from protocol.errors import Conflict, InvalidValue, NetdeckError
from protocol.model import Endpoint, Network, Subnet

INSTANCE = "0123abcd"
MAC = "02:00:00:00:00:01"
HOSTVIEW = HostView(INSTANCE, {"eth0": HostLink("eth0", mac=MAC, addresses=("192.168.1.250/24", "2001:db8::5/64"))})
C = "c" * 64


def network(name: str = "pub", subnet: str = "10.1.0.0/24", *, internal: bool = False, ipv6: bool = False, **options: str) -> Network:
    subnets: tuple[Subnet, ...] = (Subnet(subnet, gateway="10.1.0.1", chosen=True),)
    if ipv6:
        subnets = (*subnets, Subnet("2001:db8:2::/64", gateway="2001:db8:2::1", chosen=True))
    return Network(id=name.encode().hex().ljust(64, "0"), name=name, driver="ipvlan", created=0.0, subnets=subnets, ipv6=ipv6,
                   internal=internal, options=parse_options(DRIVER.info, options))


def checked(made: Network, *others: Network) -> Network:
    return DRIVER.check(made, HOSTVIEW, others)


def endpoint(made: Network, mac: str = "") -> Endpoint:
    addresses = ("10.1.0.2/24", "2001:db8:2::2/64") if made.ipv6 else ("10.1.0.2/24",)
    return DRIVER.check_endpoint(made, Endpoint(id="e" * 64, network=made.id, container=C, ifname="eth0", mac=mac, addresses=addresses), ())


@pytest.mark.req("I1")
def test_the_objects_of_an_attachment() -> None:
    made = checked(network(parent="eth0", ipvlan_flag="vepa"))
    joined = endpoint(made)
    link = Ipvlan(C, "eth0", mark(INSTANCE, "endpoint", "e" * 64), "eth0", "l2", "vepa", 1500)
    wanted: tuple[AnyObject, ...] = (link, Sysctl(C, "net.ipv6.conf.*.disable_ipv6", "1", "eth0"), Address(C, "eth0", "10.1.0.2/24"),
                                     Up(C, "eth0"))
    assert DRIVER.network_objects(made, INSTANCE) == () and DRIVER.endpoint_objects(made, joined, INSTANCE) == wanted
    assert DRIVER.default_routes(made, joined) == (Route(C, "0.0.0.0/0", "eth0", "10.1.0.1"),)
    assert describe(link) == f"ipvlan eth0 in container {C[:12]}, mode l2 vepa, mtu 1500, on the host's eth0"
    first, second = (shlex.split(line) for line in commands(plan((link,), ()), {C: "netns:web"}))
    assert first[-7:] == ["netns", "web", "type", "ipvlan", "mode", "l2", "vepa"]
    assert second == ["ip", "-n", "web", "link", "set", "dev", first[6], "name", "eth0", "alias", link.alias]
    with pytest.raises(InvalidValue, match="have that of eth0"):
        endpoint(made, "02:00:00:00:00:09")


@pytest.mark.req("I11", "I13")
@pytest.mark.parametrize("mode", ["l3", "l3s"])
def test_l3_has_no_gateway_and_its_default_route_is_the_link(mode: str) -> None:
    made = checked(network(parent="eth0", ipv6=True, ipvlan_mode=mode))
    assert [item.gateway for item in made.subnets] == [None, None]
    assert DRIVER.default_routes(made, endpoint(made)) == (Route(C, "0.0.0.0/0", "eth0"), Route(C, "::/0", "eth0"))
    for own in ("192.168.0.0/16", "192.168.1.0/24"):
        with pytest.raises(InvalidValue, match=r"holds 192\.168\.1\.250, the address of eth0"):
            checked(network(subnet=own, parent="eth0", ipvlan_mode=mode))


@pytest.mark.req("I5", "I7")
def test_parents_that_are_made() -> None:
    vlan, alone = checked(network(parent="eth0.20")), checked(network(internal=True, ipvlan_mode="l3"))
    assert DRIVER.network_objects(vlan, INSTANCE)[0] == Vlan(HOST, "eth0.20", mark(INSTANCE, "parent", "eth0.20"), "eth0", 20)
    dummy, *rest = DRIVER.network_objects(alone, INSTANCE)
    assert alone.link == "di-" + alone.id[:12] and dummy == Dummy(HOST, alone.link, mark(INSTANCE, "network", alone.id), 1500)
    # The parent routes for its containers in l3, IPv6 too, and takes no part in l2.
    assert rest == [Up(HOST, alone.link)] and any(isinstance(item, Sysctl) for item in DRIVER.network_objects(vlan, INSTANCE))


@pytest.mark.req("I11")
def test_a_network_that_leads_nowhere_gives_the_default_route_only_where_no_other_does() -> None:
    alone = checked(network("a-alone", internal=True, ipvlan_mode="l3"))
    out = MACVLAN.check(msgspec.structs.replace(network("out", parent="eth0"), driver="macvlan",
                                                options=parse_options(MACVLAN.info, {"parent": "eth0"})), HOSTVIEW, ())
    first = endpoint(alone)
    second = msgspec.structs.replace(first, id="f" * 64, network=out.id, ifname="eth1")
    drivers: dict[str, Driver] = {"ipvlan": DRIVER, "macvlan": MACVLAN}
    assert choose_default_routes([(alone, first)], drivers) == (Route(C, "0.0.0.0/0", "eth0"),)
    assert choose_default_routes([(alone, first), (out, second)], drivers) == (Route(C, "0.0.0.0/0", "eth1", "10.1.0.1"),)


@pytest.mark.req("I1")
def test_all_on_a_parent_have_the_same_mode_and_flag_and_kind() -> None:
    there = checked(network("there", parent="eth0"))
    assert checked(network("more", parent="eth0"), there).link == "eth0"
    for new, words in ((network("new", parent="eth0", ipvlan_mode="l3"), "there has l2"),
                       (network("new", parent="eth0", ipvlan_flag="private"), "there has bridge")):
        with pytest.raises(Conflict, match=words):
            checked(new, there)
    other = msgspec.structs.replace(there, driver="macvlan")
    with pytest.raises(Conflict, match=r"network there \(driver macvlan\)"):
        checked(network("new", parent="eth0"), other)


@pytest.mark.req("I1")
@pytest.mark.parametrize(("option", "value", "known"), [("ipvlan_mode", "l4", "l2, l3, l3s"),
                                                        ("ipvlan_flag", "brige", "bridge, private, vepa")])
def test_an_unknown_mode_or_flag_is_told_with_the_known_ones(option: str, value: str, known: str) -> None:
    with pytest.raises(NetdeckError, match=known):
        parse_options(DRIVER.info, {"parent": "eth0", option: value})
