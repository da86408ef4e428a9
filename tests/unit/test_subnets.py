"""Subnets: the automatic choice overlaps nothing; what is asked for is checked against everything, and errors say
whose."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helperd.prefixes import IPNetwork
from helperd.subnets import (
    Cut,
    HostAddress,
    HostRanges,
    HostRoute,
    check_subnets,
    choose_subnet,
    default_pools,
    ula_prefix,
)
from protocol.errors import Conflict, Exhausted, InvalidValue, NetdeckError
from protocol.model import Network, Subnet
from protocol.requests import SubnetRequest

POOLS = default_pools("0a1b2c3d")
HOST = HostRanges(
    routes=(
        HostRoute("default", "eth0", "192.168.1.1"),
        HostRoute("192.168.1.0/24", "eth0"),
        HostRoute("0.0.0.0/1", "tun0", "10.8.0.1"),
        HostRoute("10.0.0.0/8", "eth1", "192.168.1.9"),
        HostRoute("10.8.0.0/24", "tun0", "10.8.0.1"),
        HostRoute("172.30.0.0/15", "wg0"),
        HostRoute("2001:db8:1::/64", "eth0"),
        HostRoute("::/0", "eth0", "fe80::1"),
    ),
    addresses=(HostAddress("192.168.1.250/24", "eth0"), HostAddress("10.255.0.1/32", "lo")),
    nameservers=("10.99.0.53", "fe80::53%eth0"),
)
OTHER = Network(
    id="f" * 64,
    name="prod",
    driver="bridge",
    created=0.0,
    subnets=(Subnet(subnet="172.18.0.0/16", gateway="172.18.0.1"), Subnet(subnet="fd00:7::/64", gateway="fd00:7::1")),
    ipv6=True,
)


def check(*requested: SubnetRequest, ipv4: bool = True, ipv6: bool = False, host: HostRanges = HOST, **rest: Any) -> tuple[Subnet, ...]:
    return check_subnets("web", requested, ipv4=ipv4, ipv6=ipv6, networks=[OTHER], host=host, pools=POOLS, **rest)


def asked(subnet: str, **rest: Any) -> SubnetRequest:
    return SubnetRequest(subnet=subnet, **rest)


# --- the automatic choice


def ranges(base: str, longest: int) -> st.SearchStrategy[IPNetwork]:
    network = ipaddress.ip_network(base)

    def cut(length: int, number: int) -> IPNetwork:
        low = int(network.network_address) + (number << (network.max_prefixlen - length))
        return ipaddress.ip_network((low, length))

    return st.integers(network.prefixlen, longest).flatmap(
        lambda length: st.integers(0, 2 ** (length - network.prefixlen) - 1).map(lambda number: cut(length, number))
    )


@given(
    st.lists(st.one_of(ranges("172.16.0.0/12", 32), ranges("192.168.0.0/16", 24), ranges(str(ula_prefix("0a1b2c3d")), 66)), max_size=12),
    st.sampled_from([4, 6]),
    st.none() | st.integers(14, 30),
)
def test_a_chosen_subnet_is_the_first_that_overlaps_nothing(taken: list[IPNetwork], family: int, size: int | None) -> None:
    pools: dict[int, tuple[Cut, ...]] = {4: POOLS[4], 6: (Cut(ipaddress.ip_network(f"{POOLS[6][0].base[0]}/58"), 64),)}
    length = size if size is None or family == 4 else size + 36  # 50 to 66
    candidates = [
        item for cut in pools[family] if (length or cut.size) >= cut.base.prefixlen for item in (_few(cut.base, length or cut.size))
    ]
    free = [item for item in candidates if not any(item.version == other.version and item.overlaps(other) for other in taken)]
    try:
        found = choose_subnet(family, pools, [(item, "x") for item in taken], length)
    except Exhausted:
        assert not free
        return
    assert not any(found.version == other.version and found.overlaps(other) for other in taken)
    if free:
        assert found == free[0]


def _few(base: IPNetwork, length: int) -> list[IPNetwork]:
    """The first subnets of a pool, enough of them that a dozen ranges cannot hide an order that is wrong."""
    found: list[IPNetwork] = []
    for item in base.subnets(new_prefix=length):
        found.append(item)
        if len(found) == 64:
            break
    return found


def test_the_default_pools_give_the_31_subnets_of_docker_and_then_say_what_to_do() -> None:
    taken: list[tuple[IPNetwork, str]] = []
    while True:
        try:
            taken.append((choose_subnet(4, POOLS, taken), f"network n{len(taken)}"))
        except Exhausted as error:
            assert "--subnet" in error.message and "prune" in error.message
            break
    chosen = [str(item) for item, _ in taken]
    assert len(chosen) == 31
    assert chosen[:4] == ["172.17.0.0/16", "172.18.0.0/16", "172.19.0.0/16", "172.20.0.0/16"]
    assert chosen[14:16] == ["172.31.0.0/16", "192.168.0.0/20"] and chosen[-1] == "192.168.240.0/20"


def test_ten_thousand_v6_subnets_are_chosen_without_overlap() -> None:
    taken: list[tuple[IPNetwork, str]] = []
    base = int(POOLS[6][0].base.network_address)
    taken = [(ipaddress.IPv6Network((base + (number << 64), 64)), "x") for number in range(10_000)]
    assert choose_subnet(6, POOLS, taken) == ipaddress.IPv6Network((base + (10_000 << 64), 64))


@given(st.text("0123456789abcdef", min_size=8, max_size=8), st.text("0123456789abcdef", min_size=8, max_size=8))
def test_the_ula_prefix_is_a_48_of_the_instance(one: str, other: str) -> None:
    prefix = ula_prefix(one)
    assert prefix.prefixlen == 48 and prefix.subnet_of(ipaddress.IPv6Network("fd00::/8"))
    assert (prefix == ula_prefix(other)) == (one == other)


def test_the_automatic_choice_looks_at_networks_all_routes_addresses_and_nameservers() -> None:
    host = HostRanges(
        routes=(HostRoute("172.17.0.0/16", "docker0"), HostRoute("172.19.8.0/24", "tun0", "10.8.0.1"), HostRoute("172.20.0.0/16")),
        addresses=(HostAddress("172.21.3.4/32", "lo"),),
        nameservers=("172.22.0.53",),
    )
    assert check(host=host)[0] == Subnet(subnet="172.23.0.0/16", gateway="172.23.0.1")


def test_a_summary_route_keeps_the_automatic_choice_off_and_not_the_operator() -> None:
    host = HostRanges(routes=tuple(HostRoute(item, "tun0", "10.8.0.1") for item in ("172.16.0.0/12", "192.168.0.0/16")))
    with pytest.raises(Exhausted):
        check(host=host)
    assert check(asked("172.25.0.0/16"), host=host)[0].subnet == "172.25.0.0/16"


# --- what is asked for


@pytest.mark.req("B7")
def test_several_subnets_with_everything() -> None:
    found = check(
        asked("10.1.0.0/24", ip_range="10.1.0.128/25", aux={"printer": "10.1.0.128"}),
        asked("10.2.0.0/24", gateway="10.2.0.254"),
        asked("fd00:1::/64"),
        ipv6=True,
    )
    assert found == (
        Subnet(subnet="10.1.0.0/24", gateway="10.1.0.129", ip_range="10.1.0.128/25", aux={"printer": "10.1.0.128"}, chosen=True),
        Subnet(subnet="10.2.0.0/24", gateway="10.2.0.254", chosen=True),
        Subnet(subnet="fd00:1::/64", gateway="fd00:1::1", chosen=True),
    )


@pytest.mark.req("B10")
def test_families() -> None:
    assert [item.subnet for item in check()] == ["172.17.0.0/16"]
    ula = str(next(POOLS[6][0].base.subnets(new_prefix=64)))
    assert [item.subnet for item in check(ipv6=True)] == ["172.17.0.0/16", ula]
    assert [item.subnet for item in check(ipv4=False, ipv6=True)] == [ula]
    assert [item.subnet for item in check(asked("fd00:1::/64"), ipv6=True)] == ["fd00:1::/64", "172.17.0.0/16"]
    assert [item.subnet for item in check(SubnetRequest(), SubnetRequest())] == ["172.17.0.0/16", "172.19.0.0/16"]


def test_any_subnet_of_a_size() -> None:
    found = check(asked("0.0.0.0/24"), asked("::/80"), ipv6=True)
    assert found[0] == Subnet(subnet="172.17.0.0/24", gateway="172.17.0.1")
    assert ipaddress.ip_network(found[1].subnet).prefixlen == 80 and not found[1].chosen
    with pytest.raises(Exhausted, match="size /8"):
        check(asked("0.0.0.0/8"))


def test_the_smallest_subnets() -> None:
    assert check(asked("10.1.0.0/31"))[0].gateway == "10.1.0.0"
    assert check(asked("10.1.0.0/30"))[0].gateway == "10.1.0.1"
    assert check(asked("fd00:1::/127"), ipv6=True)[0].gateway == "fd00:1::"
    assert check(asked("fd00:1::/126"), ipv6=True)[0].gateway == "fd00:1::1"


def test_a_driver_without_gateways_gets_one_only_when_asked() -> None:
    assert check(asked("10.1.0.0/24"), automatic_gateway=False)[0].gateway is None
    assert check(asked("10.1.0.0/24", gateway="10.1.0.7"), automatic_gateway=False)[0].gateway == "10.1.0.7"


def test_a_bridge_that_was_there_may_have_its_own_route_and_its_address_is_the_gateway() -> None:
    host = HostRanges(routes=(HostRoute("10.5.0.0/24", "br0"),), addresses=(HostAddress("10.5.0.9/24", "br0"),), nameservers=("10.5.0.53",))
    with pytest.raises(Conflict):
        check(asked("10.5.0.0/24"), host=host)
    assert check(asked("10.5.0.0/24"), host=host, own_link="br0")[0].gateway == "10.5.0.9"


@pytest.mark.parametrize(
    ("subnet", "words"),
    [
        ("10.1.0.0/255.255.255.0", "is not a prefix"),
        ("10.1.0.0", "is not a prefix"),
        ("10.1.0.0/33", "is not a prefix"),
        ("10.1.0.0/024", "is not a prefix"),
        ("fe80::1%eth0/64", "is not a prefix"),
        ("web\n", "is not a prefix"),
        ("10.1.0.5/24", "10.1.0.5/24 has bits set behind its prefix length: 10.1.0.0/24 is the one"),
        ("fd00:1::1/64", "fd00:1::/64 is the one"),
        ("10.1.0.0/32", "holds a single address"),
        ("fd00:1::/128", "holds a single address"),
        ("127.1.0.0/16", "loopback"),
        ("0.1.0.0/16", "this network"),
        ("128.0.0.0/1", "link-local"),
        ("169.254.7.0/24", "link-local"),
        ("224.1.0.0/16", "multicast"),
        ("255.255.255.0/24", "limited broadcast"),
        ("fe80::/64", "link-local"),
        ("ff02::/64", "multicast"),
        ("::ffff:10.0.0.0/120", "IPv4-mapped"),
        ("::1/128", "loopback"),
    ],
)
def test_a_subnet_that_cannot_be_is_refused_with_the_reason(subnet: str, words: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        check(asked(subnet), ipv6=True)
    assert words in caught.value.message and "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("subnet", "who"),
    [
        ("172.18.4.0/24", "network prod (172.18.0.0/16)"),
        ("172.16.0.0/13", "network prod (172.18.0.0/16)"),
        ("fd00:7::/48", "network prod (fd00:7::/64)"),
        ("192.168.1.128/25", "the host's route 192.168.1.0/24 on eth0"),
        ("192.168.0.0/16", "the host's route 192.168.1.0/24 on eth0"),
        ("10.8.0.0/25", "the host's route 10.8.0.0/24 via 10.8.0.1 on tun0"),
        ("10.8.0.0/16", "the host's route 10.8.0.0/24 via 10.8.0.1 on tun0"),
        ("172.31.0.0/16", "the host's route 172.30.0.0/15 on wg0"),
        ("2001:db8:1::/80", "the host's route 2001:db8:1::/64 on eth0"),
        ("10.255.0.0/24", "the host's address 10.255.0.1/32 on lo"),
        ("10.99.0.0/24", "the name server 10.99.0.53"),
    ],
)
def test_an_overlap_is_refused_with_whom(subnet: str, who: str) -> None:
    with pytest.raises(Conflict) as caught:
        check(asked(subnet), ipv6=True)
    assert f"subnet {subnet} overlaps {who}" in caught.value.message


def test_subnets_of_one_request_must_not_overlap() -> None:
    with pytest.raises(Conflict, match="another subnet of this network"):
        check(asked("10.1.0.0/24"), asked("10.1.0.0/25"))


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (asked("10.1.0.0/24", gateway="10.1.1.1"), "gateway 10.1.1.1 is not inside the subnet 10.1.0.0/24"),
        (asked("10.1.0.0/24", gateway="fd00::1"), "gateway fd00::1 is not inside"),
        (asked("10.1.0.0/24", gateway="10.1.0.0"), "it is the network address"),
        (asked("10.1.0.0/24", gateway="10.1.0.255"), "it is the broadcast address"),
        (asked("fd00:1::/64", gateway="fd00:1::"), "it is the subnet-router anycast address"),
        (asked("10.1.0.0/24", gateway="router"), "is not an address"),
        (asked("10.1.0.0/24", gateway="10.1.0.9", aux={"a": "10.1.0.9"}), "it is aux-address a"),
        (asked("10.1.0.0/24", ip_range="10.1.1.0/25"), "ip-range 10.1.1.0/25 is not inside"),
        (asked("10.1.0.0/24", ip_range="10.1.0.0/23"), "ip-range 10.1.0.0/23 is not inside"),
        (asked("10.1.0.0/24", ip_range="10.1.0.1/25"), "ip-range 10.1.0.1/25 has bits set"),
        (asked("10.1.0.0/24", aux={"a": "10.1.1.1"}), "aux-address a 10.1.1.1 is not inside"),
        (asked("10.1.0.0/24", aux={"a": "10.1.0.9", "b": "10.1.0.9"}), "it is aux-address a"),
        (asked("10.1.0.0/24", aux={"a b": "10.1.0.9"}), "aux-address name"),
        (asked("", gateway="10.1.0.1"), "gateway 10.1.0.1 has no subnet"),
        (asked("", ip_range="10.1.0.0/25"), "ip-range 10.1.0.0/25 has no subnet"),
        (asked("", aux={"a": "10.1.0.1"}), "aux-address a has no subnet"),
        (asked("0.0.0.0/24", gateway="10.1.0.1"), "means any subnet of that size"),
        (asked("0.0.0.0/32"), "holds a single address"),
    ],
)
def test_a_gateway_range_or_aux_address_that_cannot_be(request_: SubnetRequest, words: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        check(request_, ipv6=True)
    assert words in caught.value.message


def test_an_aux_name_is_given_once_in_a_network() -> None:
    with pytest.raises(InvalidValue, match=r"aux-address a is given twice: for 10\.1\.0\.9 and 10\.2\.0\.9"):
        check(asked("10.1.0.0/24", aux={"a": "10.1.0.9"}), asked("10.2.0.0/24", aux={"a": "10.2.0.9"}))


def test_a_family_that_is_off() -> None:
    with pytest.raises(InvalidValue, match="add --ipv6"):
        check(asked("fd00:1::/64"))
    with pytest.raises(InvalidValue, match="not switched on"):
        check(asked("10.1.0.0/24"), ipv4=False, ipv6=True)
    with pytest.raises(InvalidValue, match="neither IPv4 nor IPv6"):
        check(ipv4=False)


def test_no_room_for_the_gateway() -> None:
    with pytest.raises(Exhausted, match="for the gateway"):
        check(asked("10.1.0.0/24", ip_range="10.1.0.8/32", aux={"a": "10.1.0.8"}))


@given(st.text(max_size=24), st.text(max_size=24), st.text(max_size=24), st.dictionaries(st.text(max_size=8), st.text(max_size=24)))
def test_any_text_is_taken_or_refused_in_one_printable_line(subnet: str, gateway: str, ip_range: str, aux: dict[str, str]) -> None:
    try:
        check(SubnetRequest(subnet, gateway, ip_range, aux), ipv6=True)
    except NetdeckError as error:
        assert error.message.isprintable()
