"""The table of everything that changes: thousands of rows, of which only what is seen and changed is painted.

A `ScrollView` that renders line by line from a `TableModel`. The cursor stays on its *object*: rows may be sorted,
appear and disappear around it. Rows carry no style meta data, so moving the mouse over them paints nothing.
"""

from __future__ import annotations

from typing import ClassVar, Final

from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.terminal.app import QuickApp
from tui.widgets.glyphs import UNICODE, Glyphs
from tui.widgets.table_columns import Place, lay_out
from tui.widgets.table_model import TableModel
from tui.widgets.table_rows import RowFace, RowFaces, changed_spans
from tui.widgets.table_strips import LEFT, TableStrips

_HEADER: Final = 1
_TONES: Final = ("good", "bad", "warn", "muted", "number")


class LiveTable(ScrollView, can_focus=True):
    """Shows `model`. After changing the model call `data_changed`, once per batch.

    `sparklines`: "all", "cursor" (only in the cursor's row) or "none".
    """

    DEFAULT_CSS = """
    LiveTable {
        height: 1fr;
        overflow-x: hidden;
        overflow-y: auto;
        scrollbar-size-vertical: 1;
        color: $foreground;
        background: $surface;
        & > .live-table--header { text-style: bold; background: $panel; color: $foreground; }
        & > .live-table--sorted { text-style: bold reverse; }
        & > .live-table--cursor { background: $primary; color: $text; text-style: bold; }
        & > .live-table--cursor-away { background: $panel; text-style: bold; }
        & > .live-table--marked { color: $accent; text-style: bold; }
        & > .live-table--good { color: $text-success; }
        & > .live-table--bad { color: $text-error; }
        & > .live-table--warn { color: $text-warning; }
        & > .live-table--muted { color: $text-muted; }
        & > .live-table--number { color: $foreground; }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "live-table--header",
        "live-table--sorted",
        "live-table--cursor",
        "live-table--cursor-away",
        "live-table--marked",
        *(f"live-table--{tone}" for tone in _TONES),
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "cursor(-1)", "Up", id="table.up", show=False),
        Binding("down,j", "cursor(1)", "Down", id="table.down", show=False),
        Binding("pageup", "page(-1)", "Page up", id="table.page_up", show=False),
        Binding("pagedown", "page(1)", "Page down", id="table.page_down", show=False),
        Binding("home", "edge(0)", "First", id="table.first", show=False),
        Binding("end", "edge(1)", "Last", id="table.last", show=False),
        Binding("enter", "select", "Open", id="table.open"),
        Binding("space", "freeze", "Freeze", id="table.freeze"),
        Binding("m", "mark", "Mark", id="table.mark", show=False),
        Binding("M", "clear_marks", "Clear marks", id="table.clear_marks", show=False),
        Binding("s,greater_than_sign", "sort(1)", "Sort", id="table.sort"),
        Binding("less_than_sign", "sort(-1)", "Sort by previous column", id="table.sort_back", show=False),
        Binding("S", "reverse_sort", "Reverse", id="table.reverse", show=False),
    ]

    class RowMessage(Message):
        """About one row of a table."""

        def __init__(self, table: LiveTable, key: str) -> None:
            super().__init__()
            self.table = table
            self.key = key

        @property
        def control(self) -> LiveTable:
            return self.table

    class Selected(RowMessage):
        """The user opened a row: enter, or a click on the row that has the cursor."""

    class Highlighted(RowMessage):
        """The cursor is on another object."""

    class ViewChanged(Message):
        """Filter, sorting, freezing, marks or the number of shown rows changed: titles may say so."""

        def __init__(self, table: LiveTable) -> None:
            super().__init__()
            self.table = table

        @property
        def control(self) -> LiveTable:
            return self.table

    class Idle(Message):
        """A key has nothing to do, and `why`."""

        def __init__(self, why: str) -> None:
            super().__init__()
            self.why = why

    def __init__(
        self, model: TableModel, *, glyphs: Glyphs = UNICODE, sparklines: str = "all", name: str | None = None, id: str | None = None,
        classes: str | None = None, disabled: bool = False,
    ) -> None:
        super().__init__(name=name, id=id, classes=classes, disabled=disabled)
        self.auto_links = False
        self.model = model
        self.glyphs = glyphs
        self.dimmed = False
        self._empty = ""
        self._faces = RowFaces(model, glyphs, sparklines)
        self._places: tuple[Place, ...] = ()
        self._laid_out_for = -1
        self._cursor_key: str | None = None
        self._cursor_row = 0
        self._strips = TableStrips(self._style, glyphs)
        self._painted: dict[int, RowFace] = {}
        self._shown_count = -1
        model.refresh_order()

    # For the views

    @property
    def cursor_key(self) -> str | None:
        """The object the cursor is on; None in an empty table."""
        return self._cursor_key

    @property
    def chosen_keys(self) -> list[str]:
        """What an action is about: the marked rows in their order, else the one with the cursor."""
        marked = [key for key in self.model.shown_keys() if key in self.model.marks]
        return marked or ([] if self._cursor_key is None else [self._cursor_key])

    def data_changed(self) -> None:
        """The model changed: paint what differs, as soon as the terminal is ready."""
        app = self.app
        if isinstance(app, QuickApp):
            app.paint_data(self.paint_changes, key=("live-table", id(self)))
        else:
            self.paint_changes()

    def set_filter(self, text: str) -> None:
        """Show only rows that pass; raises `FilterError`, and then nothing changes."""
        self.model.set_filter(text)
        self.paint_changes()
        self.post_message(self.ViewChanged(self))

    def move_to(self, key: str) -> bool:
        """Put the cursor on an object; False when it isn't shown."""
        row = self.model.row_of(key)
        if row is not None:
            self._go_to(row)
        return row is not None

    def set_dimmed(self, dimmed: bool) -> None:
        """Grey the rows: their data is old."""
        if dimmed != self.dimmed:
            self.dimmed = dimmed
            self.restyle()

    @property
    def keys_on_screen(self) -> tuple[str, ...]:
        """Keys of the rows that are seen, from the top."""
        top = self.scroll_offset.y
        rows = range(top, top + max(0, self.size.height - _HEADER))
        return tuple(key for row in rows if (key := self.model.key_at(row)) is not None)

    def say_empty(self, text: str) -> None:
        """What stands in the place of the rows while there are none."""
        if text != self._empty:
            self._empty = text
            self._painted.pop(_HEADER, None)
            self.refresh(Region(0, _HEADER, self.size.width, 1))

    def restyle(self) -> None:
        """Paint everything anew."""
        self._strips.clear()
        self.refresh()

    # Painting

    def on_mount(self) -> None:
        self._follow_object()
        # Sorting may have had to wait for the cursor to rest; this paints nothing when nothing differs.
        self.set_interval(1.0, self._settle)

    def _settle(self) -> None:
        if self.model.unsettled:
            self.data_changed()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._strips.clear()

    def on_resize(self) -> None:
        self._lay_out()
        self._keep_in_view()

    def on_focus(self) -> None:
        self._refresh_row(self._cursor_row)

    def on_blur(self) -> None:
        self._refresh_row(self._cursor_row)

    def paint_changes(self) -> None:
        """Bring order and screen up to date now; only cells that differ from what was painted are refreshed."""
        changed = self.model.refresh_order()
        if changed or len(self.model.order) != self._shown_count:
            self._follow_object()
        if not self.is_attached:
            return
        self._lay_out()
        regions = [region for y in range(_HEADER, self.size.height) for region in self._changed_regions(y)]
        if regions:
            self.refresh(*regions)

    def _changed_regions(self, y: int) -> list[Region]:
        face = self._face(y)
        painted = self._painted.get(y)
        if painted is None:
            return [Region(0, y, self.size.width, 1)]
        return [Region(x, y, width, 1) for x, width in changed_spans(painted, face, self._places, self.size.width)]

    def _face(self, y: int) -> RowFace:
        row = self.scroll_offset.y + y - _HEADER
        return self._faces.face(row, self._places, has_cursor=row == self._cursor_row)

    def _lay_out(self) -> None:
        # The scroll bar stands on the last cells: what would be cut off by it must be cut by the column, with its sign.
        width = self.size.width - (self.scrollbar_size_vertical if self.show_vertical_scrollbar else 0)
        if width != self._laid_out_for:
            self._laid_out_for = width
            self._places = lay_out(self.model.columns, width, LEFT)
            self._faces.clear()
            self._strips.clear()
            self._painted.clear()
            self._resize_view()
            self.refresh()

    def _resize_view(self) -> None:
        self._shown_count = len(self.model.order)
        size = Size(self.size.width, self._shown_count + _HEADER)
        if size != self.virtual_size:
            self.virtual_size = size

    def render_line(self, y: int) -> Strip:
        if y < _HEADER:
            return self._strips.header(self._places, self.model.sorting, self.size.width)
        self._lay_out()
        if y == _HEADER and self._empty and not self.model.order:
            self._painted.pop(y, None)  # whatever comes next is painted over the whole line
            return self._strips.note(self._empty, self.size.width)
        face = self._face(y)
        self._painted[y] = face
        return self._strips.row(face, self._places, self.size.width, focused=self.has_focus, dimmed=self.dimmed)

    def _style(self, name: str) -> Style:
        """A style of this table: "" is that of plain rows, others name component classes."""
        return self.get_component_rich_style(f"live-table--{name}", partial=True) if name else self.rich_style

    # The cursor

    def _follow_object(self) -> None:
        """After the order changed: the cursor goes where its object went, and the screen line stays the same."""
        before, scroll = self._cursor_row, self.scroll_offset.y
        was_seen = 0 <= before - scroll < max(1, self.size.height - _HEADER)
        self._resize_view()
        row = None if self._cursor_key is None else self.model.row_of(self._cursor_key)
        if row is None:
            row = max(0, min(before, len(self.model.order) - 1))
            self._set_cursor(row)
        self._cursor_row = row
        if was_seen and row != before:
            self.scroll_to(y=max(0, scroll + row - before), animate=False)
            self._keep_in_view()
        self.post_message(self.ViewChanged(self))

    def _set_cursor(self, row: int) -> None:
        self._cursor_row = row
        key = self.model.key_at(row)
        if key != self._cursor_key:
            self._cursor_key = key
            if key is not None:
                self.post_message(self.Highlighted(self, key))

    def _go_to(self, row: int) -> None:
        row = max(0, min(row, len(self.model.order) - 1))
        self.model.cursor_moved()
        if row == self._cursor_row and self.model.key_at(row) == self._cursor_key:
            return
        before = self._cursor_row
        self._set_cursor(row)
        self._refresh_row(before)
        self._refresh_row(row)
        self._keep_in_view()

    def _keep_in_view(self) -> None:
        page = max(1, self.size.height - _HEADER)
        top = self.scroll_offset.y
        if self._cursor_row < top:
            self.scroll_to(y=self._cursor_row, animate=False)
        elif self._cursor_row >= top + page:
            self.scroll_to(y=self._cursor_row - page + 1, animate=False)

    def _refresh_row(self, row: int) -> None:
        y = row - self.scroll_offset.y + _HEADER
        if _HEADER <= y < self.size.height:
            self.refresh(Region(0, y, self.size.width, 1))

    # Keys and mouse

    def action_cursor(self, steps: int) -> None:
        self._go_to(self._cursor_row + steps)

    def action_page(self, pages: int) -> None:
        page = max(1, self.size.height - _HEADER)
        self.scroll_to(y=max(0, self.scroll_offset.y + pages * page), animate=False)
        self._go_to(self._cursor_row + pages * page)

    def action_edge(self, last: int) -> None:
        self._go_to(len(self.model.order) - 1 if last else 0)

    def action_select(self) -> None:
        if self._cursor_key is not None:
            self.post_message(self.Selected(self, self._cursor_key))
        else:
            self.post_message(self.Idle("the list is empty: there is nothing to open"))

    def action_freeze(self) -> None:
        if self.model.frozen:
            self.model.thaw()
        else:
            self.model.freeze()
        self._view_changed()

    def action_mark(self) -> None:
        if self._cursor_key is not None:
            self.model.toggle_mark(self._cursor_key)
            self.action_cursor(1)
            self._view_changed()
        else:
            self.post_message(self.Idle("the list is empty: there is nothing to mark"))

    def action_clear_marks(self) -> None:
        if not self.model.marks:
            self.post_message(self.Idle("no row is marked: m marks one"))
        self.model.marks.clear()
        self._view_changed()

    def action_sort(self, steps: int) -> None:
        self.model.move_sort(steps)
        self._view_changed()

    def action_reverse_sort(self) -> None:
        self.model.reverse_sort()
        self._view_changed()

    def _view_changed(self) -> None:
        self.refresh(Region(0, 0, self.size.width, _HEADER))
        self.paint_changes()
        self.post_message(self.ViewChanged(self))

    def on_click(self, event: events.Click) -> None:
        if event.y >= _HEADER:
            row = self.scroll_offset.y + event.y - _HEADER
            if row >= len(self.model.order):
                return
            if row == self._cursor_row:
                self.action_select()
            else:
                self._go_to(row)
            return
        hit = [place for place in self._places if place.x <= event.x < place.x + place.width]
        if hit and hit[0].column.id in self.model.sortable:
            column = hit[0].column.id
            again = column == self.model.sorting.column
            self.model.set_sort(column, not self.model.sorting.reverse if again else False)
            self._view_changed()
