"""The workstation, opened under the pilot on a stream that the test plays, and what is read off its screen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.tui.played_helper import PlayedHelper
from tests.tui.settled_pilot import SettledPilot, under_pilot
from tests.waiting import LONGEST_SECONDS, comes
from tui.widgets.live_table import LiveTable
from tui.workstation import Workstation

SIZE = (120, 40)


@asynccontextmanager
async def opened(
    helper: PlayedHelper | None = None, size: tuple[int, int] = SIZE, **options: Any
) -> AsyncIterator[tuple[Workstation, PlayedHelper, SettledPilot[int]]]:
    helper = helper or PlayedHelper()
    app = Workstation(source=helper, **options)
    helper.feed = app.feed
    async with under_pilot(app, size, notifications=True) as pilot:
        await until(pilot, lambda: app.feed.loaded or bool(helper.refusal))
        await pilot.pause()
        yield app, helper, pilot


async def until(pilot: SettledPilot[int], condition: Callable[[], bool], seconds: float = LONGEST_SECONDS) -> None:
    await comes(condition, seconds=seconds)
    await pilot.settled()


def screen_text(app: Workstation) -> str:
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in app.screen._compositor.render_strips())


def column(table: LiveTable, name: str) -> list[object]:
    return [table.model.value(key, name) for key in table.model.shown_keys()]


def line_with(app: Workstation, text: str) -> str:
    return next((line for line in screen_text(app).splitlines() if text in line), "")
