"""What is wrong with a network, told from what is seen at its link's name."""

from __future__ import annotations

import msgspec
import pytest

from drivers.driver import builtin, find
from drivers.objects import HOST, LINK_GROUP, Bridge, Chain, Jump, Veth, mark
from drivers.unusable import UnusableDriver, problem, require_usable, settle
from helperd.network_health import Carrier, damage
from protocol.errors import Unavailable
from protocol.model import Endpoint, Network

INSTANCE = "0a1b2c3d"
NET = Network(id="5" * 64, name="web", driver="bridge", created=0.0, link="br-5")
OURS = mark(INSTANCE, "network", NET.id)
BRIDGE = Bridge(HOST, "br-5", OURS)


@pytest.mark.parametrize(("seen", "said"), [
    (Carrier("bridge", OURS, LINK_GROUP), ""),
    (Carrier("bridge", OURS, LINK_GROUP << 16), ""),
    (Carrier("bridge", "", LINK_GROUP), ""),  # made, and not yet marked
    (None, "its bridge br-5 is gone; it is made again"),
    (Carrier("bridge", OURS, 0), "was replaced by a bridge that is not netdeck's"),
    (Carrier("bridge", mark(INSTANCE, "network", "6" * 64), LINK_GROUP), "was replaced"),
    (Carrier("veth", OURS, LINK_GROUP), "was replaced by a veth"),
    (Carrier("", "", 0), "was replaced by a device"),
])
def test_a_bridge_of_ours(seen: Carrier | None, said: str) -> None:
    found = damage(NET, BRIDGE, seen)
    assert found == "" if said == "" else said in found


def test_a_bridge_that_was_there_before() -> None:
    assert damage(NET, None, Carrier("bridge", "whatever", 7)) == ""
    assert "is no bridge any more but a vlan" in damage(NET, None, Carrier("vlan", "", 0))
    assert "was not netdeck's: make it again" in damage(NET, None, None)
    veth = Veth(HOST, "br-5", OURS, "c1", "eth0")
    assert "its link br-5 is gone" in damage(NET, veth, None)


@pytest.mark.req("D1")
def test_a_driver_that_is_not_there_closes_its_networks_and_makes_nothing() -> None:
    lost = msgspec.structs.replace(NET, driver="lost")
    drivers = settle(builtin(), builtin(), (NET, lost), (), INSTANCE)
    assert set(drivers) == {*builtin(), "lost"} and problem(drivers, "bridge") == "" and "no package" in problem(drivers, "lost")
    driver = find(drivers, "lost")
    assert {type(item) for item in driver.network_objects(lost, INSTANCE)} == {Chain, Jump}
    assert driver.network_objects(msgspec.structs.replace(lost, made_link=False), INSTANCE) == ()
    endpoint = Endpoint(id="6" * 64, network=lost.id, container="c1")
    assert driver.endpoint_objects(lost, endpoint, INSTANCE) == driver.default_routes(lost, endpoint) == ()
    for asked in (lambda: require_usable(driver), lambda: driver.check_endpoint(lost, endpoint, ())):
        with pytest.raises(Unavailable, match="driver lost can't be used: no package"):
            asked()
    require_usable(find(drivers, "bridge"))


@pytest.mark.req("D1")
def test_a_driver_that_fails_at_what_is_stored() -> None:
    class Failing(UnusableDriver):
        def endpoint_objects(self, network: Network, endpoint: Endpoint, instance: str) -> tuple[()]:
            raise KeyError("mtu")

    class Strange(UnusableDriver):
        def default_routes(self, network: Network, endpoint: Endpoint) -> tuple[()]:
            return ("route",)  # type: ignore[return-value]

    endpoint = Endpoint(id="6" * 64, network=NET.id, container="c1")
    for kind, why in ((Failing, "it fails at network web: KeyError: 'mtu'"), (Strange, "it gave str, which is no kernel object")):
        network = msgspec.structs.replace(NET, driver="third")
        given = {**builtin(), "third": kind("third", "before")}
        assert why in problem(settle(given, builtin(), (network,), (endpoint,), INSTANCE), "third")
        assert problem(settle(given, builtin(), (network,), (), INSTANCE), "third") == "before"
