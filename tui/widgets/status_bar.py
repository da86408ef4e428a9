"""The line at the top: the views at the left; host, user, link and freshness at the right. And the line of keys at the bottom."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from textual.content import Content
from textual.widgets import Static

from tui.keys import Key, fitting, shown
from tui.text import drawn
from tui.widgets.glyphs import UNICODE, Glyphs
from tui.widgets.status_piece import Piece


class StatusBar(Static):
    """Shows tabs and pieces; paints only when they differ."""

    DEFAULT_CSS = """
    StatusBar { height: 1; background: $panel; color: $foreground; }
    """

    def __init__(self) -> None:
        super().__init__("", id="status", markup=False)
        self.tabs: tuple[tuple[str, str, bool], ...] = ()
        self.pieces: tuple[Piece, ...] = ()
        self._shown: object = None

    def set_status(self, tabs: Sequence[tuple[str, str, bool]], pieces: Sequence[Piece]) -> None:
        """Tabs are (key, name, active)."""
        self.tabs, self.pieces = tuple(tabs), tuple(pieces)
        self._compose_line()

    def on_resize(self) -> None:
        self._compose_line()

    def _compose_line(self) -> None:
        width = self.size.width
        known = (width, self.tabs, self.pieces)
        if width <= 0 or known == self._shown:
            return
        self._shown = known
        self.update(compose_line(self.tabs, self.pieces, width))


def compose_line(tabs: Sequence[tuple[str, str, bool]], pieces: Sequence[Piece], width: int) -> Content:
    """One line of `width` cells. Names of the other views are dropped before the last piece is."""
    kept = list(pieces)
    short = False

    def size() -> int:
        left = sum(len(key) + (3 + len(name) if not short or active else 2) for key, name, active in tabs)
        return left + sum(cell_len(piece.text) + 2 for piece in kept) + 1

    while size() > width and any(piece.priority > 0 for piece in kept):
        kept.remove(max(kept, key=lambda piece: piece.priority))
    if size() > width:
        short = True
    left = Content.assemble(*(
        (f" {key} {name} ", "bold $tab-active on $tab-active-background") if active
        else (f" {key} " if short else f" {key} {name} ", "$tab")
        for key, name, active in tabs
    ))
    right = Content.assemble(*(item for piece in kept for item in ((piece.text, piece.style), ("  ", ""))))
    gap = max(1, width - left.cell_length - right.cell_length + 1)
    return Content.assemble(left, " " * gap, right).truncate(width)


class KeyHints(Static):
    """The keys that matter here, from the registry."""

    DEFAULT_CSS = """
    KeyHints { height: 1; background: $panel; color: $text-muted; padding: 0 1; }
    """

    def __init__(self, glyphs: Glyphs = UNICODE) -> None:
        super().__init__("", id="hints", markup=False)
        self._glyphs = glyphs
        self._hints: tuple[Key, ...] = ()
        self._shown: object = None

    def set_hints(self, hints: Sequence[Key]) -> None:
        self._hints = tuple(hints)
        self._compose_line()

    def on_resize(self) -> None:
        self._compose_line()

    def _compose_line(self) -> None:
        width = self.size.width - 2
        known = (width, self._hints)
        if width <= 0 or known == self._shown:
            return
        self._shown = known
        parts: list[tuple[str, str]] = []
        for key in fitting(self._hints, width):
            parts += [(drawn(shown(key.keys.split(",")[0]), self._glyphs), "bold $key"), (f" {key.words}  ", "")]
        self.update(Content.assemble(*parts))
