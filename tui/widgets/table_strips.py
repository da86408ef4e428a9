"""Lines of a live table as Textual strips: styles put onto the texts of a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from tui.widgets.glyphs import Glyphs
from tui.widgets.table_columns import Place
from tui.widgets.table_model import Sorting
from tui.widgets.table_rows import RowFace, fit

#: Cells before the first column: the cursor's sign and the mark.
LEFT: Final = 2
_STRIPS_KEPT: Final = 1024


class TableStrips:
    """Makes strips and keeps them; `style` gives the plain style for "", else what a name adds to it."""

    def __init__(self, style: Callable[[str], Style], glyphs: Glyphs) -> None:
        self._look_up = style
        self.glyphs = glyphs
        self._strips: dict[tuple[object, ...], Strip] = {}
        self._styles: dict[str, Style] = {}

    def clear(self) -> None:
        """Forget all strips and styles: theme, layout or glyphs changed."""
        self._strips.clear()
        self._styles.clear()

    def _style(self, name: str) -> Style:
        style = self._styles.get(name)
        if style is None:
            style = self._styles[name] = self._look_up(name)
        return style

    def header(self, places: Sequence[Place], sorting: Sorting, width: int) -> Strip:
        """The titles; the one sorted by has its sign and is reversed."""
        base = self._style("") + self._style("header")
        segments = [Segment(" " * LEFT, base)]
        for index, place in enumerate(places):
            if index:
                segments.append(Segment(" ", base))
            title, style = place.column.title, base
            if place.column.id == sorting.column:
                sign = self.glyphs.descending if sorting.reverse else self.glyphs.ascending
                title += sign if cell_len(title + sign) <= place.width else ""  # else the colours and the frame say it
                style = base + self._style("sorted")
            segments.append(Segment(fit(title, place.width, place.column.right, self.glyphs.ellipsis), style))
        return Strip(segments).adjust_cell_length(width, base)

    def note(self, text: str, width: int) -> Strip:
        """A line that is no row."""
        base = self._style("")
        shown = fit(text, max(0, width - LEFT), False, self.glyphs.ellipsis)
        return Strip([Segment(" " * LEFT, base), Segment(shown, base + self._style("muted"))]).adjust_cell_length(width, base)

    def row(self, face: RowFace, places: Sequence[Place], width: int, *, focused: bool, dimmed: bool) -> Strip:
        """One row."""
        key = (face, width, focused, dimmed)
        strip = self._strips.get(key)
        if strip is None:
            if len(self._strips) >= _STRIPS_KEPT:
                self._strips.clear()
            strip = self._strips[key] = self._new_row(face, places, focused=focused, dimmed=dimmed).adjust_cell_length(
                width, self._base(face, focused=focused, dimmed=dimmed)
            )
        return strip

    def _base(self, face: RowFace, *, focused: bool, dimmed: bool) -> Style:
        base = self._style("")
        if face.has_cursor:
            return base + self._style("cursor" if focused else "cursor-away")
        return base + self._style("muted") if dimmed else base

    def _new_row(self, face: RowFace, places: Sequence[Place], *, focused: bool, dimmed: bool) -> Strip:
        base = self._base(face, focused=focused, dimmed=dimmed)
        mark = base + self._style("marked") if face.marked and not face.has_cursor else base
        segments = [Segment(face.sign, mark)]
        plain = face.has_cursor or dimmed
        for index, (place, text, tone) in enumerate(zip(places, face.texts, face.tones, strict=False)):
            if index:
                segments.append(Segment(" ", base))
            style = base if plain or not tone else base + self._style(tone)
            segments.append(Segment(fit(text, place.width, place.column.right, self.glyphs.ellipsis), style))
        return Strip(segments)
