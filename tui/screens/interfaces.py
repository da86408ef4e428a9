"""The Interfaces view: every namespace of the host on one screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tui.feed import Batch, Feed
from tui.rows import interfaces as rows
from tui.screens.view import RatedView
from tui.selection import Selected


class InterfacesView(RatedView):
    """Every interface of every namespace, with its container and network, and what goes over it."""

    title = "Interfaces"
    kind = "interface"
    topic = "links"
    sort = "traffic"
    descending = True
    nothing = "no interface"

    def __init__(self, feed: Feed, **table_options: Any) -> None:
        super().__init__(feed, rows.columns(), id="interfaces", **table_options)

    def touched(self, batch: Batch) -> set[str]:
        return rows.touched(self.feed, batch)

    def cells(self, key: str) -> dict[str, object]:
        return rows.row(self.feed, key, self.feed.links[key])

    def rates(self, keys: Sequence[str]) -> dict[str, list[float]]:
        return rows.numbers(self.feed, keys)

    def rated_keys(self, batch: Batch) -> list[str]:
        slots = self.model.rows.slots
        return [key for key in batch.counters if key in slots]

    def object_of(self, key: str) -> Selected | None:
        link = self.feed.links.get(key)
        return None if link is None else Selected(self.kind, key, link)
