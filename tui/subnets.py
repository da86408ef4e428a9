"""Which --gateway, --ip-range and --aux-address belongs to which --subnet: each to the one that contains it, as in docker.

Only what is needed to pair them is checked here; whether a subnet can be had is for the helper to say. Pure.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

from protocol.errors import InvalidValue
from protocol.names import display_text

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def pair(
    subnets: Sequence[str],
    ranges: Sequence[str],
    gateways: Sequence[str],
    aux: Sequence[tuple[str, str]],
) -> list[dict[str, Any]]:
    """The `subnets` argument of ``network.create``: maps with `subnet`, `gateway`, `ip_range`, `aux`.

    Raises InvalidValue for what is no subnet or address, what no subnet contains, and what is given twice for one subnet.
    """
    known = [_subnet(text) for text in subnets]
    _refuse_overlaps(subnets, known)
    found: list[dict[str, Any]] = [
        {"subnet": str(network), "gateway": None, "ip_range": None, "aux": {}} for network in known
    ]
    for text in ranges:
        part = _subnet(text, "ip-range")
        _set_once(found[_owner(text, part, known, "ip-range")], "ip_range", str(part), "ip-range")
    for text in gateways:
        address = _address(text, "gateway")
        _set_once(found[_owner(text, address, known, "gateway")], "gateway", str(address), "gateway")
    for name, text in aux:
        address = _address(text, "aux-address")
        names: dict[str, str] = found[_owner(text, address, known, "aux-address")]["aux"]
        if name in names:
            raise InvalidValue(f"aux-address {display_text(name)!r} is given twice for one subnet: {names[name]} "
                               f"and {address}", field="aux-address", value=display_text(name))
        names[name] = str(address)
    return found


def _subnet(text: str, field: str = "subnet") -> _Network:
    try:
        if "/" not in text:
            raise ValueError(text)
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise InvalidValue(f"{field} {display_text(text)!r} is not one: expected an address and a prefix length, like "
                           "10.20.0.0/16 or fd00:20::/64", field=field, value=display_text(text)) from error


def _address(text: str, field: str) -> _Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError as error:
        raise InvalidValue(f"{field} {display_text(text)!r} is not an address: expected one like 10.20.0.1 or fd00:20::1",
                           field=field, value=display_text(text)) from error


def _refuse_overlaps(texts: Sequence[str], networks: Sequence[_Network]) -> None:
    for index, network in enumerate(networks):
        for other in networks[:index]:
            # 0.0.0.0/N and ::/N ask for any subnet of that size, and may be asked for twice.
            wanted_by_address = int(network.network_address) and int(other.network_address)
            if network.version == other.version and wanted_by_address and network.overlaps(other):
                raise InvalidValue(f"subnet {display_text(texts[index])} overlaps {other} of the same network",
                                   field="subnet", value=str(network))


def _owner(text: str, inner: _Network | _Address, networks: Sequence[_Network], field: str) -> int:
    for index, network in enumerate(networks):
        if inner.version != network.version:
            continue
        if isinstance(inner, ipaddress.IPv4Address | ipaddress.IPv6Address):
            if inner in network:
                return index
        elif inner.subnet_of(network):  # type: ignore[arg-type]
            return index
    if not networks:
        raise InvalidValue(f"{field} {display_text(text)} needs a --subnet that contains it", field=field,
                           value=display_text(text))
    raise InvalidValue(f"{field} {display_text(text)} is in none of the subnets given: {', '.join(map(str, networks))}",
                       field=field, value=display_text(text), expected=[str(network) for network in networks])


def _set_once(subnet: dict[str, Any], key: str, value: str, field: str) -> None:
    if subnet[key] is not None:
        raise InvalidValue(f"subnet {subnet['subnet']} is given two {field}s: {subnet[key]} and {value}", field=field,
                           value=value)
    subnet[key] = value
