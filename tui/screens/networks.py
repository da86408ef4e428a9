"""The Networks view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tui.feed import Batch, Feed
from tui.rows import networks as rows
from tui.screens.view import RatedView
from tui.selection import Selected


class NetworksView(RatedView):
    """Every network, with what its containers carry on it."""

    title = "Networks"
    kind = "network"
    topic = "networks"
    sort = "name"
    nothing = "no network yet · c creates one"

    def __init__(self, feed: Feed, **table_options: Any) -> None:
        super().__init__(feed, rows.columns(), id="networks", **table_options)

    def touched(self, batch: Batch) -> set[str]:
        return rows.touched(self.feed, batch)

    def cells(self, key: str) -> dict[str, object]:
        return rows.row(self.feed, self.feed.networks[key])

    def rates(self, keys: Sequence[str]) -> dict[str, list[float]]:
        pairs = [rows.traffic(self.feed, self.feed.networks[key]) for key in keys]
        return {"rx": [rx for rx, _ in pairs], "tx": [tx for _, tx in pairs], "traffic": [rx + tx for rx, tx in pairs]}

    def object_of(self, key: str) -> Selected | None:
        network = self.feed.networks.get(key)
        return None if network is None else Selected(self.kind, key, network)
