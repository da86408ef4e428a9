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
        assert user.said[-1] == "lan host access off · u takes it back"
        await user.take_back("host-access --ip 192.168.1.2 lan on")
        await user.until(lambda: user.said[-1] == "lan host access on again", "as it was, with the address that it had")
        # What can't be taken back is the end of what was remembered: u reaches behind nothing that its user has seen.
        module_lab.netdeck("network", "host-access", "lan", "off")
        await user.until(lambda: not getattr(user.app.feed.network_named("lan"), "host_addresses", ()), "it is off")
        await user.press("D")
        await user.until(lambda: isinstance(user.app.screen, Confirm) and user.shows("network rm lan"), "the plan is shown")
        await user.press("ctrl+s")
        await user.until(lambda: user.said[-1] == "lan removed", "it is gone")
        await user.press("u")
        await user.until(lambda: user.said[-1] == "the last change can't be taken back: lan removed", "and that is said")
