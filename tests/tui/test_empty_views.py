"""A view without rows says why, and what one could do; a filter that is none is not kept."""

from __future__ import annotations

import pytest

from tests.tui.opened_workstation import opened, screen_text, until
from tests.tui.played_helper import WEB, PlayedHelper, base_rows

pytestmark = [pytest.mark.req("W1")]


async def test_each_view_says_what_to_do() -> None:
    namespaces = [row for row in base_rows() if row[0] == "namespaces"]
    async with opened(PlayedHelper(namespaces), size=(80, 24)) as (app, helper, pilot):
        for key, text in (("1", "no network yet · c creates one"), ("2", "netdeck run starts one"), ("3", "no interface"),
                          ("4", "nothing has happened yet")):
            await pilot.press(key)
            await until(pilot, lambda text=text: text in screen_text(app))  # type: ignore[misc]
        await pilot.press("1")
        helper.snapshot(base_rows())
        await until(pilot, lambda: "10.20.0.0/24" in screen_text(app))
        assert "no network" not in screen_text(app)


async def test_without_a_helper_the_reason_stands_there() -> None:
    helper = PlayedHelper()
    helper.refusal = "no helper answers at /run/netdeck/helper.sock"
    async with opened(helper, size=(80, 24)) as (app, _, pilot):
        await until(pilot, lambda: "waiting for the helper: no helper answers" in screen_text(app))


async def test_a_filter_without_matches_says_how_to_leave_it() -> None:
    async with opened(size=(80, 24)) as (app, _, pilot):
        await pilot.press("slash", *"zzz", "enter")
        await until(pilot, lambda: "nothing matches zzz · esc shows all again" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: "10.20.0.0/24" in screen_text(app) and "nothing matches" not in screen_text(app))


async def test_enter_does_not_keep_what_is_no_filter() -> None:
    async with opened(size=(80, 24)) as (app, _, pilot):
        await pilot.press("slash", *"rx>bogus", "enter")
        await pilot.pause()
        assert app.prompt.is_open and "rx is a number" in app.prompt.note
        assert "complete" not in screen_text(app).splitlines()[-1], "a filter is not completed"
        await pilot.press(*["backspace"] * 5, *"1k", "enter")
        await until(pilot, lambda: not app.prompt.is_open)
        assert app.view.model.filter_text == "rx>1k"


async def test_details_say_whose_interface_it_is() -> None:
    async with opened() as (app, _, pilot):
        app.go_to("interface", f"{WEB}/2")
        await pilot.press("d")
        await until(pilot, lambda: "Interface eth0 of shop" in screen_text(app))
