"""A subscription of an asyncio client: snapshots and changes without gaps, whatever happens to the connection."""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import Any, Protocol, Self

import msgspec

from protocol.codec import DECODE_ERRORS
from protocol.errors import BadRequest, NetdeckError, Unavailable
from protocol.messages import (
    Counters,
    Credit,
    Event,
    FromClient,
    HelperMessage,
    Resync,
    Snapshot,
    Subscribe,
    Unsubscribe,
    Watch,
)
from protocol.model import (
    Address,
    Container,
    Endpoint,
    Link,
    LogEntry,
    Namespace,
    Neighbour,
    Network,
    PortVlans,
    Query,
    Route,
    Rule,
)

CREDIT = 64
CREDIT_STEP = 16

_MODELS: dict[str, msgspec.msgpack.Decoder[Any]] = {
    topic: msgspec.msgpack.Decoder(model)
    for topic, model in (
        ("namespaces", Namespace),
        ("links", Link),
        ("vlans", PortVlans),
        ("addresses", Address),
        ("routes", Route),
        ("neighbours", Neighbour),
        ("rules", Rule),
        ("networks", Network),
        ("endpoints", Endpoint),
        ("containers", Container),
        ("log", LogEntry),
        ("queries", Query),
    )
}
_PLAIN: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder()

Item = Snapshot | Event | Counters


class RawSnapshot(HelperMessage, frozen=True, tag="snapshot"):
    """`Snapshot` with its values still packed: each is decoded once, into what its topic says."""

    id: int
    epoch: str
    seq: int
    state: tuple[tuple[str, str, msgspec.Raw], ...]
    more: bool = False


class RawEvent(HelperMessage, frozen=True, tag="event"):
    """`Event` with its values still packed."""

    id: int
    seq: int
    changes: tuple[tuple[str, str, str, msgspec.Raw], ...]


class Sender(Protocol):
    """The part of a client that subscriptions need."""

    @property
    def connected(self) -> bool: ...

    def send_message(self, message: FromClient) -> None: ...

    def register(self, subscription: Subscription) -> int: ...

    def unregister(self, ident: int) -> None: ...


class Subscription:
    """Iterate for `Snapshot` (whole), `Event` and `Counters`. After anything that lost changes comes a new `Snapshot`.

    Credit is given as items are taken, so a user that falls behind makes the helper stop and begin anew, and nobody else notices.
    """

    def __init__(
        self,
        sender: Sender,
        topics: tuple[str, ...],
        inodes: tuple[int, ...] | None,
        period: float,
        links: tuple[tuple[int, int], ...] | None,
        models: bool,
    ) -> None:
        self._sender = sender
        self._wanted = Subscribe(0, topics, CREDIT, inodes, period, links)
        self._watched: tuple[tuple[tuple[int, int], ...], float] | None = None
        self._models = models
        self._id = 0
        self._epoch = ""
        self._seq = 0
        self._loading: list[tuple[str, str, Any]] = []
        self._synchronous = False  # True between a whole snapshot and the next loss
        self._items: deque[Item] = deque()
        self._taken = 0
        self._error: NetdeckError | None = None
        self._closed = False
        self._changed = asyncio.Event()
        self.resyncs = 0  # how often it began anew
        self.restart()

    def restart(self) -> None:
        """Subscribe, under a new id, so that what is still on its way for the old one is known as such."""
        if self._closed:
            return
        self._synchronous = False
        self._loading.clear()
        if self._id:
            self._sender.unregister(self._id)
        self._id = self._sender.register(self)
        self._taken = 0
        if not self._sender.connected:
            return  # the client calls again when it is
        self._send(msgspec.structs.replace(self._wanted, id=self._id))
        if self._watched is not None:
            self._send(Watch(self._id, *self._watched))

    def _send(self, message: FromClient) -> None:
        try:
            self._sender.send_message(message)
        except Unavailable:
            return  # a new connection restarts every subscription

    def _restart_now(self) -> None:
        self.resyncs += 1
        self._send(Unsubscribe(self._id))
        self.restart()

    def take(self, message: RawSnapshot | RawEvent | Counters | Resync) -> None:
        """A message for this subscription has come."""
        try:
            match message:
                case RawSnapshot():
                    self._take_snapshot(message)
                case RawEvent():
                    self._take_event(message)
                case Counters():
                    self._items.append(message)
                case Resync():
                    self.resyncs += 1
                    self.restart()
        except DECODE_ERRORS as error:
            self.take_error(BadRequest(f"the helper sent a value of another version: {error}"))
        self._changed.set()

    def _take_snapshot(self, message: RawSnapshot) -> None:
        self._loading.extend((topic, key, self._value(topic, value)) for topic, key, value in message.state)
        if message.more:
            return
        self._items.clear()  # all older than this
        self._items.append(Snapshot(message.id, message.epoch, message.seq, tuple(self._loading)))
        self._loading = []
        self._epoch, self._seq, self._synchronous = message.epoch, message.seq, True

    def _take_event(self, message: RawEvent) -> None:
        if not self._synchronous:
            return
        if message.seq != self._seq + 1:
            self._restart_now()
            return
        self._seq = message.seq
        rows = tuple((topic, what, key, self._value(topic, value)) for topic, what, key, value in message.changes)
        self._items.append(Event(message.id, message.seq, rows))

    def _value(self, topic: str, value: msgspec.Raw) -> Any:
        if bytes(value) == b"\xc0":
            return None
        decoder = _MODELS.get(topic, _PLAIN) if self._models else _PLAIN
        return decoder.decode(value)

    def take_error(self, error: NetdeckError) -> None:
        """The subscription was refused, or its client is closed."""
        self._error = error
        self._changed.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        while not self._items:
            if self._error is not None:
                raise self._error
            if self._closed:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        item = self._items.popleft()
        if not isinstance(item, Snapshot) and item.id == self._id:
            self._taken += 1
            if self._taken >= CREDIT_STEP:
                self._send(Credit(self._id, self._taken))
                self._taken = 0
        return item

    async def watch(self, links: tuple[tuple[int, int], ...], period: float = 0.1) -> None:
        """Counters of these links every `period` seconds as well; () ends it."""
        self._watched = (links, period) if links else None
        if self._sender.connected:
            self._send(Watch(self._id, links, period))

    async def close(self) -> None:
        """End it; iterating ends too."""
        if self._closed:
            return
        self._closed = True
        if self._sender.connected:
            self._send(Unsubscribe(self._id))
        self._sender.unregister(self._id)
        self._changed.set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
