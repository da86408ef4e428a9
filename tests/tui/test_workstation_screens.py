"""The workstation on hostile names, small screens, few colours, no Unicode, many rows; and that it rests when nothing changes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from protocol.model import Container, Link, Network
from tests.tui.opened_workstation import opened, screen_text, until
from tests.tui.played_helper import HOST, UP, PlayedHelper, Row, base_rows, log_entry

pytestmark = [pytest.mark.req("W1"), pytest.mark.req("W6")]

HOSTILE = "\x1b[2Jx[red]y[/red]\u202e[link=a]\n\x07"


def hostile_rows() -> list[Row]:
    rows: list[Row] = []
    for topic, key, value in base_rows():
        if isinstance(value, Link | Network):
            value = msgspec.structs.replace(value, name=value.name + HOSTILE)
        elif isinstance(value, Container):
            value = msgspec.structs.replace(value, ref=value.ref + HOSTILE, command=(HOSTILE,), hostname=HOSTILE)
        rows.append((topic, key, value))
    rows.append(("log", "9", log_entry(9, subject=HOSTILE, text=HOSTILE, where=HOSTILE, actor=HOSTILE)))
    return rows


@pytest.mark.parametrize("size", [(80, 24), (200, 50)])
async def test_hostile_names_are_only_shown(size: tuple[int, int]) -> None:
    helper = PlayedHelper(hostile_rows())
    helper.answers = {"network.inspect": [{"Name": HOSTILE}], "container.inspect": [{"Name": HOSTILE}]}
    async with opened(helper, size) as (app, _, pilot):
        for key in "1234":
            await pilot.press(key, "d", "right", "right", "left", "d", "slash", *"[b]x", "enter", "escape", "y")
            text = screen_text(app)
            assert not any(char in text for char in "\x1b\x07\u202e")
            app.run_line(f"go {HOSTILE}")
            await pilot.pause()
            await pilot.press("escape")
        await pilot.press("ctrl+p", *"go")
        await pilot.pause(0.3)
        assert "\x1b" not in screen_text(app)


@pytest.mark.parametrize("size", [(80, 24), (40, 10), (20, 5)])
async def test_small_screens_work(size: tuple[int, int]) -> None:
    async with opened(size=size) as (app, _helper, pilot):
        await pilot.press("2", "d", "right", "escape", "3", "slash", "x", "escape", "colon", "q", "escape", "question_mark", "escape")
        assert app.is_running


async def test_ascii_draws_nothing_else() -> None:
    async with opened(ascii=True) as (app, helper, pilot):
        helper.count({(HOST, 5): (0, 0)})
        helper.count({(HOST, 5): (100, 0)})
        for key in ("1", "2", "3", "4", "d", "d", "space", "slash", "escape", "question_mark"):
            await pilot.press(key)
            await pilot.pause()
            assert screen_text(app).isascii(), [char for char in screen_text(app) if not char.isascii()]


@pytest.mark.parametrize(("variables", "theme"), [
    ({"NO_COLOR": "1", "COLORTERM": "truecolor"}, "netdeck-16"),
    ({"COLORTERM": "", "TERM": "xterm"}, "netdeck-16"),
    ({"COLORTERM": "truecolor", "TERM": "xterm-256color"}, "netdeck-dark"),
    ({"COLORTERM": "truecolor", "NETDECK_THEME": "netdeck-light"}, "netdeck-light"),
])
async def test_the_theme_suits_the_terminal(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], theme: str) -> None:
    for name in ("NO_COLOR", "NETDECK_THEME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    async with opened() as (app, _, pilot):
        assert app.theme == theme
        seen = []
        for _ in range(3):
            await pilot.press("t")
            seen.append(app.theme)
        assert sorted(seen) == ["netdeck-16", "netdeck-dark", "netdeck-light"]


async def test_every_theme_of_textual_works_too() -> None:
    async with opened() as (app, _, pilot):
        for name in app.available_themes:
            app.run_line(f"theme {name}")
            await pilot.pause()
            assert app.theme == name


async def test_ten_thousand_interfaces() -> None:
    rows = base_rows()
    rows += [("links", f"{HOST}/{index}", Link(HOST, index, f"veth{index}", "veth", "up", UP, 1500)) for index in range(100, 10_100)]
    async with opened(PlayedHelper(rows)) as (app, helper, pilot):
        await pilot.press("3")
        keys = {(HOST, index): (index, 0) for index in range(100, 10_100)}
        helper.count(keys)
        helper.count(keys)
        await until(pilot, lambda: app.view.model.value(f"{HOST}/10099", "rx") == 10_099.0, seconds=20)
        assert "10 009" in screen_text(app)


async def test_nothing_is_painted_while_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened() as (app, helper, pilot):
        helper.count({(HOST, 5): (0, 0)})
        await pilot.pause(0.3)
        painted: list[object] = []
        display = app._display

        def watched(screen: Any, renderable: Any) -> None:
            painted.extend([renderable] if renderable is not None else [])
            display(screen, renderable)

        monkeypatch.setattr(app, "_display", watched)
        helper.count({(HOST, 5): (0, 0)})
        await pilot.pause(2.5)
        assert painted == []



