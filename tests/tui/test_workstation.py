"""The workstation under the pilot: views, filter, details, commands, a lost helper."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from protocol.model import Network
from tests.tui.opened_workstation import column, line_with, opened, screen_text, until
from tests.tui.played_helper import DATABASE, HOST, WEB, PlayedHelper, base_rows, log_entry
from tui.widgets.live_table import LiveTable

pytestmark = [pytest.mark.req("W1")]


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
        assert "▲ READY" in line_with(app, "172.17.0.0/16")  # without a port a bridge has no carrier
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
        await pilot.press("slash", *"level:/warn|error/", "enter")
        assert column(app.view.table, "level") == ["warning"]


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
        assert app.prompt.is_open and "rx is a number" in screen_text(app), "what is no filter is not kept"
        await pilot.press(*["backspace"] * 5, "enter")
        assert isinstance(app.focused, LiveTable) and app.view.model.filter_text == "ns:shop"
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


async def test_a_page_that_has_to_scroll_is_not_cut_under_its_scroll_bar() -> None:
    async with opened(size=(80, 50)) as (app, helper, pilot):
        await pilot.press("end", "enter")
        full = app.details.pane.scrollable_content_region.width
        helper.answers["network.inspect"] = [{str(number): "x" * full for number in range(30)}]
        await pilot.press("right", "right")
        await until(pilot, lambda: "xxx" in screen_text(app) and app.details.pane.show_vertical_scrollbar)
        assert app.details.pane.scrollable_content_region.width == full - 1
        await until(pilot, lambda: max(sum(len(span.text) for span in line) for line in app.details.pane.lines) == full - 1, seconds=10)


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
        await until(pilot, lambda: "did you mean" in screen_text(app))
        assert "no command 'networs' (did you mean 'networks'?)" in screen_text(app) and app.prompt.is_open
        for line, said in (("network connect web netns:a", "netdeck network connect is a command of the shell: :attach does it here"),
                           ("docker ps", ":containers does it here"), ("netdeck network rm web", ":go does it here, then D removes"),
                           ("netdeck doctor", "netdeck doctor is a command of the shell: ctrl+z")):
            await pilot.press("escape", "colon", *line, "enter")
            await until(pilot, lambda said=said: said in " ".join(screen_text(app).split()))
            assert app.view_name == "interfaces", "it is no filter"
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
