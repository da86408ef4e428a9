"""Watches the links of the host that networks hang on: says when one goes down or away, and has what was on it made again when it is
back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from drivers.driver import find
from drivers.parents import parent_names
from helperd.changes import Changes
from helperd.cut_off import DOWN, MISSING, READY, cut_off, wire_of
from helperd.kernel_news import link_is_up
from helperd.network_health import SETTLE
from helperd.records import Records
from helperd.world import Change as WorldChange
from helperd.world import World
from protocol.model import Link, Network

_TOLD = {MISSING: ("parent missing", "error"), DOWN: ("parent down", "warning"), READY: ("parent back", "notice")}


class ParentWatch:
    """`mend` is called when what hangs on a parent may have to be made again, `shown` with the networks whose state is another now."""

    def __init__(self, changes: Changes, world: World) -> None:
        self._changes, self._records, self._world = changes, changes.records, world
        self._states: dict[str, tuple[str, int]] = {}  # network id → state, index of the link
        self._watched: dict[str, frozenset[str]] = {}  # network id → names
        self._keys: set[str] = set()  # of the links that were seen under those names
        self._told: dict[str, str] = {}  # network id → the state that the log told last
        self._wake = asyncio.Event()
        self.mend: Callable[[], None] = lambda: None
        self.shown: Callable[[Iterable[Network]], None] = lambda networks: None
        world.subscribe(self._heard)

    def state(self, network: str) -> str:
        """``ready``, ``missing`` or ``down``, of a network by its id."""
        return self._states.get(network, (READY, 0))[0]

    def changed(self) -> None:
        """Networks came or went."""
        hanging = {item.id: item for item in self._records.networks.values() if self._hangs(item)}
        self._states = {ident: state for ident, state in self._states.items() if ident in hanging}
        self._watched = {ident: frozenset(parent_names(wire_of(item))) for ident, item in hanging.items()}
        self._look(item for ident, item in hanging.items() if ident not in self._states)

    def _hangs(self, network: Network) -> bool:
        return find(self._records.drivers, network.driver).info.parents or bool(network.uplink)

    def _heard(self, changes: list[WorldChange]) -> None:
        if not self._watched:
            return
        host = f"{self._world.host}/"
        names: set[str] = set()
        for topic, _, key, value in changes:
            if topic == "links" and key.startswith(host):
                if isinstance(value, Link):
                    names.add(value.name)
                if key in self._keys:
                    names |= set().union(*self._watched.values())
        networks = self._records.networks
        self._look(networks[ident] for ident, watched in self._watched.items() if watched & names and ident in networks)

    def _look(self, networks: Iterable[Network]) -> None:
        todo = list(networks)
        if not todo:
            return
        links = {link.name: link for link in self._world.links(self._world.host)}
        self._keys = {f"{links[name].inode}/{links[name].ifindex}" for names in self._watched.values() for name in names if name in links}
        other: list[Network] = []
        mend = False
        for network in todo:
            link = links.get(wire_of(network))
            known = self._states.get(network.id)
            self._states[network.id] = now = (_word(network, link), link.ifindex if link is not None else 0)
            if known is None and now[0] == READY:
                continue
            if known is None or known[0] != now[0]:
                other.append(network)
            base = parent_names(wire_of(network))[-1]
            made_again = now[0] == MISSING and network.made_link and not network.uplink and (network.internal or base in links)
            mend |= made_again or (known is not None and known != now and now[0] != MISSING)
        if other:
            self.shown(other)
            self._wake.set()
        if mend:
            self.mend()

    async def run(self) -> None:
        """Tell the log of states that last."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(SETTLE)
            self._wake.clear()
            async with self._changes.lock:  # one under way switches an uplink on, or off before it gives it back
                self._tell()

    def _tell(self) -> None:
        for ident, (state, _) in self._states.items():
            network = self._records.networks.get(ident)
            if network is None or state == self._told.get(ident, READY):
                continue
            action, level = _TOLD[state]
            members = whom(self._records, network)
            text = cut_off(network, state, members) or f"the link {wire_of(network)} is back: {members} connected again"
            self._world.log("network", action, network.name, text=text, level=level)
        self._told = {ident: state for ident, (state, _) in self._states.items()}


def whom(records: Records, network: Network) -> str:
    """Those on a network, as the subject of a sentence: ``db, web are``."""
    members = [records.owner(item.id) for item in records.endpoints_of(network=network.id)]
    names = ", ".join(members[:8]) + (f" and {len(members) - 8} more" if len(members) > 8 else "")
    return f"{names} {'is' if len(members) == 1 else 'are'}" if members else "its containers are"


def _word(network: Network, link: Link | None) -> str:
    if link is None:
        return MISSING
    return READY if network.internal or link_is_up(link) else DOWN
