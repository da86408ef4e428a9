"""Whose every address is on a real host, and leaked ones given free."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import sys
from typing import Any

import pytest

from protocol.errors import InvalidValue
from tests.kernel.test_networks import address, attach, reaches
from tests.running_helper import ROOT, RunningHelper
from tests.waiting import until

pytest_plugins = ("tests.kernel.helper_fixtures",)
pytestmark = pytest.mark.req("X8")


def uses(helper: RunningHelper, network: str = "a") -> dict[str, tuple[str, str]]:
    """address → (use, owner) of a network."""
    pools = helper.call("address.list", network=network)
    return {use["address"]: (use["use"], use["owner"]) for pool in pools for use in pool["addresses"]}


def test_every_address_has_its_owner(helper: RunningHelper) -> None:
    helper.call("network.create", name="a", ipv6=True, subnets=[
        {"subnet": "10.1.0.0/24", "aux": {"nas": "10.1.0.9"}}, {"subnet": "fd00:1::/64"}])
    attach(helper, "a", "c1", ip="10.1.0.5", ip6="fd00:1::5")
    until(lambda: uses(helper).get("10.1.0.5") == ("container", "netns:c1"))
    assert uses(helper) == {
        "10.1.0.0": ("reserved", "network address"), "10.1.0.1": ("gateway", "the gateway"), "10.1.0.5": ("container", "netns:c1"),
        "10.1.0.9": ("aux", "nas"), "10.1.0.255": ("reserved", "broadcast address"),
        "fd00:1::": ("reserved", "subnet-router anycast address"), "fd00:1::1": ("gateway", "the gateway"),
        "fd00:1::5": ("container", "netns:c1")}
    four, six = helper.call("address.list", network="a")
    assert (four["used"], four["free"], four["size"], six["free"]) == (1, "251", "256", "2^64")
    told = helper.command("addresses", "a")
    assert "10.1.0.5     a         container   netns:c1" in told and "2^64" in told
    assert [pool["subnet"] for pool in helper.document("addresses")][-2:] == ["10.1.0.0/24", "fd00:1::/64"]


def test_what_somebody_else_set_is_in_conflict_and_left_alone(helper: RunningHelper) -> None:
    helper.call("network.create", name="a", subnets=[{"subnet": "10.1.0.0/24"}], options={"name": "br9"})
    attach(helper, "a", "c1", ip="10.1.0.5")
    helper.host.run("ip addr add 10.1.0.6/24 dev eth0", netns="c1")
    helper.host.run("ip link add dum0 type bridge && ip addr add 10.1.0.7/32 dev dum0")
    # A stranger on the bridge, whom nobody asked netdeck for, and who is heard of only because he answers.
    helper.host.add_namespace("stranger")
    helper.host.run("ip link add port9 type veth peer name up9 netns stranger && ip link set port9 master br9 up && "
                    "ip -n stranger link set up9 address 02:00:00:00:00:99 up && ip -n stranger addr add 10.1.0.8/24 dev up9")
    wanted = {"10.1.0.6": "eth0 of netns:c1", "10.1.0.7": "dum0 on the host", "10.1.0.8": "up9 of netns:stranger"}
    until(lambda: {key: uses(helper).get(key) for key in wanted} == {key: ("conflict", value) for key, value in wanted.items()})
    for text, owner in wanted.items():
        with pytest.raises(InvalidValue, match=f"not leaked: {owner} has it"):
            helper.call("address.release", addresses=[text])
    assert helper.call("address.release", leaked=True)["released"] == []
    assert "10.1.0.6/24" in helper.host.run("ip addr", netns="c1") and "10.1.0.7" in helper.host.run("ip addr")


def test_a_neighbour_that_answers_from_an_address_of_nobody(helper: RunningHelper) -> None:
    helper.call("network.create", name="a", subnets=[{"subnet": "10.1.0.0/24"}], options={"name": "br9"})
    # Its namespace is hidden from netdeck behind a second bridge: nothing but its answers is seen.
    helper.host.add_namespace("hidden")
    helper.host.run("ip link add far type bridge && ip link set far up && ip link add cable type veth peer name cable2 && "
                    "ip link set cable master br9 up && ip link set cable2 master far up && "
                    "ip link add p1 type veth peer name e1 netns hidden && ip link set p1 master far up && "
                    "ip -n hidden link set e1 address 02:00:00:00:00:77 up && ip -n hidden addr add 10.1.0.77/24 dev e1")
    helper.host.run("ping -c 1 -W 5 10.1.0.77")
    until(lambda: uses(helper).get("10.1.0.77") == ("conflict", "MAC address 02:00:00:00:00:77"))
    helper.host.run("ip netns del hidden; ip link del cable")
    until(lambda: "10.1.0.77" not in uses(helper))


def test_an_address_of_before_is_no_conflict(helper: RunningHelper) -> None:
    helper.call("network.create", name="a", subnets=[{"subnet": "10.1.0.0/24"}])
    attach(helper, "a", "c1", ip="10.1.0.5")
    helper.host.run("ping -c 1 -W 5 10.1.0.5")
    helper.call("network.disconnect", network="a", container="netns:c1")
    attach(helper, "a", "c1", ip="10.1.0.6")
    helper.host.run("ping -c 1 -W 5 10.1.0.6")
    until(lambda: uses(helper).get("10.1.0.6") == ("container", "netns:c1"))
    assert "10.1.0.5" not in uses(helper)


MARKED = """
from helperd.kernel.link_messages import new_address
from helperd.kernel.link_state import index_of
from helperd.kernel.namespaces import netlink_socket
from helperd.kernel.netlink_batch import one
with netlink_socket() as sock:
    one(sock, new_address(index_of(sock, "eth0"), "10.1.0.6/29"))
"""


def leak_a_lease(helper: RunningHelper, text: str) -> None:
    """What a store of before may hold: a lease whose endpoint has another address now."""
    helper.kill()
    with contextlib.closing(sqlite3.connect(helper.folder / "state" / "state.db")) as db, db:
        network, endpoint = db.execute("SELECT network, endpoint FROM leases LIMIT 1").fetchone()
        db.execute("INSERT INTO leases VALUES (?, ?, ?)", (network, text, endpoint))
    helper.start()


def test_leaked_leases_and_addresses_are_given_free_after_a_look(helper: RunningHelper) -> None:
    helper.call("network.create", name="a", subnets=[{"subnet": "10.1.0.0/29"}])
    attach(helper, "a", "c1", ip="10.1.0.5")
    leak_a_lease(helper, "10.1.0.2")
    attach(helper, "a", "c2")  # not stopped by it
    # Marked as ours, on a link of ours, and nowhere in the store: what a helper of before left behind.
    helper.host.run(["env", f"PYTHONPATH={ROOT}", sys.executable, "-c", MARKED], netns="c1")
    until(lambda: {key: use for key, (use, _) in uses(helper).items() if use == "leaked"} == {"10.1.0.2": "leaked", "10.1.0.6": "leaked"})
    told = helper.command("addresses", "--release-leaked", "--dry-run")
    assert "10.1.0.2" in told and "a lease for an endpoint that has another address" in told
    assert "address delete 10.1.0.6/29 dev eth0" in told
    assert "asks before it does" in helper.command("addresses", "--release", "10.1.0.2", check=False)
    assert uses(helper)["10.1.0.2"][0] == "leaked"
    assert "1 given free" in helper.command("addresses", "--release", "10.1.0.2", "--yes")
    assert "10.1.0.2" not in uses(helper) and uses(helper)["10.1.0.6"][0] == "leaked"
    assert [row["address"] for row in helper.call("address.release", leaked=True)["released"]] == ["10.1.0.6"]
    addresses = json.loads(helper.host.run("ip -j -4 addr show eth0", netns="c1"))[0]["addr_info"]
    assert [item["local"] for item in addresses] == ["10.1.0.5"] and reaches(helper, "c1", "192.0.2.1")
    until(lambda: "10.1.0.6" not in uses(helper))
    assert address(attach(helper, "a", "c3", ip="10.1.0.2")) == "10.1.0.2"
    entries = [item["text"] for item in helper.call("event.list") if item["action"] == "released"]
    assert [text.partition(":")[0] for text in entries] == ["10.1.0.2", "10.1.0.6"]


BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "no address is named"), ({"addresses": ["nonsense"]}, "not an address"), ({"addresses": ["192.0.2.77"]}, "in no subnet"),
    ({"addresses": ["10.1.0.5"]}, "container netns:c1 has it"), ({"addresses": ["10.1.0.1"]}, "it is the gateway"),
    ({"addresses": ["10.1.0.9"]}, "--aux-address-rm nas"), ({"addresses": ["10.1.0.77"]}, "nobody has it"),
    ({"addresses": ["10.1.0.0"]}, "it is network address")]


def test_what_is_not_leaked_is_not_given_free(helper: RunningHelper) -> None:
    helper.call("network.create", name="a", subnets=[{"subnet": "10.1.0.0/24", "aux": {"nas": "10.1.0.9"}}])
    attach(helper, "a", "c1", ip="10.1.0.5")
    until(lambda: uses(helper).get("10.1.0.5") == ("container", "netns:c1"))
    for arguments, words in BAD:
        with pytest.raises(InvalidValue, match=words):
            helper.call("address.release", **arguments)
