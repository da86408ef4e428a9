"""The body of the workstation: the views, of which one is shown, and the details beside it or in its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from textual.app import ComposeResult
from textual.containers import Container

from protocol.model import LogEntry
from tui.feed import Batch, Feed
from tui.keys import VIEWS
from tui.objects import object_of
from tui.screens.containers import ContainersView
from tui.screens.details import DetailsPanel
from tui.screens.events import EventsView
from tui.screens.interfaces import InterfacesView
from tui.screens.networks import NetworksView
from tui.screens.view import View
from tui.screens.vlans import VlansView
from tui.selection import VIEW_OF, Selected

#: Cells from which on list and details stand side by side.
WIDE: Final = 120


class Shell(Container):
    """Views by name, and which of them is shown."""

    DEFAULT_CSS = """
    Shell { height: 1fr; layout: horizontal; }
    Shell #views { width: 3fr; height: 1fr; }
    Shell #views > View { display: none; }
    Shell #views > View.-shown { display: block; }
    """

    def __init__(self, feed: Feed, **table_options: Any) -> None:
        super().__init__(id="shell")
        self.feed = feed
        made: Sequence[View] = (
            NetworksView(feed, **table_options), ContainersView(feed, **table_options),
            InterfacesView(feed, **table_options), EventsView(feed, **table_options), VlansView(feed, **table_options),
        )
        self.views = dict(zip(VIEWS, made, strict=True))
        self.view: View = made[0]
        self.details = DetailsPanel()
        self._views = Container(id="views")

    def compose(self) -> ComposeResult:
        with self._views:
            yield from self.views.values()
        yield self.details

    @property
    def wide(self) -> bool:
        """Whether list and details stand side by side."""
        return self.app.size.width >= WIDE

    @property
    def reading_details(self) -> bool:
        """Whether the keys are the details'."""
        return self.details.is_open and (self.details.pane.has_focus or not self.wide)

    def collect(self, batch: Batch) -> None:
        """Bring every view up to date."""
        for view in self.views.values():
            view.collect(batch)

    def object_of(self, kind: str, key: str) -> Selected | None:
        """The object as it is now; None when it is gone."""
        view = self.views.get(VIEW_OF[kind])
        return view.object_of(key) if view is not None and kind in ("event", "vlan") else object_of(self.feed, kind, key)

    def history(self, selected: Selected) -> list[float]:
        """Bytes a second of the last minute of an object."""
        return [] if isinstance(selected.model, LogEntry) else self.views[VIEW_OF[selected.kind]].history(selected.key)

    def show_view(self, name: str, filter_text: str | None = None) -> None:
        """Switch to a view; with `filter_text`, filtered by it. Raises FilterError."""
        view = self.views[name]
        if filter_text is not None:
            view.table.set_filter(filter_text)
        if view is not self.view or not view.has_class("-shown"):
            self.view.remove_class("-shown")
            self.view = view
            view.add_class("-shown")
            if self.details.is_open and not self.wide:
                self.close_details()
            self.details.show(view.selected())
        view.show_changes()
        self.call_after_refresh(view.table.paint_changes)
        view.focus_table()

    def cursor_moved(self) -> None:
        """The details follow, unless one is reading them."""
        if not self.reading_details:
            self.details.show(self.view.selected())

    def open_details(self, *, go_there: bool) -> None:
        """Show the details of the selected object, and with `go_there` give them the keys."""
        selected = self.view.selected()
        if selected is not None:
            self._views.add_class("-beside")
            self.details.open(selected)
            if go_there or not self.wide:
                self.details.pane.focus()

    def close_details(self) -> None:
        self.details.close()
        self._views.remove_class("-beside")
        self.view.focus_table()

    def toggle_details(self) -> None:
        if self.details.is_open:
            self.close_details()
        else:
            self.open_details(go_there=False)

    def change_pane(self) -> None:
        """The keys go to the other of list and details."""
        if self.details.is_open and not self.details.pane.has_focus:
            self.details.pane.focus()
        elif self.wide or not self.details.is_open:
            self.view.focus_table()
