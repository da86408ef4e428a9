"""The question before what can't be taken back: it shows what will happen, and its default is *cancel*."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import Button

from tui.documents import Line
from tui.screens.dialog import Dialog
from tui.widgets.text_pane import TextPane


class Confirm(Dialog[bool]):
    """`lines` lays out what will happen for a width. Without `words` there is nothing to agree to, only a way out."""

    DEFAULT_CSS = """
    Confirm > .dialog { width: 92; max-width: 96%; padding: 1 2 0 2; }
    Confirm TextPane { height: 1fr; }
    Confirm .confirm-bar { height: 1; margin-top: 1; align-horizontal: right; }
    Confirm Button { margin-left: 2; min-width: 12; }
    Confirm Button:focus { background: $foreground; color: $background; text-style: bold underline !important; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab,shift+tab,left,right", "other", "Other button", show=False),
        Binding("up,k", "scroll(-1)", "Up", show=False),
        Binding("down,j", "scroll(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "A page up", show=False),
        Binding("pagedown", "page(1)", "A page down", show=False),
        Binding("n,q", "leave", "Cancel", show=False),
        Binding("ctrl+enter,ctrl+s", "agree", "Do it", show=False, priority=True),  # as in every form
    ]

    def __init__(self, title: str, lines: Callable[[int], Sequence[Line]], words: str = "") -> None:
        keys = f"ctrl+s {words[:1].lower()}{words[1:]} · up and down scroll · tab: other button · esc cancels"
        super().__init__(title, keys if words else "esc leaves")
        self._lines, self._words = lines, words
        self._pane = TextPane()
        self._pane.can_focus = False
        self._cancel = Button("Cancel" if words else "Close", id="cancel", compact=True)
        self._agree = Button(words, variant="error", id="agree", compact=True)

    def compose_body(self) -> ComposeResult:
        yield self._pane
        with Horizontal(classes="confirm-bar"):
            yield self._cancel
            if self._words:
                yield self._agree

    def on_mount(self) -> None:
        self._cancel.focus()
        self._lay_out()

    def on_resize(self) -> None:
        self.call_after_refresh(self._lay_out)

    def _lay_out(self) -> None:
        width = min(92, int(self.size.width * 0.96)) - 7
        lines = list(self._lines(max(20, width)))
        room = max(4, self.size.height - 6)
        self._frame.styles.height = min(len(lines), room) + 5
        self._pane.set_lines(lines)

    def action_other(self) -> None:
        (self._agree if self._words and self._cancel.has_focus else self._cancel).focus()

    def action_agree(self) -> None:
        """Where there is nothing to agree to, the key has nothing to do but leave."""
        self.dismiss(bool(self._words))

    def action_page(self, pages: int) -> None:
        self._pane.scroll_relative(y=pages * max(1, self._pane.size.height - 1), animate=False)

    def action_scroll(self, lines: int) -> None:
        self._pane.scroll_relative(y=lines, animate=False)

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        self.dismiss(event.button is self._agree)
