"""A bridge network that rests on what is not netdeck's: a bridge of others, a link of the host as its uplink."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from drivers.bridge import DRIVER
from drivers.driver import HostLink, HostView
from protocol.errors import Conflict, InvalidValue
from tests.unit.test_bridge_driver import FOREIGN, INSTANCE, network


@pytest.mark.req("X20")
def test_a_bridge_of_others_keeps_vlans_apart_if_it_does_so_already() -> None:
    with pytest.raises(Conflict, match=r"br0 is not netdeck's and does not keep VLANs apart.*`ip link set br0 type bridge vlan_filtering"):
        network(host=FOREIGN, name="br0", vlan_filtering="true")
    aware = HostView(INSTANCE, {"br0": msgspec.structs.replace(FOREIGN.links["br0"], filters=True)})
    assert not network(host=aware, name="br0", vlan_filtering="true").made_link


@pytest.mark.req("B7")
@pytest.mark.parametrize(("change", "words"), [
    ({"options": {"mtu": "9000"}}, "option mtu=9000 is more than port has: expected at most 4000"),
    ({"internal": True}, "network web can't become internal: its uplink port leads its containers to the site"),
    ({"options": {"mtu": "4000"}}, ""), ({"options": {"icc": "false"}}, "")])
def test_what_an_uplink_does_not_go_with_no_update_brings(change: dict[str, Any], words: str) -> None:
    host = HostView(INSTANCE, {"port": HostLink("port", mac="02:00:00:00:00:05", mtu=4000)})
    before = network(host=host, uplink="port")
    options = {**before.options, **change.get("options", {})}
    after = msgspec.structs.replace(before, **{**change, "options": options})
    if not words:
        assert DRIVER.check_update(before, after, host, [before]) == after
        return
    with pytest.raises(InvalidValue) as caught:
        DRIVER.check_update(before, after, host, [before])
    assert words in caught.value.message
    # What is so already, since the link takes less by now, keeps nobody from changing the rest.
    assert DRIVER.check_update(after, after, host, [after]) == after
