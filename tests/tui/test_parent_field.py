"""The parent of a macvlan network: which links can serve, why the others can't, in the form and on the command line."""

from __future__ import annotations

from typing import Any

import pytest
from textual.widgets import Static

from protocol.model import ParentLink
from tests.running_lab import Lab
from tests.tui.station import station
from tests.tui.test_forms import go_into, open_create, planned
from tui.parent_words import about, reason
from tui.screens.forms.fields import Choice
from tui.screens.forms.parent_field import ParentInput

pytestmark = pytest.mark.req("I7", "M2")


def told(lab: Lab, *options: str) -> dict[str, str]:
    found: list[dict[str, Any]] = lab.ask("network", "parents", *options, "--format", "json")
    return {link["name"]: link["why"] for link in found}


async def test_only_what_can_serve_is_offered_and_the_rest_says_why(module_lab: Lab) -> None:
    module_lab.run("ip link add br9 type bridge && ip link set eth1 master br9")
    module_lab.netdeck("network", "create", "-d", "macvlan", "-o", "parent=br9", "-o", "macvlan_mode=passthru", "alone")
    async with station(module_lab.socket, (120, 40)) as user:
        form = await open_create(user)
        await user.type("site")
        await go_into(user, "driver")
        await user.press("left")
        await user.until(lambda: form.info.name == "macvlan" and user.shows("can serve: eth0"), "what can serve is told")
        await go_into(user, "option-parent")  # which brings all of them into sight, also below a reason why there is no plan
        for why in ("lo: is a loopback link", "eth1: it is a port of br9", "br9: network alone has it in mode passthru",
                    "netdeck0: netdeck made it"):
            await user.until(lambda why=why: user.shows(why), f"and what can't, why: {why}")  # type: ignore[misc]
        field = form.query_one("#option-parent", ParentInput)
        assert field.offered == ["eth0"]
        await user.press("pagedown")
        await user.until(lambda: field.value == "eth0", "the first is offered")
        await planned(user)
        await user.until(lambda: "-o parent=eth0" in form.plan.command, "and taken")
        await go_into(user, "option-parent-vlan")
        await user.type("20")
        await user.until(lambda: "-o parent=eth0.20" in form.plan.command or user.shows("this kernel has no 802.1Q"), "a VLAN of it")
        await user.press("ctrl+u")
        await user.type("4095")
        await user.until(lambda: "1 to 4094" in user.errors().get("option:parent", ""), "an id that there is not is refused")
        await user.press("ctrl+u", "shift+tab", "pagedown")
        assert field.value == "", "none is a choice too"
        await user.type("eth1")
        await user.until(lambda: "it is a port of br9" in user.errors().get("option:parent", ""), "the helper says the same")
        # The list follows the mode and the host.
        await go_into(user, "option-macvlan_mode")
        module_lab.netdeck("network", "create", "-d", "macvlan", "-o", "parent=eth0", "--subnet", "192.168.1.0/24", "lan")
        await user.press("left")
        await user.until(lambda: user.shows("no link of this host can serve. Free one"), "passthru wants all of a parent")
        notes = str(form.query_one(".form-note", Static).render())
        assert "One network and one container" in notes and "adds a MAC address" not in notes, "what holds for this mode, and no more"
        assert user.shows("eth0: network lan is on it")
        await user.press("escape")
    assert told(module_lab)["eth0"] == "" and "passthru" in told(module_lab, "-o", "macvlan_mode=passthru")["eth0"]
    assert not any(name.startswith("veth") for name in told(module_lab)), "the containers' ends are nobody's parent"
    refused = module_lab.netdeck("network", "parents", "-d", "host", code=1)
    assert "hang on no link" in refused.stderr
    listed = module_lab.netdeck("network", "parents").stdout.splitlines()
    assert listed[0].split()[:3] == ["NAME", "SERVES", "WHAT"] and listed[1].split()[:2] == ["eth0", "yes"]
    for command in ("rm lan", "rm alone"):
        module_lab.netdeck("network", *command.split())
    module_lab.run("ip link set eth1 nomaster && ip link del br9")


async def test_a_driver_just_chosen_has_none_of_the_fields_of_the_one_before(module_lab: Lab) -> None:
    """Its own are there a moment later; whoever reads the form meanwhile gets what they will say: nothing."""
    async with station(module_lab.socket, (120, 40)) as user:
        form = await open_create(user)
        await user.type("site")
        drivers = form.query_one("#driver", Choice)
        drivers.chosen = drivers.words.index("macvlan")
        assert (form.entry.name, form.entry.driver, form.entry.options) == ("site", "macvlan", {})
        await user.press("escape")


def test_reasons_leave_out_what_the_line_says() -> None:
    link = ParentLink("eth0.5", "vlan", False, ("192.0.2.1/24", "fe80::1/64"),
                      "eth0.5 can't be the parent of network new: it is a port of br1. Name br1")
    assert reason(link, "new") == "it is a port of br1. Name br1" and about(link) == "vlan 192.0.2.1/24 down"
    assert about(ParentLink("eth1", "veth", carrier=False)) == "veth NO-CARRIER"
    assert reason(ParentLink("lo", why="lo is a loopback link, which"), "new") == "is a loopback link, which"
    assert reason(ParentLink("a", why="network new can't hang on a in mode vepa: network b is on it"), "new") == "network b is on it"
    assert reason(ParentLink("a", why="something else"), "new") == "something else"
