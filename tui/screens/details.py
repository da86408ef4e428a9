"""The details of the selected object: beside the list where there is room, else in its place."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from textual.app import ComposeResult
from textual.containers import Container
from textual.content import Content
from textual.widgets import Static

from protocol.errors import NetdeckError
from protocol.messages import QUERIES, Event, Snapshot
from protocol.model import Link, Neighbour, Query
from protocol.names import display_text
from tui.detail_pages import JSON_PAGE, PAGES, Context, inspected_object, lines, question, watched
from tui.documents import builtins, json_text, plain_text
from tui.feed import Batch
from tui.queries import KEPT
from tui.rows.vlans import VlanGroup
from tui.selection import Selected
from tui.widgets.text_pane import TextPane

if TYPE_CHECKING:
    from tui.workstation import Workstation

def title_of(selected: Selected) -> str:
    """Which object it is; interfaces of containers often bear the same name."""
    if isinstance(selected.model, VlanGroup):
        group = selected.model
        return f"VLAN {group.vid} of {group.parent.name}" if group.vid else f"Parent {group.parent.name}"
    place = f" of {selected.model.container}" if isinstance(selected.model, Link) and selected.model.container else ""
    return f"{selected.kind.capitalize()} {selected.name}{place}"


class DetailsPanel(Container):
    """Shows one object, page by page, and follows it as it changes."""

    DEFAULT_CSS = """
    DetailsPanel { display: none; width: 2fr; min-width: 44; height: 1fr; border: round $border-calm;
                   border-title-color: $foreground; border-subtitle-color: $text-muted; padding: 0 1; background: $surface; }
    DetailsPanel.-open { display: block; }
    DetailsPanel:focus-within { border: round $border-active; }
    DetailsPanel #pages { height: 1; margin-bottom: 1; }
    """

    def __init__(self) -> None:
        super().__init__(id="details")
        self.selected: Selected | None = None
        self.page = 0
        self._kind = ""  # of the object that `page` is of
        self._inspected: Any = None
        self._asked: tuple[str, str, int] | None = None  # the object and the page that `_inspected` is about
        self._queries: deque[Query] = deque(maxlen=KEPT)
        self._refused = ""
        self._neighbours: dict[str, Neighbour] | None = None
        self._watched: tuple[str, int] | None = None  # topic and namespace that are followed for the page
        self._stale = False
        self._strip = Static("", id="pages", markup=False)
        self.pane = TextPane(id="page")

    @property
    def workstation(self) -> Workstation:
        from tui.workstation import Workstation

        app = self.app
        assert isinstance(app, Workstation)
        return app

    @property
    def is_open(self) -> bool:
        return self.has_class("-open")

    @property
    def looked_at(self) -> str | None:
        """The interface whose counters are being read here."""
        selected = self.selected
        seen = self.is_open and selected is not None and selected.kind == "interface" and self.page == 0 and not self._stale
        return selected.key if seen and selected is not None else None

    def compose(self) -> ComposeResult:
        yield self._strip
        yield self.pane

    def show(self, selected: Selected | None) -> None:
        """Show an object; None leaves the last one, which may be gone."""
        if selected is None:
            return
        known = self.selected
        if self._kind and self._kind != selected.kind:
            # The page of the same name, which need not have the same place.
            name = PAGES[self._kind][self.page][0]
            self.page = next((place for place, (other, _) in enumerate(PAGES[selected.kind]) if other == name), 0)
        self._kind = selected.kind
        another = known is None or (known.kind, known.key) != (selected.kind, selected.key)
        if another:
            self._inspected = self._asked = None
        self.selected = selected
        if not self.is_open:
            return
        if another:
            self.pane.scroll_to(y=0, animate=False)
            self.border_title = Content(display_text(title_of(selected)))
            self.border_subtitle = None
        self.refresh_page()

    def open(self, selected: Selected) -> None:
        self.add_class("-open")
        self.selected = None
        self.show(selected)

    def close(self) -> None:
        self.remove_class("-open")
        self._watch(None)
        self.workstation.look_around()

    def turn(self, steps: int) -> None:
        """Another page."""
        if self.selected is not None:
            self.page = (self.page + steps) % len(PAGES[self.selected.kind])
            self._inspected = self._asked = None
            self.pane.scroll_to(y=0, animate=False)
            self.refresh_page()

    def follow(self, batch: Batch) -> None:
        """The feed changed: the object is looked up anew; what the helper was asked is asked again when it may differ."""
        selected = self.selected
        if selected is None or not self.is_open:
            return
        current = self.workstation.shell.object_of(selected.kind, selected.key)
        gone = current is None
        if gone != self._stale:
            self._stale = gone
            self.border_subtitle = Content("gone") if gone else None
        self.selected = current or selected
        if batch.connection and self.workstation.feed.connected:
            self._watch(None)  # what was followed ended with the connection
        if batch.touches("networks", "endpoints", "containers", "links", "addresses", "routes") or batch.connection:
            self._asked = None
        self.refresh_page()

    def on_mount(self) -> None:
        self.watch(self.pane, "show_vertical_scrollbar", self.on_resize, init=False)  # it takes a column from the text

    def on_resize(self) -> None:
        if self.is_open:
            self.call_after_refresh(self.refresh_page)

    def refresh_page(self) -> None:
        """Lay the page out again; only lines that differ are painted."""
        selected = self.selected
        if selected is None or not self.is_open or self.pane.size.width <= 0:
            return
        names = [name for name, _ in PAGES[selected.kind]]
        self.page = min(self.page, len(names) - 1)
        self._show_strip(names)
        self._watch(watched(selected, self.page))
        about = (selected.kind, selected.key, self.page)
        asked = question(self.workstation.feed, selected, self.page)
        if asked is not None and self._asked != about:
            self._asked = about
            self.run_worker(self._ask(about, *asked), group="inspect", exclusive=True, exit_on_error=False)
        self.workstation.look_around()
        self.pane.set_lines(lines(self._page_context(), selected, self.page))

    def _page_context(self) -> Context:
        selected, station = self.selected, self.workstation
        assert selected is not None
        return Context(
            station.feed, station.glyphs, self.pane.scrollable_content_region.width or self.pane.size.width,
            station.shell.history(selected), self._inspected, station.look.see(selected.key) if selected.kind == "interface" else None,
            tuple(self._queries), self._refused, self._neighbours,
        )

    def _show_strip(self, names: list[str]) -> None:
        parts: list[tuple[str, str]] = []
        for index, name in enumerate(names):
            style = "bold $tab-active on $tab-active-background" if index == self.page else "$text-muted"
            parts += [(f" {name} ", style), (" ", "")]
        self._strip.update(Content.assemble(*parts))

    def _watch(self, what: tuple[str, int] | None) -> None:
        """Follow a topic in one namespace while a page shows it: the helper tells such things only to who watches."""
        if what == self._watched:
            return
        self._watched = what
        self._queries.clear()
        self._neighbours = None
        self._refused = ""
        if what is not None:
            self.run_worker(self._follow_topic(*what), group="watched", exclusive=True, exit_on_error=False)
        else:
            self.workers.cancel_group(self, "watched")

    async def _follow_topic(self, topic: str, inode: int) -> None:
        subscription = self.workstation.client.subscribe((topic,), inodes=(inode,))
        try:
            async for item in subscription:
                if isinstance(item, Snapshot | Event):
                    self._take(topic, item)
                    self.workstation.paint_data(self.refresh_page, key="details")
        except NetdeckError as error:
            self._refused = error.message
            self.workstation.paint_data(self.refresh_page, key="details")
        finally:
            await subscription.close()

    def _take(self, topic: str, item: Snapshot | Event) -> None:
        if topic == QUERIES:
            if isinstance(item, Event):
                self._queries.extend(value for _, change, _, value in item.changes if change == "put")
        elif isinstance(item, Snapshot):
            self._neighbours = {key: value for _, key, value in item.state}
        elif self._neighbours is not None:
            for _, change, key, value in item.changes:
                if change == "put":
                    self._neighbours[key] = value
                else:
                    self._neighbours.pop(key, None)

    async def _ask(self, about: tuple[str, str, int], operation: str, arguments: dict[str, Any]) -> None:
        try:
            answer: Any = await self.workstation.client.call(operation, arguments)
        except NetdeckError as error:
            answer = error.message
        selected = self.selected
        if selected is not None and (selected.kind, selected.key, self.page) == about:
            self._inspected = answer
            self.workstation.paint_data(self.refresh_page, key="details")

    def text(self) -> str:
        """The page as text, for the clipboard; the JSON page as JSON."""
        selected = self.selected
        if selected is None:
            return ""
        if PAGES[selected.kind][self.page][0] == JSON_PAGE:
            if question(self.workstation.feed, selected, self.page) is None:
                return json_text(builtins(selected.model)) + "\n"
            if isinstance(self._inspected, list | dict):
                return json_text(inspected_object(self._inspected)) + "\n"
        return plain_text(self.pane.lines)
