"""The VLANs view and the neighbours of an interface, on a real helper: what hangs on a link of the host, and who was heard of."""

from __future__ import annotations

import pytest

from tests.running_lab import Lab
from tests.tui.station import station
from tests.tui.test_forms import go_to


@pytest.mark.req("W7", "I15")
async def test_a_parent_with_what_hangs_on_it(module_lab: Lab) -> None:
    module_lab.netdeck("network", "create", "-d", "macvlan", "-o", "parent=eth0", "--subnet", "192.168.1.0/24", "site")
    module_lab.netdeck("run", "-d", "--name", "guest", "--network", "site", "--ip", "192.168.1.77", "sleep", "600")
    async with station(module_lab.socket, (120, 40)) as user:
        await user.press("5")
        view = user.app.view
        await user.until(lambda: view.model.order, "the parent has a row")
        await user.until(lambda: user.shows("1 macvlan") and user.shows("site") and user.shows("guest"), "it says what hangs on it")
        await user.press("enter")
        await user.until(lambda: user.shows("Parent eth0") and user.shows("receives"), "its traffic is that of the parent")
        await user.press("right")
        await user.until(lambda: user.shows("macvlan bridge") and user.shows("192.168.1.77/24"), "the container's link is told")
        await user.press("right")
        await user.until(lambda: user.shows('"parent"'), "and the whole as JSON")
        await user.press("escape")
        module_lab.netdeck("rm", "-f", "guest")
        await user.until(lambda: not user.shows("1 macvlan"), "it follows what goes")
    module_lab.netdeck("network", "rm", "site")


@pytest.mark.req("W7")
async def test_neighbours_and_forwarding_entries_live(module_lab: Lab) -> None:
    module_lab.netdeck("network", "create", "--subnet", "10.61.0.0/24", "-o", "name=brnear", "near")
    module_lab.netdeck("run", "-d", "--name", "talker", "--network", "near", "--ip", "10.61.0.7", "sleep", "600")
    mac = module_lab.ask("inspect", "talker")[0]["NetworkSettings"]["Networks"]["near"]["MacAddress"]
    async with station(module_lab.socket, (200, 50)) as user:
        await go_to(user, "brnear")
        await user.press("enter", "right", "right")
        await user.until(lambda: user.shows("Forwarding"), "the page is there")
        module_lab.run("ip neighbour del 10.61.0.7 dev brnear || true")
        await user.until(lambda: not user.shows("10.61.0.7 "), "nobody was heard of")
        module_lab.run("ping -c 1 -W 5 10.61.0.7")
        await user.until(lambda: user.shows("10.61.0.7") and user.shows(mac) and user.shows("REACHABLE"), "it is learnt, and shown")
        await user.until(lambda: user.shows("talker"), "with whose it is")
        module_lab.run("ip neighbour del 10.61.0.7 dev brnear")
        await user.until(lambda: not user.shows("REACHABLE"), "and when it is forgotten")
        await user.press("escape")
        assert user.app.details._watched is None
