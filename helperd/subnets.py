"""Which subnets a network gets: the default pools, the automatic choice, and the check of what was asked for. Pure.

The rules are Docker's (moby, libnetwork/ipamutils and ipams/defaultipam) but for the routes of the host: all of them
are looked at, not only those of link scope, so that a network never lands on what a VPN routes. An overlap is refused

- with another network, with another subnet of the same request, with an address or a name server of the host;
- with any route of the host, except default routes (and the halves that VPNs split them into), and except that a subnet
  which was *asked for* may be carved out of a gateway's route that covers a whole private range (RFC 1918, RFC 4193) or
  more: such a route says "everything private is that way", not "this subnet is there". The automatic choice keeps off
  those too.
"""

from __future__ import annotations

import bisect
import hashlib
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

import msgspec

from helperd.prefixes import FIELD_TEXT, IPNetwork, edges, host_address, parse_prefix
from protocol.errors import Conflict, Exhausted, InvalidValue
from protocol.model import Network, Subnet
from protocol.names import aux_name, display_text
from protocol.requests import SubnetRequest

Taken = tuple[IPNetwork, str]  # a range that is not free, and whose it is, in words


class Cut(msgspec.Struct, frozen=True):
    """A default pool: `base` is cut into subnets of prefix length `size`."""

    base: IPNetwork
    size: int


class HostRoute(msgspec.Struct, frozen=True):
    """A route of the host. `gateway` is "" where the destination is on the link itself, `device` "" for a route without
    one."""

    prefix: str  # "default" or a prefix
    device: str = ""
    gateway: str = ""


class HostAddress(msgspec.Struct, frozen=True):
    """An address of the host, bare or with its prefix length, and the link that has it."""

    address: str
    device: str = ""


class HostRanges(msgspec.Struct, frozen=True):
    """What of the host a subnet must not collide with. `nameservers` are those of resolv.conf."""

    routes: tuple[HostRoute, ...] = ()
    addresses: tuple[HostAddress, ...] = ()
    nameservers: tuple[str, ...] = ()


V4_POOLS: tuple[Cut, ...] = (
    *(Cut(ipaddress.ip_network(f"172.{n}.0.0/16"), 16) for n in (17, 18, 19)),
    *(Cut(ipaddress.ip_network(f"172.{n}.0.0/14"), 16) for n in (20, 24, 28)),
    Cut(ipaddress.ip_network("192.168.0.0/16"), 20),
)

_UNUSABLE: tuple[tuple[IPNetwork, str], ...] = tuple(
    (ipaddress.ip_network(text), why)
    for text, why in (
        ("0.0.0.0/8", '"this network" (RFC 1122)'),
        ("127.0.0.0/8", "loopback addresses"),
        ("169.254.0.0/16", "link-local addresses (RFC 3927)"),
        ("224.0.0.0/4", "multicast addresses"),
        ("255.255.255.255/32", "the limited broadcast address"),
        ("::/127", "the unspecified and the loopback address"),
        ("::ffff:0:0/96", "IPv4-mapped addresses"),
        ("fe80::/10", "link-local addresses (RFC 4291)"),
        ("ff00::/8", "multicast addresses"),
    )
)
_PRIVATE: tuple[IPNetwork, ...] = tuple(
    ipaddress.ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fd00::/8")
)
DEFAULT_LIKE = {4: 1, 6: 3}  # 0.0.0.0/1 with 128.0.0.0/1, and 2000::/3, stand for a default route


def ula_prefix(instance: str) -> ipaddress.IPv6Network:
    """The unique local /48 (RFC 4193) of a helper: fd and 40 bits from a hash of its instance, so that two hosts
    differ."""
    digest = hashlib.sha256(b"netdeck ula " + instance.encode()).digest()
    return ipaddress.IPv6Network(((0xFD << 120) | (int.from_bytes(digest[:5], "big") << 80), 48))


def default_pools(instance: str) -> dict[int, tuple[Cut, ...]]:
    """The default pools by family: IPv4 as Docker's, 31 subnets; IPv6 65,536 /64 of the helper's own ULA prefix."""
    return {4: V4_POOLS, 6: (Cut(ula_prefix(instance), 64),)}


def choose_subnet(
    family: int, pools: Mapping[int, Sequence[Cut]], taken: Iterable[Taken], size: int | None = None
) -> IPNetwork:
    """The first subnet of the pools of `family` that overlaps nothing of `taken`; of prefix length `size` if given.

    Takes O(taken), however large the pools are. Raises Exhausted.
    """
    taken = list(taken)
    starts, ends = _intervals(family, taken)
    for cut in pools.get(family, ()):
        length = cut.size if size is None else size
        if length < cut.base.prefixlen:
            continue
        step = 1 << (cut.base.max_prefixlen - length)
        at, limit = int(cut.base.network_address), int(cut.base.broadcast_address)
        while at + step - 1 <= limit:
            index = bisect.bisect_right(starts, at + step - 1) - 1
            if index < 0 or ends[index] < at:
                return _network(family, at, length)
            at = (ends[index] // step + 1) * step
    wanted = f"IPv{family} subnet" if size is None else f"IPv{family} subnet of size /{size}"
    in_use = sorted({owner for network, owner in taken if network.version == family})
    raise Exhausted(
        f"no {wanted} is left in the default pools: give one with --subnet, as 10.20.0.0/24, or remove a network "
        "that nobody needs (netdeck network prune)",
        family=family,
        in_use=in_use[:64],
    )


def _network(family: int, at: int, length: int) -> IPNetwork:
    return ipaddress.IPv4Network((at, length)) if family == 4 else ipaddress.IPv6Network((at, length))


def _intervals(family: int, taken: Iterable[Taken]) -> tuple[list[int], list[int]]:
    """Starts and ends of what is taken, sorted and joined, so that one binary search finds an overlap."""
    starts: list[int] = []
    ends: list[int] = []
    for low, high in sorted(
        (int(network.network_address), int(network.broadcast_address))
        for network, _ in taken
        if network.version == family
    ):
        if ends and low <= ends[-1] + 1:
            ends[-1] = max(ends[-1], high)
        else:
            starts.append(low)
            ends.append(high)
    return starts, ends


def check_subnets(
    name: str,
    requested: Sequence[SubnetRequest],
    *,
    ipv4: bool,
    ipv6: bool,
    networks: Iterable[Network],
    host: HostRanges,
    pools: Mapping[int, Sequence[Cut]],
    own_link: str = "",
    automatic_gateway: bool = True,
    outside: bool = False,
) -> tuple[Subnet, ...]:
    """The subnets of the network `name`, complete with gateways, or an error that names the value and who stands in its
    way.

    A family without a subnet gets one from `pools`. `own_link` is a bridge that was there before and shall carry the
    network: its routes and addresses are no conflict, and its address in a subnet is that subnet's gateway unless
    another was asked for. Without `automatic_gateway` a gateway is set only where it was asked for. `outside`: the
    subnets are those of a network of the site, on which the host has no part: one that was asked for may be what the
    host is on too, and its gateway is the first usable address of the subnet, whatever the ip-range. Raises
    InvalidValue, Conflict, Exhausted.
    """
    if not ipv4 and not ipv6:
        raise InvalidValue(
            f"network {name} has neither IPv4 nor IPv6: switch on one of them", field="ipv6", value="false"
        )
    enabled = {4: ipv4, 6: ipv6}
    parsed = [_parse(request, enabled) for request in requested]
    for family in (4, 6):
        if enabled[family] and not any(wanted == family for _, wanted, _, _ in parsed):
            parsed.append((SubnetRequest(), family, None, None))
    used = [
        (ipaddress.ip_network(subnet.subnet), f"network {network.name}")
        for network in networks
        for subnet in network.subnets
    ]
    routes = list(_routes(host, own_link))
    own = [_point(item.address.partition("/")[0]) for item in host.addresses if own_link and item.device == own_link]
    fixed: list[Taken] = []
    for _, _, subnet, _ in parsed:
        if subnet is not None:
            _check_free(subnet, fixed, used, () if outside else routes, HostRanges() if outside else host, own_link)
            fixed.append((subnet, "another subnet of this network"))
    taken = [*used, *fixed, *((prefix, _route_text(route)) for prefix, route in routes), *_points(host, own_link)]
    result: list[Subnet] = []
    aux_names: dict[str, str] = {}
    for request, family, subnet, size in parsed:
        chosen = subnet is not None
        if subnet is None:
            subnet = choose_subnet(family, pools, taken, size)
            taken.append((subnet, "another subnet of this network"))
        preferred = next((str(point.network_address) for point in own if _inside(point, subnet)), None)
        result.append(_complete(request, preferred, subnet, chosen, aux_names, automatic_gateway, outside))
    return tuple(result)


_Parsed = tuple[
    SubnetRequest, int, IPNetwork | None, int | None
]  # request, family, subnet if given, size if any will do


def _parse(request: SubnetRequest, enabled: Mapping[int, bool]) -> _Parsed:
    if not request.subnet:
        for field, given, value in (
            ("gateway", request.gateway, request.gateway or ""),
            ("ip_range", request.ip_range, request.ip_range or ""),
            ("aux", request.aux, ", ".join(request.aux)),
        ):
            if given:
                raise InvalidValue(
                    f"{FIELD_TEXT[field]} {display_text(value)} has no subnet: give the subnet that it belongs to with "
                    "--subnet",
                    field=field,
                    value=display_text(value),
                )
        return request, 4 if enabled[4] else 6, None, None
    subnet = parse_prefix(request.subnet, "subnet")
    family = subnet.version
    if not enabled[family]:
        remedy = "add --ipv6" if family == 6 else "leave it out, or switch on IPv4"
        raise InvalidValue(
            f"subnet {subnet} is IPv{family}, which is not switched on for this network: {remedy}",
            field="subnet",
            value=str(subnet),
        )
    if int(subnet.network_address) == 0:
        if request.gateway or request.ip_range or request.aux:
            raise InvalidValue(
                f"subnet {subnet} means any subnet of that size, so a gateway, ip-range or aux-address can't be given "
                "with it",
                field="subnet",
                value=str(subnet),
            )
        _check_size(subnet)
        return request, family, None, subnet.prefixlen
    check_usable(subnet)
    _check_size(subnet)
    return request, family, subnet, None


def check_usable(subnet: IPNetwork) -> None:
    """Raise InvalidValue where addresses of `subnet` have a meaning of their own."""
    for unusable, why in _UNUSABLE:
        if unusable.version == subnet.version and unusable.overlaps(subnet):
            raise InvalidValue(
                f"subnet {subnet} can't be used: {unusable} holds {why}", field="subnet", value=str(subnet)
            )


def _check_size(subnet: IPNetwork) -> None:
    if subnet.prefixlen == subnet.max_prefixlen:
        raise InvalidValue(
            f"subnet {subnet} holds a single address: a network needs one for its gateway and one for each container, "
            f"so at most /{subnet.max_prefixlen - 1}",
            field="subnet",
            value=str(subnet),
        )


def _routes(host: HostRanges, own_link: str) -> Iterable[tuple[IPNetwork, HostRoute]]:
    for route in host.routes:
        if route.prefix == "default" or (own_link and route.device == own_link):
            continue
        prefix = ipaddress.ip_network(route.prefix, strict=False)
        if prefix.prefixlen > DEFAULT_LIKE[prefix.version]:
            yield prefix, route


def _route_text(route: HostRoute) -> str:
    via = f" via {route.gateway}" if route.gateway else ""
    device = f" on {display_text(route.device)}" if route.device else ""
    return f"the host's route {route.prefix}{via}{device}"


def _points(host: HostRanges, own_link: str) -> Iterable[Taken]:
    """Single addresses that must stay reachable where they are."""
    own = [
        ipaddress.ip_network(route.prefix, strict=False)
        for route in host.routes
        if own_link and route.device == own_link and route.prefix != "default"
    ]
    for item in host.addresses:
        if not own_link or item.device != own_link:
            yield (
                _point(item.address.partition("/")[0]),
                f"the host's address {item.address} on {display_text(item.device)}",
            )
    for server in host.nameservers:
        point = _point(server)
        if not any(prefix.version == point.version and prefix.overlaps(point) for prefix in own):
            yield point, f"the name server {server} of the host"


def _point(text: str) -> IPNetwork:
    return ipaddress.ip_network(text.partition("%")[0])


def _check_free(
    subnet: IPNetwork,
    fixed: Sequence[Taken],
    used: Sequence[Taken],
    routes: Sequence[tuple[IPNetwork, HostRoute]],
    host: HostRanges,
    own_link: str,
) -> None:
    hard = ((prefix, _route_text(route)) for prefix, route in routes if not _summary(prefix, route))
    for other, owner in chain(used, fixed, hard, _points(host, own_link)):
        if other.version == subnet.version and other.overlaps(subnet):
            where = "" if str(other) in owner or other.prefixlen == other.max_prefixlen else f" ({other})"
            raise Conflict(
                f"subnet {subnet} overlaps {owner}{where}: choose another, or leave it out for one that is free",
                field="subnet",
                value=str(subnet),
                with_=owner,
                other=str(other),
            )


def _summary(prefix: IPNetwork, route: HostRoute) -> bool:
    """Whether a route sends a whole private range to a gateway (or nowhere): a subnet may be carved out of it."""
    if route.device and not route.gateway:
        return False
    return any(_inside(private, prefix) for private in _PRIVATE)


def _inside(inner: IPNetwork, outer: IPNetwork) -> bool:
    return inner.version == outer.version and inner.prefixlen >= outer.prefixlen and outer.overlaps(inner)


def _complete(
    request: SubnetRequest,
    preferred: str | None,
    subnet: IPNetwork,
    chosen: bool,
    aux_names: dict[str, str],
    automatic: bool,
    outside: bool,
) -> Subnet:
    """The subnet with ip-range, aux-addresses and gateway checked. The gateway is the one asked for, else `preferred`,
    else the first free address of the ip-range (but for one `outside`), else of the subnet."""
    limits = subnet
    if request.ip_range:
        limits = parse_prefix(request.ip_range, "ip_range")
        if not _inside(limits, subnet):
            raise InvalidValue(
                f"ip-range {limits} is not inside the subnet {subnet}",
                field="ip_range",
                value=str(limits),
                expected=str(subnet),
            )
    reserved = edges(subnet)
    aux: dict[str, str] = {}
    for key, text in request.aux.items():
        address = host_address(text, "aux", f"aux-address {aux_name(key)}", subnet, reserved)
        if key in aux_names:
            raise InvalidValue(
                f"aux-address {key} is given twice: for {aux_names[key]} and {address}", field="aux", value=key
            )
        aux_names[key] = aux[key] = str(address)
        reserved[int(address)] = f"aux-address {key}"
    gateway: str | None = None
    asked = request.gateway or (preferred if automatic else None)
    if asked:
        gateway = str(host_address(asked, "gateway", "gateway", subnet, reserved))
    elif automatic:
        whole = subnet if outside else limits
        low, high = int(whole.network_address), int(whole.broadcast_address)
        free = next(
            (number for number in range(low, min(high, low + len(reserved)) + 1) if number not in reserved), None
        )
        if free is None:
            raise Exhausted(
                f"no address of {'ip-range' if request.ip_range else 'subnet'} {limits} is left for the gateway: "
                "give one with --gateway, or make it larger",
                subnet=str(subnet),
            )
        gateway = str(ipaddress.ip_address(free) if subnet.version == 4 else ipaddress.IPv6Address(free))
    return Subnet(
        subnet=str(subnet), gateway=gateway, ip_range=str(limits) if request.ip_range else None, aux=aux, chosen=chosen
    )
