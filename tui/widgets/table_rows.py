"""How the rows of a live table look: the texts of their cells, and which cells changed. No Textual here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len, set_cell_size

from tui.widgets.glyphs import ASCII, Glyphs
from tui.widgets.sparkline import sparkline
from tui.widgets.table_columns import Kind, Place
from tui.widgets.table_model import TableModel

_FACES_KEPT: Final = 2048


@dataclass(frozen=True, slots=True)
class RowFace:
    """All that is seen of a row; equal faces look the same. `sign` is what stands before the first column."""

    key: str | None
    sign: str
    texts: tuple[str, ...]
    tones: tuple[str, ...]
    has_cursor: bool
    marked: bool


_NOTHING: Final = RowFace(None, "  ", (), (), False, False)


class RowFaces:
    """Makes the faces of rows, and keeps the cell texts of those whose row did not change."""

    def __init__(self, model: TableModel, glyphs: Glyphs, sparklines: str) -> None:
        self.model = model
        self.glyphs = glyphs
        self.sparklines = sparklines
        self._texts: dict[tuple[int, ...], tuple[tuple[str, ...], tuple[str, ...]]] = {}

    def clear(self) -> None:
        """Forget all texts: columns, widths or glyphs changed."""
        self._texts.clear()

    def face(self, row: int, places: Sequence[Place], *, has_cursor: bool) -> RowFace:
        """The face of the shown row of that number; an empty one past the end."""
        key = self.model.key_at(row)
        if key is None:
            return _NOTHING
        texts, tones = self._cells(self.model.order[row], places, has_cursor)
        marked = key in self.model.marks
        pointer = ">" if self.glyphs is ASCII else "▸"
        sign = (pointer if has_cursor else " ") + (self.glyphs.marked if marked else " ")
        return RowFace(key, sign, texts, tones, has_cursor, marked)

    def _cells(self, slot: int, places: Sequence[Place], has_cursor: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
        view = self.model.view
        draws = self.sparklines == "all" or (self.sparklines == "cursor" and has_cursor)
        known = (self.model.view_version, slot, view.versions[slot], view.ticks, draws)
        found = self._texts.get(known)
        if found is None:
            if len(self._texts) >= _FACES_KEPT:
                self._texts.clear()
            texts: list[str] = []
            tones: list[str] = []
            for place in places:
                column = place.column
                if column.kind is Kind.SPARKLINE:
                    history = view.rings[column.source]
                    values = history.last(slot) if draws and slot < history.slots else []
                    texts.append(sparkline(values, place.width, self.glyphs.bars))
                    tones.append("number")
                else:
                    value = view.cell(slot, column.id)
                    texts.append(column.text(value, self.glyphs))
                    tones.append(column.tone_of(value))
            found = self._texts[known] = tuple(texts), tuple(tones)
        return found


def changed_spans(before: RowFace, after: RowFace, places: Sequence[Place], width: int) -> list[tuple[int, int]]:
    """(first cell, cells) of what has to be painted to turn one face into the other."""
    if before == after:
        return []
    same_frame = (before.has_cursor, before.marked, before.sign) == (after.has_cursor, after.marked, after.sign)
    if not same_frame or len(before.texts) != len(places) or len(after.texts) != len(places):
        return [(0, width)]
    return [
        (place.x, place.width)
        for index, place in enumerate(places)
        if before.texts[index] != after.texts[index] or before.tones[index] != after.tones[index]
    ]


def fit(text: str, width: int, right: bool, ellipsis: str) -> str:
    """`text` in exactly `width` cells, cut with an ellipsis where it is longer."""
    size = len(text) if text.isascii() else cell_len(text)
    if size > width:
        return set_cell_size(text, width - 1) + ellipsis if width > 1 else ellipsis[:width]
    blanks = " " * (width - size)
    return blanks + text if right else text + blanks
