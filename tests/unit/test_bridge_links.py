"""What a link opens, as objects: ways and ports of both families, and nothing where nothing is to be opened."""

from __future__ import annotations

import msgspec
import pytest

from drivers.bridge import DRIVER
from drivers.driver import HostView, parse_options
from drivers.linking import OpensLinks
from drivers.objects import HOST, Linked, Route
from protocol.model import Endpoint, Network, Subnet

pytestmark = pytest.mark.req("B5")
PORTS = [(80, "tcp"), (53, "udp"), (80, "tcp")]


def bridge(icc: str = "false", *, predefined: bool = True, **options: str) -> Network:
    subnets = (Subnet(subnet="10.1.0.0/24", gateway="10.1.0.1"), Subnet(subnet="fd00:1::/64", gateway="fd00:1::1"))
    raw = Network(id="1" * 64, name="bridge", driver="bridge", created=0.0, subnets=subnets, ipv6=True, predefined=predefined,
                  options=parse_options(DRIVER.info, {"icc": icc, **options}))
    return DRIVER.check(raw, HostView("0a1b2c3d"), ())


def end(name: str, number: int) -> Endpoint:
    return Endpoint(id=name * 64, network="1" * 64, container=name, ifname=f"eth{number}",
                    addresses=(f"10.1.0.{number}/24", f"fd00:1::{number}/64"))


def test_ways_and_ports_of_both_families() -> None:
    assert isinstance(DRIVER, OpensLinks)
    found = DRIVER.link_objects(bridge(), end("a", 3), end("b", 2), PORTS)
    assert set(found) == {
        Route("a", "10.1.0.2/32", "eth3", "10.1.0.1"), Route("b", "10.1.0.3/32", "eth2", "10.1.0.1"),
        Route("a", "fd00:1::2/128", "eth3", "fd00:1::1"), Route("b", "fd00:1::3/128", "eth2", "fd00:1::1"),
        Linked(HOST, "10.1.0.3", "10.1.0.2", "tcp", 80), Linked(HOST, "10.1.0.3", "10.1.0.2", "udp", 53),
        Linked(HOST, "fd00:1::3", "fd00:1::2", "tcp", 80), Linked(HOST, "fd00:1::3", "fd00:1::2", "udp", 53)}
    assert len(found) == 8


def test_nothing_where_nothing_is_to_be_opened() -> None:
    assert DRIVER.link_objects(bridge(), end("a", 3), end("b", 2), []) == ()
    four = msgspec.structs.replace(end("b", 2), addresses=("10.1.0.2/24",))
    assert len(DRIVER.link_objects(bridge(), end("a", 3), four, PORTS)) == 4
    # The host has no IPv4 address there, so that no way leads by it.
    six = DRIVER.link_objects(bridge(inhibit_ipv4="true"), end("a", 3), end("b", 2), PORTS)
    assert six and not any("10.1" in str(item) for item in six)
    assert DRIVER.opens_links(bridge())
    assert not DRIVER.opens_links(bridge("true")) and not DRIVER.opens_links(bridge(predefined=False))
