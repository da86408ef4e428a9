"""What is wrong with a network, told from what is seen at its link's name."""

from __future__ import annotations

import msgspec
import pytest

from drivers.driver import builtin, find
from drivers.objects import HOST, LINK_GROUP, Bridge, Chain, Jump, Veth, mark
from drivers.unusable import UnusableDriver, problem, require_usable, settle
from helperd.network_health import Carrier, damage, parent_damage
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


@pytest.mark.req("I7", "I8")
@pytest.mark.parametrize(("seen", "made", "said"), [
    (Carrier("vlan", mark(INSTANCE, "parent", "eth0.20"), LINK_GROUP), True, ""),
    (Carrier("vlan", "", LINK_GROUP), True, ""),  # made, and not yet marked
    (Carrier("vlan", "", 0), True, "eth0.20 was replaced by a vlan that is not netdeck's"),
    (Carrier("vlan", mark("0badcafe", "parent", "eth0.20"), LINK_GROUP), True, "was replaced"),
    (Carrier("vlan", "", 0), False, ""),
    (None, True, "is gone; it is made again"), (None, False, "is gone; what hangs on it"),
])
def test_a_parent(seen: Carrier | None, made: bool, said: str) -> None:
    found = parent_damage(msgspec.structs.replace(NET, driver="macvlan", link="eth0.20", made_link=made), seen, INSTANCE)
    assert found == "" if said == "" else said in found


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
