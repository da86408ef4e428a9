"""The book of addresses: every address is somebody's or free, and nothing of a living container is ever called leaked."""

from __future__ import annotations

import ipaddress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helperd.address_book import Answer, Facts, Seen, book, count_text, leaks
from helperd.ipam import pool_of, usage
from protocol.addresses import USES, AddressUse
from protocol.model import DHCP, AddressConflict, Container, Endpoint, Lease, Network, Subnet

pytestmark = pytest.mark.req("X8")

HOST = 1
NETWORK = Network(id="n" * 64, name="web", driver="bridge", created=0.0, link="br-web", subnets=(
    Subnet("10.0.0.0/28", "10.0.0.1", None, {"nas": "10.0.0.9"}), Subnet("fd00::/64", "fd00::1")))


def container(ident: str, inode: int) -> Container:
    return Container(id=ident, name=ident, ref=ident, runtime="netdeck", inode=inode)


def endpoint(ident: str, *addresses: str, where: str = "c1") -> Endpoint:
    return Endpoint(id=ident, network=NETWORK.id, container=where, ifname="eth0", mac="02:00:00:00:00:01", addresses=addresses)


def by_address(facts: Facts) -> dict[str, AddressUse]:
    return {use.address: use for pool in book(NETWORK, facts) for use in pool.addresses}


def test_each_kind_of_owner() -> None:
    facts = Facts(
        endpoints=[endpoint("e1", "10.0.0.2/28", "fd00::2/64"), endpoint("e2", "10.0.0.3/28", where="c2")],
        containers={"c1": container("c1", 7), "c2": container("c2", 8)}, alive={"c1"}, host=HOST,
        leases={"10.0.0.2": "e1", "fd00::2": "e1", "10.0.0.3": "e2", "10.0.0.4": "e9", "10.0.0.5": "e1"},
        seen=[Seen(HOST, "br-web", "10.0.0.1/28", "br-web on the host", True), Seen(7, "eth0", "10.0.0.2/28", "eth0 of c1", True),
              Seen(7, "eth0", "10.0.0.6/28", "eth0 of c1"), Seen(9, "eth0", "10.0.0.7/28", "eth0 of netns:x", True),
              Seen(HOST, "eth5", "10.0.0.8/24", "eth5 on the host"), Seen(9, "eth0", "10.0.0.2/28", "eth0 of netns:x")],
        answers=[Answer("10.0.0.10", "02:00:00:00:00:aa"), Answer("10.0.0.2", "02:00:00:00:00:01"),
                 Answer("10.0.0.9", "02:00:00:00:00:bb")])
    found = by_address(facts)
    assert {address: (use.use, use.owner) for address, use in found.items()} == {
        "10.0.0.0": ("reserved", "network address"), "10.0.0.1": ("gateway", "the gateway"), "10.0.0.2": ("conflict", "eth0 of netns:x"),
        "10.0.0.3": ("leaked", "c2"), "10.0.0.4": ("leaked", "endpoint e9"), "10.0.0.5": ("leaked", "endpoint e1"),
        "10.0.0.6": ("conflict", "eth0 of c1"), "10.0.0.7": ("leaked", "eth0 of netns:x"), "10.0.0.8": ("conflict", "eth5 on the host"),
        "10.0.0.9": ("aux", "nas"), "10.0.0.10": ("conflict", "MAC address 02:00:00:00:00:aa"),
        "10.0.0.15": ("reserved", "broadcast address"), "fd00::": ("reserved", "subnet-router anycast address"),
        "fd00::1": ("gateway", "the gateway"), "fd00::2": ("container", "c1")}
    assert found["10.0.0.2"].text == "not given by netdeck; netdeck gave it to c1"
    assert set(leaks(NETWORK, facts)) == {"10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.7"}
    four, six = book(NETWORK, facts)
    assert (four.size, four.used, four.leaked, four.conflicts, four.free) == ("16", 1, 4, 4, "7")
    assert (six.size, six.used, six.free) == ("2^64", 1, "2^64")


def test_leases_of_a_dhcp_server_and_who_answers_for_them() -> None:
    """The pools are what the leases are in; how many are left only the server knows."""
    network = msgspec.structs.replace(NETWORK, ipam=DHCP, subnets=())
    lease = Lease("192.168.1.57/24", "192.168.1.1", "02:00:00:00:00:fe", 0.0, 3600, 1800, 3150, gateway="192.168.1.1")
    lost = msgspec.structs.replace(lease, lost="the server does not answer")
    mine = msgspec.structs.replace(endpoint("e1", lease.prefix), lease=lease,
                                   conflicts=(AddressConflict("192.168.1.57", "02:00:00:00:00:aa", "eth0", 1.0),))
    facts = Facts(endpoints=[mine, msgspec.structs.replace(endpoint("e2", "192.168.1.58/24"), lease=lease),
                             msgspec.structs.replace(endpoint("e3"), lease=lost)],
                  containers={"c1": container("c1", 7)}, alive={"c1"}, host=HOST, leases={"192.168.1.57": "e1", "192.168.1.58": "e2"})
    (pool,) = book(network, facts)
    assert (pool.subnet, pool.used, pool.conflicts, pool.leaked, pool.free) == ("192.168.1.0/24", 2, 1, 0, "")
    found = {use.address: (use.use, use.owner, use.text) for use in pool.addresses}
    assert found["192.168.1.57"] == ("conflict", "MAC address 02:00:00:00:00:aa", "answers on eth0; netdeck gave it to c1")
    assert found["192.168.1.58"] == ("container", "c1", "eth0") and found["192.168.1.1"][0] == "gateway"
    assert book(msgspec.structs.replace(network, ipam="default"), facts) == ()


@pytest.mark.parametrize(("options", "where", "use"), [
    ({"uplink": "eth1"}, 9, "gateway"), ({"uplink": "eth1"}, 7, "conflict"), ({"uplink": "eth1"}, HOST, "conflict"), ({}, 9, "conflict")])
def test_the_router_of_a_site_has_its_own_address(options: dict[str, str], where: int, use: str) -> None:
    facts = Facts(endpoints=[endpoint("e1", "10.0.0.2/28")], containers={"c1": container("c1", 7)}, alive={"c1"}, host=HOST,
                  seen=[Seen(where, "eth9", "10.0.0.1/28", "eth9 of netns:router")])
    pools = book(msgspec.structs.replace(NETWORK, options=options), facts)
    assert next(item.use for item in pools[0].addresses if item.address == "10.0.0.1") == use


def test_numbers_of_addresses_are_exact_or_a_power() -> None:
    assert [count_text(item) for item in (0, 254, 1 << 32, (1 << 32) + 1, (1 << 64) - 3, 3 << 70)] == [
        "0", "254", "4294967296", "2^32", "2^64", "2^71.6"]


BARE = st.integers(0, 15).map(lambda number: f"10.0.0.{number}")
SEEN = st.builds(Seen, st.sampled_from([HOST, 7, 8, 9]), st.sampled_from(["eth0", "br-web", "lo"]), BARE.map(lambda text: f"{text}/28"),
                 st.just("somewhere"), st.booleans())


@given(st.lists(BARE, unique=True, max_size=8), st.dictionaries(BARE, st.sampled_from(["e0", "e1", "gone"])), st.lists(SEEN, max_size=8),
       st.lists(st.builds(Answer, BARE, st.just("02:00:00:00:00:cc")), max_size=4), st.sets(st.sampled_from(["c0", "c1", "c2"])))
def test_every_address_is_somebodys_once_or_free(
    held: list[str], leases: dict[str, str], seen: list[Seen], answers: list[Answer], alive: set[str]
) -> None:
    endpoints = [endpoint(f"e{number}", f"{address}/28", where=f"c{number % 3}") for number, address in enumerate(held)]
    everything = {**leases, **{address: f"e{number}" for number, address in enumerate(held)}}
    facts = Facts(endpoints=endpoints, containers={f"c{number}": container(f"c{number}", 7 + number) for number in range(3)},
                  leases=everything, alive=alive, seen=seen, answers=answers, host=HOST)
    lost = leaks(NETWORK, facts)
    living = {address for number, address in enumerate(held) if f"c{number % 3}" in alive}
    assert all(leak.seen and not leak.lease and not leak.endpoint for address, leak in lost.items() if address in living)
    pool = book(NETWORK, facts)[0]
    names = [use.address for use in pool.addresses]
    assert names == sorted(set(names), key=ipaddress.ip_address) and all(use.use in USES for use in pool.addresses)
    assert {"10.0.0.0", "10.0.0.1", "10.0.0.9", "10.0.0.15", *held, *lost} <= set(names)
    assert (pool.leaked, pool.conflicts) == tuple(sum(use.use == word for use in pool.addresses) for word in ("leaked", "conflict"))
    assert pool.used == len(living)
    taken = {use.address for use in pool.addresses if use.use in ("container", "leaked")} | set(everything)
    assert int(pool.free) == usage(pool_of(NETWORK.subnets[0], taken)).free <= 12
