"""How the workstation looks, at three sizes: the text of each screen is stored in tests/tui/snapshots."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest

from tests.tui.opened_workstation import opened, screen_text, until
from tests.tui.played_helper import DATABASE, HOST, WEB
from tests.tui.settled_pilot import SettledPilot
from tui.keys import VIEWS
from tui.workstation import Workstation

pytestmark = [pytest.mark.req("W1"), pytest.mark.req("W6"), pytest.mark.usefixtures("utc")]
SIZES = [(80, 24), (120, 40), (200, 50)]


async def looks(app: Workstation, pilot: SettledPilot[int], name: str, snapshot: Callable[[str, str], None]) -> None:
    """The screen is as stored, now or within a while: what a key leads to may take more than one turn of a busy machine."""
    for _ in range(100):
        with contextlib.suppress(AssertionError):
            return snapshot(name, screen_text(app))
        await pilot.pause(0.05)
    snapshot(name, screen_text(app))


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_views(size: tuple[int, int], snapshot: Callable[[str, str], None]) -> None:
    tag = f"{size[0]}x{size[1]}"
    async with opened(size=size) as (app, helper, pilot):
        for rate in (0, 2000, 90_000, 400):
            helper.count({
                (HOST, 2): (98, 98), (HOST, 5): (rate, 50), (HOST, 6): (50, rate), (WEB, 2): (50, rate), (DATABASE, 2): (rate, 50),
            })
        model = app.shell.views["interfaces"].model
        await until(pilot, lambda: model.value(f"{HOST}/5", "rx") == 400.0 and model.rows.ticks == 4)
        app.feed.close()  # however long the screens take: no counters come, and the rates stay
        for number, view in enumerate(VIEWS, 1):
            await pilot.press(str(number))
            if view == "interfaces":
                for column in ("ns", "mac", "name"):  # rows of equal value keep the order that they had, which was that of some moment
                    app.view.sort_by(column, False)
            app.view.table.action_edge(view == "events")
            await pilot.pause()
            await looks(app, pilot, f"{view}-{tag}", snapshot)
        app.go_to("interface", f"{WEB}/2")
        await pilot.press("enter")
        await pilot.pause()
        await pilot.pause()
        await looks(app, pilot, f"details-{tag}", snapshot)
        await pilot.press("escape", "slash", *"rx>10k x:")
        await pilot.pause()
        await looks(app, pilot, f"filter-{tag}", snapshot)
