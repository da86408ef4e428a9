"""Rows in columns: one array or list per column, rows named by a key and kept in a numbered slot."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from tui.widgets.sparkline import SampleRing
from tui.widgets.table_columns import Cell, Column, Kind

#: list[str], array("d") or array("Q"), by the column's kind; `_CONVERT` makes what goes in fit.
Cells: TypeAlias = "list[Any] | array[Any]"

_LARGEST_U64: Final = 2**64 - 1


def _empty(kind: Kind) -> Cells:
    if kind is Kind.BYTES:
        return array("Q")
    return array("d") if kind in (Kind.NUMBER, Kind.RATE) else []


def _to_text(value: object) -> str:
    return "" if value is None else str(value)


def _to_float(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _to_u64(value: object) -> int:
    return min(max(int(value), 0), _LARGEST_U64) if isinstance(value, int | float) and value == value else 0


_CONVERT: Final[dict[Kind, Callable[[object], Cell]]] = {
    Kind.TEXT: _to_text,
    Kind.STATE: _to_text,
    Kind.NUMBER: _to_float,
    Kind.RATE: _to_float,
    Kind.BYTES: _to_u64,
}
_DEFAULT: Final[dict[Kind, Cell]] = {kind: convert(None) for kind, convert in _CONVERT.items()}


class TableStore:
    """Cells of all rows. Slots of removed rows are used again only after `reclaim`.

    `versions[slot]` grows with each change of the row.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = {column.id: column for column in columns}
        self._cells: dict[str, Cells] = {
            column.id: _empty(column.kind) for column in columns if column.kind is not Kind.SPARKLINE
        }
        self.keys: list[str | None] = []
        self.slots: dict[str, int] = {}
        self.versions = array("Q")
        self.rings = {column.source: SampleRing() for column in columns if column.kind is Kind.SPARKLINE}
        self._removed: list[int] = []
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self.slots)

    def cell(self, slot: int, column: str) -> Cell:
        """The value of a cell."""
        value: Cell = self._cells[column][slot]
        return value

    def reader(self, column: str) -> Callable[[int], Cell]:
        """A function from slot to the value in `column`."""
        return self._cells[column].__getitem__

    def put(self, key: str, values: Mapping[str, object]) -> tuple[int, frozenset[str]]:
        """Insert a row, or change the named cells of one; columns that don't exist are left out.

        Returns its slot and the columns that changed (for a new row: all).
        """
        slot = self.slots.get(key)
        if slot is None:
            slot = self._new_slot(key)
            for name, cells in self._cells.items():
                kind = self.columns[name].kind
                cells[slot] = _CONVERT[kind](values[name]) if name in values else _DEFAULT[kind]
            return slot, frozenset(self._cells)
        changed: list[str] = []
        for name, value in values.items():
            column = self._cells.get(name)
            if column is None:
                continue
            converted = _CONVERT[self.columns[name].kind](value)
            if column[slot] != converted and not (converted != converted and column[slot] != column[slot]):
                column[slot] = converted
                changed.append(name)
        if changed:
            self.versions[slot] += 1
        return slot, frozenset(changed)

    def put_numbers(self, slots: Sequence[int], columns: Mapping[str, Sequence[float]]) -> None:
        """Set numeric columns of many rows; each sequence goes with `slots`. For each tick's counters."""
        for name, values in columns.items():
            cells = self._cells[name]
            for slot, value in zip(slots, values, strict=True):
                cells[slot] = value
        versions = self.versions
        for slot in slots:
            versions[slot] += 1

    def push_samples(self) -> None:
        """End a tick of all sparklines with the values their source columns have now."""
        for source, ring in self.rings.items():
            ring.grow(len(self.keys))
            cells = self._cells[source]
            ring.push((slot, float(value)) for slot, value in enumerate(cells) if value)

    @property
    def ticks(self) -> int:
        """How often the sparklines moved."""
        return max((ring.ticks for ring in self.rings.values()), default=0)

    def remove(self, key: str) -> int | None:
        """Take a row out; returns its slot, None when there is no such row."""
        slot = self.slots.pop(key, None)
        if slot is not None:
            self.keys[slot] = None
            self.versions[slot] += 1
            self._removed.append(slot)
        return slot

    def reclaim(self) -> None:
        """Nobody refers to the slots of removed rows any more."""
        self._free += self._removed
        self._removed.clear()

    def alive(self, slots: Iterable[int]) -> list[int]:
        """Those slots that hold a row."""
        keys = self.keys
        return [slot for slot in slots if keys[slot] is not None]

    def copy(self) -> TableStore:
        """A store with the same rows that later changes of this one don't reach."""
        twin = TableStore(tuple(self.columns.values()))
        twin._cells = {name: cells[:] for name, cells in self._cells.items()}
        twin.keys, twin.slots, twin.versions = self.keys[:], dict(self.slots), self.versions[:]
        twin.rings = {source: ring.copy() for source, ring in self.rings.items()}
        return twin

    def _new_slot(self, key: str) -> int:
        if self._free:
            slot = self._free.pop()
            self.keys[slot] = key
            self.versions[slot] += 1
            for ring in self.rings.values():
                if slot < ring.slots:
                    ring.clear(slot)
        else:
            slot = len(self.keys)
            self.keys.append(key)
            self.versions.append(0)
            for name, cells in self._cells.items():
                cells.append(_DEFAULT[self.columns[name].kind])
        self.slots[key] = slot
        return slot
