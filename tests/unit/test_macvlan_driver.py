"""The macvlan driver as data: parents that are used, made and shared, and the objects that follow."""

from __future__ import annotations

import shlex

import msgspec
import pytest

from drivers.bridge import BridgeDriver
from drivers.commands import commands, describe
from drivers.driver import HostLink, HostView, Hung, parse_options
from drivers.macvlan import DRIVER
from drivers.objects import HOST, Address, AnyObject, Dummy, Macvlan, Route, Sysctl, Up, Vlan, mark
from drivers.vlans import parsed
from helperd.plan import plan
from protocol.errors import Conflict, InvalidValue, NetdeckError, NotFound
from protocol.model import Endpoint, Network, Subnet

INSTANCE = "0123abcd"
ETH0 = HostLink("eth0", mac="02:00:00:00:00:01", addresses=("192.168.1.250/24", "2001:db8::5/64"))
LINKS = {
    "lo": HostLink("lo", loopback=True),
    "eth0": ETH0,
    "small": HostLink("small", mac="02:00:00:00:00:02", mtu=1000),
    "eth0.40": HostLink("eth0.40", "vlan", mac="02:00:00:00:00:01", lower="eth0", vlan=40),
    "foo": HostLink("foo", "vlan", mac="02:00:00:00:00:01", lower="eth0", vlan=41),
    "eth0.50": HostLink("eth0.50", "vlan", mac="02:00:00:00:00:01", lower="eth0", vlan=50, ours=True),
    "ren0": HostLink("ren0", "vlan", mac="02:00:00:00:00:01", lower="eth0", vlan=51, ours=True),
    "old0.52": HostLink("old0.52", "vlan", mac="02:00:00:00:00:01", lower="eth0", vlan=52, ours=True),
    "bond0": HostLink("bond0", "bond", mac="02:00:00:00:00:03"),
    "slave": HostLink("slave", mac="02:00:00:00:00:03", master="bond0"),
    "br0": HostLink("br0", "bridge", mac="02:00:00:00:00:04"),
    "port": HostLink("port", mac="02:00:00:00:00:05", master="br0"),
    "wire": HostLink("wire", mac="02:00:00:00:00:07", master="br-1"),
    "tun0": HostLink("tun0", "tun"),
    "br-1": HostLink("br-1", "bridge", mac="02:00:00:00:00:06", ours=True),
}
HOSTVIEW = HostView(INSTANCE, LINKS)


def network(name: str = "pub", *, internal: bool = False, ipv6: bool = False, **options: str) -> Network:
    subnets: tuple[Subnet, ...] = (Subnet("192.168.1.0/24", gateway="192.168.1.1", chosen=True),)
    if ipv6:
        subnets = (*subnets, Subnet("2001:db8::/64", gateway="2001:db8::1", chosen=True))
    return Network(id=name.encode().hex().ljust(64, "0"), name=name, driver="macvlan", created=0.0, subnets=subnets, ipv6=ipv6,
                   internal=internal, options=parse_options(DRIVER.info, options))


def checked(made: Network, *others: Network) -> Network:
    return DRIVER.check(made, HOSTVIEW, others)


def endpoint(made: Network, mac: str = "") -> Endpoint:
    raw = Endpoint(id="e" * 64, network=made.id, container="c" * 64, ifname="eth0", mac=mac, addresses=("192.168.1.2/24",))
    return DRIVER.check_endpoint(made, raw, ())


@pytest.mark.req("X20", "I7")
@pytest.mark.parametrize(("parent", "vlan", "wrong"), [("port.20", 20, True), ("port.30", 30, True), ("port.31", 31, False),
                                                       ("port9", 25, True), ("port9", 9, False)])
def test_a_vlan_has_one_owner_the_parent_or_the_bridge_whose_uplink_carries_it(parent: str, vlan: int, wrong: bool) -> None:
    options = {"uplink": "port", "vlan_filtering": "1", "uplink_vlans": "10,20-30"}
    trunk = Network(id="b" * 64, name="trunk", driver="bridge", created=0.0, options=parse_options(BridgeDriver.info, options))
    made = HostLink(parent, "vlan", mac="02:00:00:00:00:05", lower="port", vlan=vlan)
    view = HostView(INSTANCE, {**LINKS, parent: made} if "." not in parent else LINKS)
    after = HostView(INSTANCE, {parent: made, "port": HostLink("port", mac="02:00:00:00:00:05")})
    if not wrong:
        assert DRIVER.check(network(parent=parent), view, [trunk]).link == parent
        assert BridgeDriver().check(trunk, after, []).uplink == "port"
        return
    with pytest.raises(Conflict, match=rf"would take the frames of VLAN {vlan} from network trunk, whose uplink port .*--vlan {vlan}"):
        DRIVER.check(network(parent=parent), view, [trunk])
    with pytest.raises(Conflict, match=rf"port can't carry VLAN {vlan} for network trunk: {parent} takes its frames.*uplink_vlans"):
        BridgeDriver().check(trunk, after, [])


@pytest.mark.req("X20", "I7")
def test_the_owner_of_a_vlan_is_known_though_its_link_is_not_seen_here() -> None:
    def bridge(name: str, **given: str) -> Network:
        return Network(id="b" * 64, name=name, driver="bridge", created=0.0, options=parse_options(BridgeDriver.info, given))

    plain = HostLink("port", mac="02:00:00:00:00:05")
    trunk = bridge("trunk", uplink="port", vlan_filtering="1", uplink_vlans="20-30")
    away = HostLink("port", mac="02:00:00:00:00:05", hung=(Hung("moved", "vlan", "", "netns:box", 25), Hung("one", "vlan", "", "host", 9)))
    pub, lower = network("pub", parent="port.20"), bridge("lower", uplink="port.30")
    beside = network("beside", parent="port.31")
    for port, others, words in ((plain, [pub], "VLAN 20 for network trunk: network pub, by port.20, takes its frames.*or remove pub first"),
                                (plain, [lower], "VLAN 30 for network trunk: network lower, by port.30, takes its frames"),
                                (away, [], "VLAN 25 for network trunk: the vlan link moved in netns:box takes its frames.*that link")):
        with pytest.raises(Conflict, match=f"port can't carry {words}"):
            BridgeDriver().check(trunk, HostView(INSTANCE, {"port": port}), others)
    assert BridgeDriver().check(trunk, HostView(INSTANCE, {"port": plain}), [beside, bridge("other")]).uplink == "port"
    tagged = HostLink("port.30", "vlan", mac="02:00:00:00:00:05", lower="port", vlan=30)
    with pytest.raises(Conflict, match=r"port\.30 can't be the uplink of network lower: it would take .* VLAN 30 from network trunk"):
        BridgeDriver().check(lower, HostView(INSTANCE, {"port": plain, "port.30": tagged}), [trunk])


@pytest.mark.req("I8")
@pytest.mark.parametrize("parent", ["eth0", "eth0.40", "foo", "br0", "bond0"])
def test_a_link_of_the_host_is_used_and_nothing_is_made(parent: str) -> None:
    made = checked(network(parent=parent))
    assert (made.link, made.made_link) == (parent, False) and DRIVER.network_objects(made, INSTANCE) == ()


@pytest.mark.req("M1")
def test_a_missing_sub_interface_is_made() -> None:
    made = checked(network(parent="eth0.20"))
    objects = DRIVER.network_objects(made, INSTANCE)
    assert objects == (Vlan(HOST, "eth0.20", mark(INSTANCE, "parent", "eth0.20"), "eth0", 20),
                       Sysctl(HOST, "net.ipv6.conf.*.disable_ipv6", "1", "eth0.20"), Up(HOST, "eth0.20"))
    assert describe(objects[0]) == "VLAN 20 of eth0 as eth0.20 on the host"
    lines = commands(plan(objects, ()), {})
    assert lines[0] == "ip link add link eth0 name eth0.20 group 28260 type vlan id 20"
    assert commands(plan((), objects), {}) == ("ip link delete dev eth0.20",)
    # A port of a bridge can carry VLANs, though it can be no parent itself.
    assert checked(network(parent="port.7")).made_link


@pytest.mark.req("M1")
def test_networks_on_one_sub_interface_want_the_same_objects() -> None:
    first, second = checked(network("a", parent="eth0.50")), checked(network("b", parent="eth0.50"), network("a", parent="eth0.50"))
    assert first.made_link and second.made_link
    assert DRIVER.network_objects(first, INSTANCE) == DRIVER.network_objects(second, INSTANCE)


@pytest.mark.req("M1")
@pytest.mark.parametrize("made", [network(), network(internal=True)], ids=["no parent", "internal"])
def test_without_a_parent_a_dummy_is_made_and_no_route(made: Network) -> None:
    made = checked(made)
    assert made.internal and made.link == "dm-" + made.id[:12]
    dummy, *_ = DRIVER.network_objects(made, INSTANCE)
    assert dummy == Dummy(HOST, made.link, mark(INSTANCE, "network", made.id), 1500)
    assert DRIVER.default_routes(made, endpoint(made)) == ()
    assert commands(plan((dummy,), ()), {})[0] == f"ip link add name {made.link} group 28260 type dummy"


@pytest.mark.req("M1")
def test_the_objects_of_an_attachment() -> None:
    made = checked(network(parent="eth0"))
    joined = endpoint(made)
    objects = DRIVER.endpoint_objects(made, joined, INSTANCE)
    link = Macvlan("c" * 64, "eth0", mark(INSTANCE, "endpoint", "e" * 64), "eth0", "bridge", 1500, joined.mac)
    wanted: tuple[AnyObject, ...] = (link, Sysctl("c" * 64, "net.ipv6.conf.*.disable_ipv6", "1", "eth0"),
                                     Address("c" * 64, "eth0", "192.168.1.2/24"), Up("c" * 64, "eth0"))
    assert objects == wanted and joined.mac[1] in "26ae" and joined.host_link == ""
    assert DRIVER.default_routes(made, joined) == (Route("c" * 64, "0.0.0.0/0", "eth0", "192.168.1.1"),)
    first, second = (shlex.split(line) for line in commands(plan((link,), ()), {"c" * 64: "netns:web"}))
    assert first[:6] == ["ip", "link", "add", "link", "eth0", "name"]
    assert first[-6:] == ["netns", "web", "type", "macvlan", "mode", "bridge"]
    assert second == ["ip", "-n", "web", "link", "set", "dev", first[6], "name", "eth0", "alias", link.alias]
    assert len(first[6]) == 15


def test_the_parent_s_own_addresses_are_kept_out_and_its_mtu_is_taken() -> None:
    made = checked(network(parent="eth0", ipv6=True))
    assert [item.aux for item in made.subnets] == [{"eth0": "192.168.1.250"}, {"eth0": "2001:db8::5"}]
    assert checked(network(parent="small")).options["mtu"] == "1000" and made.options["mtu"] == "1500"


def test_below_the_mtu_of_ipv6_links_have_no_such_settings_but_a_vlan_has_that_of_its_link() -> None:
    def settings(made: Network) -> list[str]:
        made = msgspec.structs.replace(checked(made), host_addresses=("192.168.1.9",))
        found = (*DRIVER.network_objects(made, INSTANCE), *DRIVER.endpoint_objects(made, endpoint(made), INSTANCE))
        return [item.link for item in found if isinstance(item, Sysctl) and ".ipv6." in item.name]

    assert settings(network(mtu="1279")) == settings(network(mtu="1279", parent="eth0")) == []
    assert [len(settings(made)) for made in (network(mtu="1280"), network(mtu="1280", parent="eth0"))] == [4, 3]
    assert settings(network(mtu="1200", parent="eth0.20")) == ["eth0.20"]


@pytest.mark.req("I5", "M1")
def test_an_option_that_is_empty_was_not_given() -> None:
    """As in docker: ``-o parent=`` makes a network that leads nowhere, ``-o macvlan_mode=`` is mode bridge."""
    assert network(parent="", macvlan_mode="").options == network().options and checked(network(parent="")).internal
    with pytest.raises(InvalidValue, match="loopback"):
        network(parent="lo")


def test_passthru_takes_the_parent_s_mac_address() -> None:
    made = checked(network(parent="eth0", macvlan_mode="passthru"))
    joined = endpoint(made)
    assert joined.mac == "" and isinstance(link := DRIVER.endpoint_objects(made, joined, INSTANCE)[0], Macvlan) and link.mac == ""
    with pytest.raises(InvalidValue, match="that of eth0"):
        endpoint(made, "02:00:00:00:00:09")
    with pytest.raises(Conflict, match="one container"):
        DRIVER.check_endpoint(made, msgspec.structs.replace(joined, id="f" * 64), (joined,))


@pytest.mark.req("I8")
@pytest.mark.parametrize(("made", "error", "words"), [
    (network(parent="eth9"), NotFound, "did you mean"),
    (network(parent="eth0.1.2"), NotFound, "two dots"),
    (network(parent="eth9.5"), NotFound, "no link eth9"),
    *((network(parent=f"eth0.{vid}"), InvalidValue, "1 to 4094") for vid in ("0", "4095", "x", "020", "-1")),
    (network(parent="eth0.41"), Conflict, "already, as foo"),
    (network(parent="slave"), Conflict, "port of bond0"),
    (network(parent="slave.5"), Conflict, r"Name bond0\.5"),
    (network(parent="port"), Conflict, "port of br0"),
    (network(parent="wire"), Conflict, "port of br-1, which netdeck made for another network. Connect the containers to that"),
    (network(parent="eth0."), InvalidValue, "and nothing is no VLAN id"),
    (network(parent="tun0"), Conflict, "not an Ethernet link"),
    (network(parent="tun0.4"), InvalidValue, "not an Ethernet link"),
    (network(parent="small.4"), InvalidValue, "small has MTU 1000, .* ip link add link small name small.4 type vlan id 4"),
    (network(parent="br-1"), Conflict, "another network"),
    (network(parent="br-1.20"), Conflict, "netdeck made br-1 for another network, and it would go with that. Name a link of the host"),
    (network(parent="ren0"), Conflict, "ren0 can't be the parent.*netdeck made it.*another name since.*name back"),
    (network(parent="old0.52"), Conflict, "another name since"),
    (network(parent="eth0", internal=True), InvalidValue, "leave out one"),
    (network(parent="eth0", mtu="1501"), InvalidValue, "at most 1500"),
    (network(parent="small", ipv6=True), InvalidValue, "at least 1280"),
    (network(parent="eth0", container_iface_prefix="a" * 15), InvalidValue, "container_iface_prefix"),
])
def test_what_can_not_be_is_told(made: Network, error: type[NetdeckError], words: str) -> None:
    with pytest.raises(error, match=words):
        checked(made)


@pytest.mark.req("M1")
def test_a_conflict_names_the_network_that_has_the_parent() -> None:
    plain, whole = checked(network("plain", parent="eth0")), checked(network("whole", parent="eth0", macvlan_mode="passthru"))
    other = msgspec.structs.replace(plain, name="routed", driver="ipvlan")
    for made, there in ((plain, whole), (whole, plain), (plain, other)):
        with pytest.raises(Conflict, match=f"network {there.name}") as caught:
            checked(network("new", parent="eth0", macvlan_mode=made.options["macvlan_mode"]), there)
        assert caught.value.details["with_"] == there.name
        assert there is not other or caught.value.message.endswith("Name another parent, or remove routed")
    assert checked(network("more", parent="eth0", macvlan_mode="private"), plain).link == "eth0"


@pytest.mark.req("X20")
@pytest.mark.parametrize(("field", "text", "words"), [
    ("vlan", "20,", "--vlan 20,: nothing is no VLAN id"),
    ("vlan", "0", "--vlan 0: '0' is no VLAN id"),
    ("vlan", "4094-4090", "4094-4090 in --vlan 4094-4090 ends before"),
    ("uplink_vlans", "4095", "option uplink_vlans=4095: '4095' is no VLAN id"),
    ("uplink_vlans", "3-2", "3-2 in option uplink_vlans=3-2 ends before"),
])
def test_a_list_of_vlans_is_refused_as_it_was_given(field: str, text: str, words: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        parsed((text,), field)
    assert words in caught.value.message
