"""The table `inet netdeck` in a real kernel: JSON and text make the same, changes are whole, nothing of others is touched."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from drivers.nft_text import skeleton, table_text
from drivers.objects import HOST, Chain, Jump, Masked, Match, Published, Relayed, Rule, TableItem
from helperd.kernel.firewall import Firewall
from helperd.kernel.namespaces import identify_process
from helperd.kernel.nft import Nft
from helperd.plan import Step, plan, undo
from protocol.errors import InvalidValue, KernelRefused, Unavailable
from tests.kernel.written_objects import ANSWERS, network
from tests.simulated_host import SimulatedHost
from tests.unit.nft_tables import FAMILIES, GOLDEN, table_objects

# Each kind of match and verdict that the grammar has.
MATCHES: tuple[tuple[Match, ...], ...] = (
    (ANSWERS,),
    (Match("ct state", ("invalid",)),),
    (Match("ct state", ("new", "untracked"), "!="),),
    (Match("ct status", ("dnat",)),),
    (Match("ct direction", ("original",)),),
    (Match("ct mark", ("0x10",)),),
    (Match("iifname", ("br-a.1",), "!="), Match("oifname", ("eth0", "eth1"))),
    (Match("meta iifname", ("br0",)),),
    (Match("ip saddr", ("10.0.0.0/24",)), Match("ip daddr", ("10.0.0.1", "10.1.0.0/16"), "!=")),
    (Match("ip6 saddr", ("fe80::/10",), "!="), Match("ip6 daddr", ("fd00::1",))),
    (Match("fib daddr type", ("local",)), Match("meta nfproto", ("ipv4",))),
    (Match("fib saddr type", ("local",)),),
    (Match("meta l4proto", ("tcp", "udp")), Match("th dport", ("53",))),
    (Match("meta mark", ("0x2000",), "!="),),
    (Match("tcp dport", ("80", "8000-8010")),),
    (Match("udp sport", ("53",), "!="), Match("udp dport", ("1024-65535",))),
    (Match("sctp dport", ("5000",)),),
    (Match("icmp type", ("echo-request",)),),
    (Match("icmpv6 type", ("nd-neighbor-solicit", "nd-neighbor-advert")),),
    (Match("ip protocol", ("icmp",)),),
    (Match("ip6 nexthdr", ("58",)),),
    (Match("ether saddr", ("02:00:00:00:00:01",)),),
)
EVERYTHING: tuple[TableItem, ...] = (
    *(
        Chain(HOST, f"match-{number}", (Rule(matches, verdict, f"rule {number} {verdict}"),))
        for number, matches in enumerate(MATCHES)
        for verdict in ("accept",)
    ),
    Chain(
        HOST, "verdicts", tuple(Rule((), verdict, f'they said "{verdict}" \\ \x1b') for verdict in ("drop", "return"))
    ),
    Chain(
        HOST,
        "nat-br0",
        (
            Rule(
                (Match("oifname", ("br0",), "!="), Match("ip saddr", ("10.0.0.0/24",))), "masquerade", "to the outside"
            ),
            Rule((Match("ip saddr", ("10.1.0.0/24",)),), "snat to 192.0.2.1", "to the outside as 192.0.2.1"),
            Rule((Match("ip6 saddr", ("fd00::/64",)),), "snat to 2001:db8::1", "x" * 300),
        ),
    ),
    Chain(HOST, "empty", ()),
    Jump(HOST, "forward-to", "br0", "verdicts"),
    Jump(HOST, "forward-from", "br.0.5", "empty"),
    Jump(HOST, "nat-from", "br0", "nat-br0"),
    Published(HOST, "tcp", "0.0.0.0", 8080, "10.0.0.2", 80),
    Published(HOST, "udp", "::", 53, "fd00::2", 53),
    Published(HOST, "sctp", "192.0.2.1", 65535, "10.0.0.2", 1),
    Published(HOST, "tcp", "2001:db8::1", 8080, "fd00::2", 80),
    Masked(HOST, "10.0.0.2"),
    Masked(HOST, "fd00::2"),
    Relayed(HOST, "tcp", "::", 8081),
    Relayed(HOST, "udp", "2001:db8::1", 53),
    Relayed(HOST, "tcp", "0.0.0.0", 8082),
    Relayed(HOST, "udp", "192.0.2.1", 53),
)


@pytest.fixture
async def firewall(host: SimulatedHost) -> AsyncIterator[Firewall]:
    made = Firewall(identify_process(host.pid))
    yield made
    await made.close()


def listing(host: SimulatedHost, netns: str = "") -> str:
    return host.run("nft list table inet netdeck", netns=netns)


async def test_json_and_text_make_the_same_table(host: SimulatedHost, firewall: Firewall) -> None:
    await firewall.load()  # as text; the changes after it are JSON
    await firewall.apply(plan(EVERYTHING, ()))
    host.add_namespace("other")
    host.run(["nft", "-f", "-"], netns="other", input=table_text(EVERYTHING))
    assert listing(host) == listing(host, "other")
    own = sum(line.startswith("add rule") for line in skeleton())
    assert (
        listing(host).count("counter packets 0")
        == sum(len(item.rules) for item in EVERYTHING if isinstance(item, Chain)) + own
    )
    assert await firewall.intact()
    await firewall.load()
    assert listing(host) == listing(host, "other") and await firewall.intact()
    host.run("nft delete element inet netdeck published-4 { tcp . 8080 }")
    assert not await firewall.intact()
    await firewall.load()
    host.run(["nft", "-f", "-"], netns="other", input=table_text(EVERYTHING))  # it replaces what is there
    assert listing(host) == listing(host, "other")


@pytest.mark.parametrize("family", FAMILIES)
async def test_the_golden_tables_are_what_is_loaded(host: SimulatedHost, firewall: Firewall, family: str) -> None:
    firewall.seed(table_objects(family))
    await firewall.load()
    host.add_namespace("other")
    host.run(["nft", "-f", "-"], netns="other", input=(GOLDEN / f"table_{family}.nft").read_text())
    assert listing(host) == listing(host, "other")


async def test_changes_and_their_undo(host: SimulatedHost, firewall: Firewall) -> None:
    host.run("nft add table inet theirs")
    await firewall.load()
    empty = listing(host)
    first, *jumps = (item for item in network() if isinstance(item, Chain | Jump))
    assert isinstance(first, Chain)
    other = Chain(HOST, first.name, (Rule((), "accept", "all"),))
    steps = [Step("create", first), *(Step("create", item) for item in jumps)]
    change = [Step("change", other, first)]
    await firewall.apply(steps)
    made = listing(host)
    assert firewall.objects() == {first, *jumps} and await firewall.intact() and 'comment "answers"' in made
    await firewall.apply(change)
    assert firewall.objects() == {other, *jumps} and await firewall.intact() and 'comment "all"' in listing(host)
    await firewall.apply(undo(change))
    assert listing(host) == made
    await firewall.apply(undo(steps))
    assert listing(host) == empty and firewall.objects() == frozenset()
    assert "theirs" in host.run("nft list tables")


async def test_a_refused_change_leaves_all_as_it_was(host: SimulatedHost, firewall: Firewall) -> None:
    chain = Chain(HOST, "a", (Rule((), "drop", "all"),))
    await firewall.apply([Step("create", chain), Step("create", Jump(HOST, "forward-to", "br0", "a"))])
    made, objects = listing(host), firewall.objects()
    for steps, error, words in (
        ([Step("create", Chain(HOST, "b", ())), Step("delete", chain)], KernelRefused, "busy"),
        (
            [Step("create", Chain(HOST, "b", ())), Step("create", Jump(HOST, "forward-to", "x", "nosuch"))],
            KernelRefused,
            "",
        ),
        (
            [Step("create", Chain(HOST, "b", (Rule((Match("nonsense", ("1",)),), "drop", ""),)))],
            InvalidValue,
            "nonsense",
        ),
        ([Step("create", Chain(HOST, "b", (Rule((), "explode", ""),)))], InvalidValue, "explode"),
        ([Step("create", Jump(HOST, "forward-to", 'a"b', "a"))], InvalidValue, "can't be used"),
        ([Step("create", Chain("c1", "b", ()))], InvalidValue, "host"),
    ):
        with pytest.raises(error) as caught:
            await firewall.apply(steps)
        assert words in caught.value.message, caught.value.message
        assert listing(host) == made and firewall.objects() == objects and await firewall.intact()


@pytest.mark.req("X9")
async def test_a_table_that_somebody_flushed_comes_back(host: SimulatedHost, firewall: Firewall) -> None:
    objects = [item for item in network() if isinstance(item, Chain | Jump)]
    await firewall.apply([Step("create", item) for item in objects])
    made = listing(host)
    host.run("nft flush ruleset")
    assert not await firewall.intact()
    firewall.lost()
    assert not firewall.table_present and firewall.objects() == frozenset()
    await firewall.load()
    assert listing(host) == made and firewall.objects() == frozenset(objects) and await firewall.intact()
    host.run("nft flush ruleset")  # and nobody told
    extra = Chain(HOST, "extra", ())
    await firewall.apply([Step("create", extra)])
    assert await firewall.intact() and firewall.objects() == {*objects, extra}
    host.run("nft add rule inet netdeck extra drop")
    assert not await firewall.intact()
    await firewall.load()
    assert await firewall.intact()
    host.run("nft add table inet theirs")
    await firewall.remove()
    assert host.run("nft list tables").split() == ["table", "inet", "theirs"] and not firewall.table_present
    await firewall.remove()


async def test_counters_outlive_changes_and_loads(host: SimulatedHost, firewall: Firewall) -> None:
    host.add_namespace("other")
    host.run(
        "sysctl -qw net.ipv4.ip_forward=1; ip link add name wan type veth peer name e netns other; ip link set wan up;"
        "ip addr add 10.0.0.1/24 dev wan; ip link add name lan type bridge; ip link set lan up; ip addr add 10.1.0.1/24 dev lan;"
        "ip neigh add 10.1.0.9 lladdr 02:00:00:00:00:09 dev lan"
    )
    host.run("ip link set e up; ip addr add 10.0.0.2/24 dev e; ip route add default via 10.0.0.1", netns="other")
    chain = Chain(
        HOST, "to-lan", (Rule((Match("meta l4proto", ("icmp",)),), "drop", "pings"), Rule((), "accept", "rest"))
    )
    await firewall.apply([Step("create", chain), Step("create", Jump(HOST, "forward-to", "lan", "to-lan"))])

    async def counted() -> tuple[int, int]:
        found = {(item.chain, item.comment): item.packets for item in await firewall.counters()}
        return found["to-lan", "pings"], found["forward", "packets to a network go to its chain"]

    def ping() -> None:
        host.run("ping -c 2 -i 0.1 -W 0.2 10.1.0.9", netns="other", check=False)

    ping()
    assert await counted() == (2, 2)
    await firewall.load()
    assert await counted() == (2, 2)
    ping()
    assert await counted() == (4, 4)
    changed = Chain(HOST, "to-lan", (*chain.rules, Rule((), "drop", "last")))
    await firewall.apply([Step("change", changed, chain)])
    ping()
    assert await counted() == (6, 6)
    host.run("nft flush ruleset")
    firewall.lost()
    await firewall.load()
    assert (await counted())[0] >= 6
    await firewall.apply([Step("delete", Jump(HOST, "forward-to", "lan", "to-lan")), Step("delete", changed)])
    await firewall.apply([Step("create", chain)])
    assert (await counted())[0] == 0


def test_without_the_library_the_error_names_the_package() -> None:
    with pytest.raises(Unavailable, match="apt install libnftables1"):
        Nft("libnosuch.so.1")


async def test_names_are_data(host: SimulatedHost, firewall: Firewall) -> None:
    await firewall.load()
    names = ["fwd", "drop", "meta", "ip", "br-0.5", "a_b", "0abc"]
    await firewall.apply([Step("create", Chain(HOST, f"to-{name}", ())) for name in names])
    await firewall.apply([Step("create", Jump(HOST, "forward-to", name, f"to-{name}")) for name in names])
    listed = json.loads(host.run("nft -j list map inet netdeck forward-to"))["nftables"][1]["map"]["elem"]
    assert {key: value["jump"]["target"] for key, value in listed} == {name: f"to-{name}" for name in names}
