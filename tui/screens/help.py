"""The help screen: every key and command, from their registries."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from tui import keys
from tui.colon_commands import usages
from tui.documents import Line, Page, Span, wrap
from tui.screens.dialog import Dialog
from tui.text import drawn
from tui.widgets.glyphs import UNICODE, Glyphs
from tui.widgets.text_pane import TextPane

_KEYS_WIDTH = 14


def help_lines(width: int, glyphs: Glyphs = UNICODE) -> list[Line]:
    """The page, `width` cells wide."""
    page = Page(width)
    for where, found in keys.sections():
        page.heading(where)
        for key in found:
            _entry(page, drawn(keys.shown(key.keys), glyphs), keys.help_text(key))
    page.heading("Commands", "after : or in the palette")
    for usage, text in usages():
        _entry(page, f":{usage}", text)
    return page.lines


def _entry(page: Page, left: str, text: str) -> None:
    room = page.width - _KEYS_WIDTH - 1
    if len(left) > _KEYS_WIDTH:
        page.raw(Span(left, "accent"))
        left = ""
    for index, part in enumerate(wrap(text, room)):
        page.raw(Span(f"{left if index == 0 else '':<{_KEYS_WIDTH}} ", "accent"), Span(part))


class HelpScreen(Dialog[None]):
    """Scrolls; any of escape, ? and q closes it."""

    DEFAULT_CSS = """
    HelpScreen > .dialog { width: 96; height: 90%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("q,question_mark", "leave", "Leave", show=False)]

    def __init__(self, glyphs: Glyphs = UNICODE) -> None:
        super().__init__("Keys", drawn("↑ ↓ scroll · esc leaves", glyphs))
        self._glyphs = glyphs
        self._pane = TextPane()

    def compose_body(self) -> ComposeResult:
        yield self._pane

    def on_mount(self) -> None:
        self._pane.focus()

    def on_resize(self) -> None:
        self.call_after_refresh(self._lay_out)

    def _lay_out(self) -> None:
        self._pane.set_lines(help_lines(max(20, self._pane.size.width - 1), self._glyphs))
