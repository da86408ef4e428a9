"""A list to pick from, with a field above it that filters as one types. Marks pick several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Static

from protocol.names import display_text
from tui.filter import FilterError
from tui.screens.forms.fields import TextField
from tui.text import drawn, plain
from tui.widgets.glyphs import Glyphs
from tui.widgets.live_table import LiveTable
from tui.widgets.table_columns import Column
from tui.widgets.table_model import TableModel


class FilterField(TextField):
    """Filters the list; up and down move in the list meanwhile."""

    steps = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "Up", show=False),
        Binding("down", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("insert,ctrl+@", "mark", "Mark", show=False),
    ]

    def _table(self) -> LiveTable:
        picker = next(found for found in self.ancestors if isinstance(found, Picker))
        return picker.table

    def action_move(self, rows: int) -> None:
        self._table().action_cursor(rows)

    def action_page(self, pages: int) -> None:
        self._table().action_page(pages)

    def action_mark(self) -> None:
        self._table().action_mark()


class Picker(Vertical):
    """Rows by key. `place` is where the form's errors about the pick are shown."""

    DEFAULT_CSS = """
    Picker { height: 1fr; min-height: 7; }
    Picker > LiveTable { height: 1fr; min-height: 4; background: transparent; }
    Picker > .field-error { display: none; }
    Picker.-wrong > .field-error { display: block; }
    """
    help = "type to filter · up and down choose · ctrl+space marks several · tab goes on"

    class Picked(Message):
        """The cursor or the marks are elsewhere."""

    def __init__(self, columns: Sequence[Column], *, place: str, glyphs: Glyphs, sort: str) -> None:
        super().__init__()
        self.place = place
        self.label = ""  # it is in sight
        self.field = FilterField(placeholder="filter", id="filter")
        self.help = drawn(self.help, glyphs)
        self.table = LiveTable(TableModel(columns, sort=sort), glyphs=glyphs, id="picks")
        self._error = Static(plain(""), classes="field-error")
        self._keys: tuple[str, ...] = ()

    def compose(self) -> ComposeResult:
        yield self.field
        yield self.table
        yield self._error

    @property
    def keys(self) -> tuple[str, ...]:
        """What is picked: the marked rows, else the one with the cursor."""
        return tuple(self.table.chosen_keys)

    @property
    def nothing(self) -> str:
        """Why nothing is picked."""
        if not self.table.model.rows.slots:
            return "There is nothing to pick from."
        return "Nothing is picked." if self.table.model.order else f"Nothing in the list matches {display_text(self.field.text)!r}."

    def show_rows(self, rows: Mapping[str, Mapping[str, object]]) -> None:
        """Show these rows and no others; cursor and marks stay on their objects."""
        model = self.table.model
        for key in [key for key in model.rows.slots if key not in rows]:
            model.remove(key)
        for key, cells in rows.items():
            model.put(key, dict(cells))
        self.table.data_changed()
        self.call_after_refresh(self._tell)

    def mark(self, keys: Iterable[str]) -> None:
        self.table.model.marks = set(keys)
        self.table.data_changed()

    def show_error(self, text: str) -> None:
        self.set_class(bool(text), "-wrong")
        self._error.update(plain(f"! {text}" if text else ""))

    def focus_control(self) -> None:
        self.field.focus()

    @on(FilterField.Changed)
    def _filter(self, event: FilterField.Changed) -> None:
        event.stop()
        try:
            self.table.set_filter(event.value)
        except FilterError as error:
            self.show_error(str(error))
        else:
            self.show_error("")
        self._tell()

    @on(LiveTable.Highlighted)
    @on(LiveTable.ViewChanged)
    def _moved(self, event: Message) -> None:
        event.stop()
        self._tell()

    @on(LiveTable.Selected)
    def _opened(self, event: LiveTable.Selected) -> None:
        event.stop()
        self.screen.focus_next()

    def _tell(self) -> None:
        if self.keys != self._keys:
            self._keys = self.keys
            self.post_message(self.Picked())
