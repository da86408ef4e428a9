"""The addresses of a network: which is next, whether one that was asked for can be had. Pure; the leases are the
store's.

Addresses are handed out serially, next after last with wrap-around, so that one that was released is not given to
another container at once: its old owner may still be in the neighbour tables of its peers. Asking for it by name gets
it at once.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet

import msgspec

from drivers.parsed import address_of, network_of, number_of, text_of
from helperd.prefixes import IPNetwork, edges, parse_address
from protocol.errors import Conflict, Exhausted, InvalidValue
from protocol.model import Subnet


class Usage(msgspec.Struct, frozen=True):
    """How full a pool is: addresses in use anywhere in the subnet, and those that can still be handed out
    automatically."""

    used: int
    free: int


class Pool(msgspec.Struct, frozen=True):
    """A subnet as a pool. Made by `pool_of` in constant time, whatever the size of the subnet and the number of leases.

    `low` and `high` bound what is handed out automatically (the ip-range, else the subnet); `reserved` says what an
    address is kept for; `used` is the live set of leases, bare addresses as `str(ip_address)` writes them; it may hold
    those of other subnets of the network too. The functions of this module read it and never change it.
    """

    subnet: IPNetwork
    low: int
    high: int
    reserved: Mapping[int, str]
    used: AbstractSet[str]

    def text(self, number: int) -> str:
        """`number` as an address of this pool's family, as `str(ip_address)` writes it."""
        return text_of(number, self.subnet.version)

    def prefix(self, address: str) -> str:
        """`address` with the subnet's prefix length, as an endpoint has it: ``10.0.0.2/24``."""
        return f"{address}/{self.subnet.prefixlen}"


def pool_of(subnet: Subnet, used: AbstractSet[str]) -> Pool:
    """The pool of a subnet of a network, over the set of its leases (which is not copied)."""
    network = network_of(subnet.subnet)
    limits = network_of(subnet.ip_range) if subnet.ip_range else network
    reserved = edges(network)
    for name, text in subnet.aux.items():
        reserved[int(address_of(text))] = f"aux-address {name}"
    if subnet.gateway is not None:
        reserved[int(address_of(subnet.gateway))] = "the gateway"
    return Pool(network, int(limits.network_address), int(limits.broadcast_address), reserved, used)


def next_address(pool: Pool, last: str | None = None) -> str | None:
    """The first free address after `last`, with wrap-around, or None where there is none.

    `last` is what this pool handed out last, None at the start. Constant time but for runs of used addresses, each of
    which is passed once per round; never more than used + reserved + 1 looks.
    """
    size = pool.high - pool.low + 1
    start = number_of(last) + 1 if last is not None else pool.low
    if not pool.low <= start <= pool.high:
        start = pool.low
    for offset in range(min(size, len(pool.used) + len(pool.reserved) + 1)):
        number = pool.low + (start - pool.low + offset) % size
        if number not in pool.reserved:
            text = pool.text(number)
            if text not in pool.used:
                return text
    return None


def allocate(network: str, pools: Sequence[Pool], family: int, last: Mapping[str, str]) -> tuple[Pool, str]:
    """The next address of `family` from the first pool that has one. `last` maps a subnet to what it handed out last.

    Raises Exhausted, naming the network and its pools.
    """
    of_family = [pool for pool in pools if pool.subnet.version == family]
    for pool in of_family:
        found = next_address(pool, last.get(str(pool.subnet)))
        if found is not None:
            return pool, found
    names = ", ".join(_pool_text(pool) for pool in of_family) or "none"
    raise Exhausted(
        f"network {network} has no free IPv{family} address (pools: {names}): detach a container, ask for an "
        "address outside its ip-range, or use another network",
        network=network,
        family=family,
    )


def check_address(
    network: str, pools: Sequence[Pool], address: str, family: int, owner_of: Callable[[str], str | None]
) -> tuple[Pool, str]:
    """The pool that `address` comes from and the address in its usual form, if it can be had.

    It may be anywhere in a subnet, outside the ip-range too. `owner_of` names the container that has an address. Raises
    InvalidValue (not an address, of the other family, outside all subnets, reserved) and Conflict (in use, with the
    container).
    """
    field = "ip" if family == 4 else "ip6"
    parsed = parse_address(address, "ip")
    if parsed.version != family:
        raise InvalidValue(
            f"address {parsed} is IPv{parsed.version}: expected an IPv{family} address", field=field, value=str(parsed)
        )
    number, text = int(parsed), str(parsed)
    of_family = [pool for pool in pools if pool.subnet.version == family]
    for pool in of_family:
        if parsed not in pool.subnet:
            continue
        if number in pool.reserved:
            raise InvalidValue(
                f"address {text} can't be used: it is {pool.reserved[number]} of network {network} ({pool.subnet})",
                field=field,
                value=text,
            )
        if text in pool.used:
            owner = owner_of(text)
            raise Conflict(
                f"address {text} is in use by container {owner}" if owner else f"address {text} is in use",
                field=field,
                value=text,
                with_=owner or "",
            )
        return pool, text
    if not of_family:
        raise InvalidValue(
            f"address {text} can't be used: network {network} has no IPv{family}", field=field, value=text
        )
    subnets = ", ".join(str(pool.subnet) for pool in of_family)
    raise InvalidValue(
        f"address {text} is outside network {network}: its subnets are {subnets}",
        field=field,
        value=text,
        expected=subnets,
    )


def usage(pool: Pool) -> Usage:
    """How full the pool is; linear in the number of leases."""
    inside = [int(address) for address in map(ipaddress.ip_address, pool.used) if address in pool.subnet]
    kept = {*pool.reserved, *inside}
    return Usage(len(inside), pool.high - pool.low + 1 - sum(1 for number in kept if pool.low <= number <= pool.high))


def _pool_text(pool: Pool) -> str:
    low, high = pool.text(pool.low), pool.text(pool.high)
    whole = pool.low == int(pool.subnet.network_address) and pool.high == int(pool.subnet.broadcast_address)
    return str(pool.subnet) if whole else f"{pool.subnet}, handed out from {low} to {high}"
