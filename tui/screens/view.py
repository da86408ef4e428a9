"""What the views have in common: a frame with a title, a live table, and keeping the table's model up to date."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from textual.app import ComposeResult
from textual.containers import Container
from textual.content import Content

from protocol.names import display_text
from tui.feed import Batch, Feed
from tui.rows.words import duration_text
from tui.selection import Selected
from tui.text import drawn
from tui.widgets.live_table import LiveTable
from tui.widgets.table_columns import Column
from tui.widgets.table_model import TableModel

if TYPE_CHECKING:
    from tui.workstation import Workstation


#: Seconds after the first data in which the cursor stays at the top.
_SETTLING: Final = 6.0


class View(Container):
    """A view on one kind of object. Subclasses say which rows a batch touches and what is in them.

    `collect` is called for every batch, shown or not; `show_changes` paints, and is called only while the view is shown.
    """

    DEFAULT_CSS = """
    View { height: 1fr; width: 1fr; border: round $border-calm; border-title-color: $foreground; border-subtitle-color: $text-muted; }
    View:focus-within { border: round $border-active; }
    """

    title: ClassVar[str] = ""
    kind: ClassVar[str] = ""
    sort: ClassVar[str | None] = None
    descending: ClassVar[bool] = False
    nothing: ClassVar[str] = ""
    table_class: ClassVar[type[LiveTable]] = LiveTable

    def __init__(self, feed: Feed, columns: Sequence[Column], *, id: str, **table_options: Any) -> None:
        super().__init__(id=id)
        self.feed = feed
        self.model = TableModel(columns, sort=self.sort, reverse=self.descending)
        self.table = self.table_class(self.model, id=f"{id}-table", **table_options)
        self._titles = ("", "")
        self._wanted_key: str | None = None
        self._settled = False
        self._first_shown: float | None = None

    @property
    def workstation(self) -> Workstation:
        from tui.workstation import Workstation

        app = self.app
        assert isinstance(app, Workstation)
        return app

    def compose(self) -> ComposeResult:
        yield self.table

    def on_mount(self) -> None:
        self.refresh_titles()

    # For subclasses

    def collect(self, batch: Batch) -> None:
        """Bring the model up to date."""
        raise AssertionError(f"{type(self).__name__} does not collect")

    def object_of(self, key: str) -> Selected | None:
        """The object that a row is about; None when it is gone."""
        raise AssertionError(f"{type(self).__name__} has no objects")

    # For the application

    def set_filter(self, text: str) -> None:
        """Show only what passes. Raises FilterError."""
        self.table.set_filter(text)
        self.refresh_titles()

    def sort_by(self, column: str, descending: bool) -> None:
        """Sort by a column."""
        self.model.set_sort(column, descending)
        self.table.restyle()
        self.table.paint_changes()
        self.refresh_titles()

    def selected(self) -> Selected | None:
        key = self.table.cursor_key
        return None if key is None else self.object_of(key)

    def chosen(self) -> tuple[Selected, ...]:
        """The marked objects, else the one with the cursor."""
        return tuple(found for key in self.table.chosen_keys if (found := self.object_of(key)) is not None)

    def history(self, key: str) -> list[float]:
        """Bytes a second of the last minute of a row, oldest first."""
        ring = self.model.rows.rings.get("traffic")
        slot = self.model.slot(key)
        return [] if ring is None or slot is None or slot >= ring.slots else ring.last(slot)

    def show_changes(self) -> None:
        """Paint what changed."""
        self.table.set_dimmed(not self.feed.connected)
        self.table.data_changed()
        self.refresh_titles()
        if self._wanted_key is not None and self.table.move_to(self._wanted_key):
            self._wanted_key = None

    def go_to(self, key: str) -> None:
        """Put the cursor on an object, now or when it arrives. A filter that hides it is taken away."""
        if key in self.model.rows.slots and self.model.row_of(key) is None and self.model.filter_text:
            self.table.set_filter("")
        self._wanted_key = None if self.table.move_to(key) else key
        self._settled = True

    def focus_table(self) -> None:
        self.table.focus()

    # Title: name, how many, filter. Subtitle: order, or why it stands still

    def refresh_titles(self) -> None:
        titles = (self._title_text(), self._subtitle_text())
        if titles != self._titles and self.is_attached:
            self._titles = titles
            self.border_title = Content(drawn(titles[0], self.table.glyphs))
            self.border_subtitle = Content(drawn(titles[1], self.table.glyphs))
        self.table.say_empty(drawn(self._empty_text(), self.table.glyphs))

    def _empty_text(self) -> str:
        """Why no row is shown, and what one could do."""
        if self.model.order:
            return ""
        if not self.feed.loaded:
            return "waiting for the helper" + (f": {self.feed.reason}" if self.feed.reason else "")
        if self.model.filter_text:
            return f"nothing matches {display_text(self.model.filter_text)} · esc shows all again"
        return self.nothing

    def _title_text(self) -> str:
        shown, all_rows = len(self.model.order), len(self.model.view.slots)
        count = f"{shown:,}" if shown == all_rows and not self.model.filter_text else f"{shown:,}/{all_rows:,}"
        words = [self.title, count.replace(",", " ")]
        if self.model.marks:
            words.append(f"· {len(self.model.marks)} marked")
        if self.model.filter_text:
            words.append(f"· /{display_text(self.model.filter_text)}")
        return " ".join(words)

    def _subtitle_text(self) -> str:
        glyphs = self.table.glyphs
        if self.model.frozen:
            return (f"{glyphs.frozen} FROZEN {duration_text(self.model.frozen_for)} · {self.model.waiting} changes waiting · "
                    "space goes on")
        if not self.feed.connected and self.feed.heard_at is not None:
            return f"as of {time.strftime('%H:%M:%S', time.localtime(self.feed.heard_at))}"
        if not self.model.order:
            return ""
        sorting = self.model.sorting
        return f"by {sorting.column} {glyphs.descending if sorting.reverse else glyphs.ascending}"

    def on_live_table_view_changed(self, message: LiveTable.ViewChanged) -> None:
        self.refresh_titles()
        self._stay_at_top()

    def on_live_table_highlighted(self, message: LiveTable.Highlighted) -> None:
        self._settled = self._settled or self.model.row_of(message.key) != 0

    def _stay_at_top(self) -> None:
        """While the first data come in and nobody has moved, the cursor waits at the top and not on what came first."""
        if not self._settled and self.feed.loaded:
            now = time.monotonic()
            self._first_shown = self._first_shown or now
            self._settled = now - self._first_shown > _SETTLING
            if self.model.row_of(self.table.cursor_key or "") not in (0, None):
                self.table.action_edge(0)


class RatedView(View):
    """A view of rows with rates: its `touched`, `cells` and `rates` make the rows."""

    def touched(self, batch: Batch) -> set[str]:
        """Keys of rows that may differ."""
        raise AssertionError(f"{type(self).__name__} does not say what is touched")

    def cells(self, key: str) -> dict[str, object]:
        """The cells of a row that change seldom."""
        raise AssertionError(f"{type(self).__name__} has no cells")

    def rates(self, keys: Sequence[str]) -> dict[str, list[float]]:
        """The columns that change each second, for these rows."""
        raise AssertionError(f"{type(self).__name__} has no rates")

    def rated_keys(self, batch: Batch) -> list[str]:
        """Rows whose rates may differ after a tick."""
        return list(self.model.rows.slots)

    topic: ClassVar[str] = ""

    def collect(self, batch: Batch) -> None:
        for key in batch.removed.get(self.topic, ()):
            self.model.remove(key)
        touched = sorted(self.touched(batch))
        fresh = [key for key in touched if key not in self.model.rows.slots]
        for key in touched:
            self.model.put(key, self.cells(key))
        if fresh:
            self._put_rates(fresh)
        if batch.tick:
            self._put_rates(self.rated_keys(batch))
            self.model.push_samples()

    def _put_rates(self, keys: Sequence[str]) -> None:
        slots = [self.model.rows.slots[key] for key in keys]
        if slots:
            self.model.put_numbers(slots, self.rates(keys))
