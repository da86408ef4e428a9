"""Whether what carries a network is still there and still ours: shown on the network, and looked at before a container joins it.

The link that carries a network can be deleted behind our back, and somebody else's can be given its name. The first is made
good by the same plan as at a start; the second is told, and nothing of it is touched.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from drivers.beside import FAMILY, own_mode, rival, told
from drivers.driver import find
from drivers.host_access import host_link
from drivers.objects import LINK_GROUP, Bridge, Veth, parse_mark
from drivers.unusable import problem as driver_problem
from drivers.unusable import require_usable
from helperd.changes import Changes
from helperd.hung import hung, is_strange, strangers_on
from helperd.kernel.host_links import look_up
from helperd.kernel.link_kinds import ON_A_PARENT
from helperd.repair import Repair
from helperd.world import Change as WorldChange
from helperd.world import World
from protocol.errors import Conflict
from protocol.model import Link, Network

SETTLE = 0.2  # seconds in which further changes of links are waited for


class Carrier(NamedTuple):
    """What is seen at the name of a network's link."""

    kind: str
    alias: str
    group: int


def damage(network: Network, wanted: Bridge | Veth | None, seen: Carrier | None) -> str:
    """What is wrong with the link of `network`, in words, "" where nothing. `wanted` is the link as netdeck makes it, None where it
    is somebody else's from the beginning."""
    link = network.link
    if wanted is None:
        if seen is None:
            return f"the bridge {link} that carries it is gone, and was not netdeck's: make it again"
        return "" if seen.kind == "bridge" else f"{link}, which carries it, is no bridge any more but {_kind(seen.kind)}"
    what = "bridge" if isinstance(wanted, Bridge) else "link"
    if seen is None:
        return f"its {what} {link} is gone; it is made again when a container is connected, or at the next start of the helper"
    ours = LINK_GROUP in (seen.group, seen.group >> 16) and seen.alias in ("", wanted.alias)
    if ours and seen.kind == ("bridge" if isinstance(wanted, Bridge) else "veth"):
        return ""
    return (f"its {what} {link} was replaced by {_kind(seen.kind)} that is not netdeck's and is left alone. netdeck's firewall "
            "rules for that name stay, and what it forwards meets them: delete or rename it, then connect a container or start the "
            "helper again")


def parent_damage(network: Network, seen: Carrier | None, instance: str) -> str:
    """As `damage`, of a network that hangs on a link of the host; `instance` is in the marks of this helper."""
    if seen is not None:
        owner = parse_mark(seen.alias)
        ours = LINK_GROUP in (seen.group, seen.group >> 16) and (not seen.alias or (owner is not None and owner[0] == instance))
        return "" if ours or not network.made_link else (
            f"its link {network.link} was replaced by {_kind(seen.kind)} that is not netdeck's and is left alone: delete that, and "
            "netdeck's is made again with what hangs on it")
    again = "it is made again" if network.made_link else "what hangs on it is made again"
    return f"the link {network.link} that it hangs on is gone; {again} when {'the link below' if network.made_link else 'that'} is back"


def _kind(kind: str) -> str:
    return f"a {kind}" if kind else "a device"


def _stands(network: Network, link: str) -> bool:
    """Whether the host's own link in `network` is up, with what the host has there."""
    now = look_up(link)
    return now is not None and now.up and set(network.host_addresses) <= {prefix.partition("/")[0] for prefix in now.addresses}


class NetworkHealth:
    """Knows what is wrong with each network, and tells when that changes."""

    def __init__(self, changes: Changes, repair: Repair, world: World) -> None:
        self._changes, self._repair, self._world = changes, repair, world
        self._wake = asyncio.Event()
        self._rivals: set[str] = set()  # keys of links that others hung on parents of our networks
        world.subscribe(self._heard)

    def problem(self, network: Network) -> str:
        """What is wrong with `network` as far as is known, "" where nothing."""
        return self._judged(network, self._carriers((network.link,)))

    def shown(self, network: Network) -> Network:
        """`network` with its problem, as clients see it. While a change is under way, which may take links and put them back, that of
        before."""
        found = self._told(network) if self._changes.lock.locked() else self.problem(network)
        return msgspec.structs.replace(network, problem=found) if found else network

    def _carriers(self, names: Iterable[str]) -> dict[str, Carrier | None]:
        """What is known of the host's links with these names, None of one that the world has not heard of yet; those that are not
        there are left out. No walk over all links, since an attach asks for one."""
        found: dict[str, Carrier | None] = {}
        for name in names:
            try:
                index = socket.if_nametoindex(name)
            except OSError:
                continue
            link = self._world.link(self._world.host, index)
            found[name] = Carrier(link.kind, link.alias, link.group) if link is not None and link.name == name else None
        return found

    def _judged(self, network: Network, carriers: Mapping[str, Carrier | None]) -> str:
        unusable = driver_problem(self._changes.records.drivers, network.driver)
        if unusable:
            return f"its driver {network.driver} can't be used: {unusable}"
        if not network.link or carriers.get(network.link, network) is None:
            return ""
        if self._changes.records.drivers[network.driver].info.parents:
            return parent_damage(network, carriers.get(network.link), self._changes.store.instance) or self._crowded(network)
        wanted = self._changes.records.carrier(network)
        return "" if wanted is None and network.made_link else damage(network, wanted, carriers.get(network.link))

    def _crowded(self, network: Network) -> str:
        """What others hung on its parent beside which its links can't be, in words."""
        found = rival(network.driver, own_mode(network), hung(self._world, self._strangers(network.link)))
        if found is None:
            return ""
        other, why = found
        return (f"{told(other)}, hangs on {network.link} too, which netdeck did not make, and {why}. No container is connected, and "
                "nothing is made again, until that link is gone")

    def _strangers(self, link: str) -> list[Link]:
        return strangers_on(self._world, self._changes.store.instance, link)

    async def _now(self, network: Network) -> str:
        """As `problem`, by a look at the kernel."""
        states = await self._changes.observer.host_links((network.link,))
        return self._judged(network, {name: Carrier(state.kind, state.alias, state.group) for name, state in states.items()})

    async def ready(self, network: Network, *, dry_run: bool = False) -> list[str]:
        """See to it that `network` can take a container; returns what is to be told. Raises Conflict where it can't.

        The caller holds the lock of changes."""
        require_usable(find(self._changes.records.drivers, network.driver))
        return [*await self._carried(network, dry_run), *await self._reached(network, dry_run)]

    async def _carried(self, network: Network, dry_run: bool) -> list[str]:
        if not self.problem(network) or not (found := await self._now(network)):
            return []
        gone = self._changes.records.carrier(network) is not None and not await self._changes.observer.host_links((network.link,))
        if gone and not dry_run:
            await self._repair.reconcile()
            found = await self._now(network)
        if found and not (gone and dry_run):
            raise Conflict(f"network {network.name} is damaged: {found}", name=network.name, with_=network.link)
        return [f"{network.link}, which carries network {network.name}, was gone: it {'is' if dry_run else 'was'} made again first"]

    async def _reached(self, network: Network, dry_run: bool) -> list[str]:
        """See to the host's own link in `network`, on which the routes to its containers rest."""
        link = host_link(network)
        if not network.host_addresses or _stands(network, link):
            return []
        if not dry_run:
            await self._repair.reconcile()
            if not _stands(network, link):
                raise Conflict(f"network {network.name} is damaged: {link}, the host's own link in it, is gone, down, or without the "
                               "host's address, and can't be made again: the events say why. Switch host access off, or see to what "
                               "is in the way",
                               name=network.name, with_=link)
        return [f"{link}, the host's own link in network {network.name}, was gone, down, or without the host's address: it "
                f"{'is' if dry_run else 'was'} put right first"]

    # Telling

    def _heard(self, changes: list[WorldChange]) -> None:
        host = f"{self._world.host}/"
        news = [(key, value) for topic, _, key, value in changes if topic == "links"]
        if news:
            links = {item.link for item in self._changes.records.networks.values()}
            if any((key.startswith(host) and (not isinstance(value, Link) or value.name in links)) or key in self._rivals
                   or (isinstance(value, Link) and self._hangs_here(value)) for key, value in news):
                self._wake.set()

    def _hangs_here(self, link: Link) -> bool:
        """Whether a link may be in the way of those of our networks on its parent."""
        return link.lower_inode == self._world.host and link.kind in FAMILY and is_strange(link, self._changes.store.instance)

    async def run(self) -> None:
        """Look at the networks whenever a link of the host came or went."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(SETTLE)
            self._wake.clear()
            await self.look()

    async def look(self) -> None:
        """Bring what clients see of each network's problem up to date."""
        records = self._changes.records
        self._rivals = {f"{link.inode}/{link.ifindex}" for item in records.networks.values()
                        if item.link and item.driver in ON_A_PARENT for link in self._strangers(item.link)}
        carriers = self._carriers(item.link for item in records.networks.values())
        for network in list(records.networks.values()):
            if self._judged(network, carriers) == self._told(network):
                continue
            async with self._changes.lock:  # a change under way takes links and puts them back
                if records.networks.get(network.id) != network:
                    continue
                found = await self._now(network) if network.link else self.problem(network)
            if found != self._told(network):
                if not found and network.driver in ON_A_PARENT and records.endpoint_count(network.id):
                    self._changes.needs_repair.set()  # what could not be made again can now
                shown = self._world.get("networks", network.id)
                state = shown.state if isinstance(shown, Network) else network.state
                self._world.put("networks", network.id, msgspec.structs.replace(network, problem=found, state=state))
                action, level = ("damaged", "warning") if found else ("mended", "notice")
                self._world.log("network", action, network.name, text=found, level=level)

    def _told(self, network: Network) -> str:
        return getattr(self._world.get("networks", network.id), "problem", "")


