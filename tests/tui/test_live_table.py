"""LiveTable under the pilot: the cursor stays on its object, freezing, filtering, narrow widths, and only what is seen."""

from __future__ import annotations

import time
from typing import Any

import pytest
from textual.app import ComposeResult
from textual.geometry import Region

from tests.tui.settled_pilot import SettledPilot, under_pilot
from tui.terminal.app import QuickApp
from tui.widgets.glyphs import ASCII
from tui.widgets.live_table import LiveTable
from tui.widgets.table_columns import Column, Kind
from tui.widgets.table_model import TableModel

pytestmark = [pytest.mark.req("W5"), pytest.mark.req("W1")]

COLUMNS = (
    Column("name", "NAME", 12, stretch=True),
    Column("rx", "RX/s", 6, Kind.RATE),
    Column("state", "STATE", 8, Kind.STATE),
    Column("spark", "LAST MIN", 10, Kind.SPARKLINE, priority=1, source="rx"),
    Column("ns", "NAMESPACE", 16, priority=2),
)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class TableApp(QuickApp[None]):
    def __init__(self, rows: int, **options: Any) -> None:
        super().__init__()
        self.clock = Clock()
        self.model = TableModel(COLUMNS, clock=self.clock)
        for row in range(rows):
            self.model.put(f"k{row}", {"name": f"veth{row}", "rx": float(row), "state": "up", "ns": f"ns-{row % 3}"})
        self.options = options
        self.heard: list[tuple[str, str]] = []

    def compose(self) -> ComposeResult:
        yield LiveTable(self.model, **self.options)

    def on_mount(self) -> None:
        self.table = self.query_one(LiveTable)
        self.table.focus()

    def on_live_table_selected(self, message: LiveTable.Selected) -> None:
        self.heard.append(("selected", message.key))

    def on_live_table_highlighted(self, message: LiveTable.Highlighted) -> None:
        self.heard.append(("highlighted", message.key))

    def line(self, y: int) -> str:
        return self.table.render_line(y).text

    def shown_line(self) -> int:
        """The line of the table that shows the cursor."""
        return next(y for y in range(1, self.table.size.height) if self.line(y).startswith("▸"))


async def _changed(app: TableApp, pilot: SettledPilot[None]) -> None:
    app.clock.now += 3
    app.table.data_changed()
    await pilot.pause()


async def test_keys_move_the_cursor_and_open_the_object() -> None:
    app = TableApp(100)
    async with under_pilot(app) as pilot:
        await pilot.press("down", "down", "enter")
        assert app.heard[-1] == ("selected", "k2") and ("highlighted", "k1") in app.heard
        await pilot.press("end")
        assert app.table.cursor_key == "k99" and "veth99" in app.line(23)
        await pilot.press("pageup")
        assert app.table.cursor_key == "k76"
        await pilot.press("home", "up")
        assert app.table.cursor_key == "k0" and app.shown_line() == 1


async def test_the_cursor_stays_on_its_object_whatever_sorts_appears_or_goes() -> None:
    app = TableApp(200)
    async with under_pilot(app) as pilot:
        await pilot.press(*["down"] * 5)
        line = app.shown_line()
        app.model.set_sort("rx", reverse=True)
        await _changed(app, pilot)
        assert app.table.cursor_key == "k5" and "veth5 " in app.line(app.shown_line())
        app.model.set_sort("name")
        await _changed(app, pilot)
        for row in range(50):
            app.model.put(f"a{row}", {"name": f"aaa{row}"})
        await _changed(app, pilot)
        assert app.table.cursor_key == "k5" and app.shown_line() == line
        for row in range(5):
            app.model.remove(f"k{row}")
        await _changed(app, pilot)
        assert app.table.cursor_key == "k5" and "veth5 " in app.line(app.shown_line())
        app.model.remove("k5")
        await _changed(app, pilot)
        assert app.table.cursor_key == "k6" and app.heard[-1] == ("highlighted", "k6")


async def test_nothing_is_sorted_under_a_moving_cursor() -> None:
    app = TableApp(50)
    async with under_pilot(app) as pilot:
        app.model.set_sort("rx", reverse=True)
        await _changed(app, pilot)
        await pilot.press("home", "down")
        app.model.put("k10", {"rx": 1e9})
        app.clock.now += 1
        app.table.data_changed()
        await pilot.pause()
        assert app.model.key_at(0) == "k49" and app.table.cursor_key == "k48"
        await _changed(app, pilot)
        assert app.model.key_at(0) == "k10" and app.table.cursor_key == "k48"


async def test_freeze_shows_what_was_while_collecting_goes_on() -> None:
    app = TableApp(20)
    async with under_pilot(app) as pilot:
        await pilot.press("space")
        app.model.put("k0", {"rx": 123456.0})
        app.model.put("new", {"name": "new"})
        await _changed(app, pilot)
        assert app.model.frozen and app.model.waiting == 2
        assert "123k" not in app.line(1) and len(app.model.order) == 20
        await pilot.press("space")
        await pilot.pause()
        assert "123k" in "".join(app.line(y) for y in range(1, 24)) and len(app.model.order) == 21


async def test_filter_keeps_the_object_or_takes_the_next() -> None:
    app = TableApp(30)
    async with under_pilot(app) as pilot:
        await pilot.press("down", "down", "down")
        app.table.set_filter("ns:ns-0")
        await pilot.pause()
        assert app.table.cursor_key == "k3" and len(app.model.order) == 10
        app.table.set_filter("rx>20")
        await pilot.pause()
        assert app.table.cursor_key in app.model.shown_keys()
        app.table.set_filter("nothing-like-this")
        await pilot.pause()
        assert app.table.cursor_key is None
        await pilot.press("enter", "down", "m")
        app.table.set_filter("")
        await pilot.pause()
        assert app.table.cursor_key is not None and len(app.model.order) == 30


async def test_sorting_keys_show_their_sign() -> None:
    app = TableApp(5)
    async with under_pilot(app) as pilot:
        assert "NAME▲" in app.line(0)
        await pilot.press("s")
        assert "RX/s▼" in app.line(0) and "veth4" in app.line(1)
        await pilot.press("S")
        assert "RX/s▲" in app.line(0) and "veth0" in app.line(1)
        await pilot.press("less_than_sign")
        assert "NAME▲" in app.line(0)


async def test_marks_choose_several() -> None:
    app = TableApp(5)
    async with under_pilot(app) as pilot:
        await pilot.press("m", "m")
        assert app.table.chosen_keys == ["k0", "k1"] and "●" in app.line(1)
        await pilot.press("M")
        assert app.table.chosen_keys == ["k2"] and "●" not in app.line(1)


@pytest.mark.parametrize("width", [80, 50, 34, 20, 8])
async def test_narrow_terminals_drop_columns_by_priority(width: int) -> None:
    app = TableApp(10)
    async with under_pilot(app, (width, 24)) as pilot:
        await pilot.pause()
        header = app.line(0)
        assert ("NAMESPACE" in header, "LAST MIN" in header) == (width >= 80, width >= 50)
        assert all(app.table.render_line(y).cell_length == app.table.size.width for y in range(24))
        assert "veth3" in app.line(4)


async def test_colour_is_never_alone_and_ascii_is_enough() -> None:
    app = TableApp(4, glyphs=ASCII)
    async with under_pilot(app) as pilot:
        app.model.put("k1", {"state": "down"})
        await _changed(app, pilot)
        text = "".join(app.line(y) for y in range(24))
        assert "^ UP" in text and "v DOWN" in text and text.isascii()


async def test_hostile_names_are_shown_not_obeyed() -> None:
    app = TableApp(1)
    async with under_pilot(app) as pilot:
        app.model.put("k0", {"name": "[red]\x1b[2J\u202ex", "state": "\x1b]0;"})
        await _changed(app, pilot)
        line = app.line(1)
        assert "[red]" in line and "\x1b" not in line and "\u202e" not in line and "\\x1b" in line


async def test_of_ten_thousand_rows_only_what_is_seen_is_formatted() -> None:
    formatted: list[object] = []

    def count(value: object) -> str:
        formatted.append(value)
        return str(value)

    columns = (Column("name", "NAME", 12, stretch=True), Column("rx", "RX", 10, Kind.NUMBER, formatter=count))
    app = TableApp(0)
    app.model = TableModel(columns, clock=app.clock)
    for row in range(10_000):
        app.model.put(str(row), {"name": f"veth{row}", "rx": row})
    async with under_pilot(app) as pilot:
        await pilot.pause()
        assert len(formatted) <= 80
        formatted.clear()
        slots = range(10_000)
        started = time.process_time()
        ticks = 20
        for tick in range(ticks):
            app.model.put_numbers(slots, {"rx": [float(tick + slot) for slot in slots]})
            await _changed(app, pilot)
        used = time.process_time() - started
        assert len(formatted) <= ticks * 24 * 2
        # Processor time, against that of writing all the numbers once a tick, which is the least that drawing all rows would take.
        started = time.process_time()
        for tick in range(ticks):
            assert len([f"{tick + slot:>10,.1f}" for slot in slots]) == 10_000
        assert used < 10 * (time.process_time() - started)


async def test_only_changed_cells_are_refreshed(monkeypatch: pytest.MonkeyPatch) -> None:
    app = TableApp(100)
    async with under_pilot(app) as pilot:
        await pilot.pause()
        regions: list[Region] = []
        refresh = app.table.refresh

        def note(*given: Region, **how: Any) -> LiveTable:
            regions.extend(given)
            return refresh(*given, **how)

        monkeypatch.setattr(app.table, "refresh", note)
        app.model.put_numbers([app.model.slot("k3") or 0, app.model.slot("k90") or 0], {"rx": [7777.0, 8888.0]})
        app.table.data_changed()
        await pilot.pause()
        rx = app.table._places[1]
        assert [(region.x, region.y, region.width, region.height) for region in regions] == [(rx.x, 4, rx.width, 1)]


async def test_a_click_moves_and_opens_and_sorts() -> None:
    app = TableApp(10)
    async with under_pilot(app) as pilot:
        await pilot.click(LiveTable, offset=(5, 4))
        assert app.table.cursor_key == "k3"
        await pilot.click(LiveTable, offset=(5, 4))
        assert app.heard[-1] == ("selected", "k3")
        rx = app.table._places[1]
        await pilot.click(LiveTable, offset=(rx.x + 1, 0))
        assert app.model.sorting.column == "rx" and app.table.cursor_key == "k3"


async def test_the_scroll_bar_hides_no_cell_and_what_is_cut_says_so() -> None:
    app = TableApp(100)
    for row in range(100):
        app.model.put(f"k{row}", {"ns": f"namespace-{row:03d}-with-a-name-that-is-cut"})
    async with under_pilot(app) as pilot:
        await pilot.pause()
        assert app.table.show_vertical_scrollbar
        inside = 80 - app.table.scrollbar_size_vertical
        lines = [app.line(y)[:inside].rstrip() for y in range(1, 24)]
        assert all(line.endswith("…") for line in lines), lines
