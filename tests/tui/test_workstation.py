"""The workstation under the pilot, on a stream that the test plays."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot

from protocol.model import Container, Link, Network
from tests.tui.played_helper import DATABASE, HOST, UP, WEB, PlayedHelper, Row, base_rows, log_entry
from tui.widgets.live_table import LiveTable
from tui.workstation import Workstation

pytestmark = [pytest.mark.req("W1")]
SIZE = (120, 40)


@asynccontextmanager
async def opened(
    helper: PlayedHelper | None = None, size: tuple[int, int] = SIZE, **options: Any
) -> AsyncIterator[tuple[Workstation, PlayedHelper, Pilot[int]]]:
    helper = helper or PlayedHelper()
    app = Workstation(source=helper, **options)
    helper.feed = app.feed
    async with app.run_test(size=size, notifications=True) as pilot:
        await until(pilot, lambda: app.feed.loaded or bool(helper.refusal))
        await pilot.pause()
        yield app, helper, pilot


async def until(pilot: Pilot[int], condition: Callable[[], bool], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await pilot.pause(0.01)
    await pilot.pause()


def screen_text(app: Workstation) -> str:
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in app.screen._compositor.render_strips())


def column(table: LiveTable, name: str) -> list[object]:
    return [table.model.value(key, name) for key in table.model.shown_keys()]


def line_with(app: Workstation, text: str) -> str:
    return next((line for line in screen_text(app).splitlines() if text in line), "")


# Views

async def test_networks_show_subnets_containers_and_traffic() -> None:
    async with opened() as (app, helper, pilot):
        helper.count({(WEB, 2): (0, 0), (DATABASE, 2): (0, 0)})
        helper.count({(WEB, 2): (4000, 1000), (DATABASE, 2): (1000, 4000)}, seconds=2.0)
        await until(pilot, lambda: app.view.model.value("n-web", "rx") == 5000.0)
        assert column(app.view.table, "name") == ["bridge", "host", "web"]
        assert app.view.model.value("n-web", "containers") == 2
        assert "10.20.0.0/24 fd00:20::/64" in screen_text(app)
        assert "5.0k" in line_with(app, "10.20.0.0/24")
        assert "▼ DOWN" in line_with(app, "172.17.0.0/16")
        assert "Networks 3" in screen_text(app)


@pytest.mark.req("X10")
async def test_interfaces_say_which_container_and_network_each_link_belongs_to() -> None:
    async with opened() as (app, _helper, pilot):
        await pilot.press("3")
        model = app.view.model
        assert len(model.order) == 9
        assert model.value(f"{WEB}/2", "container") == "shop"
        assert model.value(f"{DATABASE}/2", "container") == "docker:database"
        assert model.value(f"{HOST}/2", "container") == "host"
        assert model.value(f"{HOST}/5", "peer") == "eth0@shop"
        assert model.value(f"{HOST}/5", "network") == "web"
        assert model.value(f"{HOST}/1", "state") == "up"


@pytest.mark.req("W5")
async def test_interface_counters_move_and_fall_to_zero() -> None:
    async with opened() as (app, helper, pilot):
        await pilot.press("3")
        helper.count({(HOST, 5): (0, 0), (HOST, 2): (0, 0)})
        helper.count({(HOST, 5): (2_000_000, 1000), (HOST, 2): (10, 10)}, errors=2)
        model, key = app.view.model, f"{HOST}/5"
        await until(pilot, lambda: model.value(key, "rx") == 2_000_000.0)
        assert model.value(key, "packets") == 20_010.0 and model.value(key, "errors") == 2.0
        assert "2.0M" in line_with(app, "vethshop")
        helper.count({(HOST, 2): (10, 10)})
        await until(pilot, lambda: model.value(key, "rx") == 0.0)
        assert app.view.history(key)[-2:] == [2_001_000.0, 0.0]


async def test_containers_of_every_runtime() -> None:
    async with opened() as (app, _helper, pilot):
        await pilot.press("2")
        assert column(app.view.table, "name") == ["docker:database", "old", "shop"]
        assert app.view.model.value("c-shop", "addresses") == "10.20.0.10/24"
        assert "EXITED 3" in line_with(app, " old ")
        assert "nginx -g daemon off;" in screen_text(app)


@pytest.mark.req("W4")
async def test_what_happens_shows_at_once() -> None:
    async with opened() as (app, helper, pilot):
        added = Network("n-new", "fresh", "bridge", 0.0)
        helper.change(("networks", "put", "n-new", added),
                      ("log", "put", "4", log_entry(4, kind="network", action="created", subject="fresh")))
        await until(pilot, lambda: "fresh" in screen_text(app))
        helper.change(("networks", "del", "n-new", None))
        await until(pilot, lambda: "fresh" not in screen_text(app))
        await pilot.press("4")
        assert "network   created      fresh" in screen_text(app)


@pytest.mark.req("W4")
async def test_events_follow_freeze_on_going_up_and_follow_again() -> None:
    async with opened() as (app, helper, pilot):
        await pilot.press("4")
        await until(pilot, lambda: app.view.table.cursor_key == "3@1789000003.0")
        helper.change(("log", "put", "4", log_entry(4, level="warning", text="carrier lost")))
        await until(pilot, lambda: app.view.table.cursor_key == "4@1789000004.0")
        assert "! WARN" in line_with(app, "carrier lost")
        await pilot.press("up", "up")
        assert app.view.model.frozen and "FROZEN" in screen_text(app)
        helper.change(("log", "put", "5", log_entry(5)))
        await until(pilot, lambda: app.view.model.waiting == 1)
        assert len(app.view.model.order) == 4
        await pilot.press("end")
        await until(pilot, lambda: app.view.table.cursor_key == "5@1789000005.0")
        assert not app.view.model.frozen and "following" in screen_text(app)


async def test_the_log_is_bounded() -> None:
    async with opened() as (app, helper, pilot):
        entries = [("log", "put", str(number), log_entry(number)) for number in range(10, 5_110)]
        helper.change(*entries)
        await until(pilot, lambda: len(app.feed.log) == 5_000)
        assert app.feed.log[-1].seq == 5_109 and len(app.shell.views["events"].model.rows) == 5_000


# Filter, sort, freeze, cursor

async def test_filter_works_as_one_types_and_tells_what_is_wrong() -> None:
    async with opened() as (app, _helper, pilot):
        await pilot.press("3", "slash", *"ns:shop")
        assert column(app.view.table, "container") == ["shop", "shop"]
        assert "Interfaces 2/9 · /ns:shop" in screen_text(app) and app.prompt.note.startswith("2 of 9 match")
        await pilot.press(*" rx>x")
        assert "rx is a number" in screen_text(app)
        assert app.view.model.filter_text == "ns:shop rx", "a wrong filter leaves the last good one"
        await pilot.press("enter")
        assert isinstance(app.focused, LiveTable)
        await pilot.press("escape")
        assert len(app.view.model.order) == 9


async def test_escape_takes_the_filter_back() -> None:
    async with opened() as (app, _helper, pilot):
        await pilot.press("slash", *"web", "escape")
        assert len(app.view.model.order) == 3 and not app.prompt.is_open


@pytest.mark.req("W5")
async def test_the_cursor_stays_on_its_object() -> None:
    async with opened() as (app, helper, pilot):
        await pilot.press("end")
        assert app.selected() is not None and app.selected().name == "web"  # type: ignore[union-attr]
        for number in range(5):
            helper.change(("networks", "put", f"n-{number}", Network(f"n-{number}", f"alpha{number}", "bridge", 0.0)))
        await until(pilot, lambda: len(app.view.model.order) == 8)
        await pilot.press("s")
        selected = app.selected()
        assert selected is not None and selected.name == "web"


async def test_space_freezes_and_says_so() -> None:
    async with opened() as (app, helper, pilot):
        await pilot.press("space")
        helper.change(("networks", "del", "n-web", None))
        await until(pilot, lambda: "n-web" not in app.feed.networks)
        assert "web" in column(app.view.table, "name") and "1 changes waiting" in screen_text(app)
        assert "FROZEN" in screen_text(app).splitlines()[0]
        await pilot.press("space")
        assert "web" not in column(app.view.table, "name") and "FROZEN" not in screen_text(app)


# Details

async def test_details_stand_beside_the_list_or_take_its_place() -> None:
    async with opened() as (app, _helper, pilot):
        await pilot.press("end", "d")
        assert app.details.is_open and "Network web" in screen_text(app) and "Networks 3" in screen_text(app)
        assert isinstance(app.focused, LiveTable)
        await pilot.press("up")
        assert "Network host" in screen_text(app), "the details follow the cursor"
        await pilot.resize_terminal(80, 24)
        await pilot.pause(0.1)
        assert "Network host" in screen_text(app) and "Networks 3" not in screen_text(app)
        await pilot.press("escape")
        assert "Networks 3" in screen_text(app)


async def test_details_show_docker_shaped_json_and_copy_it() -> None:
    async with opened() as (app, helper, pilot):
        await pilot.press("end", "enter", "right")
        assert "docker:database" in screen_text(app)
        await pilot.press("right")
        await until(pilot, lambda: '"Driver": "bridge"' in screen_text(app))
        assert helper.calls == [("network.inspect", {"names": ("n-web",)})]
        await pilot.press("y")
        assert json.loads(app.clipboard) == {"Name": "web", "Driver": "bridge"}


async def test_details_of_an_interface() -> None:
    async with opened() as (app, helper, pilot):
        await pilot.press("3")
        app.go_to("interface", f"{WEB}/2")
        helper.count({(WEB, 2): (0, 0)})
        helper.count({(WEB, 2): (3000, 0)})
        await pilot.press("enter")
        await until(pilot, lambda: "3.0kB/s (24kbit/s)" in screen_text(app))
        assert "vethshop@host" in screen_text(app)
        await pilot.press("right")
        assert "default via 10.20.0.1 dev eth0" in screen_text(app) and "10.20.0.10/24 global" in screen_text(app)
        helper.change(("links", "del", f"{WEB}/2", None))
        await until(pilot, lambda: "gone" in screen_text(app))


# Command line, palette, export, copy

async def test_command_line_completes_runs_and_remembers() -> None:
    async with opened() as (app, _helper, pilot):
        await pilot.press("colon", *"interf", "tab")
        assert app.prompt.input.value == "interfaces "
        await pilot.press(*"ns:shop", "enter")
        assert app.view_name == "interfaces" and app.view.model.filter_text == "ns:shop" and not app.prompt.is_open
        await pilot.press("colon", "up")
        assert app.prompt.input.value == "interfaces ns:shop"
        await pilot.press("escape", "colon", *"networs", "enter")
        await pilot.pause()
        assert "no command 'networs' (did you mean 'networks'?)" in screen_text(app) and app.prompt.is_open
        await pilot.press("escape", "colon", *"go docker:database", "enter")
        assert app.view_name == "containers" and app.selected().name == "docker:database"


async def test_palette_offers_the_same_commands() -> None:
    async with opened() as (app, _helper, pilot):
        await pilot.press("ctrl+p")
        await pilot.press(*"events")
        await until(pilot, lambda: "Show events" in screen_text(app))
        await pilot.press("enter")
        await until(pilot, lambda: app.view_name == "events")


@pytest.mark.parametrize(("suffix", "start"), [("csv", "name,rx,tx"), ("json", "["), ("md", "| name | rx |")])
async def test_export_writes_what_is_shown(tmp_path: Path, suffix: str, start: str) -> None:
    async with opened() as (app, _helper, pilot):
        app.show_view("networks", "web")
        path = tmp_path / f"out.{suffix}"
        app.run_line(f"export {path}")
        await pilot.pause()
        text = path.read_text()
        assert text.startswith(start) and "10.20.0.0/24" in text and "172.17.0.0/16" not in text
        app.run_line(f"export {path}")
        await pilot.pause()
        assert "can't be written: File exists" in app.prompt.note and path.read_text() == text


async def test_copy_takes_the_marked_names() -> None:
    async with opened() as (app, _helper, pilot):
        await pilot.press("m", "down", "m", "y")
        assert app.clipboard == "bridge\nweb"


# A lost helper

@pytest.mark.req("W6")
async def test_a_lost_helper_leaves_the_data_greyed_with_their_age_and_comes_back() -> None:
    async with opened() as (app, helper, pilot):
        assert "● live" in screen_text(app)
        helper.lose()
        await until(pilot, lambda: "HELPER LOST" in screen_text(app))
        assert app.view.table.dimmed and "10.20.0.0/24" in screen_text(app) and "as of " in screen_text(app)
        await pilot.press("end")
        helper.come()
        helper.snapshot([row for row in base_rows() if row[1] != "n-bridge"])
        await until(pilot, lambda: "172.17.0.0/16" not in screen_text(app))
        assert "● live" in screen_text(app) and not app.view.table.dimmed
        assert app.selected().name == "web"


async def test_without_a_helper_it_says_so_and_waits() -> None:
    helper = PlayedHelper()
    helper.refusal = "no helper at /run/x: start it"
    async with opened(helper) as (app, _, pilot):
        assert "no helper" in screen_text(app)
        helper.refusal = ""
        await until(pilot, lambda: "● live" in screen_text(app))


async def test_one_without_the_role_is_told() -> None:
    helper = PlayedHelper()
    async with opened(helper) as (app, _, pilot):
        assert app.feed.welcome is not None
        app.feed.welcome = msgspec.structs.replace(app.feed.welcome, role="view")
        await pilot.press("c")
        await until(pilot, lambda: "needs the role operate, you have view" in screen_text(app))


# Hostile names, narrow screens, no colour, no Unicode

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


@pytest.mark.parametrize(("variables", "theme", "coloured"), [
    ({"NO_COLOR": "1", "COLORTERM": "truecolor"}, "netdeck-16", False),
    ({"COLORTERM": "", "TERM": "xterm"}, "netdeck-16", True),
    ({"COLORTERM": "truecolor", "TERM": "xterm-256color"}, "netdeck-dark", True),
    ({"COLORTERM": "truecolor", "NETDECK_THEME": "netdeck-light"}, "netdeck-light", True),
])
async def test_colours_are_those_that_the_terminal_has(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], theme: str, coloured: bool
) -> None:
    for name in ("NO_COLOR", "NETDECK_THEME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    async with opened() as (app, _, pilot):
        assert app.theme == theme
        await pilot.pause()
        segments = [segment for strip in app.screen._compositor.render_strips() for segment in strip.apply_filter(
            app._filters[-1], app.background_colors[1])] if not coloured else []
        colours = {segment.style.color.name for segment in segments if segment.style and segment.style.color}
        assert colours <= {"default"}
        for name in app.available_themes:
            app.theme = name
            await pilot.pause()


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



