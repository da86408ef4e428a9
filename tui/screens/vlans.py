"""The VLANs view: every link that others hang on, and each VLAN with what is in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tui.feed import Batch, Feed
from tui.rows import vlans as rows
from tui.screens.view import RatedView
from tui.selection import Selected


class VlansView(RatedView):
    """Parents, and below each its VLANs: 802.1Q links of any namespace, and the VLANs of VLAN-aware bridges."""

    title = "VLANs"
    kind = "vlan"
    sort = "place"
    nothing = "no VLANs here · a network on a parent such as eth0.20 makes one"

    def __init__(self, feed: Feed, **table_options: Any) -> None:
        super().__init__(feed, rows.columns(), id="vlans", **table_options)
        self.groups: dict[str, rows.VlanGroup] = {}
        self._keys: dict[rows.ParentId, tuple[str, ...]] = {}  # the rows of each parent

    def touched(self, batch: Batch) -> set[str]:
        changed: set[str] = set()
        renamed = batch.touches("namespaces")
        for parent in rows.touched(self.feed, batch, tuple(self._keys)):
            found = rows.groups(self.feed, parent)
            for key in self._keys.pop(parent, ()):
                if key not in found:
                    del self.groups[key]
                    self.model.remove(key)
            if found:
                self._keys[parent] = tuple(found)
                changed.update(key for key, group in found.items() if renamed or self.groups.get(key) != group)
                self.groups.update(found)
        return changed

    def cells(self, key: str) -> dict[str, object]:
        return rows.row(self.feed, self.groups[key])

    def rates(self, keys: Sequence[str]) -> dict[str, list[float]]:
        pairs = [rows.traffic(self.feed, self.groups[key]) for key in keys]
        return {"rx": [rx for rx, _ in pairs], "tx": [tx for _, tx in pairs], "traffic": [rx + tx for rx, tx in pairs]}

    def object_of(self, key: str) -> Selected | None:
        group = self.groups.get(key)
        return None if group is None else Selected(self.kind, key, group)
