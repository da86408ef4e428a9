"""What the resolver must know of networks, endpoints and containers: all of it when it begins, then what each change changes."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from drivers.name_server import has_names
from helperd.changes import CallContext, Changes, place_of
from helperd.child_frames import ToChild
from helperd.child_service import ChildService
from helperd.dhcp.leases import name_servers
from helperd.kernel.name_sockets import NameSockets, outward_sockets
from helperd.kernel.namespaces import NamespaceGone, NamespaceThread
from helperd.names.frames import (
    AnyFromResolver,
    ContainerGone,
    ContainerPut,
    EndpointGone,
    EndpointPut,
    NetworkGone,
    NetworkPut,
    Queries,
    Sockets,
    Upstreams,
    Wanted,
    Watching,
    from_resolver,
)
from helperd.plan import Step
from helperd.store import Change, lease_address
from protocol.model import Container, Endpoint, Network

log = logging.getLogger("netdeck.names")
HOST_SECONDS = 2.0  # between two looks at the host's resolv.conf
SERVERS = 3  # of resolv.conf(5)
OUTWARD = 8  # sockets handed over at a time for questions from inside a container
_NAME = re.compile(r"\A[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?\Z", re.IGNORECASE)


def names_of(container: Container, endpoint: Endpoint) -> tuple[str, ...]:
    """What a container is called on a network: its name, its aliases, its short id, its hostname where it was given one. One of
    another runtime goes by the name it has there, unless that has a dot: nobody may take a name of the world away from a whole network.
    What can't be asked for is left out."""
    own = container.name if container.runtime == "netdeck" else container.ref.partition(":")[2]
    foreign = container.runtime != "netdeck"
    names = [] if container.runtime == "unknown" or own.isdecimal() or (foreign and "." in own) else [own]
    names += endpoint.aliases
    names.append(container.id[:12])
    if container.runtime == "netdeck":
        names.append(container.hostname)
    return tuple(dict.fromkeys(name for name in names if _NAME.match(name)))


def host_servers(text: str) -> tuple[str, ...]:
    """The name servers that a host with this resolv.conf asks: its own where it names none (resolv.conf(5))."""
    found = []
    for words in map(str.split, text.splitlines()):
        if len(words) >= 2 and words[0] == "nameserver":
            try:
                ipaddress.ip_address(words[1].partition("%")[0])
            except ValueError:
                continue
            found.append(words[1])
    return tuple(found[:SERVERS]) or ("127.0.0.1",)


class Directory:
    """Tells one resolver after the other. `dns` are servers of the configuration, for containers that were given none of their own:
    they are asked from inside containers, too. `host_changed` is called when the host's resolv.conf has another text, `queries` with
    rows of the query log."""

    def __init__(self, changes: Changes, sockets: NameSockets, thread: NamespaceThread, resolv_conf: Path,
                 dns: Sequence[str] = ()) -> None:
        self._dns = tuple(dns)
        self._records, self._sockets, self._thread = changes.records, sockets, thread
        self._resolv_conf, self._text = resolv_conf, ""
        self._busy: set[tuple[str, int, str]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._watched = False
        self.resolver = ChildService("helperd.names", "resolver", from_resolver, self._everything, self._heard)
        self.host_changed: Callable[[], None] = lambda: None
        self.queries: Callable[[Queries], None] = lambda frame: None
        sockets.changed = self._container
        changes.listeners.append(self)

    async def run(self) -> None:
        """Serve names until cancelled."""
        self._text = self._read_host()
        await asyncio.gather(self.resolver.run(), self._follow_host())

    def watch(self, on: bool) -> None:
        """Whether anybody reads the query log."""
        if on != self._watched:
            self._watched = on
            self.resolver.post(Watching(on))

    # What is told

    def _everything(self) -> None:
        self.resolver.post(Upstreams(host_servers(self._text)))
        self.resolver.post(Watching(self._watched))
        for network in self._records.networks.values():
            self._network(network)
        for endpoint in self._records.endpoints.values():
            self._endpoint(endpoint)
        for container in {item.container for item in self._records.endpoints.values()}:
            self._container(container)

    def changed(self, change: Change, steps: tuple[Step, ...], call: CallContext) -> None:
        """A change was committed."""
        for frame in _gone(change):
            self.resolver.post(frame)
        for network in change.networks:
            self._network(network)
        for endpoint in change.endpoints:
            self._endpoint(endpoint)
        touched = _touched(change, steps)
        self._sockets.told(touched)
        for ident in touched:
            self._container(ident)

    def _network(self, network: Network) -> None:
        if has_names(network):
            self.resolver.post(NetworkPut(network.id, network.name, tuple(item.subnet for item in network.subnets)))

    def _endpoint(self, endpoint: Endpoint) -> None:
        network, container = self._records.networks.get(endpoint.network), self._records.containers.get(endpoint.container)
        if network is not None and container is not None and has_names(network):
            addresses = tuple(map(lease_address, endpoint.addresses))
            self.resolver.post(EndpointPut(endpoint.id, network.id, names_of(container, endpoint), addresses))

    def _container(self, ident: str) -> None:
        """Hand a container's sockets over, with what it may ask; or say that it is served no more."""
        container = self._records.containers.get(ident)
        descriptors = None if container is None else self._sockets.copies(ident)
        if container is None or descriptors is None:
            self.resolver.post(ContainerGone(ident))
            return
        pairs = [(self._records.networks[item.network], item) for item in self._records.endpoints_of(container=ident)]
        pairs.sort(key=lambda pair: (pair[0].internal, pair[1].order))
        self.resolver.post(ContainerPut(
            ident, container.ref, container.inode, tuple(network.id for network, _ in pairs if has_names(network)),
            container.dns or name_servers(endpoint for _, endpoint in pairs) or self._dns,
            any(not network.internal for network, _ in pairs), not any(word.startswith("ndots:") for word in container.dns_options)),
            descriptors)

    # What the resolver says

    def _heard(self, frame: AnyFromResolver) -> None:
        if isinstance(frame, Queries):
            if self._watched:
                self.queries(frame)
        elif isinstance(frame, Wanted):
            key = (frame.container, frame.family, frame.kind)
            if key not in self._busy:
                self._busy.add(key)
                task = asyncio.create_task(self._hand_over(frame))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _hand_over(self, frame: Wanted) -> None:
        """Open sockets for the servers that a container was given (`--dns`): they are asked from where it is."""
        container = self._records.containers.get(frame.container)
        descriptors: tuple[int, ...] = ()
        try:
            known = container is not None and bool(
                container.dns or self._dns or name_servers(self._records.endpoints_of(container=container.id)))
            if container is not None and known and self._sockets.holds(container.id, container.inode):
                count = OUTWARD if frame.kind == "udp" else 1
                made = await self._thread.run_async(place_of(container), partial(outward_sockets, frame.family, frame.kind, count))
                descriptors = tuple(sock.detach() for sock in made)
        except (NamespaceGone, OSError) as error:
            log.warning("sockets in container %s: %s", frame.container[:12], error)
        finally:
            self._busy.discard((frame.container, frame.family, frame.kind))
        self.resolver.post(Sockets(frame.container, frame.family, frame.kind), descriptors)

    # The host's servers

    def _read_host(self) -> str:
        try:
            return self._resolv_conf.read_text(encoding="utf-8", errors="replace")[:65_536]
        except OSError:
            return ""

    async def _follow_host(self) -> None:
        while True:
            await asyncio.sleep(HOST_SECONDS)
            text = self._read_host()
            if text != self._text:
                self._text = text
                self.resolver.post(Upstreams(host_servers(text)))
                self.host_changed()


def _gone(change: Change) -> Iterator[ToChild]:
    yield from map(EndpointGone, change.drop_endpoints)
    yield from map(ContainerGone, change.drop_containers)
    yield from map(NetworkGone, change.drop_networks)


def _touched(change: Change, steps: Iterable[Step]) -> dict[str, None]:
    """Containers whose networks or settings `change` changed."""
    found = dict.fromkeys(item.container for item in change.endpoints)
    found |= dict.fromkeys(item.id for item in change.containers)
    return found | dict.fromkeys(step.object.place for step in steps if step.object.key[0] == "name_server")
