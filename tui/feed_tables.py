"""A table of the feed: rows by key, with groups that are looked up by something in a row. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Generic, TypeVar

Row = TypeVar("Row")


class Table(Generic[Row]):
    """`rows` by key. `groupings` names what rows are grouped by: a function from key and row to the
    group, None for rows that are in none."""

    def __init__(self, **groupings: Callable[[str, Row], Hashable]) -> None:
        self.rows: dict[str, Row] = {}
        self._groupings = groupings
        # A dict as an ordered set: rows of a group stay in the order in which they came.
        self._groups: dict[str, dict[Hashable, dict[str, None]]] = {name: {} for name in groupings}

    def put(self, key: str, row: Row) -> bool:
        """Insert or replace; returns whether anything differs."""
        before = self.rows.get(key)
        if before == row:
            return False
        if before is not None:
            self._leave(key, before)
        self.rows[key] = row
        for name, group_of in self._groupings.items():
            group = group_of(key, row)
            if group is not None:
                self._groups[name].setdefault(group, {})[key] = None
        return True

    def remove(self, key: str) -> Row | None:
        """Take a row out and return it; None where there is no such row."""
        row = self.rows.pop(key, None)
        if row is not None:
            self._leave(key, row)
        return row

    def replace(self, rows: Mapping[str, Row]) -> tuple[set[str], dict[str, Row]]:
        """Make the table hold exactly `rows`; returns the keys that are new or differ, and the rows that went."""
        removed = {key: row for key in [key for key in self.rows if key not in rows] if (row := self.remove(key)) is not None}
        return {key for key, row in rows.items() if self.put(key, row)}, removed

    def keys_in(self, grouping: str, group: Hashable) -> tuple[str, ...]:
        """Keys of a group."""
        return tuple(self._groups[grouping].get(group, ()))

    def rows_in(self, grouping: str, group: Hashable) -> tuple[Row, ...]:
        """Rows of a group."""
        return tuple(self.rows[key] for key in self._groups[grouping].get(group, ()))

    def _leave(self, key: str, row: Row) -> None:
        for name, group_of in self._groupings.items():
            group = group_of(key, row)
            members = self._groups[name].get(group)
            if members is not None:
                members.pop(key, None)
                if not members:
                    del self._groups[name][group]
