"""The drivers host and none, and finding a driver by its name."""

from __future__ import annotations

import msgspec
import pytest

from drivers.driver import HostView, builtin, find, registry
from protocol.errors import Conflict, NotFound
from protocol.model import Endpoint, Network

INSTANCE = "0a1b2c3d"


@pytest.mark.req("H1", "N1", "D1")
@pytest.mark.parametrize("name", ["host", "none"])
def test_host_and_none_are_there_once_and_need_nothing(name: str) -> None:
    driver = find(builtin(), name)
    net = Network(id="5" * 64, name=name, driver=name, created=0.0, predefined=True)
    attached = Endpoint(id="6" * 64, network=net.id, container="c1")
    assert driver.check(net, HostView(INSTANCE), ()) == net and not driver.info.creatable and not driver.info.subnets
    assert driver.network_objects(net, INSTANCE) == driver.endpoint_objects(net, attached, INSTANCE) == ()
    assert driver.default_routes(net, attached) == ()
    with pytest.raises(Conflict, match="the only one"):
        driver.check(msgspec.structs.replace(net, predefined=False, name="x"), HostView(INSTANCE), ())
    with pytest.raises(Conflict, match=f"netdeck run --network {name}"):
        driver.check_endpoint(net, attached, ())


def test_an_unknown_driver_is_told_with_the_nearest() -> None:
    with pytest.raises(NotFound, match=r"did you mean 'bridge'\?\): known are bridge, host, ipvlan, macvlan, none"):
        find(builtin(), "brige")


def test_the_registry_has_what_is_built_in_and_each_driver_knows_its_name() -> None:
    found = registry()
    assert {"bridge", "host", "none"} <= set(found)
    assert all(driver.name == driver.info.name == name for name, driver in found.items())
