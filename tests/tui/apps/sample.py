"""A small application for the terminal tests: a table of changing counters, wide characters, a dialog, a log.

Usage: sample.py {live|stock} ROWS TICK — `live` is LiveTable on QuickApp, `stock` is DataTable on Textual's App.
Which rows change, and how, comes from a seeded generator, so that two runs show the same after the same ticks.
Keys: x counts up in the title line (the echo), d opens a dialog, w writes wide characters, t makes one tick, c copies,
o switches the mouse, z leaves the terminal for a moment, q quits.
"""

from __future__ import annotations

import os
import random
import sys
from typing import Any, ClassVar

from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import DataTable, Input, Label, Static

from tui.terminal.app import QuickApp
from tui.widgets.live_table import LiveTable
from tui.widgets.table_columns import Column, Kind
from tui.widgets.table_model import TableModel

COLUMNS = (
    Column("name", "NAME", 14, stretch=True),
    Column("rx", "RX/s", 10, Kind.NUMBER),
    Column("tx", "TX/s", 10, Kind.NUMBER),
    Column("pps", "PPS", 8, Kind.NUMBER, priority=1),
    Column("state", "STATE", 9, Kind.STATE),
    Column("ns", "NS", 10, priority=2),
    Column("mac", "MAC", 18, priority=3),
)
WIDE = ("plain", "世界 wide 日本語", "e\u0301 combining", "한국어 text", "tail 世", "\U0001f642 smile")


KEYS: list[BindingType] = [
    ("x", "echo", "Echo"),
    ("d", "dialog", "Dialog"),
    ("w", "wide", "Wide"),
    ("t", "one_tick", "Tick"),
    ("c", "copy_title", "Copy"),
    ("o", "toggle_mouse", "Mouse"),
    ("z", "outside", "Suspend"),
    ("q", "quit", "Quit"),
]


class Dialog(ModalScreen[None]):
    """A dialog over the table, dimming it."""

    CSS = """
    Dialog { align: center middle; }
    Dialog Vertical { width: 40; height: 9; border: round $primary; background: $panel; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss", "Close")]

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Label("名前 name of the network")
            field = Input(placeholder="web")
            field.cursor_blink = False  # whether it is seen at a moment would be chance
            yield field


class Sample:
    """What both applications have in common."""

    CSS = """
    #title { height: 1; background: $primary; }
    #wide { height: 1; }
    DataTable { height: 1fr; }
    """
    ENABLE_COMMAND_PALETTE = False

    def begin(self, rows: int, tick: float) -> None:
        self.rows = rows
        self.tick_seconds = tick
        self.echoes = 0
        self.wides = 0
        self.ticks = 0
        self.random = random.Random(1)
        self.numbers = [[self.random.randrange(10**6) for _ in range(3)] for _ in range(rows)]

    def step(self) -> list[int]:
        """Let one tick pass; returns the rows that changed."""
        self.ticks += 1
        changed = [row for row in range(self.rows) if self.random.random() < 0.3]
        for row in changed:
            for column in range(3):
                self.numbers[row][column] += self.random.randrange(1, 4000)
        return changed

    def titles(self) -> ComposeResult:
        yield Static("echo 0", id="title")
        yield Static(WIDE[0], id="wide")

    def texts(self, row: int) -> dict[str, object]:
        return {
            "name": f"veth{row:06d}",
            "state": ("up", "down", "unknown")[row % 3],
            "ns": f"ns-{row % 97:03d}",
            "mac": f"02:42:00:00:{row >> 8 & 255:02x}:{row & 255:02x}",
        }


class LiveSample(Sample, QuickApp[None]):
    """The table on LiveTable."""

    BINDINGS = KEYS

    def compose(self) -> ComposeResult:
        self.model = TableModel(COLUMNS, sort="name")
        for row in range(self.rows):
            rx, tx, pps = self.numbers[row]
            self.model.put(str(row), {**self.texts(row), "rx": rx, "tx": tx, "pps": pps})
        yield from self.titles()
        yield LiveTable(self.model, id="table")

    def on_mount(self) -> None:
        self.table = self.query_one(LiveTable)
        self.table.focus()
        if self.tick_seconds:
            self.set_interval(self.tick_seconds, self.action_one_tick)

    def action_one_tick(self) -> None:
        changed = self.step()
        columns = zip(*(self.numbers[row] for row in changed), strict=True)
        self.model.put_numbers(changed, dict(zip(("rx", "tx", "pps"), columns, strict=True)))
        self.table.data_changed()

    def action_echo(self) -> None:
        self.echoes += 1
        self.query_one("#title", Static).update(f"echo {self.echoes}")

    def action_wide(self) -> None:
        self.wides += 1
        self.query_one("#wide", Static).update(WIDE[self.wides % len(WIDE)])

    def action_dialog(self) -> None:
        self.push_screen(Dialog())

    def action_copy_title(self) -> None:
        self.copy_text(f"echo {self.echoes}")

    def action_toggle_mouse(self) -> None:
        self.set_mouse(not self.mouse)

    def action_outside(self) -> None:
        with self.suspend():
            pass


class StockSample(Sample, App[None]):
    """The table on Textual's own DataTable and output."""

    BINDINGS = KEYS

    def compose(self) -> ComposeResult:
        yield from self.titles()
        yield DataTable(cursor_type="row", id="table")

    def on_mount(self) -> None:
        self.table: DataTable[Any] = self.query_one(DataTable)
        self.table.focus()
        for column in COLUMNS:
            self.table.add_column(column.title, key=column.id, width=column.width)
        for row in range(self.rows):
            texts = self.texts(row)
            self.table.add_row(
                texts["name"], *map(str, self.numbers[row]), texts["state"], texts["ns"], texts["mac"], key=str(row)
            )
        if self.tick_seconds:
            self.set_interval(self.tick_seconds, self.action_one_tick)

    def action_one_tick(self) -> None:
        for row in self.step():
            for name, number in zip(("rx", "tx", "pps"), self.numbers[row], strict=True):
                self.table.update_cell(str(row), name, str(number))

    action_echo = LiveSample.action_echo
    action_wide = LiveSample.action_wide
    action_dialog = LiveSample.action_dialog


def main(kind: str, rows: str, tick: str) -> None:
    app: LiveSample | StockSample = LiveSample() if kind == "live" else StockSample()
    app.begin(int(rows), float(tick))
    app.run()
    counts = os.environ.get("SAMPLE_COUNTS")
    if counts and isinstance(app, LiveSample):
        with open(counts, "w", encoding="utf-8") as file:
            file.write(f"{app.paced} {app.round_trip} {app.ticks} {app.frames_written}")


if __name__ == "__main__":
    main(*sys.argv[1:])
