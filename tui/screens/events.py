"""The Events view: what happened, newest last. It follows until one scrolls up."""

from __future__ import annotations

from typing import Any

from protocol.model import LogEntry
from tui.feed import Batch, Feed
from tui.rows import events as rows
from tui.screens.view import View
from tui.selection import Selected
from tui.widgets.glyphs import UNICODE, Glyphs
from tui.widgets.live_table import LiveTable
from tui.widgets.table_model import Sorting


class FollowingTable(LiveTable):
    """Shows the last row as it comes, until one goes up: then it freezes, so that what one reads stays."""

    @property
    def following(self) -> bool:
        return not self.model.frozen and self.model.sorting == Sorting("time")

    def follow(self) -> None:
        """Go to the last row, if that is what one is looking at."""
        if self.following and self.model.order:
            super().action_edge(1)

    def _hold(self) -> None:
        if self.following:
            self.action_freeze()

    def action_cursor(self, steps: int) -> None:
        if steps < 0:
            self._hold()
        super().action_cursor(steps)

    def action_page(self, pages: int) -> None:
        if pages < 0:
            self._hold()
        super().action_page(pages)

    def action_edge(self, last: int) -> None:
        if not last:
            self._hold()
        elif self.model.frozen:
            self.action_freeze()
        super().action_edge(last)

    def on_mouse_scroll_up(self) -> None:
        self._hold()


class EventsView(View):
    """The log of the helper, bounded by what the feed keeps."""

    title = "Events"
    kind = "event"
    sort = "time"
    nothing = "nothing has happened yet · it is shown as it happens"
    table_class = FollowingTable

    def __init__(self, feed: Feed, glyphs: Glyphs = UNICODE, **table_options: Any) -> None:
        super().__init__(feed, rows.columns(glyphs), id="events", glyphs=glyphs, **table_options)
        self._entries: dict[str, LogEntry] = {}

    def collect(self, batch: Batch) -> None:
        for entry in batch.dropped:
            key = rows.key_of(entry)
            self._entries.pop(key, None)
            self.model.remove(key)
        for entry in batch.log:
            key = rows.key_of(entry)
            self._entries[key] = entry
            self.model.put(key, rows.row(entry))

    def object_of(self, key: str) -> Selected | None:
        entry = self._entries.get(key)
        return None if entry is None else Selected(self.kind, key, entry)

    def show_changes(self) -> None:
        super().show_changes()
        self.workstation.paint_data(self._follow, key=("follow", id(self)))

    def _follow(self) -> None:
        if isinstance(self.table, FollowingTable):
            self.table.follow()

    def _subtitle_text(self) -> str:
        if isinstance(self.table, FollowingTable) and self.table.following and self.feed.connected and self.model.order:
            return "following · newest last"
        return super()._subtitle_text()

    def on_live_table_view_changed(self, message: LiveTable.ViewChanged) -> None:
        self.refresh_titles()
        self._follow()

    def _stay_at_top(self) -> None:
        """The newest is at the bottom, and that is where one looks."""
