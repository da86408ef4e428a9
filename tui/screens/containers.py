"""The Containers view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tui.feed import Batch, Feed
from tui.rows import containers as rows
from tui.screens.view import RatedView
from tui.selection import Selected


class ContainersView(RatedView):
    """Every container that was discovered, of any runtime."""

    title = "Containers"
    kind = "container"
    topic = "containers"
    sort = "name"
    nothing = "no container on this host yet · netdeck run starts one"

    def __init__(self, feed: Feed, **table_options: Any) -> None:
        super().__init__(feed, rows.columns(), id="containers", **table_options)

    def touched(self, batch: Batch) -> set[str]:
        return rows.touched(self.feed, batch)

    def cells(self, key: str) -> dict[str, object]:
        return rows.row(self.feed, self.feed.containers[key])

    def rates(self, keys: Sequence[str]) -> dict[str, list[float]]:
        pairs = [rows.traffic(self.feed, self.feed.containers[key]) for key in keys]
        return {"rx": [rx for rx, _ in pairs], "tx": [tx for _, tx in pairs], "traffic": [rx + tx for rx, tx in pairs]}

    def object_of(self, key: str) -> Selected | None:
        container = self.feed.containers.get(key)
        return None if container is None else Selected(self.kind, key, container)
