"""Keys that come faster than the screen is drawn: each goes to the field it was meant for, in its order."""

from __future__ import annotations

import pytest

from tests.running_lab import Lab
from tests.tui.station import station
from tests.tui.test_forms import go_into, go_to, open_create
from tui.screens.forms.fields import TextField, Toggle
from tui.screens.forms.update_network import UpdateNetwork
from tui.widgets.prompt import PromptInput

pytestmark = pytest.mark.req("W5")


async def test_a_subnet_is_typed_again_without_a_pause(module_lab: Lab) -> None:
    async with station(module_lab.socket, (80, 24)) as user:
        form = await open_create(user)
        await go_into(user, "subnet-0")
        await user.keys("10.20.0.0/26", "shift+tab", "tab", "ctrl+u", "10.66.0.0/24",
                        "left", "left", "left", "backspace", "9", "end", "x", "backspace")
        field = form.query_one("#subnet-0", TextField)
        await user.until(lambda: field.value == "10.66.0.9/24", f"every key arrived: {field.value!r}")
        assert user.app.focused is field
        await user.keys("enter", "10.66.0.254", "enter", "ctrl+u", "x", "up", "ctrl+u", "10.66.0.253")
        values = {ident: form.query_one(f"#{ident}", TextField) for ident in ("subnet-0", "gateway-0", "range-0")}
        await user.until(lambda: values["gateway-0"].value == "10.66.0.253", "the keys follow the focus")
        assert values["range-0"].value == "x" and values["subnet-0"].value == "10.66.0.9/24"


async def test_a_switch_is_switched_and_left_without_a_pause(module_lab: Lab) -> None:
    async with station(module_lab.socket, (80, 24)) as user:
        form = await open_create(user)
        await go_into(user, "ipv6")
        await user.keys("space", "tab", "space", "tab", "a=b")
        ipv6, internal = form.query_one("#ipv6", Toggle), form.query_one("#internal", Toggle)
        await user.until(lambda: form.query_one("#labels", TextField).value == "a=b", "the keys arrived")
        assert ipv6.on and internal.on


async def test_a_filter_is_typed_again_without_a_pause(module_lab: Lab) -> None:
    async with station(module_lab.socket, (80, 24)) as user:
        await user.press("slash")
        await user.until(lambda: isinstance(user.app.focused, PromptInput), "the filter is open")
        await user.keys("name:web", "ctrl+u", "name:host")
        field = user.app.query_one(PromptInput)
        await user.until(lambda: field.value == "name:host", f"every key arrived: {field.value!r}")


@pytest.mark.parametrize(("ident", "message"), [("aux", "! reserved address 'abc'"), ("option-mtu", "! mtu 'abc'")], ids=["aux", "mtu"])
async def test_what_is_wrong_with_the_field_is_in_sight(module_lab: Lab, ident: str, message: str) -> None:
    name = f"sight-{ident}"
    module_lab.netdeck("network", "create", name)
    async with station(module_lab.socket, (80, 24)) as user:
        await go_to(user, name)
        await user.press("E")
        await user.until(lambda: isinstance(user.app.screen, UpdateNetwork) and user.app.focused, "the form is open")
        await go_into(user, ident)
        box, edge = user.app.screen.query_one(".form-fields"), user.app.focused
        assert edge is not None
        await user.pilot.pause()
        # The field stands in the last line that is in sight: what is said below it is not.
        box.scroll_relative(y=edge.region.bottom - box.region.bottom, animate=False)
        await user.until(lambda: edge.region.bottom == box.region.bottom, "it is the last one in sight")
        await user.keys("ctrl+u", "abc")
        await user.until(lambda: user.shows(message), "the message is on the screen")
        field = user.app.focused
        assert isinstance(field, TextField) and field.value == "abc" and user.shows(" abc "), user.text()
        # It comes into sight again when one comes back to it.
        await go_into(user, "labels")
        await user.until(lambda: user.shows("NAME=VALUE NAME=VALUE"), "the top is in sight")
        await go_into(user, ident)
        await user.until(lambda: user.shows(message) and user.shows(" abc "), "the message is on the screen again")
