"""Outcomes are told beside what one works with: never on the line that is typed, nor on the keys."""

from __future__ import annotations

import pytest

from tests.tui.opened_workstation import opened, until
from tui.screens.forms.confirm import Confirm
from tui.workstation import Workstation

pytestmark = [pytest.mark.req("W1")]

LONG = "network web: 10.20.0.0/24 overlaps with a route of this host; " * 3


def rows_of_toasts(app: Workstation) -> set[int]:
    """Lines of the screen on which something of them is seen."""
    width, height = app.size
    return {y for y in range(height) for x in range(width) if type(app.screen.get_widget_at(x, y)[0]).__name__ == "Toast"}


async def test_a_dialog_shows_its_keys_whatever_was_told_before_it() -> None:
    """In the smallest terminals too, where not all of them have room: the first and the way out stay."""
    for size, keys in (((60, 20), " ctrl+s switch on · up and down scroll · esc cancels "), ((44, 16), " ctrl+s switch on · esc cancels ")):
        async with opened(size=size) as (app, _, pilot):
            app.tell("done")
            await until(pilot, lambda: bool(rows_of_toasts(app)))
            app.push_screen(Confirm("Host access to network lan: on", lambda width: [], "Switch on"))

            def shown(app: Workstation = app, keys: str = keys) -> bool:
                text = "\n".join("".join(part.text for part in strip) for strip in app.screen._compositor.render_strips())
                return keys in text and not rows_of_toasts(app)

            await until(pilot, shown)


@pytest.mark.parametrize("size", [(80, 24), (40, 12), (120, 40)])
@pytest.mark.parametrize("keys", ["/", ":"])
async def test_they_never_cover_prompt_or_footer(size: tuple[int, int], keys: str) -> None:
    names = {"/": "slash", ":": "colon"}
    async with opened(size=size) as (app, _, pilot):
        app.tell("done")
        app.show_error(LONG)

        def clear() -> bool:
            first = app.prompt.region.y if app.prompt.is_open else app.hints.region.y
            rows = rows_of_toasts(app)
            return bool(rows) and max(rows) == first - 1

        await until(pilot, clear)
        await pilot.press(names[keys])
        await until(pilot, clear)
        if keys == ":":
            await pilot.press(*"nonsense", "enter")  # what is wrong with it is said in further lines
        await until(pilot, lambda: clear() and app.prompt.is_open)
        await pilot.press("escape")
        await until(pilot, lambda: clear() and not app.prompt.is_open)
