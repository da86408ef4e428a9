"""A helper's stream that a test plays, message by message, for what must look the same each time. What runs on a real helper is in
test_workstation_lab.py."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

from protocol.client import ConnectionState
from protocol.errors import NetdeckError, Unavailable
from protocol.messages import Counters, Event, Snapshot, Welcome
from protocol.model import Address, Container, Endpoint, Link, LogEntry, Namespace, Network, Route, Subnet
from tui.feed import Feed

HOST, WEB, DATABASE = 4026531840, 4026532100, 4026532200
UP = 0x11043  # up, broadcast, multicast, lower-up
MOMENT = 1_789_000_000.0

Row = tuple[str, str, Any]


def base_rows() -> list[Row]:
    """A host with two networks of ours and three containers; eth0 leads out."""
    rows: list[Row] = [
        ("namespaces", str(HOST), Namespace(HOST, nsid=None, host=True)),
        ("namespaces", str(WEB), Namespace(WEB, nsid=1, container="shop", pid=101)),
        ("namespaces", str(DATABASE), Namespace(DATABASE, nsid=2, container="docker:database", pid=102)),
        ("networks", "n-bridge", Network("n-bridge", "bridge", "bridge", MOMENT, (Subnet("172.17.0.0/16", "172.17.0.1"),),
                                         options={"mtu": "1500"}, predefined=True, link="netdeck0")),
        ("networks", "n-web", Network("n-web", "web", "bridge", MOMENT,
                                      (Subnet("10.20.0.0/24", "10.20.0.1", chosen=True), Subnet("fd00:20::/64", "fd00:20::1", chosen=True)),
                                      options={"icc": "true", "mtu": "1500"}, labels={"demo": "yes"}, ipv6=True, link="br-web")),
        ("networks", "n-host", Network("n-host", "host", "host", MOMENT, predefined=True)),
        ("containers", "c-shop", Container("c-shop", "shop", "shop", "netdeck", WEB, 101, 1, command=("nginx", "-g", "daemon off;"),
                                           hostname="shop", networks=("web",), attached=True)),
        ("containers", "c-database", Container("c-database", "database", "docker:database", "docker", DATABASE, 102, 1,
                                               command=("postgres",), networks=("web",), attached=True)),
        ("containers", "c-old", Container("c-old", "old", "old", "netdeck", status="exited", exit_code=3)),
        ("endpoints", "e-1", Endpoint("e-1", "n-web", "c-shop", "eth0", "vethshop", "02:42:0a:14:00:0a", ("10.20.0.10/24",), order=1)),
        ("endpoints", "e-2", Endpoint("e-2", "n-web", "c-database", "eth0", "vethdb", "02:42:0a:14:00:0b", ("10.20.0.11/24",), order=2)),
    ]
    links = [
        Link(HOST, 1, "lo", "", "unknown", 0x10049, 65536),
        Link(HOST, 2, "eth0", "", "up", UP, 1500, "52:54:00:00:00:01"),
        Link(HOST, 3, "netdeck0", "bridge", "down", 0x1003, 1500, "02:42:00:00:00:03", network="bridge"),
        Link(HOST, 4, "br-web", "bridge", "up", UP, 1500, "02:42:00:00:00:04", network="web"),
        Link(HOST, 5, "vethshop", "veth", "up", UP, 1500, "02:42:00:00:00:05", 4, 0, WEB, 2, network="web"),
        Link(HOST, 6, "vethdb", "veth", "up", UP, 1500, "02:42:00:00:00:06", 4, 0, DATABASE, 2, network="web"),
        Link(WEB, 1, "lo", "", "unknown", 0x10049, 65536, container="shop"),
        Link(WEB, 2, "eth0", "veth", "up", UP, 1500, "02:42:0a:14:00:0a", 0, 0, HOST, 5, container="shop", network="web"),
        Link(DATABASE, 2, "eth0", "veth", "up", UP, 1500, "02:42:0a:14:00:0b", 0, 0, HOST, 6, container="docker:database", network="web"),
    ]
    rows += [("links", f"{link.inode}/{link.ifindex}", link) for link in links]
    for inode, ifindex, address in ((HOST, 2, "192.0.2.10/24"), (WEB, 2, "10.20.0.10/24"), (DATABASE, 2, "10.20.0.11/24")):
        rows.append(("addresses", f"{inode}/{ifindex}/{address}", Address(inode, ifindex, address)))
    rows.append(("routes", f"{WEB}/default", Route(WEB, 4, "default", "10.20.0.1", 2)))
    rows += [("log", str(number), log_entry(number)) for number in range(1, 4)]
    return rows


def log_entry(number: int, **fields: Any) -> LogEntry:
    words: dict[str, Any] = {"kind": "link", "action": "up", "subject": f"veth{number}", "where": "host", "text": "", **fields}
    return LogEntry(number, MOMENT + number, **words)


class PlayedWatch:
    """A subscription to what is watched: what was asked for is kept, and what a test plays comes out."""

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[tuple[int, int], ...], float]] = []
        self.queue: asyncio.Queue[Counters] = asyncio.Queue()

    def __aiter__(self) -> PlayedWatch:
        return self

    async def __anext__(self) -> Counters:
        return await self.queue.get()

    async def watch(self, links: tuple[tuple[int, int], ...], period: float = 0.1) -> None:
        self.asked.append((links, period))


class PlayedHelper:
    """Stands in for `protocol.client.Client`. What a test puts into `play` comes out of the subscription."""

    def __init__(self, rows: Iterable[Row] | None = None) -> None:
        self.rows = list(base_rows() if rows is None else rows)
        self.answers: dict[str, Any] = {"network.inspect": [{"Name": "web", "Driver": "bridge"}]}
        self.calls: list[tuple[str, Mapping[str, Any]]] = []
        self.feed: Feed | None = None
        self.refusal: str = ""
        self._queue: asyncio.Queue[Snapshot | Event | Counters] = asyncio.Queue()
        self._seq = 0
        self._time = 100.0
        self._totals: dict[tuple[int, int], list[int]] = {}
        self.watches: list[PlayedWatch] = []

    @property
    def welcome(self) -> Welcome:
        return Welcome(1, "epoch", "admin", 0, user="root", instance="0000", host="box", lab=True)

    async def connect(self, timeout: float = 5.0) -> Welcome:
        if self.refusal:
            raise Unavailable(self.refusal)
        self.come()
        return self.welcome

    def subscribe(self, topics: tuple[str, ...], *, period: float = 1.0, links: tuple[tuple[int, int], ...] | None = None) -> Any:
        if links is not None:
            self.watches.append(PlayedWatch())
            return self.watches[-1]
        return self._stream()

    async def _stream(self) -> AsyncIterator[Snapshot | Event | Counters]:
        self.snapshot()
        while True:
            yield await self._queue.get()

    async def call(self, op: str, args: Mapping[str, Any] | None = None, **options: Any) -> Any:
        self.calls.append((op, args or {}))
        answer = self.answers.get(op)
        if isinstance(answer, NetdeckError):
            raise answer
        return answer

    async def close(self) -> None:
        return None

    def come(self) -> None:
        self._state(ConnectionState(True, time.monotonic(), "", self.welcome))

    def lose(self, reason: str = "the helper closed the connection") -> None:
        self._state(ConnectionState(False, time.monotonic(), reason, self.welcome))

    def _state(self, state: ConnectionState) -> None:
        assert self.feed is not None
        self.feed.connection_changed(state)

    def snapshot(self, rows: Iterable[Row] | None = None) -> None:
        self._queue.put_nowait(Snapshot(1, "epoch", self._seq, tuple(self.rows if rows is None else rows)))

    def change(self, *changes: tuple[str, str, str, Any]) -> None:
        self._seq += 1
        self._queue.put_nowait(Event(1, self._seq, changes))

    def count(self, rates: Mapping[tuple[int, int], tuple[int, int]], seconds: float = 1.0, errors: int = 0) -> None:
        """A period passes in which these links carried so many bytes a second, in packets of 100 bytes."""
        self._time += seconds
        keys = list(rates)
        for key in keys:
            totals = self._totals.setdefault(key, [0] * 8)
            rx, tx = rates[key]
            for column, amount in enumerate((rx, tx, rx // 100, tx // 100, errors, 0, 0, 0)):
                totals[column] += int(amount * seconds)
        self._queue.put_nowait(counters(self._time, {key: self._totals[key] for key in keys}))


def counters(time: float, rows: Mapping[tuple[int, int], Sequence[int]]) -> Counters:
    """A message with the eight counters of these links."""
    flat = [numbers[column] for column in range(8) for numbers in rows.values()]
    return Counters(
        1, time, struct.pack(f"<{len(rows)}Q", *(inode for inode, _ in rows)),
        struct.pack(f"<{len(rows)}I", *(index for _, index in rows)), struct.pack(f"<{len(flat)}Q", *flat),
    )
