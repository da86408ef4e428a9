"""The commands that netdeck shows make, when a shell runs them, what netdeck itself makes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import msgspec
import pytest

from drivers.commands import commands, skeleton_commands
from drivers.objects import HOST, Address, AnyObject, Bridge, Chain, Jump, Macvlan, Match, Route, Rule, Sysctl, Up, Veth, mark
from helperd.plan import Step, plan
from tests.kernel.written_objects import INSTANCE, Written, creates, deletes, endpoint, network, written
from tests.simulated_host import SimulatedHost, simulated_host

NAMES = {"c1": "netns:c1", "c2": "netns:c2"}
# What depends on chance or on the order of making, not on what was asked for.
CHANCE = frozenset(
    {
        "ifindex",
        "link_index",
        "link_netnsid",
        "txqlen",
        "handle",
        "bridge_id",
        "designated_root",
        "designated_bridge",
        "root_id",
        "id",
        "no",
        "stats64",
        "valid_life_time",
        "preferred_life_time",
        "hello_timer",
        "tcn_timer",
        "topology_change_timer",
        "gc_timer",
        "hold_timer",
        "message_age_timer",
        "forward_delay_timer",
        "root_port",
        "state",
        "operstate",
        "packets",
        "bytes",
    }
)


@pytest.fixture
async def rig(host: SimulatedHost) -> AsyncIterator[Written]:
    async with written(host, "c1", "c2") as made:
        await made.firewall.load()
        yield made


@pytest.fixture
def shell() -> Iterator[SimulatedHost]:
    with simulated_host() as made:
        made.run("ip netns add c1; ip netns add c2")
        run(made, skeleton_commands())
        yield made


def run(host: SimulatedHost, lines: Sequence[str]) -> None:
    host.run("set -e\n" + "\n".join(lines))


def dump(host: SimulatedHost) -> list[str]:
    """Everything about links, addresses, routes, settings and the table that both ways must agree on, a thing a line."""
    lines: list[str] = []
    for netns in ("", "c1", "c2"):
        for link in json.loads(host.run("ip -d -j link", netns=netns)):
            if not link.get("address", "").startswith("02:00"):
                link.pop("address", None)  # of its own choice
            lines.append(f"{netns} link {plain(link)}")
        lines += [
            f"{netns} port {plain(port)}" for port in json.loads(host.run("bridge -d -j link", netns=netns) or "[]")
        ]
        for link in json.loads(host.run("ip -j addr", netns=netns)):
            lines += [
                f"{netns} {link['ifname']} {plain(item)}" for item in link["addr_info"] if item.get("scope") == "global"
            ]
        for family in "46":
            routes = json.loads(host.run(f"ip -{family} -d -j route", netns=netns) or "[]")
            # Link-local routes, and the mark of a link without a carrier, follow some ms later.
            lines += [
                f"{netns} route {plain({**route, 'flags': 0})}" for route in routes if route["dst"] != "fe80::/64"
            ]
        lines += host.run(
            "cd /proc/sys/net && grep -r . ipv?/conf/*/disable_ipv6 ipv?/conf/*/accept_ra", netns=netns
        ).split()
    lines += [f"nft {plain(item)}" for item in json.loads(host.run("nft -j list table inet netdeck"))["nftables"]]
    return lines


def plain(value: Any) -> Any:
    """`value` without what depends on chance; lists of things in one order."""
    if isinstance(value, dict):
        found = {key: plain(item) for key, item in value.items() if key not in CHANCE}
        if isinstance(flags := found.get("flags"), list):
            found["flags"] = [
                flag for flag in flags if flag not in ("NO-CARRIER", "LOWER_UP")
            ]  # they follow some ms later
        return found
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


OBJECTS: list[AnyObject] = [
    *network(),
    *network("br.1", 2, mtu=1400),
    Chain(
        HOST,
        "nat-br0",
        (
            Rule(
                (Match("oifname", ("br0",), "!="), Match("ip saddr", ("10.0.1.0/24",))),
                "masquerade",
                'it\'s "out" $HOME `x` \\n',
            ),
            Rule((Match("ip6 saddr", ("fd00:0:0:1::/64",)),), "snat to 2001:db8::1", "as 2001:db8::1"),
            Rule((Match("tcp dport", ("80", "8000-8010")), Match("fib daddr type", ("local",))), "return", "web"),
        ),
    ),
    Jump(HOST, "nat-from", "br0", "nat-br0"),
    *endpoint("c1", 0, isolated=True),
    *endpoint("c1", 1, master="br.1", subnet=2),
    *endpoint("c2", 0),
    Sysctl("c2", "net.ipv6.conf.all.disable_ipv6", "0"),
    Route("c2", "192.0.2.0/24", "eth0"),
    Route("c2", "2001:db8:5::/48", "eth0", "fd00:0:0:1::1"),
]


@pytest.mark.req("X1")
async def test_a_shell_makes_and_deletes_the_same(rig: Written, shell: SimulatedHost) -> None:
    before = dump(shell)
    assert before == dump(rig.host)
    steps = creates(OBJECTS)
    await rig.apply(steps)
    run(shell, commands(steps, NAMES))
    ours = dump(rig.host)
    assert dump(shell) == ours != before
    # By itself `ip link set down` costs a link its v6 addresses: they go first here, as in every plan they go with the link.
    rest = tuple(step for step in deletes(OBJECTS[:20]) if not isinstance(step.object, Up))
    for removal in (plan(OBJECTS[:20], OBJECTS), rest):
        await rig.apply(removal)
        run(shell, commands(removal, NAMES))
        assert dump(shell) == dump(rig.host)
    assert [line for line in dump(rig.host) if line.startswith((" link", " port", " route"))] == [
        line for line in before if line.startswith((" link", " port", " route"))
    ]


@pytest.mark.req("X1", "X15")
async def test_a_shell_changes_the_same(rig: Written, shell: SimulatedHost) -> None:
    steps = creates(OBJECTS)
    await rig.apply(steps)
    run(shell, commands(steps, NAMES))
    replace = msgspec.structs.replace
    changes: list[Step] = []
    for item in OBJECTS:
        match item:
            case Bridge(name="br0"):
                changes.append(Step("change", replace(item, mtu=1300, alias=mark(INSTANCE, "network", "z")), item))
            case Veth(isolated=True):
                changes.append(Step("change", replace(item, mtu=1300, isolated=False), item))
            case Veth(master="br.1"):
                changes.append(Step("change", replace(item, master="br0", isolated=True), item))
            case Veth():
                changes.append(Step("change", replace(item, master=""), item))
            case Chain(name="to-br0"):
                changes.append(Step("change", replace(item, rules=item.rules[::-1]), item))
            case Jump(map="forward-to", link="br0"):
                changes.append(Step("change", replace(item, chain="from-br0"), item))
            case Sysctl(place="c1"):
                changes.append(Step("change", replace(item, value="1"), item))
            case Route(place="c1", gateway="10.0.1.1"):
                changes.append(Step("change", replace(item, gateway="10.0.1.2"), item))
    assert len(changes) == 9
    for change in changes:
        await rig.apply([change])
        run(shell, commands([change], NAMES))
        assert dump(shell) == dump(rig.host), change


async def test_containers_by_process(rig: Written, shell: SimulatedHost) -> None:
    sleeper = shell.popen("exec sleep 300", netns="c1")
    pid = shell.run("until pgrep -xf 'sleep 300'; do sleep 0.02; done").split()[-1]
    objects = [*network(), *endpoint("c1", 0)]
    steps = creates(objects)
    await rig.apply(steps)
    lines = commands(steps, {"c1": f"pid:{pid}"})
    assert any(line.startswith(f"nsenter -t {pid} -n ip address add") for line in lines)
    run(shell, lines)
    assert dump(shell) == dump(rig.host)
    sleeper.kill()


@pytest.mark.req("X1", "M1")
async def test_links_that_hang_on_one_of_the_host(rig: Written, shell: SimulatedHost) -> None:
    parent = "ip link add parent0 type veth peer name parent1 && ip link set parent0 up && ip link set parent1 up"
    rig.host.run(parent)
    shell.run(parent)
    link = Macvlan("c1", "eth0", mark(INSTANCE, "endpoint", "c10"), "parent0", "vepa", 1400, "02:00:00:00:07:01")
    objects: list[AnyObject] = [link, Sysctl("c1", "net.ipv6.conf.*.accept_ra", "0", "eth0"), Address("c1", "eth0", "10.0.7.2/24"),
                                Up("c1", "eth0"), Route("c1", "0.0.0.0/0", "eth0", "10.0.7.1")]
    before = dump(shell)
    changed = Step("change", msgspec.structs.replace(link, mtu=1300, mac="02:00:00:00:07:02"), link)
    for steps in (creates(objects), (changed,), plan((), [changed.object, *objects[1:]])):
        await rig.apply(steps)
        run(shell, commands(steps, NAMES))
        assert dump(shell) == dump(rig.host)
    assert dump(shell) == before
    assert await rig.observe() == frozenset()
    await rig.apply(creates(objects))
    assert await rig.observe(objects) == frozenset(objects)
    assert link in await rig.observe(), "found by its mark alone"
