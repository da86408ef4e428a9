"""A dry run changes nothing, and a shell that runs its commands on another host leaves the kernel as the change itself does."""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from drivers.bridge import derived_mac
from drivers.commands import commands, skeleton_commands
from helperd.changes import CallContext
from helperd.plan import plan
from protocol.model import Plan
from protocol.requests import (
    ContainerRun,
    NetworkConnect,
    NetworkCreate,
    NetworkDisconnect,
    NetworkPrune,
    NetworkRemove,
    NetworkUpdate,
    PortPublish,
    PortWithdraw,
    Request,
    SubnetRequest,
)
from tests.kernel.core_in_host import STREAM, core_in, do, kernel_dump, stored
from tests.kernel.test_faults import differences
from tests.simulated_host import SimulatedHost, simulated_host
from tests.waiting import LONGEST_SECONDS

pytestmark = pytest.mark.req("X1")

# Both hosts are set up the same before anything else: forwarding, a bridge of somebody else's, two namespaces.
SET_UP = """
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
ip link add shared0 address 02:00:00:00:00:aa type bridge && ip link set shared0 up && ip addr add 10.77.0.1/24 dev shared0
"""

V4 = NetworkCreate(name="a")
V6 = NetworkCreate(name="a", ipv4=False, ipv6=True)
DUAL = NetworkCreate(name="a", ipv6=True)
ICC_OFF = NetworkCreate(name="a", options={"icc": "false", "mtu": "1400", "name": "web.0"})
INTERNAL = NetworkCreate(name="a", ipv6=True, internal=True)
SUBNETS = NetworkCreate(name="a", ipv6=True, subnets=(
    SubnetRequest("10.8.0.0/24", gateway="10.8.0.254"), SubnetRequest("10.9.0.0/24", ip_range="10.9.0.128/25", aux={"x": "10.9.0.7"}),
    SubnetRequest("fd00:8::/64")))
ADOPTED = NetworkCreate(name="a", options={"name": "shared0"}, subnets=(SubnetRequest("10.77.0.0/24", gateway="10.77.0.1"),))
# A bridge of somebody else's that gets one more address, which is ours.
ADOPTED_MORE = NetworkCreate(name="a", options={"name": "shared0"}, subnets=(SubnetRequest("10.78.0.0/24"),))
ROUTED = NetworkCreate(name="a", options={"com.docker.network.bridge.enable_ip_masquerade": "false"})
SNAT = NetworkCreate(name="a", ipv6=True, options={"com.docker.network.host_ipv4": "192.0.2.9", "host_ipv6": "2001:db8::9"})
SECOND = NetworkCreate(name="b", ipv6=True)
CONNECT = NetworkConnect(network="a", container="netns:c1")
CONNECT_CHOSEN = NetworkConnect(network="a", container="netns:c1", ip="10.8.0.9", ip6="fd00:8::9", mac_address="02:00:00:00:00:09")
CONNECT_SECOND = NetworkConnect(network="b", container="netns:c1")
OTHER_CONTAINER = NetworkConnect(network="a", container="netns:c2")
PUBLISH_V4 = PortPublish(container="netns:c1", ports=("8080:80", "127.0.0.1:5300:53/udp"))
PUBLISH = PortPublish(container="netns:c1", ports=("8080:80", "5300:53/udp", "[::1]:9000-9001:90-91", "132:132/sctp"))
DISCONNECT = NetworkDisconnect(network="a", container="netns:c1")
REMOVE = NetworkRemove(name="a")

SCENARIOS: dict[str, tuple[list[Request], Request]] = {
    "create v4": ([], V4),
    "create v6 only": ([], V6),
    "create dual": ([], DUAL),
    "create icc off": ([], ICC_OFF),
    "create internal": ([], INTERNAL),
    "create several subnets": ([], SUBNETS),
    "create on a bridge that is there": ([], ADOPTED),
    "create on a bridge that is there with a new address": ([], ADOPTED_MORE),
    "create without masquerade": ([], ROUTED),
    "create with a source address": ([], SNAT),
    "connect v4": ([V4], CONNECT),
    "connect v6 only": ([V6], CONNECT),
    "connect dual": ([DUAL], CONNECT),
    "connect isolated": ([ICC_OFF, OTHER_CONTAINER], CONNECT),
    "connect internal": ([INTERNAL], CONNECT),
    "connect with chosen addresses": ([SUBNETS], CONNECT_CHOSEN),
    "connect to a bridge that is there": ([ADOPTED], CONNECT),
    "connect a second network": ([V4, SECOND, CONNECT], CONNECT_SECOND),
    "connect one that takes the default route": ([INTERNAL, SECOND, CONNECT], CONNECT_SECOND),
    "disconnect": ([V4, CONNECT, OTHER_CONTAINER], DISCONNECT),
    "disconnect the one with the default route": ([DUAL, SECOND, CONNECT, CONNECT_SECOND], DISCONNECT),
    "disconnect the one without": ([DUAL, SECOND, CONNECT, CONNECT_SECOND], NetworkDisconnect(network="b", container="netns:c1")),
    "publish": ([DUAL, CONNECT], PUBLISH),
    "publish without icc": ([ICC_OFF, CONNECT], PUBLISH_V4),
    "publish on a bridge that is there": ([ADOPTED, CONNECT], PUBLISH_V4),
    "withdraw": ([DUAL, CONNECT, PUBLISH], PortWithdraw(container="netns:c1", ports=("80", "53/udp"))),
    "withdraw all": ([DUAL, CONNECT, PUBLISH], PortWithdraw(container="netns:c1", all=True)),
    "connect to a network that ports move to": ([SECOND, CONNECT_SECOND, PUBLISH, DUAL], CONNECT),
    "disconnect from a network that ports move from": ([DUAL, SECOND, CONNECT, CONNECT_SECOND, PUBLISH], DISCONNECT),
    "remove": ([DUAL, SECOND], REMOVE),
    "remove from a bridge that stays": ([ADOPTED_MORE], REMOVE),
    "update everything": ([DUAL, CONNECT, OTHER_CONTAINER], NetworkUpdate(
        name="a", options={"mtu": "1400", "icc": "false", "host_ipv4": "192.0.2.9"}, subnets=("10.8.0.0/24", "fd00:8::/64"),
        gateways=("10.8.0.254",))),
    "update with a family more": ([V4, CONNECT], NetworkUpdate(name="a", subnets=("fd00:8::/64",))),
    "update to internal": ([DUAL, SECOND, CONNECT, CONNECT_SECOND], NetworkUpdate(name="a", internal=True)),
    "update from internal": ([INTERNAL, SECOND, CONNECT, CONNECT_SECOND], NetworkUpdate(name="a", internal=False)),
    "update the gateway of the containers": ([SUBNETS, CONNECT], NetworkUpdate(name="a", aux={"DefaultGatewayIPv4": "10.8.0.7"})),
    "update a bridge that is there": ([ADOPTED, CONNECT], NetworkUpdate(name="a", options={"mtu": "1300"}, subnets=("10.78.0.0/24",))),
    "prune": ([DUAL, SECOND, CONNECT_SECOND], NetworkPrune()),
}


def prepared(host: SimulatedHost) -> None:
    host.run(SET_UP)
    for name in ("c1", "c2"):
        host.add_namespace(name)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_commands_of_a_dry_run_do_what_the_change_does(host: SimulatedHost, tmp_path: Path, scenario: str) -> None:
    before_it, change = SCENARIOS[scenario]
    prepared(host)

    async def on_the_first() -> tuple[list[str], tuple[str, ...], dict[str, Any]]:
        earlier = list(skeleton_commands())
        async with core_in(tmp_path) as core:
            earlier += commands(plan(core.records.desired(), ()), {})
            for request in before_it:
                earlier += (await _do(core, request))["plan"].commands
            before, rows = kernel_dump("c1", "c2"), stored(tmp_path)
            dry = await _do(core, msgspec.structs.replace(change, dry_run=True))
            assert dry["dry_run"] is True and dry["plan"].steps and dry["plan"].commands
            # The kernel tells of a carrier up to a second late: that is no part of what is compared.
            assert not differences(before, kernel_dump("c1", "c2"))
            assert stored(tmp_path) == rows
            done = await _do(core, change)
            assert done["dry_run"] is False
            # In order of kinds; among links of one kind the names decide, which are drawn anew.
            assert kinds(dry["plan"]) == kinds(done["plan"])
            ran = renamed(dry, done)
            assert sorted(ran) == sorted(done["plan"].commands)
            return earlier, ran, kernel_dump("c1", "c2")

    earlier, ran, after = host.call(on_the_first)
    with simulated_host() as second:
        prepared(second)
        second.run(["sh", "-e"], input="\n".join(earlier))
        untouched = second.call(kernel_dump, "c1", "c2")
        second.run(["sh", "-e"], input="\n".join(ran))
        assert same(lambda: second.call(kernel_dump, "c1", "c2"), after)
        assert untouched != second.call(kernel_dump, "c1", "c2")


def kinds(told: Plan) -> list[str]:
    """The kinds of object that a plan changes, in its order."""
    return [kind for kind, _ in itertools.groupby(str(step.object["object"]) for step in told.steps)]


async def _do(core: Any, request: Request) -> Any:
    if isinstance(request, NetworkPrune):
        return await core.networks.prune(request, CallContext(user="root"), STREAM)
    return await do(core, request)


def renamed(dry: dict[str, Any], done: dict[str, Any]) -> tuple[str, ...]:
    """The commands of a dry run with what each request draws by lot (ids, and the names and MAC addresses that come from them) as
    the change that was made drew it."""
    lots: list[tuple[str, str]] = []
    for key in ("network", "endpoint"):  # the network of an endpoint is told by its name
        one, other = dry.get(key), done.get(key)
        if one is None or other is None or isinstance(one, str) or one.id == other.id:
            continue
        lots += [(one.id, other.id), (one.id[:12], other.id[:12]), (derived_mac(one.id), derived_mac(other.id))]
        if key == "endpoint":
            lots += [(one.host_link, other.host_link), (one.mac, other.mac)]
    told: Plan = dry["plan"]
    found = list(told.commands)
    for drawn, made in sorted(lots, key=lambda pair: -len(pair[0])):
        found = [line.replace(drawn, made) for line in found]
    return tuple(found)


def same(look: Callable[[], Any], wanted: Any, seconds: float = LONGEST_SECONDS) -> bool:
    """Whether `look` comes to show `wanted`: carriers and port states follow some ms later."""
    end = time.monotonic() + seconds
    while lines := differences(without_order(wanted), without_order(look())):
        if time.monotonic() > end:
            raise AssertionError("\n".join(lines))
        time.sleep(0.1)
    return True


def without_order(found: dict[str, Any]) -> dict[str, Any]:
    """Rows of a dump in an order that no number or random address decides; without sockets, which no command holds."""
    def name(row: Any) -> str:
        return str(row) if isinstance(row, str) else json.dumps([row.get(key) for key in ("ifname", "dst", "dev", "metric")])

    return {key: sorted(rows, key=name) for key, rows in found.items() if key != "sockets"}


def test_a_dry_run_of_a_container_changes_nothing(host: SimulatedHost, tmp_path: Path) -> None:
    prepared(host)

    async def inside() -> Plan:
        async with core_in(tmp_path) as core:
            await do(core, V4)
            before, rows = kernel_dump(), stored(tmp_path)
            request = ContainerRun(command=("true",), networks=("a", "bridge"), dry_run=True)
            answer = await core.runs.run(request, CallContext(user="root"), STREAM)
            assert answer["dry_run"] is True
            assert kernel_dump() == before and stored(tmp_path) == rows
            assert not list((tmp_path / "run" / "containers").iterdir())
            found: Plan = answer["plan"]
            return found

    told = host.call(inside)
    assert sum(step.object["object"] == "veth" for step in told.steps) == 2
    assert any(re.search(r"ip link add name veth", line) for line in told.commands)
