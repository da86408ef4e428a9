"""Dialogs: a frame in the middle of the screen; escape gives up."""

from __future__ import annotations

from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen, ScreenResultType

from protocol.names import display_text
from tui.tables import cell_width
from tui.text import drawn
from tui.widgets.glyphs import ASCII

_FRAME: Final = 6  # cells of a frame that are not for what stands in its lower edge
_BETWEEN: Final = " · "


def fitting_keys(text: str, width: int) -> str:
    """A line of keys with " · " between them, in `width` cells: the last but one goes first, so that the first and the way out stay."""
    parts = text.split(_BETWEEN)
    while len(parts) > 1 and cell_width(_BETWEEN.join(parts)) > width:
        del parts[-2 if len(parts) > 2 else 0]
    return _BETWEEN.join(parts)


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
        self._foot = subtitle
        self._frame = Vertical(classes="dialog")
        self._frame.border_title = Content(display_text(title))

    def compose(self) -> ComposeResult:
        with self._frame:
            yield from self.compose_body()

    def on_mount(self) -> None:
        self.app.clear_notifications()  # what was told before would stand on the buttons and the keys

    def on_resize(self) -> None:
        self.call_after_refresh(self._show_keys)

    def _show_keys(self) -> None:
        """As many keys as the frame has room for."""
        keys = fitting_keys(self._foot, self._frame.outer_size.width - _FRAME)
        self._frame.border_subtitle = Content(display_text(drawn(keys, ASCII) if self.app.has_class("-ascii") else keys))

    def compose_body(self) -> ComposeResult:
        """The widgets inside the frame."""
        yield from ()

    def action_leave(self) -> None:
        self.dismiss(None)
