"""Prefixes and addresses that came as text, checked; and which addresses of a subnet no host may have. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from protocol.errors import InvalidValue
from protocol.names import display_text

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

FIELD_TEXT = {"gateway": "gateway", "ip_range": "ip-range", "aux": "aux-address", "subnet": "subnet", "ip": "address"}


def parse_prefix(text: str, field: str) -> IPNetwork:
    """`text` as a prefix without host bits. Raises InvalidValue, with the prefix that was probably meant."""
    shown = display_text(text)
    if "/" in text:
        try:
            loose = ipaddress.ip_network(text, strict=False)
        except ValueError:
            loose = None
        # ip_network takes netmasks as lengths and v6 zones too; a prefix here is address/length and nothing else.
        if loose is not None and text.rpartition("/")[2] == str(loose.prefixlen) and "%" not in text:
            if ipaddress.ip_address(text.partition("/")[0]) != loose.network_address:
                raise InvalidValue(
                    f"{FIELD_TEXT.get(field, field)} {shown} has bits set behind its prefix length: "
                    f"{loose} is the one that holds this address",
                    field=field,
                    value=shown,
                    expected=str(loose),
                )
            return loose
    raise InvalidValue(
        f"{FIELD_TEXT.get(field, field)} {shown!r} is not a prefix: expected one like 10.1.0.0/24 or fd00:1::/64",
        field=field,
        value=shown,
    )


def parse_address(text: str, field: str) -> IPAddress:
    """`text` as a bare address without zone. Raises InvalidValue."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        address = None
    if address is None or "%" in text:
        shown = display_text(text)
        raise InvalidValue(
            f"{FIELD_TEXT.get(field, field)} {shown!r} is not an address: expected one like 10.1.0.1 or fd00:1::1",
            field=field,
            value=shown,
        )
    return address


def host_address(text: str, field: str, label: str, subnet: IPNetwork, reserved: Mapping[int, str]) -> IPAddress:
    """`text` as an address of `subnet` that is not reserved; `label` says what it is for. Raises InvalidValue."""
    address = parse_address(text, field)
    if address.version != subnet.version or address not in subnet:
        raise InvalidValue(
            f"{label} {address} is not inside the subnet {subnet}",
            field=field,
            value=str(address),
            expected=str(subnet),
        )
    if int(address) in reserved:
        raise InvalidValue(
            f"{label} {address} can't be used: it is {reserved[int(address)]} of {subnet}",
            field=field,
            value=str(address),
        )
    return address


def edges(subnet: IPNetwork) -> dict[int, str]:
    """The addresses of a subnet that no host may have: network and broadcast (none in a /31, RFC 3021), or the
    subnet-router anycast address of IPv6 (none in a /127, RFC 6164)."""
    if subnet.prefixlen >= subnet.max_prefixlen - 1:
        return {}
    if subnet.version == 6:
        return {int(subnet.network_address): "the subnet-router anycast address"}
    return {int(subnet.network_address): "the network address", int(subnet.broadcast_address): "the broadcast address"}
