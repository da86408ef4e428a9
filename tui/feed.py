"""What the workstation knows of the host: the helper's live stream, kept in tables. No Textual here.

When the helper is lost the tables stay as they are; when it comes back a snapshot is compared with them, so that whoever shows
them sees only what differs.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from protocol.client import ConnectionState
from protocol.errors import NetdeckError
from protocol.messages import Counters, Event, Snapshot, Welcome
from protocol.model import Address, Container, Endpoint, Link, LogEntry, Namespace, Network, PortVlans, Route
from tui.feed_tables import Table
from tui.rates import RateTable

TOPICS: Final = ("namespaces", "links", "vlans", "addresses", "routes", "networks", "endpoints", "containers", "log", "counters")
LOG_KEPT: Final = 5_000
PERIOD: Final = 1.0
#: A counters message that is so late isn't coming: nothing moves.
_QUIET: Final = 2.5 * PERIOD
_GRACE: Final = 0.2
_HISTORY: Final = 60
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0

Item = Snapshot | Event | Counters


class Source(Protocol):
    """The part of `protocol.client.Client` that the feed needs."""

    async def connect(self, timeout: float = 5.0) -> Welcome: ...

    def subscribe(self, topics: tuple[str, ...], *, period: float = 1.0) -> AsyncIterator[Item]: ...


@dataclass(frozen=True, slots=True)
class Batch:
    """What a message changed: keys by topic, and the rows that went.

    `counters`: keys of interfaces whose rates or counters differ; `tick`: a period of counters ended. `connection`: the
    connection came or went. `log`: entries that are new, and `dropped` of the oldest that went.
    """

    changed: Mapping[str, set[str]] = field(default_factory=dict)
    removed: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    counters: frozenset[str] | set[str] = frozenset()
    tick: bool = False
    connection: bool = False
    log: tuple[LogEntry, ...] = ()
    dropped: tuple[LogEntry, ...] = ()

    def touches(self, *topics: str) -> bool:
        """Whether rows of any of these topics changed or went."""
        return any(self.changed.get(topic) or self.removed.get(topic) for topic in topics)


def _link_of(key: str, row: object) -> str:
    inode, ifindex, _ = key.split("/", 2)
    return f"{inode}/{ifindex}"


class Feed:
    """Tables of everything that the helper tells, and the rates of every interface.

    `run` lives as long as the workstation. All of it belongs to one event loop.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._namespaces: Table[Namespace] = Table()
        self._links: Table[Link] = Table(
            inode=lambda key, row: row.inode, name=lambda key, row: (row.inode, row.name),
            lower=lambda key, row: (row.lower_inode, row.lower) if row.lower_inode else None,
            master=lambda key, row: (row.inode, row.master) if row.master else None,
        )
        self._vlans: Table[PortVlans] = Table(master=lambda key, row: (row.inode, row.master))
        self._addresses: Table[Address] = Table(link=_link_of)
        self._routes: Table[Route] = Table(inode=lambda key, row: row.inode)
        self._networks: Table[Network] = Table(name=lambda key, row: row.name, link=lambda key, row: row.link or None,
                                                uplink=lambda key, row: row.uplink or None)
        self._endpoints: Table[Endpoint] = Table(
            network=lambda key, row: row.network, container=lambda key, row: row.container
        )
        self._containers: Table[Container] = Table(inode=lambda key, row: row.inode, ref=lambda key, row: row.ref)
        self._tables: dict[str, Table[Any]] = {
            "namespaces": self._namespaces, "links": self._links, "addresses": self._addresses, "routes": self._routes,
            "vlans": self._vlans, "networks": self._networks, "endpoints": self._endpoints, "containers": self._containers,
        }
        self.log: deque[LogEntry] = deque()
        self._logged: set[tuple[int, float]] = set()
        self.rates = RateTable()
        self.host_inode = 0
        self.connected = False
        self.loaded = False  # whether there was ever a snapshot
        self.reason = ""
        self.welcome: Welcome | None = None
        self.heard_at: float | None = None  # seconds since 1970 of the last message
        self._clock = clock
        self._heard = clock()
        self._listeners: list[Callable[[Batch], None]] = []
        self._quiet_timer: asyncio.TimerHandle | None = None
        self._quiet_ticks = 0

    # Reading

    @property
    def networks(self) -> dict[str, Network]:
        return self._networks.rows

    @property
    def endpoints(self) -> dict[str, Endpoint]:
        return self._endpoints.rows

    @property
    def containers(self) -> dict[str, Container]:
        return self._containers.rows

    @property
    def links(self) -> dict[str, Link]:
        return self._links.rows

    @property
    def namespaces(self) -> dict[str, Namespace]:
        return self._namespaces.rows

    @property
    def addresses(self) -> dict[str, Address]:
        return self._addresses.rows

    @property
    def vlans(self) -> dict[str, PortVlans]:
        return self._vlans.rows

    @property
    def routes(self) -> dict[str, Route]:
        return self._routes.rows

    @property
    def age(self) -> float:
        """Seconds since what is shown was true; 0 while the helper is there."""
        return 0.0 if self.connected and self.loaded else self._clock() - self._heard

    def endpoints_of(self, *, network: str | None = None, container: str | None = None) -> tuple[Endpoint, ...]:
        """Endpoints of a network or of a container, by id, in the order of attachment."""
        grouping, group = ("network", network) if network is not None else ("container", container)
        return tuple(sorted(self._endpoints.rows_in(grouping, group), key=lambda endpoint: endpoint.order))

    def networks_on(self, name: str) -> tuple[Network, ...]:
        """Networks whose bridge, parent or uplink is the host's link of that name, by their names."""
        return tuple(sorted((*self._networks.rows_in("link", name), *self._networks.rows_in("uplink", name)), key=lambda row: row.name))

    def links_in(self, inode: int) -> tuple[Link, ...]:
        """Interfaces of a namespace, by their number."""
        return tuple(sorted(self._links.rows_in("inode", inode), key=lambda link: link.ifindex))

    def link_named(self, inode: int, name: str) -> Link | None:
        """The interface of that name in a namespace."""
        return next(iter(self._links.rows_in("name", (inode, name))), None)

    def links_on(self, inode: int, ifindex: int) -> tuple[Link, ...]:
        """Interfaces that hang on one, of any namespace: VLANs, macvlans, ipvlans."""
        return tuple(sorted(self._links.rows_in("lower", (inode, ifindex)), key=lambda link: (link.vlan, link.inode, link.ifindex)))

    def ports_of(self, inode: int, ifindex: int) -> tuple[Link, ...]:
        """Interfaces that are ports of one."""
        return tuple(sorted(self._links.rows_in("master", (inode, ifindex)), key=lambda link: link.ifindex))

    def vlans_on(self, inode: int, ifindex: int) -> tuple[PortVlans, ...]:
        """The VLANs of each port of a bridge, its own too."""
        return self._vlans.rows_in("master", (inode, ifindex))

    def addresses_of(self, link_key: str) -> tuple[Address, ...]:
        """Addresses of an interface (``inode/ifindex``)."""
        return self._addresses.rows_in("link", link_key)

    def routes_in(self, inode: int) -> tuple[Route, ...]:
        """Routes of a namespace."""
        return self._routes.rows_in("inode", inode)

    def containers_in(self, inode: int) -> tuple[Container, ...]:
        """Containers that live in a namespace."""
        return self._containers.rows_in("inode", inode) if inode else ()

    def network_named(self, name: str) -> Network | None:
        """The network of that name."""
        return next(iter(self._networks.rows_in("name", name)), None)

    def container_named(self, ref: str) -> Container | None:
        """The container that an operator calls so."""
        return next(iter(self._containers.rows_in("ref", ref)), None)

    def subscribe(self, callback: Callable[[Batch], None]) -> Callable[[], None]:
        """Call `callback` once for each message that changed anything; returns what ends that."""
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback)

    # The stream

    async def run(self, source: Source) -> None:
        """Follow the helper until cancelled, however often it goes and comes. Raises nothing of the helper's."""
        pause = _FIRST_PAUSE
        while True:
            try:
                await source.connect()
                async for item in source.subscribe(TOPICS, period=PERIOD):
                    pause = _FIRST_PAUSE
                    self.take(item)
            except NetdeckError as error:
                self._lose(error.message)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def connection_changed(self, state: ConnectionState) -> None:
        """For `Client(on_state=…)`."""
        self.welcome = state.welcome or self.welcome
        if state.connected:
            self.connected, self.reason = True, ""
            self._tell(Batch(connection=True))
        else:
            self._lose(state.reason)

    def _lose(self, reason: str) -> None:
        if self.connected or reason != self.reason:
            self.connected, self.reason = False, reason
            self._stop_quiet_timer()
            self._tell(Batch(connection=True))

    def take(self, item: Item) -> None:
        """Take one message of the stream and tell who listens."""
        self._heard, self.heard_at = self._clock(), time.time()
        match item:
            case Snapshot():
                self._tell(self._take_snapshot(item))
            case Event():
                self._tell(self._take_event(item))
            case Counters():
                self._quiet_ticks = 0
                self._await_counters()
                self._tell(Batch(counters=self.rates.take(item), tick=True))

    def _take_snapshot(self, item: Snapshot) -> Batch:
        rows: dict[str, dict[str, Any]] = {topic: {} for topic in self._tables}
        entries: list[LogEntry] = []
        for topic, key, value in item.state:
            if topic == "log":
                entries.append(value)
            elif topic in rows:
                rows[topic][key] = value
        changed: dict[str, set[str]] = {}
        removed: dict[str, dict[str, Any]] = {}
        for topic, table in self._tables.items():
            changed[topic], removed[topic] = table.replace(rows[topic])
        self.loaded = True
        fresh, dropped = self._add_to_log(entries)
        return self._settled(Batch(changed, removed, log=fresh, dropped=dropped, connection=True))

    def _take_event(self, item: Event) -> Batch:
        changed: dict[str, set[str]] = {}
        removed: dict[str, dict[str, Any]] = {}
        entries: list[LogEntry] = []
        for topic, what, key, value in item.changes:
            table = self._tables.get(topic)
            if table is None:
                if topic == "log" and what == "put":
                    entries.append(value)
            elif what == "put":
                if table.put(key, value):
                    changed.setdefault(topic, set()).add(key)
                    removed.get(topic, {}).pop(key, None)
            elif (gone := table.remove(key)) is not None:
                removed.setdefault(topic, {})[key] = gone
                changed.get(topic, set()).discard(key)
        fresh, dropped = self._add_to_log(entries)
        return self._settled(Batch(changed, removed, log=fresh, dropped=dropped))

    def _settled(self, batch: Batch) -> Batch:
        if batch.touches("namespaces"):
            self.host_inode = next((row.inode for row in self.namespaces.values() if row.host), 0)
        self.rates.forget(batch.removed.get("links", ()))
        return batch

    def _add_to_log(self, entries: list[LogEntry]) -> tuple[tuple[LogEntry, ...], tuple[LogEntry, ...]]:
        """Entries not known yet. A helper that was started anew counts from the beginning: number *and* time name an entry."""
        fresh = tuple(sorted(
            (entry for entry in entries if (entry.seq, entry.time) not in self._logged), key=lambda entry: (entry.time, entry.seq)
        ))[-LOG_KEPT:]
        self.log.extend(fresh)
        self._logged.update((entry.seq, entry.time) for entry in fresh)
        dropped = tuple(self.log.popleft() for _ in range(max(0, len(self.log) - LOG_KEPT)))
        self._logged.difference_update((entry.seq, entry.time) for entry in dropped)
        return fresh, dropped

    def _tell(self, batch: Batch) -> None:
        for listener in tuple(self._listeners):
            listener(batch)

    # Where nothing moves no counters come: the rates fall to zero, and the last minute goes on until it is all zero

    def _await_counters(self, seconds: float = _QUIET) -> None:
        self._stop_quiet_timer()
        self._quiet_timer = asyncio.get_running_loop().call_later(seconds, self._suspect_quiet)

    def _stop_quiet_timer(self) -> None:
        if self._quiet_timer is not None:
            self._quiet_timer.cancel()
            self._quiet_timer = None

    def _suspect_quiet(self) -> None:
        # Where the loop itself was held up the message may lie there unread: it gets its turn first.
        self._quiet_timer = asyncio.get_running_loop().call_later(_GRACE, self._be_quiet)

    def _be_quiet(self) -> None:
        self._quiet_ticks += 1
        moved = self.rates.quiet()
        if self._quiet_ticks <= _HISTORY:
            self._await_counters(PERIOD)
        self._tell(Batch(counters=moved, tick=True))

    def close(self) -> None:
        """Stop the timer."""
        self._stop_quiet_timer()
