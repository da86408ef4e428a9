"""The bridge driver: objects over the matrix of options (golden files), what its rules let through, what it refuses.

`NETDECK_UPDATE_GOLDEN=1` writes the golden files anew.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import vlans
from drivers.bridge import DRIVER, derived_mac
from drivers.default_route import choose_default_routes
from drivers.driver import HostLink, HostView, builtin, parse_options
from drivers.objects import HOST, VERDICT_MAPS, Address, AnyObject, Bridge, Chain, Jump, Rule, Sysctl, Up, Veth, parse_mark
from helperd.plan import plan
from protocol.errors import Conflict, InvalidValue, NetdeckError
from protocol.model import Endpoint, Network, Port, Subnet
from protocol.names import link_name, mac_address

INSTANCE = "0a1b2c3d"
GOLDEN = Path(__file__).parent / "golden"
V4 = (Subnet(subnet="10.1.0.0/24", gateway="10.1.0.1"), Subnet(subnet="10.2.0.0/24", gateway="10.2.0.1"))
V6 = (Subnet(subnet="fd00:1::/64", gateway="fd00:1::1"),)
BARE = HostView(INSTANCE)
FAMILIES = {"v4": V4, "v6": V6, "dual": (*V4, *V6)}
FOREIGN = HostView(
    INSTANCE, {"br0": HostLink("br0", "bridge", 1500, addresses=("10.1.0.1/24", "192.168.7.1/24")), "eth0": HostLink("eth0", "", 1500)}
)


def network(
    subnets: tuple[Subnet, ...] = V4,
    *,
    host: HostView = BARE,
    others: Iterable[Network] = (),
    internal: bool = False,
    ident: str = "1" * 64,
    called: str = "web",
    predefined: bool = False,
    **options: str,
) -> Network:
    families = {6 if ":" in item.subnet else 4 for item in subnets}
    raw = Network(
        id=ident,
        name=called,
        driver="bridge",
        created=0.0,
        subnets=subnets,
        options=parse_options(DRIVER.info, options),
        internal=internal,
        ipv4=4 in families,
        ipv6=6 in families,
        predefined=predefined,
    )
    return DRIVER.check(raw, host, list(others))


def endpoint(net: Network, **changes: Any) -> Endpoint:
    addresses = {4: "10.1.0.2/24", 6: "fd00:1::2/64"}
    wanted = tuple(addresses[family] for family, on in ((4, net.ipv4), (6, net.ipv6)) if on)
    raw = Endpoint(id="2" * 64, network=net.id, container="c1", ifname="eth0", addresses=wanted)
    return DRIVER.check_endpoint(net, msgspec.structs.replace(raw, **changes), ())


# --- the matrix


def matrix() -> Iterator[tuple[str, str, Network]]:
    switches = ("true", "false")
    for family, icc, masquerade, internal, adopted in itertools.product(FAMILIES, switches, switches, (False, True), (False, True)):
        options: dict[str, Any] = {"icc": icc, "masquerade": masquerade, **({"name": "br0"} if adopted else {})}
        title = (
            f"icc={icc} masquerade={masquerade} {'internal' if internal else 'open'} "
            f"{'on a bridge that was there' if adopted else 'on a bridge of its own'}"
        )
        yield family, title, network(FAMILIES[family], host=FOREIGN, internal=internal, **options)


def rule_text(rule: Rule) -> str:
    parts = [f"{item.left}{'' if item.op == '==' else ' ' + item.op} {','.join(item.right)}" for item in rule.matches]
    return " ".join((*parts, "counter", rule.verdict, f'comment "{rule.comment}"'))


def object_text(item: AnyObject) -> str:
    if isinstance(item, Chain):
        return "\n".join((f"chain {item.name}", *(f"    {rule_text(rule)}" for rule in item.rules)))
    fields = {name: getattr(item, name) for name in item.__struct_fields__ if name != "place"}
    shown = " ".join(f"{name}={value}" for name, value in fields.items() if value != "")
    return f"{type(item).__struct_config__.tag!s} @{item.place} {shown}"


def described(net: Network) -> str:
    attached = endpoint(net)
    if not net.internal:
        every = {4: "0.0.0.0", 6: "::"}
        attached = msgspec.structs.replace(
            attached, ports=tuple(Port("tcp", every[family], 8080, 80) for family, on in ((4, net.ipv4), (6, net.ipv6)) if on)
        )
    objects = (
        *DRIVER.network_objects(net, INSTANCE),
        *DRIVER.endpoint_objects(net, attached, INSTANCE),
        *DRIVER.default_routes(net, attached),
    )
    return "\n".join(object_text(step.object) for step in plan(objects, ()))


@pytest.mark.req("B7", "B10")
@pytest.mark.parametrize("family", FAMILIES)
def test_golden_objects_over_the_matrix(family: str) -> None:
    text = "\n\n".join(f"# {title}\n{described(net)}" for name, title, net in matrix() if name == family) + "\n"
    path = GOLDEN / f"bridge_{family}.txt"
    if os.environ.get("NETDECK_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


# --- what the rules let through


def verdict(objects: Iterable[AnyObject], hook: str, iif: str, oif: str, source: str = "", established: bool = False) -> str:
    """What the table does with a packet: the first accept, drop or source change that it meets; accept at the end."""
    by_key = {item.key: item for item in objects}
    packet = {"iifname": iif, "oifname": oif, "ct state": "established" if established else "new"}
    for entry in (item for item in VERDICT_MAPS if item.hook == hook):
        jump = by_key.get(("jump", HOST, entry.name, packet[entry.left]))
        if not isinstance(jump, Jump):
            continue
        chain = by_key["chain", HOST, jump.chain]
        assert isinstance(chain, Chain)
        for rule in chain.rules:
            if all((packet.get(item.left, source) in item.right) == (item.op == "==") for item in rule.matches):
                if rule.verdict == "return":
                    break
                return rule.verdict
    return "accept"


@pytest.mark.req("B3")
def test_what_passes_between_two_bridges_and_the_outside() -> None:
    for (_, title, one), (_, _, base) in itertools.product(matrix(), list(matrix())[:16:5]):
        two = msgspec.structs.replace(base, id="3" * 64, name="db", link="br-two")
        objects = (*DRIVER.network_objects(one, INSTANCE), *DRIVER.network_objects(two, INSTANCE))
        icc = one.options["icc"] == "true"
        assert verdict(objects, "forward", one.link, two.link) == "drop", title
        assert verdict(objects, "forward", two.link, one.link) == "drop", title
        assert verdict(objects, "forward", "eth0", one.link) == "drop", title
        assert verdict(objects, "forward", one.link, one.link) == ("accept" if icc else "drop"), title
        assert verdict(objects, "forward", one.link, "eth0") == ("drop" if one.internal else "accept"), title
        if not one.internal:
            assert verdict(objects, "forward", "eth0", one.link, established=True) == "accept", title
        masked = not one.internal and one.options["masquerade"] == "true"
        for subnet in one.subnets:
            assert verdict(objects, "postrouting", one.link, "eth0", subnet.subnet) == ("masquerade" if masked else "accept")
            assert verdict(objects, "postrouting", one.link, one.link, subnet.subnet) == "accept"


def test_without_icc_ports_are_isolated_too() -> None:
    """Packets between ports of one bridge are not seen by the forward hook unless br_netfilter is loaded."""
    for icc in (True, False):
        net = network(icc=str(icc).lower())
        veth = next(item for item in DRIVER.endpoint_objects(net, endpoint(net), INSTANCE) if isinstance(item, Veth))
        assert veth.isolated is not icc


def test_a_chosen_source_address_takes_the_place_of_masquerade() -> None:
    net = network(FAMILIES["dual"], host_ipv4="192.168.1.250", host_ipv6="2001:db8:1::250")
    objects = DRIVER.network_objects(net, INSTANCE)
    assert verdict(objects, "postrouting", net.link, "eth0", "10.2.0.0/24") == "snat to 192.168.1.250"
    assert verdict(objects, "postrouting", net.link, "eth0", "fd00:1::/64") == "snat to 2001:db8:1::250"


def test_every_rule_has_a_comment_that_nft_can_hold() -> None:
    net = network(FAMILIES["dual"], called="n" * 63, host_ipv6="2001:db8:1111:2222:3333:4444:5555:6666")
    chains = [item for item in DRIVER.network_objects(net, INSTANCE) if isinstance(item, Chain)]
    comments = [rule.comment for chain in chains for rule in chain.rules]
    assert all(comment.startswith("n" * 63) and comment.isascii() and len(comment) < 128 for comment in comments)


# --- single settings


def of_type(objects: Iterable[AnyObject], kind: type[AnyObject]) -> list[Any]:
    return [item for item in objects if isinstance(item, kind)]


OURS = {"uplink", "address_probe", *(option.name for option in vlans.OPTIONS)}  # options that docker has not


@pytest.mark.req("B7")
def test_docker_names_of_options_mean_the_same() -> None:
    for option in DRIVER.info.options:
        example = {"int": "1400", "bool": "false", "link": "br-x", "text": "net"}.get(
            option.kind, "2001:db8::1" if option.name.endswith("6") else "192.0.2.1"
        )
        assert option.long_names or option.name in OURS
        for name in option.long_names:
            assert parse_options(DRIVER.info, {name: example}) == parse_options(DRIVER.info, {option.name: example})


def test_marks_names_and_macs() -> None:
    net = network()
    (bridge,) = of_type(DRIVER.network_objects(net, INSTANCE), Bridge)
    assert net.link == bridge.name == "br-" + "1" * 12
    assert parse_mark(bridge.alias) == (INSTANCE, "network", net.id)
    attached = endpoint(net)
    (veth,) = of_type(DRIVER.endpoint_objects(net, attached, INSTANCE), Veth)
    assert parse_mark(veth.alias) == (INSTANCE, "endpoint", attached.id) and veth.master == net.link
    assert veth.name == attached.host_link and link_name(veth.name) and veth.peer_mac == attached.mac
    assert network(predefined=True, called="bridge").link == "netdeck0"
    assert endpoint(net, mac="02:42:0a:01:00:02").mac == "02:42:0a:01:00:02"


@given(st.text(max_size=64))
def test_a_derived_mac_is_a_local_unicast_address(ident: str) -> None:
    assert mac_address(derived_mac(ident)) == derived_mac(ident) and int(derived_mac(ident)[:2], 16) & 3 == 2


def test_ipv6_is_off_where_the_network_has_none() -> None:
    for subnets, off in ((V4, "1"), ((*V4, *V6), "0"), (V6, "0")):
        net = network(subnets)
        inside = [item for item in of_type(DRIVER.endpoint_objects(net, endpoint(net), INSTANCE), Sysctl) if item.place == "c1"]
        outside = of_type(DRIVER.network_objects(net, INSTANCE), Sysctl)
        for items in (inside, outside):
            assert [item.value for item in items if item.name.endswith("disable_ipv6")] == [off]
        # before the link comes up, or it would have sent its first packets already
        assert all(item.rank < Up(HOST, "x").rank for item in (*inside, *outside))


def test_each_subnet_has_its_gateway_on_the_bridge_but_not_where_it_is_inhibited() -> None:
    net = network((*V4, *V6))
    assert [item.prefix for item in of_type(DRIVER.network_objects(net, INSTANCE), Address)] == [
        "10.1.0.1/24",
        "10.2.0.1/24",
        "fd00:1::1/64",
    ]
    net = network((*V4, *V6), inhibit_ipv4="true")
    assert [item.prefix for item in of_type(DRIVER.network_objects(net, INSTANCE), Address)] == ["fd00:1::1/64"]


def test_mtu_is_that_of_bridge_and_containers() -> None:
    net = network(mtu="1400")
    assert of_type(DRIVER.network_objects(net, INSTANCE), Bridge)[0].mtu == 1400
    assert of_type(DRIVER.endpoint_objects(net, endpoint(net), INSTANCE), Veth)[0].mtu == 1400
    assert network(mtu="68").options["mtu"] == "68"
    assert network((*V4, *V6), mtu="1280").options["mtu"] == "1280"


def test_below_the_mtu_of_ipv6_a_link_has_no_such_settings_and_they_come_back_after_it() -> None:
    def objects(mtu: str) -> tuple[AnyObject, ...]:
        net = network(mtu=mtu)
        return (*DRIVER.network_objects(net, INSTANCE), *DRIVER.endpoint_objects(net, endpoint(net), INSTANCE))

    small, large = objects("1279"), objects("1280")
    assert not of_type(small, Sysctl) and len(of_type(large, Sysctl)) == 5
    down, up = plan(small, large), plan(large, small)
    assert [step.action for step in down] == ["delete"] * 5 + ["change"] * 2
    assert [step.action for step in up] == ["change"] * 2 + ["create"] * 5


def test_a_bridge_that_was_there_is_left_as_it_is() -> None:
    net = network(host=FOREIGN, name="br0")
    objects = DRIVER.network_objects(net, INSTANCE)
    assert not net.made_link and net.link == "br0"
    assert not of_type(objects, Bridge) and not of_type(objects, Up) and not of_type(objects, Sysctl)
    assert [item.prefix for item in of_type(objects, Address)] == ["10.2.0.1/24"]  # it has the other one, and keeps it
    small = HostView(INSTANCE, {"br0": HostLink("br0", "bridge", 1400)})
    assert DRIVER.check(msgspec.structs.replace(net, link=""), small, ()).options["mtu"] == "1400"


# --- routes


def routes(*attached: tuple[Network, Endpoint]) -> list[tuple[str, str, str]]:
    found = choose_default_routes(attached, builtin())
    return [(item.destination, item.gateway, item.link) for item in found if item.key[0] == "route"]  # type: ignore[union-attr]


def test_the_gateway_is_that_of_the_subnet_or_the_aux_address_for_it() -> None:
    net = network()
    assert routes((net, endpoint(net, addresses=("10.2.0.7/24",)))) == [("0.0.0.0/0", "10.2.0.1", "eth0")]
    subnet = Subnet(subnet="10.1.0.0/24", gateway="10.1.0.1", aux={"DefaultGatewayIPv4": "10.1.0.254"})
    net = network((subnet,))
    assert routes((net, endpoint(net))) == [("0.0.0.0/0", "10.1.0.254", "eth0")]
    assert of_type(DRIVER.network_objects(net, INSTANCE), Address)[0].prefix == "10.1.0.1/24"
    net = network(internal=True)
    assert routes((net, endpoint(net))) == []


@pytest.mark.req("D4")
def test_one_default_route_a_family_both_families_first_then_by_name() -> None:
    dual = network((V4[0], *V6), called="zoo", ident="a" * 64)
    four, other = network(called="beta", ident="b" * 64), network(called="alpha", ident="c" * 64)
    closed = network(called="aaa", ident="d" * 64, internal=True)
    pairs = [(net, endpoint(net, ifname=f"eth{index}")) for index, net in enumerate((four, dual, other, closed))]
    assert routes(*pairs) == [("0.0.0.0/0", "10.1.0.1", "eth1"), ("::/0", "fd00:1::1", "eth1")]
    assert routes(pairs[0], pairs[2], pairs[3]) == [("0.0.0.0/0", "10.1.0.1", "eth2")]
    six = network(V6, called="six", ident="e" * 64)
    assert [item[2] for item in routes(pairs[0], (six, endpoint(six, ifname="eth6")))] == ["eth0", "eth6"]
    assert routes() == [] == routes(pairs[3])


# --- what is refused


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mtu": "67"}, "a whole number from 68 to 65535"),
        ({"mtu": "65536"}, "a whole number from 68 to 65535"),
        ({"mtu": "large"}, "a whole number"),
        ({"mtu": "1279"}, "too small for IPv6"),
        ({"icc": "perhaps"}, "expected true or false"),
        ({"iccc": "true"}, "did you mean 'icc'?"),
        ({"com.docker.network.bridge.enable_iccc": "true"}, "did you mean 'com.docker.network.bridge.enable_icc'?"),
        ({"com.docker.network.bridge.gateway_mode_ipv4": "routed"}, "has no option"),
        ({"icc": "true", "com.docker.network.bridge.enable_icc": "true"}, "given twice"),
        ({"name": "a/b"}, "is not allowed"),
        ({"name": "sixteen-letters0"}, "is not allowed"),
        ({"name": "lo"}, "reserved"),
        ({"host_binding_ipv4": "fd00::1"}, "expected an IPv4 address"),
        ({"host_binding_ipv4": "home"}, "expected an IPv4 or IPv6 address"),
        ({"host_ipv4": "fd00::1"}, "expected an IPv4 address"),
        ({"host_ipv6": "10.0.0.1"}, "expected an IPv6 address"),
        ({"host_ipv4": "0.0.0.0"}, "can't be the source"),
        ({"host_ipv4": "127.0.0.1"}, "can't be the source"),
        ({"host_ipv4": "192.0.2.1", "masquerade": "false"}, "no effect on masquerade=false"),
        ({"container_iface_prefix": "e th"}, "is not allowed"),
        ({"container_iface_prefix": "twelveletter"}, "at most 11 characters"),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        network((*V4, *V6), **options)
    assert words in caught.value.message


def test_options_without_effect_are_refused() -> None:
    cases: tuple[tuple[tuple[Subnet, ...], bool, dict[str, Any]], ...] = (
        (V4, True, {"host_ipv4": "192.0.2.1"}),
        (V6, False, {"host_ipv4": "192.0.2.1"}),
        (V6, False, {"inhibit_ipv4": "true"}),
        (V4, False, {"host_ipv6": "2001:db8::1"}),
    )
    for subnets, internal, options in cases:
        with pytest.raises(InvalidValue, match="has no effect"):
            network(subnets, internal=internal, **options)


def test_aux_gateways_that_cannot_be() -> None:
    def subnet(name: str) -> Subnet:
        return Subnet(subnet="10.1.0.0/24", gateway="10.1.0.1", aux={name: "10.1.0.9"})

    with pytest.raises(InvalidValue, match="internal"):
        network((subnet("DefaultGatewayIPv4"),), internal=True)
    with pytest.raises(InvalidValue, match="expected an IPv6 address"):
        network((subnet("DefaultGatewayIPv6"),))


def test_bridges_that_cannot_be_used() -> None:
    with pytest.raises(Conflict, match="existing interface eth0 is not a bridge but a plain device"):
        network(host=FOREIGN, name="eth0")
    first = network(ident="a" * 64, called="first", name="br-x")
    with pytest.raises(Conflict, match="network first has it"):
        network(others=[first], name="br-x")
    taken = HostView(INSTANCE, {"netdeck0": HostLink("netdeck0", "bridge")})
    with pytest.raises(Conflict, match="is not netdeck's"):
        network(host=taken, predefined=True, called="bridge")
    with pytest.raises(InvalidValue, match="more than the bridge br0 has"):
        network(host=FOREIGN, mtu="9000", name="br0")
    small = HostView(INSTANCE, {"br0": HostLink("br0", "bridge", 1200)})
    with pytest.raises(InvalidValue, match="too small for IPv6"):
        network((*V4, *V6), host=small, name="br0")


def test_endpoints_that_cannot_be() -> None:
    net = network((*V4, *V6))
    with pytest.raises(InvalidValue, match="needs an IPv6 address"):
        endpoint(net, addresses=("10.1.0.2/24",))
    with pytest.raises(InvalidValue, match="not a unicast address"):
        endpoint(net, mac="01:00:5e:00:00:01")
    with pytest.raises(InvalidValue, match="is not allowed"):
        endpoint(net, ifname="eth 0")


@given(
    st.dictionaries(
        st.one_of(st.sampled_from([item.name for item in DRIVER.info.options]), st.text(max_size=20)), st.text(max_size=20), max_size=4
    )
)
def test_any_option_is_taken_or_refused_in_one_printable_line(options: dict[str, str]) -> None:
    try:
        net = Network(id="1" * 64, name="web", driver="bridge", created=0.0, subnets=V4, options=parse_options(DRIVER.info, options))
        net = DRIVER.check(net, FOREIGN, ())
        plan(DRIVER.network_objects(net, INSTANCE), ())
    except NetdeckError as error:
        assert error.message.isprintable()
