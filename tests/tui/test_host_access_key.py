"""Host access on one key, after the plan was shown."""

from __future__ import annotations

import pytest

from tests.running_lab import Lab
from tests.tui.station import station
from tests.tui.test_forms import go_to
from tui.screens.forms.confirm import Confirm


@pytest.mark.req("X6")
async def test_one_key_switches_host_access_on_and_off(module_lab: Lab) -> None:
    module_lab.netdeck("network", "create", "-d", "macvlan", "-o", "parent=eth0", "--subnet", "192.168.1.0/24", "lan")
    async with station(module_lab.socket) as user:
        await go_to(user, "lan")

        async def switched(word: str) -> bool:
            await user.press("H")
            await user.until(lambda: isinstance(user.app.screen, Confirm) and user.shows(f"host-access lan {word}"), "the plan is shown")
            await user.press("ctrl+s")  # as every form
            await user.until(lambda: bool(getattr(user.app.feed.network_named("lan"), "host_addresses", ())) is (word == "on"), "done")
            return "macvlan" in module_lab.netdeck("interfaces").stdout

        assert await switched("on")
        assert not await switched("off")
