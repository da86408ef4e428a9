"""A page of lines that scrolls. Only lines that differ are painted again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from rich.segment import Segment
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.documents import Line

_TONES: Final = ("heading", "label", "good", "bad", "warn", "muted", "number", "accent")


class TextPane(ScrollView, can_focus=True):
    """Shows lines of a `documents.Page`."""

    DEFAULT_CSS = """
    TextPane {
        height: 1fr;
        overflow-x: hidden;
        overflow-y: auto;
        scrollbar-size-vertical: 1;
        color: $foreground;
        background: $surface;
        & > .text-pane--heading { text-style: bold; color: $text-primary; }
        & > .text-pane--label { color: $text-muted; }
        & > .text-pane--good { color: $text-success; }
        & > .text-pane--bad { color: $text-error; }
        & > .text-pane--warn { color: $text-warning; }
        & > .text-pane--muted { color: $text-muted; }
        & > .text-pane--number { color: $text-warning; }
        & > .text-pane--accent { color: $text-accent; }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"text-pane--{tone}" for tone in _TONES}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", "Down", show=False),
        Binding("k", "scroll_up", "Up", show=False),
    ]
    auto_links = False

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.lines: list[Line] = []

    def set_lines(self, lines: Sequence[Line]) -> None:
        """Show these lines; those that stay as they were are not painted."""
        before, self.lines = self.lines, list(lines)
        size = Size(self.size.width, len(self.lines))
        if size != self.virtual_size:
            self.virtual_size = size
        top = self.scroll_offset.y
        count = max(len(before), len(self.lines))
        empty: Line = ()
        changed = [
            Region(0, row - top, self.size.width, 1)
            for row in range(top, min(count, top + self.size.height))
            if (before[row] if row < len(before) else empty) != (self.lines[row] if row < len(self.lines) else empty)
        ]
        if changed:
            self.refresh(*changed)

    def render_line(self, y: int) -> Strip:
        row = y + self.scroll_offset.y
        base = self.rich_style
        if row >= len(self.lines):
            return Strip.blank(self.size.width, base)
        segments = [
            Segment(span.text, base + self.get_component_rich_style(f"text-pane--{span.tone}", partial=True) if span.tone else base)
            for span in self.lines[row]
        ]
        return Strip(segments).adjust_cell_length(self.size.width, base)
