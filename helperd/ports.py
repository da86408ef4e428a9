"""Published ports: chosen when a container starts, published and withdrawn while it runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgspec

from drivers.bridge_ports import target_of
from drivers.objects import HOST, PortSocket
from helperd.changes import CallContext, Changes
from helperd.containers_known import KnownContainers
from helperd.host_facts import HostFacts
from helperd.kernel.port_sockets import PortSockets, probe
from helperd.networks import Networks
from helperd.port_choice import Pairs, chosen, placed
from helperd.store import Change
from helperd.streams import Stream
from protocol.errors import Conflict, InvalidValue, NetdeckError, NotFound
from protocol.model import SHARES, Container, Endpoint, Port
from protocol.ports import PortWish, order, parse_all, parse_expose, port_text
from protocol.requests import ContainerRun, PortList, PortPublish, PortWithdraw

DISCARDED = "Published ports are discarded when using host network mode"  # docker's words


def socket_of(port: Port) -> PortSocket:
    """What keeps a port from others."""
    return PortSocket(HOST, port.protocol, port.host, port.host_port)


def wanted_ports(request: ContainerRun) -> tuple[PortWish, ...]:
    """What a container shall be started with: what is published by name, and with `publish_all` the rest of what is exposed.
    Raises InvalidValue."""
    wishes = parse_all(request.publish)
    exposed = [wish for spec in request.expose for wish in parse_expose(spec)]
    if not request.publish_all:
        return wishes
    named = {(wish.protocol, wish.port) for wish in wishes}
    return (*wishes, *dict.fromkeys(wish for wish in exposed if (wish.protocol, wish.port) not in named))


def exposed_ports(specs: Iterable[str]) -> tuple[str, ...]:
    """What ``--expose`` named, as docker writes it: ``80/tcp``. Raises InvalidValue."""
    return tuple(dict.fromkeys(f"{wish.port}/{wish.protocol}" for spec in specs for wish in parse_expose(spec)))


RETRY_SECONDS = 2.0


class Ports:
    """The operations on published ports, and the choosing that `run` and `connect` share with them."""

    def __init__(self, changes: Changes, networks: Networks, known: KnownContainers, facts: HostFacts, sockets: PortSockets) -> None:
        self._changes, self._records, self._networks = changes, changes.records, networks
        self._known, self._facts, self._sockets = known, facts, sockets

    def _free(self, ports: Sequence[Port], named: bool) -> None:
        """Raise Conflict where one of `ports` is published already or taken by a process of the host."""
        for port in ports:
            owner = self._records.port_owner(port)
            if owner is not None:
                raise Conflict(f"port {port.host_port}/{port.protocol} of the host is published for container "
                               f"{self._records.owner(owner)} already: withdraw it there, or choose another", field="publish",
                               value=str(port.host_port), with_=self._records.owner(owner))
        probe(map(socket_of, ports), named=named)

    def choose(self, wishes: Sequence[PortWish], container: Container, pairs: Pairs) -> tuple[Port, ...]:
        """The ports that `wishes` get. Raises what stands in the way of one, before anything is changed."""
        return chosen(wishes, container, pairs, self._records.drivers, self._facts.automatic_ports(), self._free,
                      self._facts.has_ipv6())

    def with_ports(self, endpoints: Sequence[Endpoint], wishes: Sequence[PortWish], container: Container) -> tuple[Endpoint, ...]:
        """The first `endpoints` of a container, with the ports that it is started with."""
        if not wishes:
            return tuple(endpoints)
        pairs = [(self._records.networks[item.network], item) for item in endpoints]
        changed, _ = placed(self.choose(wishes, container, pairs), pairs, self._records.drivers)
        fresh = {item.id: item for item in changed}
        return tuple(fresh.get(item.id, item) for item in endpoints)

    def moved(self, change: Change, container: Container, taken: Collection[Port] = ()) -> tuple[Change, tuple[Port, ...]]:
        """`change`, which attaches or detaches `container`, with its ports led through the networks that it will be on; and the
        ports that no network is left for. Of a container of ours those wait for one, as in docker; so do those that are `taken`."""
        before = self._records.endpoints_of(container=container.id)
        ports = [port for item in before for port in item.ports] + [port for port in container.waiting if port not in taken]
        if not ports:
            return change, ()
        after = {item.id: item for item in (*before, *change.endpoints) if item.id not in change.drop_endpoints}
        pairs = [(self._records.networks[item.network], item) for item in after.values()]
        changed, lost = placed(ports, pairs, self._records.drivers)
        fresh = {item.id: item for item in (*change.endpoints, *changed)}
        waiting = tuple(dict.fromkeys((*taken, *lost))) if container.runtime == "netdeck" else ()
        containers = tuple(msgspec.structs.replace(item, waiting=waiting) if item.id == container.id else item
                           for item in change.containers)
        return msgspec.structs.replace(change, endpoints=tuple(fresh.values()), containers=containers), lost

    def taken(self, container: Container) -> dict[Port, str]:
        """Which of the ports that wait for a network somebody else has meanwhile, and who, in words."""
        found: dict[Port, str] = {}
        for port in container.waiting:
            try:
                self._free((port,), True)
            except NetdeckError as error:
                found[port] = error.message
        return found

    def _pairs(self, container: Container) -> Pairs:
        found = self._records.endpoints_of(container=container.id)
        return [(self._records.networks[item.network], item) for item in found]

    async def run(self) -> None:
        """Try again and again to hold the ports that somebody had taken when the helper started."""
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            held = {item.key for item in self._sockets.objects()}
            ports = [port for endpoint in self._records.endpoints.values() for port in endpoint.ports]
            missing = [socket_of(port) for port in ports if socket_of(port).key not in held]
            with contextlib.suppress(NetdeckError):
                for item in missing:
                    probe((item,), named=False)
                    self._changes.needs_repair.set()

    async def publish(self, request: PortPublish, call: CallContext, stream: Stream) -> Any:
        wishes = parse_all(request.ports)
        async with self._changes.lock:
            container = await self._known.running(request.container)
            if container.mode == "host":
                raise InvalidValue(f"{DISCARDED}: those of container {container.ref} are the host's own", field="container",
                                   value=container.ref)
            if container.mode.startswith(SHARES):
                other = container.networks[0].removeprefix(SHARES)
                raise InvalidValue(f"container {container.ref} shares the network of container {other}: publish its ports at {other}",
                                   field="container", value=container.ref)
            pairs = self._pairs(container)
            ports = self.choose(wishes, container, pairs)
            have = [port for _, item in pairs for port in item.ports]
            changed, _ = placed((*have, *ports), pairs, self._records.drivers)
            change = Change("port.publish", call.uid, endpoints=changed, containers=_without_waiting(container, ports))
            steps = self._changes.steps(change)
            plan = self._networks.plan(change, steps)
            if not request.dry_run:
                await self._changes.carry_out(change, steps=steps)
        self._changes.tell()  # so that what stops the new ports is looked for
        joined = {network.id: network for network, _ in pairs}
        warnings = await self._facts.warnings_now(*joined.values()) if ports else []
        return {"container": container.ref, "ports": ports, "warnings": warnings, "plan": plan, "dry_run": request.dry_run}

    async def withdraw(self, request: PortWithdraw, call: CallContext, stream: Stream) -> Any:
        if bool(request.ports) == request.all:
            raise InvalidValue("name the ports to withdraw, or say that it is all of them (one of the two)", field="ports",
                               value=", ".join(request.ports))
        wishes = parse_all(request.ports)
        async with self._changes.lock:
            container = await self._known.stored(request.container)
            endpoints = self._records.endpoints_of(container=container.id)
            have = [*(port for item in endpoints for port in item.ports), *container.waiting]
            gone = set(have) if request.all else _meant(wishes, have, container)
            changed = [msgspec.structs.replace(item, ports=tuple(port for port in item.ports if port not in gone))
                       for item in endpoints if gone.intersection(item.ports)]
            change = Change("port.withdraw", call.uid, endpoints=tuple(changed), containers=_without_waiting(container, gone))
            steps = self._changes.steps(change)
            plan = self._networks.plan(change, steps)
            if (changed or change.containers) and not request.dry_run:
                await self._changes.carry_out(change, steps=steps)
        return {"container": container.ref, "ports": sorted(gone, key=order), "plan": plan, "dry_run": request.dry_run}

    async def listing(self, request: PortList, call: CallContext, stream: Stream) -> Any:
        if request.container is None:
            found: Iterable[Endpoint] = self._records.endpoints.values()
        else:
            container = await self._known.stored(request.container)
            found = self._records.endpoints_of(container=container.id)
        held = {item.key for item in self._sockets.objects()}
        rows = []
        for endpoint in found:
            owner = self._records.containers[endpoint.container]
            network = self._records.networks[endpoint.network]
            for port in sorted(endpoint.ports, key=order):
                rows.append({"container": owner.ref, "container_id": owner.id, "network": network.name,
                             "address": target_of(network, endpoint, port), **msgspec.structs.asdict(port),
                             "held": socket_of(port).key in held})
        return rows


def _without_waiting(container: Container, ports: Collection[Port]) -> tuple[Container, ...]:
    """The container with these of its ports waiting no more; () where none of them was."""
    left = tuple(port for port in container.waiting if port not in ports)
    return () if left == container.waiting else (msgspec.structs.replace(container, waiting=left),)


def _meant(wishes: Sequence[PortWish], have: Sequence[Port], container: Container) -> set[Port]:
    """The published ports that `wishes` name. Raises NotFound where one names none."""
    by_target: dict[tuple[str, int], list[Port]] = {}
    for port in have:
        by_target.setdefault((port.protocol, port.port), []).append(port)
    found: set[Port] = set()
    for wish in wishes:
        meant = [port for port in by_target.get((wish.protocol, wish.port), ()) if _agrees(wish, port)]
        if not meant:
            listed = ", ".join(map(port_text, sorted(have, key=order)[:8])) + (", …" if len(have) > 8 else "")
            named = f"{wish.port}/{wish.protocol}" + (f" at the host's {wish.host_ports[0]}" if wish.host_ports else "")
            whose = next((port_text(port) for port in have if (port.protocol, port.host_port) == (wish.protocol, wish.port)), "")
            hint = f" (what is named is the container's port, {wish.port} is the host's of {whose})" if whose else ""
            raise NotFound(f"port {named} of container {container.ref} is not published{hint}: "
                           + (f"published are {listed}" if have else "none is"), name=named)
        found.update(meant)
    return found


def _agrees(wish: PortWish, port: Port) -> bool:
    low, high = wish.host_ports or (port.host_port, port.host_port)
    return wish.host in ("", port.host) and low <= port.host_port <= high
