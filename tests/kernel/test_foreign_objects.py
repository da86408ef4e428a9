"""Never touch what is not ours: what others made is, after any work of the helper's, as it was before, whatever its name."""

from __future__ import annotations

import contextlib
import json
import random
from pathlib import Path
from typing import Any

import pytest

from drivers.bridge import PREDEFINED_LINK
from drivers.objects import LINK_GROUP
from protocol.errors import Conflict, NetdeckError
from protocol.requests import NetworkCreate
from tests.kernel.core_in_host import core_in, do, kernel_dump
from tests.kernel.live_host import sh
from tests.kernel.test_faults import differences
from tests.kernel.test_keys_and_deadlines import untouched
from tests.running_helper import RunningHelper
from tests.simulated_host import SimulatedHost
from tests.waiting import comes

pytest_plugins = ("tests.kernel.helper_fixtures",)
pytestmark = pytest.mark.req("W3", "X9")

# Names and half of the marks as netdeck gives them, and all kinds of things beside its own.
FOREIGN = f"""
set -e
ip link add br-0123456789ab address 02:00:00:00:01:01 type bridge && ip link set br-0123456789ab up
ip addr add 198.51.100.1/24 dev br-0123456789ab; ip addr add fd77::1/64 dev br-0123456789ab nodad
ip link add veth0123456789a type veth peer name vethfedcba98765; ip link set veth0123456789a master br-0123456789ab up
ip link set vethfedcba98765 up; ip link set vethfedcba98765 alias netdeck:1:00000000:endpoint:feed
ip link add docker9 address 02:00:00:00:01:02 type bridge && ip link set docker9 alias netdeck:2:00000000:network:beef
ip link add other0 address 02:00:00:00:01:03 group {LINK_GROUP} type bridge
ip link set other0 alias netdeck:1:0badcafe:network:feed && ip link set other0 up && ip addr add 198.51.101.1/24 dev other0
ip link add shared0 address 02:00:00:00:01:04 type bridge && ip link set shared0 up && ip addr add 10.77.0.1/24 dev shared0
ip link set shared0 mtu 1450
ip route add 203.0.113.0/24 via 198.51.100.9 proto static metric 7
ip route add blackhole 203.0.114.0/24
ip -6 route add fd99::/48 via fd77::9 proto 171
ip route add 203.0.115.0/24 via 198.51.100.9 proto 171
ip rule add from 203.0.113.0/24 lookup 99 priority 999; ip route add default via 198.51.100.9 table 99
ip neigh add 198.51.100.7 lladdr 02:00:00:00:00:07 dev br-0123456789ab nud permanent
nft add table inet other
nft 'add chain inet other forward {{ type filter hook forward priority 5; policy accept; }}'
nft add chain inet other to-br-0123456789ab
nft add rule inet other forward oifname br-0123456789ab counter jump to-br-0123456789ab comment '"netdeck"'
nft 'add map inet other forward-to {{ type ifname : verdict; }}'
nft add table ip netdeck; nft add chain ip netdeck forward; nft add table netdev netdeck
ip -n c1 link add dummy9 type bridge && ip -n c1 addr add 198.51.102.1/24 dev dummy9 && ip -n c1 link set dummy9 up
ip -n c1 link add eth5 group {LINK_GROUP} type bridge && ip -n c1 link set eth5 alias netdeck:1:00000000:endpoint:feed
ip -n c1 route add 203.0.116.0/24 via 198.51.102.9
ip netns exec c1 nft add table inet netdeck && ip netns exec c1 nft add chain inet netdeck mine
"""
MORE = "ip rule; ip -6 rule; ip route show table 99; ip neigh show nud permanent; ip netns exec c1 nft -s list ruleset; ip netns list"


def without_ours(found: dict[str, Any]) -> dict[str, Any]:
    """A dump without the table and the bridge that stay with the helper."""
    kept = {key: [row for row in rows if PREDEFINED_LINK not in (row.get("ifname"), row.get("dev"))] for key, rows in found.items()
            if not key.endswith("settings") and key != "firewall"}
    kept["settings"] = [row for key, rows in found.items() if key.endswith("settings") for row in rows if f"/{PREDEFINED_LINK}/" not in row]
    rules = [json.loads(row) for row in found["firewall"]]
    kept["firewall"] = [row for row in rules for item in row.values()
                        if (item["family"], item.get("table", item["name"] if "table" in row else "")) != ("inet", "netdeck")]
    return kept


def look(helper: RunningHelper) -> dict[str, Any]:
    found = without_ours(helper.host.call(kernel_dump, "c1", "c2"))
    return {**found, "more": helper.host.run(MORE).splitlines()}


def workload(helper: RunningHelper, dice: random.Random) -> int:
    """A random change; whether it was made."""
    rows = [row["name"] for row in helper.call("network.list") if not row["predefined"]]
    network = dice.choice(rows or ["bridge"])
    container = f"netns:c{dice.choice((1, 2))}"
    options = dice.choice(({}, {}, {"icc": "false"}, {"name": "shared0"}, {"name": "br-0123456789ab"}, {"name": "other0"},
                           {"name": "veth0123456789a"}, {"mtu": "1400"}))
    calls: list[tuple[str, dict[str, Any]]] = [
        ("network.create", {"name": f"n{dice.randrange(5)}", "ipv6": dice.random() < 0.5, "options": options,
                            "internal": dice.random() < 0.2}),
        ("network.create", {"name": f"n{dice.randrange(5)}", "options": {"name": "shared0"},
                            "subnets": [{"subnet": "10.77.0.0/24", "gateway": "10.77.0.1"}]}),
        ("network.connect", {"network": network, "container": container}),
        ("network.connect", {"network": network, "container": container}),
        ("network.disconnect", {"network": network, "container": container}),
        ("network.remove", {"name": network}),
        ("container.run", {"command": ["true"], "auto_remove": True, "networks": [network]}),
    ]
    operation, arguments = dice.choice(calls)
    with contextlib.suppress(NetdeckError):
        helper.call(operation, **arguments)
        return 1
    return 0


def cleared(helper: RunningHelper) -> None:
    for row in helper.call("network.list"):
        for member in helper.call("network.inspect", names=[row["name"]])[0]["Containers"].values():
            helper.call("network.disconnect", network=row["name"], container=member["Name"])
    helper.call("network.prune")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [1, 2])
def test_what_others_made_is_as_it_was(helper: RunningHelper, seed: int) -> None:
    for name in ("c1", "c2"):
        helper.host.add_namespace(name)
    helper.host.run(FOREIGN.replace("00000000", helper.call("info")["instance"]))
    helper.restart()
    before = look(helper)
    dice = random.Random(seed)
    done = 0
    for number in range(60):
        done += workload(helper, dice)
        if number % 15 == 7:
            helper.kill()
            helper.start()
        if number % 15 == 14:
            helper.host.run("nft delete table inet netdeck")
    assert done > 15
    cleared(helper)
    lines = differences(before, look(helper))
    assert not lines, "\n".join(lines)
    assert "repair" not in helper.log()


def test_a_link_in_the_way_is_told_and_left(helper: RunningHelper) -> None:
    helper.host.run("ip link add web0 type veth peer name web1; ip link set web0 alias 'not yours'")
    before = helper.host.call(kernel_dump)
    with pytest.raises(Conflict, match="web0"):
        helper.call("network.create", name="a", options={"name": "web0"})
    assert untouched(helper, before)
    helper.call("network.create", name="a", options={"name": "br9"})
    helper.host.add_namespace("c1")
    helper.host.run("ip -n c1 link add eth0 type bridge")
    assert helper.call("network.connect", network="a", container="netns:c1")["endpoint"]["ifname"] == "eth1"
    # Somebody takes our bridge away and puts one of his own in its place: it is his, and the next start says so.
    helper.kill()
    helper.host.run("ip link del br9; ip link add br9 address 02:00:00:00:09:09 type bridge; ip addr add 203.0.113.1/24 dev br9")
    his = helper.host.run("ip -d link show br9; ip addr show br9")
    helper.start()
    assert helper.host.run("ip -d link show br9; ip addr show br9") == his
    events = [row for row in helper.call("event.list") if row["action"] == "repair failed"]
    assert events and "br9" in events[0]["text"]
    helper.call("network.disconnect", network="a", container="netns:c1")
    with pytest.raises(Conflict, match="br9 is a bridge without netdeck's mark"):
        helper.call("network.remove", name="a")
    assert helper.host.run("ip -d link show br9; ip addr show br9") == his
    # Out of the way under another name, it stays, and ours comes back.
    helper.host.run("ip link set br9 name his9")
    helper.restart()
    assert helper.call("network.inspect", names=["a"])[0]["IPAM"]["Config"][0]["Gateway"] in helper.host.run("ip addr show br9")
    helper.call("network.remove", name="a")
    assert "203.0.113.1/24" in helper.host.run("ip addr show his9")


@pytest.mark.req("B7", "D1")
def test_a_bridge_that_has_just_gone_is_not_taken_for_one_to_be_used(host: SimulatedHost, tmp_path: Path) -> None:
    """What the monitor has not told of yet is looked up, by its name."""

    async def inside() -> bool:
        async with core_in(tmp_path) as core:
            sh("ip link add web0 type bridge")
            await comes(lambda: any(link.name == "web0" for link in core.live.world.links()))
            sh("ip link delete web0")  # the loop waits, and hears nothing of it
            made: Any = await do(core, NetworkCreate(name="a", options={"name": "web0"}))
            return bool(made["network"].made_link)

    assert host.call(inside)
