"""Addresses and prefixes that were checked before, parsed once: Python takes 10 µs for each, and every attachment names the same
few of its network. Pure."""

from __future__ import annotations

import functools
import ipaddress

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
_KEPT = 4096


@functools.lru_cache(_KEPT)
def network_of(prefix: str) -> IPNetwork:
    """A prefix without host bits. Raises ValueError."""
    return ipaddress.ip_network(prefix)


@functools.lru_cache(_KEPT)
def network_around(prefix: str) -> IPNetwork:
    """The network of an address with its prefix length. Raises ValueError."""
    return ipaddress.ip_network(prefix, strict=False)


@functools.lru_cache(_KEPT)
def address_of(text: str) -> IPAddress:
    """A bare address. Raises ValueError."""
    return ipaddress.ip_address(text)


def family_of(prefix: str) -> int:
    """4 or 6, of an address or a prefix."""
    return 6 if ":" in prefix else 4
