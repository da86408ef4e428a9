"""Addresses: serial, never one that is reserved, used or outside; errors that say whose."""

from __future__ import annotations

import ipaddress
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helperd.ipam import Usage, allocate, check_address, next_address, pool_of, usage
from protocol.errors import Conflict, Exhausted, InvalidValue
from protocol.model import Subnet

V4 = Subnet(subnet="10.0.0.0/24", gateway="10.0.0.1", aux={"printer": "10.0.0.3"})
V6 = Subnet(subnet="fd00:1::/64", gateway="fd00:1::1")


@st.composite
def subnets(draw: st.DrawFn) -> Subnet:
    """Small subnets of both families, with and without ip-range, gateway and aux-addresses."""
    base, bits = draw(st.sampled_from([("10.9.8.0", 32), ("fd00:9::", 128)]))
    length = draw(st.integers(bits - 6, bits - 1))
    network = ipaddress.ip_network(f"{base}/{length}")
    inner = draw(st.integers(length, bits))
    ranges = list(network.subnets(new_prefix=inner))
    hosts = list(network.hosts())
    gateway = draw(st.none() | st.sampled_from(hosts))
    aux = draw(st.lists(st.sampled_from(hosts), unique=True, max_size=3))
    return Subnet(
        subnet=str(network),
        gateway=None if gateway is None else str(gateway),
        ip_range=draw(st.none() | st.sampled_from(ranges).map(str)),
        aux={f"a{index}": str(item) for index, item in enumerate(aux) if item != gateway},
    )


def available(subnet: Subnet) -> list[str]:
    """What may be handed out automatically, counted out the slow way."""
    network = ipaddress.ip_network(subnet.subnet)
    limits = ipaddress.ip_network(subnet.ip_range or subnet.subnet)
    kept = {subnet.gateway, *subnet.aux.values()}
    hosts = set(network) if network.prefixlen >= network.max_prefixlen - 1 else set(network.hosts())
    if network.version == 6 and network.prefixlen < 127:
        hosts.add(network.broadcast_address)  # IPv6 has no broadcast address
    return [str(item) for item in limits if item in hosts and str(item) not in kept]


@given(subnets())
def test_a_pool_hands_out_exactly_what_it_has(subnet: Subnet) -> None:
    wanted = available(subnet)
    used: set[str] = set()
    last = None
    for address in wanted:
        last = next_address(pool_of(subnet, used), last)
        assert last == address
        used.add(last)
    assert next_address(pool_of(subnet, used), last) is None
    assert usage(pool_of(subnet, used)) == Usage(len(wanted), 0)


@given(subnets(), st.data())
def test_next_is_the_first_free_after_the_last(subnet: Subnet, data: st.DataObject) -> None:
    everything = available(subnet)
    used = set(data.draw(st.lists(st.sampled_from(everything), unique=True))) if everything else set()
    last = data.draw(st.none() | st.sampled_from([str(item) for item in ipaddress.ip_network(subnet.subnet)]))
    found = next_address(pool_of(subnet, used), last)
    free = [item for item in everything if item not in used]
    if not free:
        assert found is None
        return
    after = [item for item in free if last and ipaddress.ip_address(item) > ipaddress.ip_address(last)]  # type: ignore[operator]
    in_range = last is not None and ipaddress.ip_address(last) in ipaddress.ip_network(subnet.ip_range or subnet.subnet)
    assert found == (after[0] if after and in_range else free[0])
    assert usage(pool_of(subnet, used)) == Usage(len(used), len(free))


@given(subnets(), st.data())
def test_a_free_address_can_be_asked_for_and_no_other(subnet: Subnet, data: st.DataObject) -> None:
    network = ipaddress.ip_network(subnet.subnet)
    address = str(data.draw(st.sampled_from(list(network))))
    used = {address} if data.draw(st.booleans()) else set()
    pool = pool_of(subnet, used)
    free = available(Subnet(subnet=subnet.subnet, gateway=subnet.gateway, aux=subnet.aux))
    if address in free and not used:
        assert check_address("net", [pool], address, network.version, lambda _: "web") == (pool, address)
    else:
        with pytest.raises(Conflict if address in free else InvalidValue):
            check_address("net", [pool], address, network.version, lambda _: "web")


def test_a_released_address_is_not_next_but_can_be_asked_for() -> None:
    used = {"10.0.0.4"}
    pool = pool_of(V4, used)
    assert next_address(pool, "10.0.0.5") == "10.0.0.6"
    assert check_address("net", [pool], "10.0.0.5", 4, lambda _: None)[1] == "10.0.0.5"


def test_allocation_wraps_around() -> None:
    assert next_address(pool_of(V4, {"10.0.0.2"}), "10.0.0.254") == "10.0.0.4"


@pytest.mark.parametrize(
    ("address", "family", "error", "words"),
    [
        ("10.0.1.1", 4, InvalidValue, "10.0.1.1 is outside network net: its subnets are 10.0.0.0/24"),
        ("10.0.0.1", 4, InvalidValue, "it is the gateway of network net"),
        ("10.0.0.3", 4, InvalidValue, "it is aux-address printer"),
        ("10.0.0.0", 4, InvalidValue, "it is the network address"),
        ("10.0.0.255", 4, InvalidValue, "it is the broadcast address"),
        ("fd00:1::", 6, InvalidValue, "it is the subnet-router anycast address"),
        ("10.0.0.9", 4, Conflict, "10.0.0.9 is in use by container web"),
        ("FD00:1:0::9", 6, Conflict, "fd00:1::9 is in use by container web"),
        ("fd00:1::2", 4, InvalidValue, "expected an IPv4 address"),
        ("10.0.0", 4, InvalidValue, "is not an address"),
        ("10.0.0.2/24", 4, InvalidValue, "is not an address"),
        ("fd00:1::2%eth0", 6, InvalidValue, "is not an address"),
        ("\x1b[31m", 4, InvalidValue, "\\\\x1b[31m"),
    ],
)
def test_an_address_that_cannot_be_had_is_refused_with_the_reason(address: str, family: int, error: type[Exception], words: str) -> None:
    used = {"10.0.0.9", "fd00:1::9"}
    with pytest.raises(error) as caught:
        check_address("net", [pool_of(V4, used), pool_of(V6, used)], address, family, lambda _: "web")
    assert words in str(caught.value)


def test_a_network_without_a_family_says_so() -> None:
    with pytest.raises(InvalidValue, match="network net has no IPv6"):
        check_address("net", [pool_of(V4, set())], "fd00::2", 6, lambda _: None)


def test_the_second_subnet_is_used_when_the_first_is_full() -> None:
    small = Subnet(subnet="10.1.0.0/30", gateway="10.1.0.1")
    used: set[str] = set()
    pools = [pool_of(small, used), pool_of(V4, used), pool_of(V6, used)]
    last: dict[str, str] = {}
    got = []
    for _ in range(3):
        pool, address = allocate("net", pools, 4, last)
        last[str(pool.subnet)] = address
        used.add(address)
        got.append(pool.prefix(address))
    assert got == ["10.1.0.2/30", "10.0.0.2/24", "10.0.0.4/24"]
    assert [usage(pool) for pool in pools] == [Usage(1, 0), Usage(2, 250), Usage(0, 2**64 - 2)]


def test_a_full_network_names_its_pools() -> None:
    subnet = Subnet(subnet="10.1.0.0/24", gateway="10.1.0.1", ip_range="10.1.0.8/31")
    with pytest.raises(Exhausted, match=r"net has no free IPv4 .*10\.1\.0\.0/24, handed out from 10\.1\.0\.8 to 10\.1\.0\.9"):
        allocate("net", [pool_of(subnet, {"10.1.0.8", "10.1.0.9"})], 4, {})


@pytest.mark.parametrize("subnet", ["10.0.0.0/8", "fd00::/64"])
def test_a_large_pool_with_many_leases_costs_no_more_than_an_empty_one(subnet: str) -> None:
    """Attachment 10,000 looks at one address, not at the leases before it."""
    pool_subnet = Subnet(subnet=subnet, gateway=str(ipaddress.ip_network(subnet)[1]))
    used: set[str] = set()
    last = None

    def take(count: int) -> float:
        nonlocal last
        start = time.thread_time()
        for _ in range(count):
            last = next_address(pool_of(pool_subnet, used), last)
            assert last is not None
            used.add(last)
        return time.thread_time() - start

    first = min(take(100) for _ in range(3))
    take(10_000)
    assert min(take(100) for _ in range(3)) < 20 * first
