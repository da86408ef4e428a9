"""Forms of networks that lead to the site: which links can be a bridge's uplink, what has a meaning only with one, VLANs of a container;
a lost lease in the tables."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from protocol.model import Endpoint, Lease, Network
from tests.running_lab import Lab
from tests.tui.opened_workstation import opened, screen_text, until
from tests.tui.played_helper import MOMENT, PlayedHelper, base_rows
from tests.tui.station import station
from tests.tui.test_forms import go_into, open_create, planned
from tui.screens.forms.attach import Attach
from tui.screens.forms.parent_field import ParentInput


@pytest.mark.req("W5", "B7")
async def test_an_uplink_is_chosen_from_the_links_that_can_serve(module_lab: Lab) -> None:
    module_lab.run("ip link add spare type veth peer name spare1 && ip link set spare up && ip link set spare1 up")
    async with station(module_lab.socket, (120, 44)) as user:
        form = await open_create(user)
        await user.type("floor")
        hidden = [form.query_one(f"#{ident}") for ident in ("ipam", "option-uplink_vlans", "option-address_probe")]
        assert not any(control.is_on_screen or control.region for control in hidden), "they would mean nothing"
        await go_into(user, "option-uplink")
        await user.until(lambda: user.shows("can serve: ") and user.shows("spare (veth)"), "what can serve is told")
        await user.until(lambda: user.shows("eth0: the host has 192.168.1.250/24"), "and what can't, why")
        field = form.query_one("#option-uplink", ParentInput)
        assert "spare" in field.offered and "eth0" not in field.offered
        while field.value != "spare":
            await user.press("pagedown")
        await planned(user)
        await user.until(lambda: "-o uplink=spare" in form.plan.command, "the command says it")
        await go_into(user, "ipam")
        await user.press("right")
        await user.until(lambda: "--ipam-driver dhcp -o uplink=spare floor" in form.plan.command, "a server may give addresses now")
        await go_into(user, "option-uplink")
        await user.press("ctrl+u")
        await user.until(lambda: "--ipam-driver" not in form.plan.command and "floor" in form.plan.command, "and none without it")
        await user.press("escape")
    told: list[dict[str, Any]] = module_lab.ask("network", "parents", "-d", "bridge", "--format", "json")
    why = {link["name"]: link["why"] for link in told}
    assert not why["spare"] and "on it, where it could not be reached" in why["eth0"]
    module_lab.run("ip link del spare")


@pytest.mark.req("W5", "X20")
async def test_vlans_are_asked_for_where_the_network_has_them() -> None:
    trunk = Network("n-trunk", "trunk", "bridge", MOMENT, options={"vlan_filtering": "true", "uplink": "eth1"}, link="br-trunk")
    helper = PlayedHelper([*base_rows(), ("networks", trunk.id, trunk)])
    helper.answers["network.connect"] = {
        "endpoint": {"addresses": []}, "warnings": [], "plan": {"steps": [], "commands": []}, "network": "trunk"}
    async with opened(helper) as (app, played, pilot):
        container = app.feed.containers["c-database"]
        form = Attach(None, (container,), app.glyphs)
        app.push_screen(form)
        await until(pilot, lambda: form.is_current and bool(form._picker.table.model.order))
        vlans = [field for field in form._detail_fields if field.place in ("vlan", "untagged")]
        assert not any(field.display for field in vlans), "nothing is picked"
        await pilot.press(*"trunk")
        await until(pilot, lambda: form.pairs() == [("docker:database", "trunk")] and all(field.display for field in vlans))
        form._vlan.value, form._untagged.value = "20,30-40", "x"
        await until(pilot, lambda: "untagged" in form.check())
        form._untagged.value = "10"
        await until(pilot, lambda: form.request("docker:database", "trunk")["untagged"] == 10)
        await until(pilot, lambda: any(op == "network.connect" and args["vlans"] == ("20", "30-40") for op, args in played.calls), 10)
        await until(pilot, lambda: "--vlan 20,30-40 --untagged 10 trunk" in form.plan.command, 10)


@pytest.mark.req("X7", "W5", "I15")
async def test_a_lost_lease_and_a_lost_link_stand_with_the_addresses() -> None:
    lease = Lease("192.0.2.9/24", "192.0.2.1", "02:00:00:00:00:01", MOMENT, 600, 300, 525, lost="no server renewed it")
    rows = [*base_rows(), ("networks", "n-office", Network("n-office", "office", "macvlan", MOMENT, ipam="dhcp", link="eth0")),
            ("endpoints", "e-9", Endpoint("e-9", "n-office", "c-shop", "eth1", order=3, lease=lease))]
    async with opened(PlayedHelper(rows)) as (app, played, pilot):
        await pilot.press("2")
        await until(pilot, lambda: "c-shop" in app.view.model.shown_keys())
        assert app.view.model.value("c-shop", "addresses") == "! no lease on office 10.20.0.10/24"
        back = msgspec.structs.replace(lease, lost="")
        has = Endpoint("e-9", "n-office", "c-shop", "eth1", addresses=("192.0.2.9/24",), order=3, lease=back)
        played.change(("endpoints", "put", "e-9", has))
        await until(pilot, lambda: "192.0.2.9/24" in str(app.view.model.value("c-shop", "addresses")))
        assert "lease" not in str(app.view.model.value("c-shop", "addresses"))
        for state in ("down", "detached", "missing"):
            played.change(("endpoints", "put", "e-9", msgspec.structs.replace(has, state=state)))
            await until(pilot, lambda: "! cut off from office" in str(app.view.model.value("c-shop", "addresses")))
        await pilot.press(*"/shop", "enter", "d")
        await until(pilot, lambda: "from office: its link is gone" in screen_text(app))
