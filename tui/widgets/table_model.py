"""What a live table shows of its rows: filtered, sorted, marked, and frozen while one reads. No Textual here."""

from __future__ import annotations

import re
import time
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from tui.filter import Everything, FieldKind, Node, compile_filter, parse
from tui.widgets.table_columns import NUMERIC, TEXTUAL, Cell, Column, Kind
from tui.widgets.table_store import TableStore

#: Seconds between two sorts, and for which nothing is sorted after the cursor moved.
SORT_INTERVAL: Final = 2.0
CURSOR_REST: Final = 2.0
_DIGITS: Final = re.compile(r"([0-9]+)")


@lru_cache(maxsize=65_536)
def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts veth2 before veth10, and ignores case."""
    parts = _DIGITS.split(text.casefold())
    return tuple((0, int(part), "") if index % 2 else (1, 0, part) for index, part in enumerate(parts) if part)


@dataclass(frozen=True, slots=True)
class Sorting:
    """By which column, and whether from the largest down."""

    column: str
    reverse: bool = False


class TableModel:
    """Rows of a live table, as collected and as shown.

    `put`, `put_numbers`, `remove`, `clear` and `push_samples` collect; `order` is what is shown: slots of
    `view`, filtered and sorted, brought up to date by `refresh_order`. While frozen, `view` is a copy that
    stays as it was; otherwise it is the collected rows themselves.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        *,
        sort: str | None = None,
        reverse: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.columns = tuple(columns)
        self.rows = TableStore(self.columns)
        self.view = self.rows
        self.view_version = 0
        self.order = array("I")
        self.sorting = Sorting(sort or self.columns[0].id, reverse)
        self.marks: set[str] = set()
        self.filter_text = ""
        self._filter: Node = Everything()
        self._clock = clock
        self._stale = False
        self._structure_changed = False
        self._forced = False
        self._sorted_at = float("-inf")
        self._cursor_moved_at = float("-inf")
        self._frozen_at: float | None = None
        self._waiting: set[str] = set()

    # Collecting

    def put(self, key: str, values: Mapping[str, object]) -> int:
        """Insert the row `key`, or change the named cells of it. Returns its slot."""
        known = key in self.rows.slots
        slot, changed = self.rows.put(key, values)
        if changed:
            self._note(key, structure=not known, resort=self._sorts_by(changed))
        return slot

    def put_numbers(self, slots: Sequence[int], columns: Mapping[str, Sequence[float]]) -> None:
        """Set numeric columns of many rows at once; `slots` come from `slot`, each sequence goes with them."""
        self.rows.put_numbers(slots, columns)
        self._stale = self._stale or self._sorts_by(columns)
        if self._frozen_at is not None:
            keys = self.rows.keys
            self._waiting.update(key for slot in slots if (key := keys[slot]) is not None)

    def push_samples(self) -> None:
        """End a tick of the sparklines: each row's source column now is its newest sample."""
        self.rows.push_samples()

    def remove(self, key: str) -> None:
        """Take a row out; none of that key is no error."""
        if self.rows.remove(key) is not None:
            self.marks.discard(key)
            self._note(key, structure=True, resort=False)

    def clear(self) -> None:
        """Take all rows out."""
        for key in list(self.rows.slots):
            self.remove(key)

    def slot(self, key: str) -> int | None:
        """The slot of a collected row, for `put_numbers`; stays the same while the row lives."""
        return self.rows.slots.get(key)

    def value(self, key: str, column: str) -> Cell | None:
        """A cell as it is shown; None when no such row is."""
        slot = self.view.slots.get(key)
        return None if slot is None else self.view.cell(slot, column)

    def _note(self, key: str, *, structure: bool, resort: bool) -> None:
        self._structure_changed = self._structure_changed or structure
        self._stale = self._stale or resort
        if self._frozen_at is not None:
            self._waiting.add(key)

    def _sorts_by(self, columns: Iterable[str]) -> bool:
        return self.sorting.column in columns or not isinstance(self._filter, Everything)

    # Filter, sort, marks

    @property
    def fields(self) -> dict[str, FieldKind]:
        """The fields that a filter can name: columns by their id."""
        return {column.id: kind for column in self.columns if (kind := column.field_kind) is not None}

    def set_filter(self, text: str) -> None:
        """Show only rows that pass `text`; raises `FilterError`, and then the old filter stays."""
        self._filter = parse(text, self.fields)
        self.filter_text = text.strip()
        self._forced = True

    @property
    def sortable(self) -> tuple[str, ...]:
        """Ids of the columns one can sort by."""
        return tuple(column.id for column in self.columns if column.kind is not Kind.SPARKLINE)

    def set_sort(self, column: str, reverse: bool = False) -> None:
        """Sort by a column; raises `ValueError` for one that isn't sortable."""
        if column not in self.sortable:
            raise ValueError(f"cannot sort by {column!r}; expected one of {', '.join(self.sortable)}")
        self.sorting = Sorting(column, reverse)
        self._forced = True

    def move_sort(self, steps: int) -> None:
        """Sort by the column `steps` to the right of the present one, round the end. Numbers start from the largest."""
        names = self.sortable
        column = names[(names.index(self.sorting.column) + steps) % len(names)]
        self.set_sort(column, self.rows.columns[column].kind in NUMERIC)

    def reverse_sort(self) -> None:
        self.set_sort(self.sorting.column, not self.sorting.reverse)

    def toggle_mark(self, key: str) -> None:
        self.marks ^= {key}

    # Freezing

    @property
    def frozen(self) -> bool:
        return self._frozen_at is not None

    @property
    def frozen_for(self) -> float:
        """Seconds since the view was frozen; 0 when it is not."""
        return 0.0 if self._frozen_at is None else self._clock() - self._frozen_at

    @property
    def waiting(self) -> int:
        """Rows that changed, came or went since the view was frozen."""
        return len(self._waiting)

    def freeze(self) -> None:
        """Keep showing the rows as they are now, while collecting goes on."""
        if self._frozen_at is None:
            self.view = self.rows.copy()
            self.view_version += 1
            self._frozen_at = self._clock()

    def thaw(self) -> None:
        """Show the collected rows again."""
        if self._frozen_at is not None:
            shown = [key for slot in self.order if (key := self.view.keys[slot]) is not None]
            self.view = self.rows
            self.view_version += 1
            self._frozen_at = None
            self._waiting.clear()
            # Keeps the order one was reading, as far as the rows still exist.
            self.order = array("I", [slot for key in shown if (slot := self.rows.slots.get(key)) is not None])
            self._forced = True

    # What is shown

    def key_at(self, row: int) -> str | None:
        """The key of the shown row of that number, None past the end."""
        return self.view.keys[self.order[row]] if 0 <= row < len(self.order) else None

    def row_of(self, key: str) -> int | None:
        """The number of the shown row of that key, None when it isn't shown."""
        slot = self.view.slots.get(key)
        if slot is None:
            return None
        try:
            return self.order.index(slot)
        except ValueError:
            return None

    def shown_keys(self) -> list[str]:
        """Keys of all shown rows, in their order."""
        keys = self.view.keys
        return [key for slot in self.order if (key := keys[slot]) is not None]

    def cursor_moved(self) -> None:
        """The user moved the cursor: nothing is sorted under it for a while."""
        self._cursor_moved_at = self._clock()

    @property
    def unsettled(self) -> bool:
        """Whether `refresh_order` has something to do, now or later."""
        return self._forced or (not self.frozen and (self._stale or self._structure_changed))

    def refresh_order(self) -> bool:
        """Bring `order` up to date, if it is time; returns whether it changed.

        A new filter or sorting works at once. Rows that came and went show at once, new ones at the end until the
        next sort. Sorting anew because values changed waits for `SORT_INTERVAL` and a resting cursor.
        """
        now = self._clock()
        rested = now - self._sorted_at >= SORT_INTERVAL and now - self._cursor_moved_at >= CURSOR_REST
        structure = self._structure_changed and not self.frozen
        wanted = self._stale or self._structure_changed
        before = self.order
        if self._forced or (wanted and rested and not self.frozen) or (structure and not before):
            self._sort(now)
        elif structure:
            self._patch()
        else:
            return False
        return self.order != before

    def _sort(self, now: float) -> None:
        if not self.frozen:
            self._structure_changed = self._stale = False
        self._forced = False
        self._sorted_at = now
        view = self.view
        present = view.alive(self.order)
        seen = set(present)
        present += [slot for slot in view.slots.values() if slot not in seen]
        if not isinstance(self._filter, Everything):
            present = list(filter(self._predicate(), present))
        # The sort is stable and starts from the present order, so rows of equal value don't change places.
        present.sort(key=self._sort_key(), reverse=self.sorting.reverse)
        self.order = array("I", present)
        if not self.frozen:
            self.rows.reclaim()

    def _patch(self) -> None:
        """Drop rows that went and append new ones that pass; `_stale` has the next sort put them in place."""
        self._structure_changed = False
        self._stale = True
        present = self.view.alive(self.order)
        known = set(self.order)
        passes = self._predicate()
        fresh = (slot for slot in self.view.slots.values() if slot not in known)
        self.order = array("I", [*present, *filter(passes, fresh)])
        self.rows.reclaim()

    def _predicate(self) -> Callable[[int], bool]:
        view = self.view
        texts = [view.reader(column.id) for column in self.columns if column.kind in TEXTUAL and column.searched]
        return compile_filter(self._filter, view.reader, texts)

    def _sort_key(self) -> Callable[[int], Any]:
        column = self.view.columns[self.sorting.column]
        read = self.view.reader(column.id)
        if column.kind in NUMERIC:
            return _number_key(read)
        return lambda slot: natural_key(str(read(slot)))


def _number_key(read: Callable[[int], Cell]) -> Callable[[int], float]:
    def key(slot: int) -> float:
        value = float(read(slot))
        return value if value == value else float("-inf")

    return key
