"""Columns of a live table: what they hold, how it is written, and which fit into a width. No Textual here."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, TypeAlias

from protocol.names import display_text
from tui.filter import FieldKind
from tui.widgets.glyphs import UNICODE, Glyphs, state_text, state_tone

Cell: TypeAlias = "str | float | int"


class Kind(Enum):
    """What a column holds. The rows keep it as:

    TEXT, STATE: str · NUMBER, RATE (per second): float, NaN for none · BYTES: unsigned 64 bit ·
    SPARKLINE: nothing of its own, it draws the history of another column.
    """

    TEXT = "text"
    NUMBER = "number"
    RATE = "rate"
    BYTES = "bytes"
    SPARKLINE = "sparkline"
    STATE = "state"


NUMERIC: Final = frozenset({Kind.NUMBER, Kind.RATE, Kind.BYTES})
TEXTUAL: Final = frozenset({Kind.TEXT, Kind.STATE})


class Align(Enum):
    LEFT = "left"
    RIGHT = "right"


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    `width` is in cells, without the blank between columns. Columns of `priority` 0 always stay; where the table is
    too narrow, the highest priority goes first. The one with `stretch` gets what is left over, never less than `width`.
    `formatter` turns a cell into text (hostile text is escaped in any case), `tone` into one of "", "good", "bad",
    "warn", "muted", "number". `source` is the column whose history a SPARKLINE draws. `searched`: free text looks here.
    """

    id: str
    title: str
    width: int
    kind: Kind = Kind.TEXT
    priority: int = 0
    stretch: bool = False
    align: Align | None = None
    formatter: Callable[[Cell], str] | None = None
    tone: Callable[[Cell], str] | None = None
    source: str = ""
    searched: bool = True
    right: bool = field(init=False)

    def __post_init__(self) -> None:
        default = Align.RIGHT if self.kind in NUMERIC else Align.LEFT
        object.__setattr__(self, "right", (self.align or default) is Align.RIGHT)

    @property
    def field_kind(self) -> FieldKind | None:
        """How the filter compares this column; None where it can't."""
        if self.kind in NUMERIC:
            return FieldKind.NUMBER
        return FieldKind.TEXT if self.kind in TEXTUAL else None

    def text(self, value: Cell, glyphs: Glyphs = UNICODE) -> str:
        """The cell as one line of harmless text, not yet cut to the width."""
        if self.formatter is not None:
            return display_text(self.formatter(value))
        return _FORMATTERS[self.kind](value, glyphs)

    def tone_of(self, value: Cell) -> str:
        """The tone of a cell."""
        if self.tone is not None:
            return self.tone(value)
        if self.kind is Kind.STATE:
            return state_tone(str(value))
        return "number" if self.kind in NUMERIC else ""


_UNITS: Final = "kMGTPE"


def short_number(value: float) -> str:
    """A number in at most 5 characters: 999, 1.5k, 20k, 1.2M … (thousands); "" for NaN."""
    if math.isnan(value):
        return ""
    sign, size = ("-", -value) if value < 0 else ("", value)
    if size < 999.5:
        return f"{sign}{size:.0f}" if size >= 10 or size == int(size) else f"{sign}{size:.1f}"
    for unit in _UNITS:
        size /= 1000
        if size < 9.95:
            return f"{sign}{size:.1f}{unit}"
        if size < 999.5 or unit == _UNITS[-1]:
            return f"{sign}{size:.0f}{unit}"
    raise AssertionError("the last unit takes every size")


def _number(value: Cell, glyphs: Glyphs) -> str:
    number = float(value)
    if math.isnan(number):
        return glyphs.missing
    return str(int(number)) if number.is_integer() else f"{number:.2f}"


def _short(value: Cell, glyphs: Glyphs) -> str:
    return short_number(float(value)) or glyphs.missing


def _text(value: Cell, glyphs: Glyphs) -> str:
    return display_text(str(value))


def _state(value: Cell, glyphs: Glyphs) -> str:
    return display_text(state_text(str(value), glyphs))


_FORMATTERS: Final[dict[Kind, Callable[[Cell, Glyphs], str]]] = {
    Kind.TEXT: _text,
    Kind.NUMBER: _number,
    Kind.RATE: _short,
    Kind.BYTES: _short,
    Kind.SPARKLINE: _text,
    Kind.STATE: _state,
}


@dataclass(frozen=True, slots=True)
class Place:
    """A column laid out: its first cell and its width there."""

    column: Column
    x: int
    width: int


def lay_out(columns: Sequence[Column], width: int, left: int = 0) -> tuple[Place, ...]:
    """The columns that fit into `width` cells from cell `left` on, in their order, one blank between them.

    Of those with the same priority the rightmost goes first. Columns of priority 0 are cut where even they don't fit.
    """
    kept = list(columns)
    while sum(column.width + 1 for column in kept) - 1 > width - left:
        droppable = [column for column in kept if column.priority > 0]
        if not droppable:
            break
        worst = max(column.priority for column in droppable)
        kept.remove([column for column in droppable if column.priority == worst][-1])
    spare = max(0, width - left - sum(column.width + 1 for column in kept) + 1)
    places: list[Place] = []
    x = left
    for column in kept:
        wide = column.width + (spare if column.stretch else 0)
        if column.stretch:
            spare = 0
        wide = min(wide, width - x)
        if wide <= 0:
            break
        places.append(Place(column, x, wide))
        x += wide + 1
    return tuple(places)
