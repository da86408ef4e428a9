"""The state of a network in a word, and the watch over uplinks: whether the host's link that leads to the site is still a port of the
network's bridge."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from helperd.changes import Changes
from helperd.cut_off import DETACHED, NO_LEASE, READY, cut_off
from helperd.network_health import SETTLE
from helperd.parent_watch import ParentWatch, whom
from helperd.way_out import detached
from helperd.world import Change as WorldChange
from helperd.world import World
from protocol.model import Link, Network


class NetworkStates:
    """`shown` is called with the networks whose uplink was taken out of the bridge, or is back in it."""

    def __init__(self, changes: Changes, world: World, parents: ParentWatch) -> None:
        self._changes, self._records, self._world, self._parents = changes, changes.records, world, parents
        self._detached: set[str] = set()  # ids
        self._wake = asyncio.Event()
        self.shown: Callable[[Iterable[Network]], None] = lambda networks: None
        world.subscribe(self._heard)

    def of(self, network: str) -> str:
        """``ready``; ``missing``, ``down``: the link that leads outside; ``detached``: that is no port of the bridge; ``no lease``: none of
        its containers has one any more. Of a network by its id."""
        state = self._parents.state(network)
        if state == READY and network in self._detached:
            return DETACHED
        return NO_LEASE if state == READY and self._records.all_lost(network) else state

    def _heard(self, changes: list[WorldChange]) -> None:
        host = f"{self._world.host}/"
        names = {value.name for topic, _, key, value in changes if topic == "links" and key.startswith(host) and isinstance(value, Link)}
        if names and any(item.uplink in names for item in self._records.networks.values()):
            self._wake.set()

    async def run(self) -> None:
        """Look at the uplinks whenever one of them changed, and at the start."""
        while True:
            await self.look()
            await self._wake.wait()
            await asyncio.sleep(SETTLE)
            self._wake.clear()

    async def look(self) -> None:
        """Bring what is known of the uplinks up to date. A change under way, which makes a link a port or gives it back, is waited for."""
        async with self._changes.lock:
            now = {ident: item for ident, item in self._records.networks.items() if detached(item)}
            differing = [self._records.networks[ident] for ident in self._detached ^ set(now) if ident in self._records.networks]
            self._detached = set(now)
            for network in differing:
                self._tell(network)
        if differing:
            self.shown(differing)

    def _tell(self, network: Network) -> None:
        link, members = network.uplink, whom(self._records, network)
        if network.id in self._detached:
            self._world.log("network", "uplink detached", network.name, level="error", text=cut_off(network, DETACHED, members))
        elif self._parents.state(network.id) == READY:
            self._world.log("network", "uplink back", network.name, level="notice",
                            text=f"{link} is a port of {network.link} again: {members} connected again")
