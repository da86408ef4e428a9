"""A network changed, and its addresses looked through, by keys in the workstation on a real helper."""

from __future__ import annotations

import json
from typing import Any

import pytest

from drivers.bridge import DRIVER
from drivers.driver import parse_options
from protocol.model import Network, Subnet
from tests.running_lab import Lab
from tests.tui.station import station
from tests.tui.test_forms import go_into, go_to, planned
from tui.screens.forms.addresses import Addresses
from tui.screens.forms.network_changes import ChangeEntry, changes, command_line, entry_of
from tui.screens.forms.update_network import UpdateNetwork


def mtu(lab: Lab, link: str) -> int:
    found: int = json.loads(lab.run(f"ip -j link show {link}"))[0]["mtu"]
    return found


@pytest.mark.req("X15", "W5", "X1")
@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
async def test_change_a_network_by_keys(module_lab: Lab, size: tuple[int, int]) -> None:
    name, link = f"live{size[0]}", f"brlive{size[0]}"
    module_lab.netdeck("network", "create", "-o", f"name={link}", "--label", "team=ops", "--label", "old=yes", name)
    async with station(module_lab.socket, size) as user:
        await go_to(user, name)
        await user.press("E")
        await user.until(lambda: isinstance(user.app.screen, UpdateNetwork) and user.app.focused, "the form is open")
        await user.until(lambda: user.shows("Nothing differs yet"), "nothing is typed yet")
        await user.press("ctrl+u")
        await user.type("team='the web'")
        await go_into(user, "subnets")
        await user.type("10.250.0.0/24")
        await go_into(user, "option-mtu")
        await user.press("ctrl+u")
        await user.type("20")
        await user.until(lambda: "option:mtu" in user.errors(), "what can't be is said where it is typed")
        await user.press("ctrl+u")
        await user.type("1400")
        await planned(user)
        await user.until(lambda: not user.errors() and user.shows("netdeck network update"), "the command is shown")
        assert mtu(module_lab, link) == 1500
        await user.press("ctrl+s")
        await user.until(lambda: user.said, "it is told")
        assert user.said == [f"network {name} was changed"]
    assert mtu(module_lab, link) == 1400
    found: dict[str, Any] = module_lab.ask("network", "inspect", name)[0]
    assert found["Labels"] == {"team": "the web"} and found["IPAM"]["Config"][1]["Subnet"] == "10.250.0.0/24"
    module_lab.netdeck("network", "rm", name)


@pytest.mark.req("X15")
async def test_what_cannot_be_changed_says_why(module_lab: Lab) -> None:
    module_lab.netdeck("network", "create", "fixed")
    async with station(module_lab.socket, (120, 40)) as user:
        await go_to(user, "fixed")
        await user.press("E")
        await user.until(lambda: user.shows("every container hangs on the"), "the bridge's name says why")
        assert user.shows("it decides") and user.shows("know the network by it") and user.shows("given by")
        await user.press("ctrl+s")
        await user.until(lambda: user.shows("nothing differs"), "there is nothing to do")
        await user.press("escape")
    module_lab.netdeck("network", "rm", "fixed")


@pytest.mark.req("X8", "W5")
async def test_look_through_the_addresses(module_lab: Lab) -> None:
    module_lab.netdeck("network", "create", "--subnet", "10.251.0.0/24", "--aux-address", "nas=10.251.0.9", "book")
    async with station(module_lab.socket, (120, 40)) as user:
        await go_to(user, "book")
        await user.press("A")
        await user.until(lambda: isinstance(user.app.screen, Addresses), "the list is open")
        await user.until(lambda: user.shows("10.251.0.255") and user.shows("0 of 256 used, 252 free"), "it shows the network's")
        await user.type(" use:aux")
        await user.until(lambda: user.shows("10.251.0.9: nas"), "it filters")
        await user.press("ctrl+s")
        await user.until(lambda: user.shows("only what leaked can be given free"), "nothing else is given free")
        await user.press("escape")
    module_lab.netdeck("network", "rm", "book")


NETWORK = Network(
    id="1" * 64, name="a", driver="bridge", created=0.0, options=parse_options(DRIVER.info, {"host_ipv4": "192.0.2.9"}),
    labels={"team": "a b"}, subnets=(Subnet("10.1.0.0/24", "10.1.0.1", "10.1.0.128/25", {"nas": "10.1.0.9"}), Subnet("10.2.0.0/24")))


@pytest.mark.req("X15")
def test_only_what_differs_is_asked_for() -> None:
    before = entry_of(NETWORK)
    assert changes(before, NETWORK, DRIVER.info) == ({}, {})
    entry = ChangeEntry({**before.options, "mtu": "1400", "host_ipv4": ""}, "team=c", True, "10.3.0.0/24", "10.3.0.9", "10.2.0.0/25",
                        "lp=10.2.0.9")
    request, wrong = changes(entry, NETWORK, DRIVER.info)
    assert not wrong and request == {
        "options": {"mtu": "1400", "host_ipv4": ""}, "labels": {"team": "c"}, "subnets": ["10.3.0.0/24"], "gateways": ["10.3.0.9"],
        "ip_ranges": ["10.1.0.0/24", "10.2.0.0/25"], "aux": {"lp": "10.2.0.9"}, "remove_aux": ["nas"], "internal": True}
    assert command_line("a", request) == (
        "netdeck network update -o mtu=1400 -o host_ipv4= --label team=c --subnet 10.3.0.0/24 --gateway 10.3.0.9 --ip-range 10.1.0.0/24 "
        "--ip-range 10.2.0.0/25 --aux-address lp=10.2.0.9 --aux-address-rm nas --internal a")
    _, wrong = changes(ChangeEntry({**before.options, "mtu": "x"}, "=ops", aux="=1"), NETWORK, DRIVER.info)
    assert set(wrong) == {"option:mtu", "labels", "aux"}
