"""Addresses that are parsed without `ipaddress` are what it says they are."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from drivers.parsed import lies_in, number_of
from helperd.ipam import pool_of
from protocol.model import Subnet

ADDRESSES = st.ip_addresses()
LENGTHS = st.integers(0, 32)


@given(ADDRESSES)
def test_an_address_is_its_number_and_its_text_again(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    subnet = Subnet("0.0.0.0/0" if address.version == 4 else "::/0")
    assert number_of(str(address)) == int(address)
    assert pool_of(subnet, frozenset()).text(int(address)) == str(address)


@given(ADDRESSES, ADDRESSES, LENGTHS, LENGTHS)
def test_an_address_lies_in_its_own_subnet_and_in_no_other(address: ipaddress.IPv4Address | ipaddress.IPv6Address,
                                                           other: ipaddress.IPv4Address | ipaddress.IPv6Address,
                                                           length: int, another: int) -> None:
    prefix = f"{address}/{length}"
    for base in (address, other):
        for size in (length, another):
            subnet = ipaddress.ip_network(f"{base}/{size}", strict=False)
            assert lies_in(prefix, str(subnet)) == (ipaddress.ip_network(prefix, strict=False) == subnet)
