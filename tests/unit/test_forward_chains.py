"""Reading the rules of others: verdicts of single rules and of jumps, in the form that libnftables gives them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helperd.bridge_chains import BETWEEN, FROM_HOST, TO_HOST, frame_stops
from helperd.forward_chains import ForeignBase, ForeignRule, Probe, owners, stops
from helperd.iptables_save import read
from helperd.kernel.ruleset import rule_texts
from helperd.neighbours import WITHIN, finding_id, probes
from helperd.relay_chains import COMES, relay_stops
from protocol.model import Endpoint, Network, Port, Subnet

pytestmark = pytest.mark.req("X9")
OUT = Probe(4, "br-1", "eth0", source="172.18.0.0/16")
BACK = Probe(4, "eth0", "br-1", destination="172.18.0.0/16", state="established")
DROP, ACCEPT, RETURN = {"drop": None}, {"accept": None}, {"return": None}


def match(left: dict[str, Any], right: Any, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


def meta(key: str, right: Any, op: str = "==") -> dict[str, Any]:
    return match({"meta": {"key": key}}, right, op)


def saddr(right: Any, op: str = "==") -> dict[str, Any]:
    return match({"payload": {"protocol": "ip", "field": "saddr"}}, right, op)


def prefix(addr: str, length: int) -> dict[str, Any]:
    return {"prefix": {"addr": addr, "len": length}}


def base(*rules: list[Any], policy: str = "accept", family: str = "ip", text: str = "a rule", sets: dict[str, Any] | None = None,
         **chains: list[list[Any]]) -> ForeignBase:
    def numbered(name: str, items: Any) -> tuple[ForeignRule, ...]:
        return tuple(ForeignRule(number, f"{text} {name}", tuple(expr)) for number, expr in enumerate(items, 1))

    return ForeignBase(family, "t", "FORWARD", 0, policy, {"FORWARD": numbered("FORWARD", rules),
                                                           **{name: numbered(name, items) for name, items in chains.items()}}, sets or {})


def verdict(found: ForeignBase, probe: Probe = OUT) -> str:
    """"pass", or chain and handle of what drops, with a question mark where that is not certain."""
    stop = next(iter(stops([found], probe)), None)
    return "pass" if stop is None else f"{stop.chain} {stop.handle}{'' if stop.certain else '?'}"


@pytest.mark.parametrize(("chain", "expected"), [
    (base(), "pass"),
    (base(policy="drop"), "FORWARD 0"),
    (base(policy="drop", family="ip6"), "pass"),
    (base(policy="drop", family="inet"), "FORWARD 0"),
    (base([DROP]), "FORWARD 1"),
    (base([{"reject": {"type": "icmp"}}]), "FORWARD 1"),
    (base([{"xt": {"type": "target", "name": "REJECT"}}]), "FORWARD 1"),
    (base([{"counter": {}}, {"log": None}, {"xt": {"type": "match", "name": "comment"}}, ACCEPT], policy="drop"), "pass"),
    (base([meta("iifname", "br-1"), DROP]), "FORWARD 1"),
    (base([meta("iifname", "br-*"), DROP]), "FORWARD 1"),
    (base([meta("iifname", "br-1", "!="), DROP]), "pass"),
    (base([meta("iifname", {"set": ["lo", "br-1"]}), DROP]), "FORWARD 1"),
    (base([meta("iifname", "@links"), DROP], sets={"links": ({"elem": {"val": "br-1", "comment": "x"}},)}), "FORWARD 1"),
    (base([meta("iifname", "@unknown"), DROP]), "pass"),
    (base([saddr(prefix("172.16.0.0", 12)), DROP]), "FORWARD 1"),
    (base([saddr(prefix("172.16.0.0", 12), "!="), DROP]), "pass"),
    (base([saddr({"range": ["172.18.0.0", "172.18.255.255"]}), DROP]), "FORWARD 1"),
    (base([saddr("172.18.0.9"), DROP]), "pass"),  # one of many: not all packets
    (base([saddr("172.18.0.9"), ACCEPT], policy="drop"), "FORWARD 0?"),
    (base([saddr("10.0.0.1"), ACCEPT], policy="drop"), "FORWARD 0"),
    (base([match({"payload": {"protocol": "ip6", "field": "saddr"}}, prefix("fd00::", 8)), ACCEPT], policy="drop", family="inet"),
     "FORWARD 0"),
    (base([match({"payload": {"protocol": "ip6", "field": "saddr"}}, prefix("fd00::", 8), "!="), DROP], family="inet"), "pass"),
    (base([match({"payload": {"protocol": "tcp", "field": "dport"}}, 443), ACCEPT], policy="drop"), "FORWARD 0?"),
    # ufw and others let ICMP through and drop the rest: a packet of TCP is thought of.
    (base([meta("l4proto", "icmp"), match({"payload": {"protocol": "icmp", "field": "type"}}, "echo-request"), ACCEPT], policy="drop"),
     "FORWARD 0"),
    (base([match({"payload": {"protocol": "udp", "field": "dport"}}, 53, "!="), DROP]), "pass"),
    (base([match({"payload": {"protocol": "ip", "field": "protocol"}}, "tcp"), DROP]), "FORWARD 1"),
    (base([meta("l4proto", {"set": ["udp", "tcp"]}), DROP]), "FORWARD 1"),
    (base([match({"payload": {"protocol": "tcp", "field": "dport"}}, 25), DROP]), "pass"),
    (base([match({"meta": {"key": "mark"}}, 7), {"queue": {"num": 0}}], policy="drop"), "FORWARD 0?"),
    (base([{"queue": {"num": 0}}], policy="drop"), "pass"),
    (base([match({"ct": {"key": "state"}}, ["established", "related"], "in"), ACCEPT], policy="drop"), "FORWARD 0"),
    (base([match({"ct": {"key": "state"}}, "new"), DROP]), "FORWARD 1"),
    (base([match({"fib": {"result": "type", "flags": ["daddr"]}}, "local"), ACCEPT], policy="drop"), "FORWARD 0"),
    (base([{"xt": {"type": "match", "name": "conntrack"}}, ACCEPT], policy="drop", text="ct state related,established accept"),
     "FORWARD 0"),
    (base([{"xt": {"type": "match", "name": "conntrack"}}, DROP], text="ct state ! new drop"), "pass"),
    (base([{"xt": {"type": "match", "name": "physdev"}}, ACCEPT], policy="drop"), "FORWARD 0?"),
    (base([{"jump": {"target": "user"}}, [DROP][0]], user=[[RETURN]]), "FORWARD 1"),
    (base([{"jump": {"target": "user"}}], [DROP], user=[[ACCEPT]]), "pass"),
    (base([{"jump": {"target": "user"}}], user=[[meta("oifname", "eth0"), DROP]]), "user 1"),
    (base([{"goto": {"target": "user"}}], [ACCEPT], policy="drop", user=[]), "FORWARD 0"),
    (base([{"jump": {"target": "user"}}], policy="drop", user=[[match({"meta": {"key": "mark"}}, 1), RETURN], [ACCEPT]]), "pass"),
    (base([{"jump": {"target": "missing"}}], policy="drop"), "FORWARD 0"),
    (base([{"jump": {"target": "a"}}], policy="drop", a=[[{"jump": {"target": "a"}}]]), "FORWARD 0"),
    (base([{"vmap": {"key": {"ct": {"key": "state"}}, "data": {"set": [["new", {"drop": None}], ["established", {"accept": None}]]}}}]),
     "FORWARD 1"),
    (base([{"vmap": {"key": {"meta": {"key": "iifname"}}, "data": "@ways"}}], policy="drop", out=[[ACCEPT]],
          sets={"ways": (["eth9", {"drop": None}], ["br-1", {"jump": {"target": "out"}}])}), "pass"),
    (base([{"something new": {"of": "nft"}}, DROP]), "pass"),
])
def test_verdicts(chain: ForeignBase, expected: str) -> None:
    assert verdict(chain) == expected


def test_an_answer_is_another_packet() -> None:
    answers = [match({"ct": {"key": "state"}}, {"set": ["established", "related"]}), ACCEPT]
    found = base(answers, [meta("iifname", "br-1"), ACCEPT], policy="drop")
    assert verdict(found, OUT) == verdict(found, BACK) == "pass"
    assert verdict(base([meta("iifname", "br-1"), ACCEPT], policy="drop"), BACK) == "FORWARD 0"


def test_every_chain_has_its_say_in_the_order_of_priorities() -> None:
    late = ForeignBase("inet", "late", "fw", 10, "drop")
    early = ForeignBase("ip", "early", "fw", -10, "drop")
    assert [stop.table for stop in stops([late, early], OUT)] == ["early", "late"]


@pytest.mark.parametrize(("chains", "table", "expected"), [
    (("FORWARD", "DOCKER-USER"), "filter", ("docker",)), (("FORWARD", "ufw6-before-forward", "DOCKER"), "filter", ("docker", "ufw")),
    (("filter_FORWARD",), "firewalld", ("firewalld",)), (("KUBE-FORWARD",), "filter", ("kubernetes",)), (("forward",), "filter", ()),
])
def test_owners(chains: tuple[str, ...], table: str, expected: tuple[str, ...]) -> None:
    assert owners(ForeignBase("ip", table, "FORWARD", 0, "drop", dict.fromkeys(chains, ()))) == expected


SAVED = """# Generated by iptables-save v1.8.9
*filter
:INPUT DROP [0:0]
:FORWARD {policy} [0:0]
:mine - [0:0]
{rules}
COMMIT
"""


@pytest.mark.parametrize(("rules", "policy", "expected"), [
    ("", "ACCEPT", "pass"),
    ("", "DROP", "FORWARD 0"),
    ("-A FORWARD -i br+ -j DROP", "ACCEPT", "FORWARD 1"),
    ("-A FORWARD ! -i br-1 -j DROP", "ACCEPT", "pass"),
    ("-A FORWARD -s 172.18.0.0/16 -o eth0 -j mine\n-A mine -m comment --comment \"-j ACCEPT \\\"x\" -j REJECT --reject-with x", "ACCEPT",
     "mine 1"),
    ("-A FORWARD -g mine\n-A FORWARD -j DROP", "ACCEPT", "pass"),
    ("-A FORWARD -p icmp -m icmp --icmp-type 8 -j ACCEPT\n-A FORWARD -p tcp -j LOG --log-prefix \"-j DROP\"", "DROP", "FORWARD 0"),
    ("-A FORWARD -p tcp -m tcp --dport 22 -j ACCEPT", "DROP", "FORWARD 0?"),
    ("-A FORWARD -m conntrack ! --ctstate NEW -j ACCEPT", "DROP", "FORWARD 0"),
    ("-A FORWARD -m set --match-set x src -j DROP\n-A FORWARD -m broken \"-j DROP", "ACCEPT", "pass"),
])
def test_a_table_of_iptables_legacy(rules: str, policy: str, expected: str) -> None:
    found = read(SAVED.format(rules=rules, policy=policy), "ip")
    assert found is not None and found.legacy and verdict(found) == expected
    for stop in stops([found], OUT):
        assert stop.words.endswith("of iptables-legacy (IPv4)") and finding_id(stop).startswith("foreign-drop.ip-legacy.filter.")


@given(st.text(alphabet="-AFORWD: jmine!\"'\n*[]0", max_size=60))
def test_whatever_iptables_save_may_say_is_read(text: str) -> None:
    for head in ("", ":FORWARD DROP [0:0]\n"):
        found = read(head + text, "ip6")
        assert found is None or stops([found], Probe(6, "br-1", "eth0", source="fd00::/64")) is not None


def test_texts_of_rules_over_several_lines() -> None:
    listing = """table ip t { # handle 1
\tset s { # handle 4
\t\ttype ipv4_addr
\t}

\tchain c { # handle 2
\t\ttype filter hook forward priority filter; policy drop;
\t\tip saddr { 10.0.0.1, 10.0.0.2,
\t\t\t   10.0.0.3 } drop # handle 7
\t\taccept comment "# handle 9" # handle 8
\t}
}
"""
    assert rule_texts(listing) == {7: "ip saddr { 10.0.0.1, 10.0.0.2, 10.0.0.3 } drop", 8: 'accept comment "# handle 9"'}


_JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=8),
                     lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                         st.sampled_from(["match", "left", "right", "op", "meta", "key", "xt", "name", "vmap", "data", "set", "jump",
                                          "target",
                                          "payload", "field", "protocol", "drop", "accept", "ct", "elem", "val", "prefix", "range"]),
                         inner, max_size=3), max_leaves=12)


@given(st.lists(st.lists(_JSON, max_size=4), max_size=4))
def test_whatever_a_later_nft_may_say_is_read(rules: list[list[Any]]) -> None:
    for probe in (OUT, BACK):
        for stop in stops([base(*rules)], probe):
            assert finding_id(stop).isascii()


def dport(right: Any, op: str = "==", protocol: str = "tcp") -> dict[str, Any]:
    return match({"payload": {"protocol": protocol, "field": "dport"}}, right, op)


@pytest.mark.parametrize(("rules", "expected"), [
    ([[DROP]], {"tcp", "udp"}),
    ([[meta("iifname", "lo"), ACCEPT], [match({"ct": {"key": "state"}}, ["established", "related"]), ACCEPT], [dport(22), ACCEPT]],
     {"tcp", "udp"}),
    ([[dport({"set": [22, {"range": [8000, 8090]}]}), ACCEPT]], {"udp"}),
    ([[dport(8080, protocol="udp"), ACCEPT]], {"tcp"}),
    ([[dport(8080, protocol="th"), ACCEPT]], set()),
    ([[dport(8080, "!="), ACCEPT]], {"tcp", "udp"}),
    ([[match({"ct": {"key": "status"}}, "dnat"), ACCEPT]], {"tcp", "udp"}),
    ([[match({"fib": {"result": "type", "flags": ["daddr"]}}, "local"), ACCEPT]], set()),
    ([[meta("mark", 7), ACCEPT]], {"tcp?", "udp?"}),
    ([[dport("@open"), ACCEPT]], {"udp"}),
])
def test_ports_that_the_relay_carries_meet_the_chains_of_the_host(rules: list[list[Any]], expected: set[str]) -> None:
    network = Network(id="n", name="web", driver="bridge", created=0.0, link="br-n", subnets=(Subnet("10.61.0.0/24"),))
    ports = [Port(protocol, "::", 8080, 80) for protocol in ("tcp", "udp")]
    four = Endpoint(id="e", network="n", container="c", addresses=("10.61.0.2/24",),
                    ports=(*ports, Port("tcp", "0.0.0.0", 8080, 80), Port("tcp", "::1", 9000, 80)))
    chain = msgspec.structs.replace(base(*rules, policy="drop", family="inet", sets={"open": (8080,)}), hook="input")
    found = relay_stops([chain], network, [four], {6: ["eth0"]})
    assert {f"{port.protocol}{'' if item.stop.certain else '?'}" for item in found for port in item.ports} == expected
    assert {(item.family, port.host_port) for item in found for port in item.ports} <= {(6, 8080)} and not stops([chain], OUT)
    out = msgspec.structs.replace(base([meta("oifname", "br-n"), DROP], family="ip"), hook="output")
    assert [item.way for item in relay_stops([out], network, [four], {})] == ["from the relay of ports 8080/tcp, 8080/udp to the container"]
    assert not relay_stops([chain, out], network, [msgspec.structs.replace(four, ports=four.ports[2:])], {6: ["eth0"]})


@pytest.mark.parametrize(("rules", "expected"), [
    ("-A INPUT -p tcp -m tcp --dport 8080 -j ACCEPT", ""),
    ("-A INPUT -p tcp -m multiport --dports 22,8000:8090 -j ACCEPT", ""),
    ("-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT", "INPUT 0"),
    ("-A INPUT -i lo -j ACCEPT\n-A INPUT -p udp -m udp --dport 8080 -j ACCEPT\n-A INPUT -j REJECT", "INPUT 3"),
    ("-A INPUT -p tcp -m tcp --dport http -j ACCEPT", "INPUT 0?"),
])
def test_input_of_iptables_legacy(rules: str, expected: str) -> None:
    chain = read(f"*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n{rules}\nCOMMIT\n", "ip6", "INPUT")
    assert chain is not None
    found = stops([chain], Probe(6, "eth0", "", port=8080), COMES)
    assert [f"{item.chain} {item.handle}{'' if item.certain else '?'}" for item in found] == ([expected] if expected else [])


@pytest.mark.parametrize(("icc", "linked", "ways"), [("true", False, {WITHIN}), ("false", False, set()), ("false", True, {WITHIN})])
def test_what_netdeck_drops_itself_is_not_blamed_on_others(icc: str, linked: bool, ways: set[str]) -> None:
    network = Network(id="n", name="web", driver="bridge", created=0.0, link="br-n", internal=True, options={"icc": icc},
                      subnets=(Subnet("10.61.0.0/24"),))
    assert {way for way, _ in probes(network, {}, {4: True}, linked=linked)} == ways


@pytest.mark.parametrize("uplink", ["", "eth1"])
def test_nothing_is_routed_to_a_network_with_an_uplink(uplink: str) -> None:
    network = Network(id="n", name="web", driver="bridge", created=0.0, link="br-n", options={"uplink": uplink},
                      subnets=(Subnet("10.61.0.0/24"),))
    assert any("eth0" in way for way, _ in probes(network, {4: ("eth0",)}, {4: True}, frozenset({4}))) != bool(uplink)


def ether(field: str, right: Any, op: str = "==") -> dict[str, Any]:
    return match({"payload": {"protocol": "ether", "field": field}}, right, op)


BRIDGED = Network(id="n", name="n", driver="bridge", created=0.0, link="br-1", subnets=(Subnet("10.1.0.0/24", gateway="10.1.0.1"),))
TWO = [Endpoint(id=str(number), network="n", container=str(number), ifname="eth0", host_link=f"veth{number}",
                addresses=(f"10.1.0.{number}/24",), mac=f"02:00:00:00:00:0{number}") for number in (2, 3)]
ALL = {BETWEEN, TO_HOST, FROM_HOST}


@pytest.mark.parametrize(("hook", "rule", "expected"), [
    ("forward", [DROP], {BETWEEN}), ("prerouting", [DROP], {BETWEEN, TO_HOST}), ("postrouting", [DROP], {BETWEEN, FROM_HOST}),
    ("input", [DROP], {TO_HOST}), ("output", [DROP], {FROM_HOST}),
    ("forward", [meta("iifname", "veth2"), DROP], {BETWEEN}), ("forward", [meta("iifname", "veth4"), DROP], set()),
    ("postrouting", [meta("iifname", "veth*"), DROP], set()), ("prerouting", [meta("oifname", "veth2"), DROP], set()),
    ("input", [meta("ibrname", "br-1"), DROP], {TO_HOST}), ("output", [meta("ibrname", "br-1"), DROP], set()),
    ("output", [meta("obrname", "br-1"), DROP], {FROM_HOST}), ("forward", [meta("obrname", "br-2"), DROP], set()),
    ("forward", [ether("type", "ip"), DROP], {BETWEEN}), ("forward", [ether("type", 0x0800), DROP], {BETWEEN}),
    ("forward", [ether("type", "arp"), DROP], set()), ("forward", [ether("type", "ip6"), DROP], set()),
    ("prerouting", [ether("saddr", "02:00:00:00:00:03"), DROP], {BETWEEN, TO_HOST}),
    ("postrouting", [ether("daddr", "02:00:00:00:00:0A"), DROP], set()), ("input", [ether("daddr", "02:00:00:00:00:03"), DROP], set()),
    ("prerouting", [match({"payload": {"protocol": "ip", "field": "daddr"}}, "10.1.0.3"), DROP], {BETWEEN}),
])
def test_frames_on_a_bridge(hook: str, rule: list[Any], expected: set[str]) -> None:
    chain = ForeignBase("bridge", "t", "FORWARD", 0, "accept", {"FORWARD": (ForeignRule(1, "a rule", tuple(rule)),)}, hook=hook)
    assert {way for way, _, stop in frame_stops([chain], BRIDGED, TWO) if stop.certain} == expected
    assert not stops([chain], OUT)  # what is routed does not meet it
    for kind in ("ip", "inet"):
        assert not frame_stops([base([DROP], family=kind)], BRIDGED, TWO)


def test_frames_where_nobody_is_yet_and_where_containers_are_kept_apart() -> None:
    chain = ForeignBase("bridge", "t", "FORWARD", 0, "drop", {"FORWARD": ()}, hook="prerouting")
    assert {way for way, _, _ in frame_stops([chain], BRIDGED, [])} == {TO_HOST}
    apart = Network(id="n", name="n", driver="bridge", created=0.0, link="br-1", options={"icc": "false"}, ipv6=True)
    assert {(way, family) for way, family, _ in frame_stops([chain], apart, TWO)} == {(TO_HOST, 4), (TO_HOST, 6)}
