"""Networks and endpoints on a real kernel, with real packets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from protocol.errors import Conflict, InUse, InvalidValue, NetdeckError, NotFound
from tests.running_helper import RunningHelper
from tests.waiting import until

pytest_plugins = ("tests.kernel.helper_fixtures",)


def attach(helper: RunningHelper, network: str, name: str, **args: Any) -> dict[str, Any]:
    """A named namespace connected to a network; the endpoint."""
    if name not in helper.host.run("ip netns list").split():
        helper.host.add_namespace(name)
    answer = helper.call("network.connect", network=network, container=f"netns:{name}", **args)
    return dict(answer["endpoint"])


def address(endpoint: dict[str, Any], family: int = 4) -> str:
    found = [item for item in endpoint["addresses"] if (":" in item) == (family == 6)]
    return str(found[0]).partition("/")[0]


def reaches(helper: RunningHelper, name: str, target: str, count: int = 1) -> bool:
    """True if `name` gets an answer to a ping."""
    out = helper.host.run(["ping", "-n", "-c", str(count), "-W", "1", target], netns=name, check=False)
    return f"{count} received" in out


@pytest.mark.req("B1", "H1", "N1", "D1")
def test_the_three_predefined_networks_exist_after_the_first_start(helper: RunningHelper) -> None:
    rows = {row["name"]: row for row in helper.call("network.list")}
    assert {name: rows[name]["driver"] for name in ("bridge", "host", "none")} == {"bridge": "bridge", "host": "host", "none": "none"}
    assert helper.call("network.create", name="plain")["network"]["driver"] == "bridge"
    for name in ("bridge", "host", "none"):
        with pytest.raises(InvalidValue, match="predefined"):
            helper.call("network.remove", name=name)


@pytest.mark.req("B2", "B3", "D4")
def test_containers_reach_each_other_on_one_bridge_and_not_across(helper: RunningHelper) -> None:
    helper.call("network.create", name="a")
    helper.call("network.create", name="b")
    first, second, third = attach(helper, "a", "c1"), attach(helper, "a", "c2"), attach(helper, "b", "c3")
    assert reaches(helper, "c1", address(second)) and reaches(helper, "c2", address(first))
    assert not reaches(helper, "c1", address(third)) and not reaches(helper, "c3", address(first))
    with pytest.raises(InUse, match=r"netns:c1.*netns:c2"):
        helper.call("network.remove", name="a")
    for name in ("c1", "c2"):
        helper.call("network.disconnect", network="a", container=f"netns:{name}")
    bridge = helper.call("network.inspect", names=["a"])[0]["Netdeck"]["Link"]
    helper.call("network.remove", name="a")
    assert bridge not in helper.host.run("ip -br link")
    assert reaches(helper, "c3", helper.call("network.inspect", names=["b"])[0]["IPAM"]["Config"][0]["Gateway"])


@pytest.mark.req("B6", "D4")
def test_a_container_on_two_networks_keeps_one_default_route_when_it_leaves_the_other(helper: RunningHelper) -> None:
    helper.call("network.create", name="a")
    helper.call("network.create", name="b")
    one, two = attach(helper, "a", "c1"), attach(helper, "b", "c1")
    assert (one["ifname"], two["ifname"]) == ("eth0", "eth1")
    gateways = {name: helper.call("network.inspect", names=[name])[0]["IPAM"]["Config"][0]["Gateway"] for name in ("a", "b")}
    assert f"default via {gateways['a']}" in helper.host.run("ip route", netns="c1")
    assert reaches(helper, "c1", "192.0.2.1")
    helper.call("network.disconnect", network="a", container="netns:c1")
    assert f"default via {gateways['b']}" in helper.host.run("ip route", netns="c1")
    assert "eth0" not in helper.host.run("ip -br link", netns="c1")
    assert reaches(helper, "c1", "192.0.2.1")


@pytest.mark.req("B7", "B10")
@pytest.mark.parametrize("families", ["v4", "v6", "dual"])
def test_masquerade_to_the_outside(helper: RunningHelper, families: str) -> None:
    arguments: dict[str, Any] = {"v4": {}, "v6": {"ipv4": False, "ipv6": True}, "dual": {"ipv6": True}}[families]
    helper.call("network.create", name="a", **arguments)
    endpoint = attach(helper, "a", "c1")
    if families != "v6":
        assert reaches(helper, "c1", "192.0.2.1")
    if families != "v4":
        assert reaches(helper, "c1", "2001:db8::1")
        assert ":" in address(endpoint, 6)
    else:
        assert helper.host.run("cat /proc/sys/net/ipv6/conf/eth0/disable_ipv6", netns="c1").strip() == "1"


@pytest.mark.req("B7")
def test_internal_networks_have_no_way_out(helper: RunningHelper) -> None:
    helper.call("network.create", name="a", internal=True)
    first, second = attach(helper, "a", "c1"), attach(helper, "a", "c2")
    assert reaches(helper, "c1", address(second)) and reaches(helper, "c2", address(first))
    assert "default" not in helper.host.run("ip route", netns="c1")
    helper.host.run("ip route add default via "
                    + helper.call("network.inspect", names=["a"])[0]["IPAM"]["Config"][0]["Gateway"], netns="c1")
    assert not reaches(helper, "c1", "192.0.2.1")


@pytest.mark.req("B7")
def test_icc_off_keeps_containers_of_one_bridge_apart(helper: RunningHelper) -> None:
    helper.call("network.create", name="a", options={"com.docker.network.bridge.enable_icc": "false"})
    attach(helper, "a", "c1")
    second = attach(helper, "a", "c2")
    assert not reaches(helper, "c1", address(second))
    assert reaches(helper, "c1", "192.0.2.1")


@pytest.mark.req("B7")
def test_settings_reach_the_kernel(helper: RunningHelper) -> None:
    helper.call("network.create", name="a", options={"mtu": "1400", "name": "web0"}, labels={"team": "ops"},
                subnets=[{"subnet": "10.9.0.0/16", "ip_range": "10.9.8.0/24", "gateway": "10.9.0.254", "aux": {"printer": "10.9.8.1"}}])
    document = helper.call("network.inspect", names=["a"])[0]
    assert document["IPAM"]["Config"] == [{"Subnet": "10.9.0.0/16", "IPRange": "10.9.8.0/24", "Gateway": "10.9.0.254",
                                           "AuxiliaryAddresses": {"printer": "10.9.8.1"}}]
    assert document["Labels"] == {"team": "ops"}
    link = json.loads(helper.host.run("ip -j addr show web0"))[0]
    assert link["mtu"] == 1400 and link["addr_info"][0]["local"] == "10.9.0.254"
    endpoint = attach(helper, "a", "c1")
    assert address(endpoint) != "10.9.8.1" and address(endpoint).startswith("10.9.8.")
    assert json.loads(helper.host.run("ip -j link show eth0", netns="c1"))[0]["mtu"] == 1400
    chosen = attach(helper, "a", "c2", ip="10.9.77.7", mac_address="02:00:00:00:00:07")
    assert address(chosen) == "10.9.77.7"
    assert "02:00:00:00:00:07" in helper.host.run("ip link show eth0", netns="c2")


@pytest.mark.req("B7", "I14")
def test_addresses_are_not_reused_at_once_but_can_be_asked_for(helper: RunningHelper) -> None:
    helper.call("network.create", name="a")
    first = address(attach(helper, "a", "c1"))
    helper.call("network.disconnect", network="a", container="netns:c1")
    second = address(attach(helper, "a", "c1"))
    assert second != first
    helper.call("network.disconnect", network="a", container="netns:c1")
    assert address(attach(helper, "a", "c1", ip=first)) == first
    with pytest.raises(Conflict, match=r"in use by container netns:c1"):
        attach(helper, "a", "c2", ip=first)


@pytest.mark.req("X13")
def test_three_gratuitous_arps_after_an_attach(helper: RunningHelper) -> None:
    helper.call("network.create", name="a", options={"name": "br9"})
    capture = helper.host.popen("exec tcpdump -lni br9 -c 3 arp and 'arp[6:2] = 1' 2>&1")
    assert capture.stdout is not None
    while "listening on" not in (line := capture.stdout.readline()):
        assert line, "it does not listen"
    found = address(attach(helper, "a", "c1"))
    out, _ = capture.communicate(timeout=60)
    assert out.count(f"who-has {found}") == 3, out


@pytest.mark.req("B7")
def test_a_container_that_dies_gives_everything_back(helper: RunningHelper) -> None:
    helper.call("network.create", name="a")
    endpoint = attach(helper, "a", "c1")
    assert any(row["ref"] == "netns:c1" for row in helper.call("container.list"))
    with pytest.raises(NotFound, match=r"no container 'c1' .did you mean 'netns:c1'"):
        helper.call("network.connect", network="a", container="c1")
    helper.host.run("ip netns del c1")
    until(lambda: helper.call("network.inspect", names=["a"])[0]["Containers"] == {})
    assert endpoint["host_link"] not in helper.host.run("ip -br link")
    assert address(attach(helper, "a", "c2", ip=address(endpoint))) == address(endpoint)


BAD: list[tuple[str, dict[str, Any], type[NetdeckError], str]] = [
    ("network.create", {"name": "x", "subnets": [{"subnet": "10.0.0.0/33"}]}, InvalidValue, "10.0.0.0/33"),
    ("network.create", {"name": "x", "subnets": [{"subnet": "192.0.2.0/25"}]}, Conflict, "eth0"),
    ("network.create", {"name": "x", "subnets": [{"subnet": "10.5.0.128/25"}]}, Conflict, "taken"),
    ("network.create", {"name": "x", "subnets": [{"subnet": "10.6.0.0/24", "gateway": "10.7.0.1"}]}, InvalidValue, "10.7.0.1"),
    ("network.create", {"name": "x", "subnets": [{"subnet": "10.6.0.0/24", "ip_range": "10.7.0.0/25"}]}, InvalidValue, "10.7.0.0/25"),
    ("network.create", {"name": "x", "subnets": [{"subnet": "10.6.0.0/24", "aux": {"a": "10.7.0.1"}}]}, InvalidValue, "10.7.0.1"),
    ("network.create", {"name": "x", "driver": "brigde"}, NotFound, "did you mean 'bridge'"),
    ("network.create", {"name": "x", "options": {"mtuu": "1400"}}, InvalidValue, "did you mean 'mtu'"),
    ("network.create", {"name": "x", "options": {"icc": "maybe"}}, InvalidValue, "true or false"),
    ("network.create", {"name": "x", "options": {"mtu": "20"}}, InvalidValue, "mtu"),
    ("network.create", {"name": "x", "options": {"name": "eth0"}}, Conflict, "eth0"),
    ("network.create", {"name": "-x"}, InvalidValue, "network name"),
    ("network.create", {"name": "taken"}, Conflict, "exists already"),
    ("network.connect", {"network": "taken", "container": "netns:nowhere"}, NotFound, "nowhere"),
    ("network.connect", {"network": "taken", "container": "/run/netns/c1"}, InvalidValue, "name"),
    ("network.connect", {"network": "nothere", "container": "netns:c1"}, NotFound, "nothere"),
    ("network.connect", {"network": "taken", "container": "netns:c1", "ip": "10.99.0.1"}, InvalidValue, "10.5.0.0/24"),
    ("network.connect", {"network": "taken", "container": "netns:c1", "ip": "10.5.0.1"}, InvalidValue, "gateway"),
    ("network.connect", {"network": "taken", "container": "netns:c1", "mac_address": "01:00:00:00:00:01"}, InvalidValue, "unicast"),
    ("network.remove", {"name": "nothere"}, NotFound, "nothere"),
]


@pytest.mark.req("B7", "X1")
def test_bad_input_gets_one_clear_line_and_changes_nothing(helper: RunningHelper) -> None:
    helper.call("network.create", name="taken", subnets=[{"subnet": "10.5.0.0/24"}])
    helper.host.add_namespace("c1")

    def dump() -> str:
        return str(helper.host.run("ip link; ip addr; ip route; ip -6 route; nft list ruleset | grep -v counter; ip -n c1 addr"))

    before, networks = dump(), helper.call("network.list")
    for operation, arguments, error, words in BAD:
        with pytest.raises(error) as caught:
            helper.call(operation, **arguments)
        assert words in caught.value.message and "\n" not in caught.value.message, (arguments, caught.value.message)
    assert helper.call("network.list") == networks
    assert [line for line in dump().splitlines() if "valid_lft" not in line] == [
        line for line in before.splitlines() if "valid_lft" not in line]
