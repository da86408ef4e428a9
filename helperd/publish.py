"""Tells clients of what changed in networks, endpoints and containers, and which containers of others come and go."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping

import msgspec

from helperd.changes import CallContext, Changes, place_of
from helperd.containers_known import KnownContainers
from helperd.cut_off import NO_LEASE
from helperd.endpoints import Endpoints
from helperd.kernel.announce import Announcer
from helperd.kernel.name_sockets import NameSockets
from helperd.kernel.namespaces import NamespaceRef
from helperd.links import Linkers
from helperd.network_difference import differences
from helperd.network_health import NetworkHealth
from helperd.plan import Step
from helperd.store import Change
from helperd.world import Change as WorldChange
from helperd.world import World
from protocol.errors import NetdeckError
from protocol.model import Container, Endpoint, Namespace, Network, Port
from protocol.ports import summary

log = logging.getLogger("netdeck.publish")
SCAN_SECONDS = 1.0
BEHIND_ANSWER = 0.01  # seconds: on a bridge of a thousand ports an announcement takes the CPU for milliseconds


class Publisher:
    """Keeps the tables that clients see in step with the records, writes the log, announces addresses."""

    def __init__(self, changes: Changes, world: World, known: KnownContainers, health: NetworkHealth) -> None:
        self._records, self._world, self._known, self._health = changes.records, world, known, health
        self._shown: set[str] = set()
        self._announcer = Announcer()
        self._announcing: set[asyncio.Task[int]] = set()
        self._linkers = Linkers(self._records)
        self.etc_changed: Callable[[Container], None] = lambda container: None
        self.with_conflicts: Callable[[Endpoint], Endpoint] = lambda endpoint: endpoint
        self.networks_changed: Callable[[], None] = lambda: None
        self.state: Callable[[str], str] = lambda network: "ready"  # of a network by its id
        changes.listeners.append(self)

    def everything(self) -> None:
        """The first state, after a start."""
        records = self._records
        for network in records.networks.values():
            self._network(network)
        for endpoint in records.endpoints.values():
            self.endpoint(endpoint)
        self.containers()
        self.networks_changed()

    def states_changed(self, networks: Iterable[Network]) -> None:
        """The links that carry `networks` are in another state now."""
        for network in networks:
            self._network(network)
            endpoints = self._records.endpoints_of(network=network.id)
            for endpoint in endpoints:
                self.endpoint(endpoint)
            if self.state(network.id) == "ready":
                self._announce(endpoints)

    def _network(self, network: Network) -> None:
        self._world.put("networks", network.id, msgspec.structs.replace(self._health.shown(network), state=self.state(network.id)))

    def endpoint(self, endpoint: Endpoint) -> None:
        """One of them, as it is now."""
        self._world.put("endpoints", endpoint.id, self.shown(endpoint))

    def shown(self, endpoint: Endpoint) -> Endpoint:
        """An endpoint as clients see it: with its state, and who else answers for its addresses."""
        lost = endpoint.lease is not None and endpoint.lease.lost
        return msgspec.structs.replace(self.with_conflicts(endpoint), state=NO_LEASE if lost else self.state(endpoint.network))

    def containers(self) -> None:
        """The containers table anew, from the records and the last scan; only differences are told."""
        now = {item.id: item for item in self._known.everyone(ended=True)}
        for ident in self._shown - set(now):
            self._world.delete("containers", ident)
        for ident, item in now.items():
            if self._world.get("containers", ident) != item:
                self._world.put("containers", ident, item)
        self._shown = set(now)

    def changed(self, change: Change, steps: tuple[Step, ...], call: CallContext) -> None:
        """A change was committed."""
        for network in change.networks:
            before = self._world.get("networks", network.id)
            known = isinstance(before, Network)
            problem = before.problem if isinstance(before, Network) else ""  # what becomes of it is looked at, not guessed
            self._world.put("networks", network.id, msgspec.structs.replace(network, problem=problem, state=self.state(network.id)))
            text = "; ".join(differences(before, network)) if isinstance(before, Network) else f"driver {network.driver}"
            self._world.log("network", "changed" if known else "created", network.name, text=text, actor=call.user)
        for ident in change.drop_networks:
            gone = self._world.get("networks", ident)
            self._world.delete("networks", ident)
            self._world.log("network", "removed", getattr(gone, "name", ident[:12]), actor=call.user)
        fresh = []
        leased = {item.network for item in change.endpoints if item.lease is not None}
        for endpoint in change.endpoints:
            earlier = self._world.get("endpoints", endpoint.id)
            self.endpoint(endpoint)
            if not isinstance(earlier, Endpoint):
                fresh.append(endpoint)
                self._told(endpoint, "connected", call)
            elif earlier.addresses != endpoint.addresses:
                fresh.append(endpoint)
            self._ports_told(endpoint, earlier.ports if isinstance(earlier, Endpoint) else (), call)
        for ident in change.drop_endpoints:
            lost = self._world.get("endpoints", ident)
            self._world.delete("endpoints", ident)
            if isinstance(lost, Endpoint):
                self._told(lost, "disconnected", call)
                leased.update((lost.network,) if lost.lease is not None else ())
        for ident in leased & self._records.networks.keys():
            shown = self._world.get("networks", ident)
            if isinstance(shown, Network) and shown.state != self.state(ident):
                self._network(self._records.networks[ident])
        self._containers(change, call)
        self._announce(fresh)
        if change.networks or change.drop_networks:
            self.networks_changed()

    def _ports_told(self, endpoint: Endpoint, before: tuple[Port, ...], call: CallContext) -> None:
        if endpoint.ports == before:
            return
        container = self._records.containers.get(endpoint.container)
        where = container.ref if container else endpoint.container[:12]
        now, then = set(endpoint.ports), set(before)
        for action, ports in (("withdrawn", then - now), ("published", now - then)):
            if ports:
                self._world.log("port", action, summary(ports), where=where, actor=call.user)

    def _told(self, endpoint: Endpoint, action: str, call: CallContext) -> None:
        network = self._records.networks.get(endpoint.network)
        container = self._world.get("containers", endpoint.container) or self._records.containers.get(endpoint.container)
        where = container.ref if isinstance(container, Container) else endpoint.container[:12]
        self._world.log("endpoint", action, network.name if network else endpoint.network[:12], where=where,
                        text=f"{endpoint.ifname} {' '.join(endpoint.addresses)}", actor=call.user)

    def _containers(self, change: Change, call: CallContext) -> None:
        for item in change.containers:
            before = self._world.get("containers", item.id)
            if item.runtime == "netdeck" and (not isinstance(before, Container) or before.status != item.status):
                text = f"exit code {item.exit_code}" if item.status == "exited" else " ".join(item.command)
                self._world.log("container", item.status, item.ref, where=item.ref, text=text, actor=call.user)
        for ident in change.drop_containers:
            before = self._world.get("containers", ident)
            if isinstance(before, Container) and before.runtime == "netdeck":
                self._world.log("container", "removed", before.ref, where=before.ref, actor=call.user)
        touched = {item.container for item in change.endpoints} | {item.id for item in change.containers}
        if change.drop_containers or not touched <= self._shown:
            self.containers()
        else:
            for ident in touched:
                now = self._records.containers.get(ident)
                if now is not None and self._world.get("containers", ident) != now:
                    self._world.put("containers", ident, now)
        linked = self._linkers.changed(change, self._records)
        for ident in touched | linked:
            container = self._records.containers.get(ident)
            if container is not None and container.runtime == "netdeck" and container.status == "running":
                self.etc_changed(container)

    def _announce(self, endpoints: Iterable[Endpoint]) -> None:
        for endpoint in endpoints:
            container = self._records.containers.get(endpoint.container)
            if container is None or not container.inode or not endpoint.addresses:
                continue
            task = asyncio.create_task(self._announce_one(place_of(container), endpoint))
            self._announcing.add(task)
            task.add_done_callback(self._announced)

    async def _announce_one(self, place: NamespaceRef, endpoint: Endpoint) -> int:
        await asyncio.sleep(BEHIND_ANSWER)
        return await self._announcer.announce(place, endpoint.ifname, endpoint.mac, endpoint.addresses)

    def _announced(self, task: asyncio.Task[int]) -> None:
        self._announcing.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.warning("announcing an address failed: %s", task.exception())

    def close(self) -> None:
        for task in self._announcing:
            task.cancel()
        self._announcer.close()


class Watcher:
    """Looks for containers of other runtimes, and gives back what those that died had."""

    def __init__(self, changes: Changes, endpoints: Endpoints, known: KnownContainers, publisher: Publisher, world: World,
                 names: NameSockets) -> None:
        self._changes, self._endpoints, self._known, self._names = changes, endpoints, known, names
        self._publisher, self._world = publisher, world
        self._wake = asyncio.Event()
        self.lost: set[str] = set()  # containers that are gone, even if there is a namespace of that number
        world.subscribe(self._heard)

    def _heard(self, changes: list[WorldChange]) -> None:
        if any(topic == "namespaces" for topic, _, _, _ in changes):
            self._wake.set()

    async def run(self) -> None:
        told = ""
        while True:
            try:
                await self.look()
                told = ""
            except Exception as error:  # one bad look must not be the last
                if str(error) != told:
                    log.warning("looking for containers: %s", error, exc_info=not isinstance(error, NetdeckError | OSError))
                told = str(error)
            try:
                await asyncio.wait_for(self._wake.wait(), SCAN_SECONDS)
                await asyncio.sleep(0.05)
            except TimeoutError:
                pass
            self._wake.clear()

    async def look(self) -> None:
        """One scan: the containers table brought up to date, endpoints of dead ones released."""
        seen = await self._known.scan(SCAN_SECONDS / 2)
        alive = {row.inode for row in self._world.rows("namespaces") if isinstance(row, Namespace)} | set(seen)
        failed: NetdeckError | None = None
        for container in list(self._changes.records.containers.values()):
            if container.runtime != "netdeck" and (container.id in self.lost or
                                                   (not self._is_seen(container, seen, alive) and not await self._known.lives(container))):
                try:
                    await self._release(container)
                    self.lost.discard(container.id)
                except NetdeckError as error:  # it is tried again at the next look; the others need not wait for it
                    failed = error
        self._publisher.containers()
        if failed is not None:
            raise failed

    def _is_seen(self, container: Container, seen: Mapping[int, Container], alive: set[int]) -> bool:
        """Where sockets of ours keep its namespace alive, that it is there says nothing."""
        return container.inode in seen or (container.inode in alive and not self._names.holds(container.id, container.inode))

    async def _release(self, container: Container) -> None:
        async with self._changes.lock:
            found = self._changes.records.endpoints_of(container=container.id)
            if found:
                change = self._endpoints.detachment(found, 0, "container.died")
            elif container.id in self._changes.records.containers:
                change = Change("container.died", 0, drop_containers=(container.id,))
            else:
                return
            await self._changes.carry_out(change)
        self._world.log("container", "gone", container.ref, where=container.ref, text="its endpoints were released")
