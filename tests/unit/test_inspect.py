"""What `inspect` says of an attachment."""

from __future__ import annotations

import pytest

from helperd.inspect import container_document
from protocol.model import Container, Endpoint, Network, Subnet

V4 = (Subnet("10.1.0.0/24", "10.1.0.1"), Subnet("10.2.0.0/24", "10.2.0.1"), Subnet("10.3.0.0/24"))
SITE = Network("n", "site", "macvlan", 1.0, (*V4, Subnet("fd00::/64", "fd00::1")))


@pytest.mark.req("I10")
@pytest.mark.parametrize(("addresses", "gateways"), [
    (("10.1.0.9/24", "fd00::9/64"), ("10.1.0.1", "fd00::1")), (("10.2.0.9/24",), ("10.2.0.1", "")), (("10.3.0.9/24",), ("", ""))])
def test_the_gateway_is_that_of_the_subnet_which_the_address_is_in(addresses: tuple[str, ...], gateways: tuple[str, str]) -> None:
    endpoint = Endpoint("e", "n", "c", "eth0", addresses=addresses)
    container = Container("c", "web", "web", "netdeck")
    found = container_document(container, [(SITE, endpoint)], {})["NetworkSettings"]["Networks"]["site"]
    assert (found["Gateway"], found["IPv6Gateway"]) == gateways
