"""What an update makes of a network: the whole in one look, nothing taken from a container."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.bridge import DRIVER
from drivers.changing import changed_options, checked_update
from drivers.driver import HostView, parse_options
from drivers.host import DRIVER as HOST
from helperd.network_difference import differences
from helperd.network_edit import edited
from protocol.errors import InvalidValue, NetdeckError
from protocol.model import DriverInfo, Network, OptionInfo, Subnet
from protocol.requests import NetworkUpdate, SubnetRequest

pytestmark = pytest.mark.req("X15")

NETWORK = Network(
    id="1" * 64, name="a", driver="bridge", created=0.0, options=parse_options(DRIVER.info, {}), labels={"team": "ops"}, link="br-a",
    subnets=(Subnet("10.1.0.0/24", "10.1.0.1", None, {"nas": "10.1.0.9"}), Subnet("10.2.0.0/24", "10.2.0.1", "10.2.0.128/25")))
OWNERS = {"10.1.0.5": "web", "10.1.0.6": "db"}


def chosen(wanted: Sequence[SubnetRequest]) -> tuple[Subnet, ...]:
    return tuple(Subnet(item.subnet, item.gateway or str(ipaddress.ip_network(item.subnet)[1]), item.ip_range, dict(item.aux))
                 for item in wanted)


def edit(info: DriverInfo = DRIVER.info, **fields: Any) -> Network:
    return edited(NETWORK, NetworkUpdate("a", **fields), info, OWNERS, chosen)


def test_nothing_asked_for_is_nothing_changed() -> None:
    assert edit() == NETWORK and differences(NETWORK, edit()) == ()


def test_each_value_goes_to_the_subnet_that_contains_it() -> None:
    after = edit(subnets=("10.3.0.0/24", "fd00:3::/64"), gateways=("10.3.0.254", "10.2.0.2"), ip_ranges=("10.2.0.0/24", "10.3.0.0/25"),
                 aux={"nas": "10.3.0.9", "lp": "10.1.0.9"})
    assert after.subnets == (
        Subnet("10.1.0.0/24", "10.1.0.1", None, {"lp": "10.1.0.9"}), Subnet("10.2.0.0/24", "10.2.0.2"),
        Subnet("10.3.0.0/24", "10.3.0.254", "10.3.0.0/25", {"nas": "10.3.0.9"}), Subnet("fd00:3::/64", "fd00:3::1"))
    assert (after.ipv4, after.ipv6) == (True, True)
    assert differences(NETWORK, after) == (
        "aux-address nas removed", "aux-address lp added: 10.1.0.9", "gateway of 10.2.0.0/24: 10.2.0.1 -> 10.2.0.2",
        "ip-range of 10.2.0.0/24: 10.2.0.128/25 -> none", "subnet 10.3.0.0/24 added, gateway 10.3.0.254", "aux-address nas added: 10.3.0.9",
        "subnet fd00:3::/64 added, gateway fd00:3::1")


def test_a_driver_that_says_nothing_allows_only_what_is_no_business_of_its() -> None:
    plain = DriverInfo("plain", "", options=(OptionInfo("mtu", "int", "1500", "", minimum=68, maximum=9000),))
    assert edit(plain, labels={"x": "y"}, aux={"lp": "10.2.0.9"}, ip_ranges=("10.1.0.0/25",)).labels == {"team": "ops", "x": "y"}
    for fields, words in (({"internal": True}, "--internal"), ({"subnets": ("10.3.0.0/24",)}, "the subnets"),
                          ({"gateways": ("10.2.0.7",)}, "the gateway"), ({"remove_subnets": ("10.2.0.0/24",)}, "the subnets")):
        with pytest.raises(InvalidValue, match=f"{words} of a network of driver plain can't be changed"):
            edit(plain, **fields)
    with pytest.raises(InvalidValue, match="option mtu can't be changed: driver plain takes no other value"):
        edit(plain, options={"mtu": "1400"})
    assert edit(plain, options={"mtu": "1500"}) == NETWORK
    assert checked_update(HOST, NETWORK, NETWORK, HostView("0a1b2c3d"), ()) is NETWORK


def test_options_by_either_name_and_back_to_their_defaults() -> None:
    now = parse_options(DRIVER.info, {"mtu": "1400", "host_ipv4": "192.0.2.9"})
    assert changed_options(DRIVER.info, now, {"com.docker.network.driver.mtu": "", "host_ipv4": ""}) == parse_options(DRIVER.info, {})
    for given_, words in (({"mtu": "1", "com.docker.network.driver.mtu": "2"}, "68 to"), ({"nope": ""}, "no option 'nope'"),
                          ({"mtu": "1400", "com.docker.network.driver.mtu": "1300"}, "given twice"), ({"name": "br7"}, "can't be changed")):
        with pytest.raises(InvalidValue, match=words):
            changed_options(DRIVER.info, now, given_)


@given(st.fixed_dictionaries({}, optional={
    "gateways": st.lists(st.sampled_from(["10.1.0.7", "10.2.0.7", "10.3.0.7", "10.1.0.5", "10.2.0.0", "x"]), max_size=2).map(tuple),
    "ip_ranges": st.lists(st.sampled_from(["10.1.0.0/25", "10.2.0.0/24", "10.3.0.0/26", "10.0.0.0/8"]), max_size=2).map(tuple),
    "aux": st.dictionaries(st.sampled_from(["nas", "lp", "x"]), st.sampled_from(["10.1.0.5", "10.1.0.7", "10.2.0.7", "10.3.0.9"])),
    "remove_aux": st.lists(st.sampled_from(["nas", "lp"]), max_size=1).map(tuple),
    "subnets": st.lists(st.sampled_from(["10.3.0.0/24", "fd00:3::/64"]), unique=True).map(tuple),
    "remove_subnets": st.lists(st.sampled_from(["10.1.0.0/24", "10.2.0.0/24"]), unique=True).map(tuple),
    "labels": st.dictionaries(st.sampled_from(["team", "x"]), st.text(max_size=3)), "internal": st.booleans(),
    "options": st.dictionaries(st.sampled_from(["mtu", "icc", "name"]), st.sampled_from(["", "1400", "true", "br-a"]))}))
def test_whatever_is_asked_no_container_loses_its_address_or_gateway(fields: dict[str, Any]) -> None:
    try:
        after = edit(**fields)
    except NetdeckError:
        return
    kept = {item.subnet: item for item in after.subnets}
    assert kept["10.1.0.0/24"].gateway == "10.1.0.1"  # there are containers in it
    kept_aside = [value for item in after.subnets for value in (item.gateway, *item.aux.values())]
    assert not set(OWNERS) & set(kept_aside)
    assert len([name for item in after.subnets for name in item.aux]) == len({name for item in after.subnets for name in item.aux})
    for item in after.subnets:
        net = ipaddress.ip_network(item.subnet)
        assert all(ipaddress.ip_address(value) in net for value in (item.gateway, *item.aux.values()) if value)
        assert item.ip_range is None or ipaddress.ip_network(item.ip_range).subnet_of(net)  # type: ignore[arg-type]
    assert msgspec.structs.replace(after, options={}, labels={}, subnets=(), internal=False, ipv4=True, ipv6=False) == (
        msgspec.structs.replace(NETWORK, options={}, labels={}, subnets=(), ipv4=True, ipv6=False))
    assert bool(differences(NETWORK, after)) == (after != NETWORK)
