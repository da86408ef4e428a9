"""The asyncio client of the helper: calls, streams and subscriptions over one connection that comes back by itself."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self, cast

import msgspec

from protocol.client_calls import CallStream, PendingCall, ProgressHandler
from protocol.client_connect import reason_unreachable, socket_path
from protocol.client_socket import ClientSocket
from protocol.client_subscription import RawEvent, RawSnapshot, Subscription
from protocol.codec import DECODE_ERRORS, encode
from protocol.errors import Cancelled, NetdeckError, TooMuch, Unavailable, from_wire
from protocol.messages import (
    VERSION,
    Call,
    CallId,
    Cancel,
    Counters,
    ErrorMessage,
    FromClient,
    Hello,
    Ping,
    Pong,
    Progress,
    Result,
    Resync,
    Welcome,
)
from protocol.packed_counters import unpack_counters
from protocol.requests import repeatable

__all__ = ["CallStream", "Client", "ConnectionState", "Subscription", "unpack_counters"]

OUTSTANDING = 60  # calls at once; the helper refuses more than 64
PING_SECONDS = 10.0
SILENCE_SECONDS = 20.0  # without an answer, counted by pings: a program that was stopped meanwhile has not listened
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
DEADLINE_GRACE = 5.0

_Incoming = Welcome | Progress | Result | ErrorMessage | RawSnapshot | RawEvent | Counters | Resync | Pong
_DECODER = msgspec.msgpack.Decoder(_Incoming)


class ConnectionState(msgspec.Struct, frozen=True):
    """`since` is when it became so, in seconds of `time.monotonic`; `reason` is why there is no connection."""

    connected: bool
    since: float
    reason: str = ""
    welcome: Welcome | None = None


class Client:
    """A client of the helper at `path` ($NETDECK_SOCKET or the default where None is given).

    `on_state` is called on each change. All methods belong to the event loop in which `connect` was called.
    """

    def __init__(
        self, path: str | None = None, name: str = "", on_state: Callable[[ConnectionState], None] | None = None
    ) -> None:
        self.path = socket_path(path)
        self.welcome: Welcome | None = None
        self.state = ConnectionState(False, time.monotonic(), "not connected yet")
        self._name = name
        self._on_state = on_state
        self._socket: ClientSocket | None = None
        self._calls: dict[CallId, PendingCall | CallStream] = {}
        self._subscriptions: dict[CallId, Subscription] = {}
        self._ids = itertools.count(1)
        self._slots = asyncio.Semaphore(OUTSTANDING)
        self._greeting: asyncio.Future[Welcome] | None = None
        self._lost: asyncio.Future[NetdeckError] | None = None
        self._task: asyncio.Task[None] | None = None
        self._up = asyncio.Event()
        self._silent = 0.0  # seconds that pings are unanswered
        self._wait_seconds = 5.0

    # Connection

    @property
    def connected(self) -> bool:
        """Whether the helper has said welcome and the connection holds."""
        return self.state.connected

    @property
    def lost_for(self) -> float:
        """Seconds since the connection was lost; 0.0 while there is one."""
        return 0.0 if self.connected else time.monotonic() - self.state.since

    async def connect(self, timeout: float = 5.0) -> Welcome:
        """Say hello. From then on the client connects again by itself until `close`.

        Raises Unavailable or Forbidden, with the path and what to do; nothing is left running then.
        """
        self._wait_seconds = timeout
        if self._task is None:
            await self._open(timeout)
            self._task = asyncio.create_task(self._keep(), name="netdeck-client")
        elif not self.connected:
            await self._until_up()
        assert self.welcome is not None
        return self.welcome

    async def _open(self, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        reason = reason_unreachable(self.path)
        if reason is not None:
            raise reason
        greeting = self._greeting = loop.create_future()
        lost = self._lost = loop.create_future()
        opened = self._socket = ClientSocket(self.path, self._received, self._on_lost)
        try:
            opened.send(encode(Hello(VERSION, self._name)))
            await asyncio.wait((greeting, lost), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if lost.done():
                raise lost.result()
            if not greeting.done():
                raise Unavailable(f"the helper at {self.path} does not answer within {timeout:g} s", path=self.path)
            welcome = greeting.result()
        except BaseException:
            opened.close()
            self._socket = None
            raise
        finally:
            self._greeting = None
        self._came_up(welcome)

    def _came_up(self, welcome: Welcome) -> None:
        self.welcome = welcome
        self._silent = 0.0
        self._set_state(ConnectionState(True, time.monotonic(), "", welcome))
        self._up.set()
        for pending in list(self._calls.values()):
            self.send_message(pending.call)
        for subscription in list(self._subscriptions.values()):
            subscription.restart()

    def _set_state(self, state: ConnectionState) -> None:
        self.state = state
        if self._on_state is not None:
            self._on_state(state)

    async def _keep(self) -> None:
        """Watch over the connection; open another when it is lost."""
        while True:
            error = await self._until_lost()
            self._went_down(error)
            pause = FIRST_PAUSE
            while not self.connected:
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
                try:
                    await self._open(self._wait_seconds)
                except NetdeckError as failure:
                    self._set_state(ConnectionState(False, self.state.since, failure.message, self.welcome))

    async def _until_lost(self) -> NetdeckError:
        lost = self._lost
        assert lost is not None
        while not lost.done():
            await asyncio.wait((lost,), timeout=PING_SECONDS)
            if lost.done():
                break
            if self._silent >= SILENCE_SECONDS:
                return Unavailable(f"the helper at {self.path} has gone silent", path=self.path)
            self._silent += PING_SECONDS
            with contextlib.suppress(NetdeckError):
                self.send_message(Ping())
        return lost.result()

    def _went_down(self, error: NetdeckError) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._up.clear()
        self._set_state(ConnectionState(False, time.monotonic(), error.message, self.welcome))
        for ident, pending in list(self._calls.items()):
            if not pending.repeatable:
                self._calls.pop(ident)
                text = f"the connection was lost during {pending.call.op}: it may have been done or not"
                pending.take_error(Unavailable(text, path=self.path, maybe_done=True))

    def _on_lost(self, error: NetdeckError) -> None:
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(error)

    async def _until_up(self) -> None:
        if self._task is None:
            raise Unavailable("the client is not connected: call `connect` first", path=self.path)
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._up.wait()
        except TimeoutError as error:
            raise Unavailable(self.state.reason or f"no helper at {self.path}", path=self.path) from error

    async def close(self) -> None:
        """End everything; what waits for an answer raises Unavailable."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        closed = Unavailable("the client was closed", path=self.path)
        for pending in self._calls.values():
            pending.take_error(closed)
        self._calls.clear()
        for subscription in list(self._subscriptions.values()):
            subscription.take_error(closed)
        self._subscriptions.clear()
        self._up.clear()
        if self.connected:
            self._set_state(ConnectionState(False, time.monotonic(), "closed", self.welcome))

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # Calls and subscriptions

    async def call(
        self,
        op: str,
        args: Mapping[str, Any] | msgspec.Struct | None = None,
        *,
        key: str | None = None,
        deadline: float | None = None,
        on_progress: ProgressHandler | None = None,
    ) -> Any:
        """Do `op` and return its result as plain values. Raises the NetdeckError that the helper answered.

        Where the connection is lost meanwhile, a call with a `key`, or one that changes nothing, is sent again; another raises
        Unavailable with `maybe_done`. Cancelling the task asks the helper to give the call up.
        """
        async with self._slots:
            await self._until_up()
            pending = PendingCall(Call(next(self._ids), op, _plain(args), key, deadline), repeatable(op, key), on_progress)
            ident = pending.call.id
            self._calls[ident] = pending
            try:
                self.send_message(pending.call)
                async with asyncio.timeout(None if deadline is None else deadline + DEADLINE_GRACE):
                    return await pending.future
            except TimeoutError as error:
                raise Cancelled(f"{op} got no answer within its deadline of {deadline:g} s") from error
            finally:
                if self._calls.pop(ident, None) is not None:  # it has no answer yet
                    with contextlib.suppress(NetdeckError):
                        self.send_message(Cancel(ident))
                pending.future.cancel()

    def stream(
        self, op: str, args: Mapping[str, Any] | msgspec.Struct | None = None, *, key: str | None = None
    ) -> CallStream:
        """A call with input and output, as an async context manager. Raises Unavailable while not connected."""
        if not self.connected:
            raise Unavailable(self.state.reason or f"no helper at {self.path}", path=self.path)
        opened = CallStream(self, Call(next(self._ids), op, _plain(args), key))
        self.send_message(opened.call)
        self._calls[opened.call.id] = opened
        return opened

    def subscribe(
        self,
        topics: tuple[str, ...],
        *,
        inodes: tuple[int, ...] | None = None,
        period: float = 1.0,
        links: tuple[tuple[int, int], ...] | None = None,
        models: bool = True,
    ) -> Subscription:
        """State and changes of `topics`; see `Subscription`. With `models` values are structs of `protocol.model`, else maps.

        It may be made before `connect`, and lives over every loss of the connection until it is closed.
        """
        return Subscription(self, topics, inodes, period, links, models)

    def send_message(self, message: FromClient) -> None:
        """Send one message of the wire. Raises Unavailable while there is no connection, TooMuch for one that is too long."""
        if self._socket is None:
            raise Unavailable(self.state.reason or f"no helper at {self.path}", path=self.path)
        self._socket.send(encode(message))

    def drop_call(self, ident: CallId) -> None:
        """A stream is over for its user."""
        self._calls.pop(ident, None)

    def register(self, subscription: Subscription) -> int:
        """A number for a subscription, under which its messages come."""
        ident = next(self._ids)
        self._subscriptions[ident] = subscription
        return ident

    def unregister(self, ident: int) -> None:
        """No more messages under that number."""
        self._subscriptions.pop(ident, None)

    # What comes

    def _received(self, body: bytes) -> None:
        self._silent = 0.0
        try:
            message = _DECODER.decode(body)
        except DECODE_ERRORS as error:
            self._on_lost(Unavailable(f"the helper at {self.path} speaks another version: {error}", path=self.path))
            return
        match message:
            case Welcome():
                if self._greeting is not None and not self._greeting.done():
                    self._greeting.set_result(message)
            case Progress():
                pending = self._calls.get(message.id)
                if pending is not None:
                    pending.take_progress(message)
            case Result():
                pending = self._calls.pop(message.id, None)
                if pending is not None:
                    pending.take_result(message.value)
            case ErrorMessage():
                self._received_error(message)
            case Pong():
                pass
            case _:
                subscription = self._subscriptions.get(message.id)
                if subscription is not None:
                    subscription.take(cast("RawSnapshot | RawEvent | Counters | Resync", message))

    def _received_error(self, message: ErrorMessage) -> None:
        error = from_wire(message.error)
        ident = message.id
        if ident is not None and ident in self._calls:
            self._calls.pop(ident).take_error(error)
        elif ident is not None and ident in self._subscriptions:
            self._subscriptions.pop(ident).take_error(error)
        elif self._greeting is not None or error.details.get("hello"):
            # Not let in; or the helper has forgotten us: say hello on a new connection.
            self._on_lost(error)
        elif isinstance(error, TooMuch):
            # Messages were dropped, and nobody knows which.
            for pending in [item for item in self._calls.values() if isinstance(item, PendingCall)]:
                self._calls.pop(pending.call.id, None)
                pending.take_error(error)


def _plain(args: Mapping[str, Any] | msgspec.Struct | None) -> dict[str, Any]:
    if args is None:
        return {}
    if isinstance(args, msgspec.Struct):
        return cast("dict[str, Any]", msgspec.to_builtins(args, builtin_types=(bytes,)))
    return dict(args)
