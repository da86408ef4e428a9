"""Dialogs: a frame in the middle of the screen; escape gives up."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen, ScreenResultType

from protocol.names import display_text
from tui.text import drawn
from tui.widgets.glyphs import ASCII


class Dialog(ModalScreen[ScreenResultType | None]):
    """A modal screen with a frame. Subclasses compose its contents in `compose_body`."""

    DEFAULT_CSS = """
    Dialog { align: center middle; background: $background 60%; }
    Dialog > .dialog { width: 76; max-width: 100%; height: auto; max-height: 100%; border: round $border-active; background: $surface;
                       border-title-color: $foreground; border-title-style: bold; border-subtitle-color: $text-muted; padding: 0 1; }
    Dialog .field-error { color: $text-error; height: auto; }
    Dialog .hint { color: $text-muted; height: auto; }
    Dialog .code { color: $text-accent; height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Leave", show=False)]

    def __init__(self, title: str, subtitle: str = "esc leaves") -> None:
        super().__init__()
        self._foot = display_text(subtitle)
        self._frame = Vertical(classes="dialog")
        self._frame.border_title = Content(display_text(title))
        self._frame.border_subtitle = Content(self._foot)

    def compose(self) -> ComposeResult:
        if self.app.has_class("-ascii"):
            self._frame.border_subtitle = Content(drawn(self._foot, ASCII))
        with self._frame:
            yield from self.compose_body()

    def compose_body(self) -> ComposeResult:
        """The widgets inside the frame."""
        yield from ()

    def action_leave(self) -> None:
        self.dismiss(None)
