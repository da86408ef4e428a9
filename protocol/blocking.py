"""The blocking client, for scripts and the command line: one call after the other, no event loop, quick to load."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import msgspec
import zmq

from protocol.client_connect import open_dealer, reason_refused, reason_unreachable, socket_path
from protocol.codec import decode_from_helper, encode
from protocol.errors import BadRequest, Cancelled, NetdeckError, TooMuch, Unavailable, from_wire
from protocol.messages import (
    MAX_MESSAGE,
    VERSION,
    Call,
    Cancel,
    ErrorMessage,
    FromClient,
    FromHelper,
    Hello,
    Ping,
    Progress,
    Result,
    Welcome,
)

PING_SECONDS = 2.0
SILENCE_SECONDS = 12.0
DEADLINE_GRACE = 5.0


class BlockingClient:
    """A connection to the helper at `path` ($NETDECK_SOCKET or the default where None is given), as a context manager.

    Belongs to the thread that made it. Raises Unavailable or Forbidden where there is no helper or it lets nobody in.
    """

    def __init__(self, path: str | None = None, name: str = "", timeout: float = 5.0) -> None:
        self.path = socket_path(path)
        self._name = name
        self._timeout = timeout
        self._ids = itertools.count(1)
        reason = reason_unreachable(self.path)
        if reason is not None:
            raise reason
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self._dealer = open_dealer(self._context, self.path)
        self._monitor = self._dealer.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_AUTH)
        self._poller = zmq.Poller()
        self._poller.register(self._dealer, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)
        self._dealer.connect("ipc://" + self.path)
        try:
            self.welcome: Welcome = self._hello()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connection."""
        self._dealer.disable_monitor()
        self._monitor.close(0)
        self._dealer.close(0)
        self._context.term()

    def call(
        self,
        op: str,
        args: Mapping[str, Any] | msgspec.Struct | None = None,
        *,
        key: str | None = None,
        deadline: float | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Any:
        """Do `op` and return its result as plain values. Raises the NetdeckError that the helper answered.

        Where the helper is started anew meanwhile, a call with a `key` is sent again; another raises Unavailable with
        `maybe_done`. An exception here (Ctrl-C too) asks the helper to give the call up.
        """
        plain = msgspec.to_builtins(args, builtin_types=(bytes,)) if isinstance(args, msgspec.Struct) else dict(args or {})
        call = Call(next(self._ids), op, plain, key, deadline)
        self._send(call)
        try:
            return self._answer(call, None if deadline is None else time.monotonic() + deadline + DEADLINE_GRACE, on_progress)
        except NetdeckError:
            raise
        except BaseException:
            self._send(Cancel(call.id))
            raise

    def _answer(self, call: Call, end: float | None, on_progress: Callable[[Progress], None] | None) -> Any:
        while True:
            message = self._receive(end)
            match message:
                case None:
                    self._send(Cancel(call.id))
                    raise Cancelled(f"{call.op} got no answer within its deadline")
                case Progress(id=call.id):
                    if on_progress is not None:
                        on_progress(message)
                case Result(id=call.id):
                    return message.value
                case ErrorMessage(id=call.id):
                    raise from_wire(message.error)
                case ErrorMessage(id=None):
                    self._lost_call(call, from_wire(message.error))
                case _:
                    pass  # an answer to an older call that was given up

    def _lost_call(self, call: Call, error: NetdeckError) -> None:
        """The helper does not know us any more, or dropped messages."""
        if isinstance(error, TooMuch):
            raise error
        if not (isinstance(error, BadRequest) and error.details.get("hello")):
            return
        self.welcome = self._hello()
        if call.key is None:
            text = f"the helper was started anew during {call.op}: it may have been done or not"
            raise Unavailable(text, path=self.path, maybe_done=True)
        self._send(call)

    def _hello(self) -> Welcome:
        self._send(Hello(VERSION, self._name))
        end = time.monotonic() + self._timeout
        while True:
            message = self._receive(end, ping=False)
            match message:
                case None:
                    text = f"the helper at {self.path} does not answer within {self._timeout:g} s"
                    raise Unavailable(text, path=self.path)
                case Welcome():
                    return message
                case ErrorMessage(id=None) if not message.error.get("details", {}).get("hello"):
                    raise from_wire(message.error)
                case _:
                    pass

    def _send(self, message: FromClient) -> None:
        body = encode(message)
        if len(body) > MAX_MESSAGE:
            raise TooMuch(f"message of {len(body)} bytes, at most {MAX_MESSAGE}", limit=MAX_MESSAGE)
        try:
            self._dealer.send(body, zmq.DONTWAIT)
        except zmq.Again as error:
            raise Unavailable(f"the helper at {self.path} reads nothing", path=self.path) from error

    def _receive(self, end: float | None, ping: bool = True) -> FromHelper | None:
        """The next message; None at `end`. While nothing comes it pings, and says so when the helper is not there."""
        heard = time.monotonic()
        while True:
            now = time.monotonic()
            wait = PING_SECONDS if end is None else min(PING_SECONDS, end - now)
            if wait <= 0:
                return None
            ready = dict(self._poller.poll(int(wait * 1000) + 1))
            if self._dealer in ready:
                return decode_from_helper(self._dealer.recv())
            if self._monitor in ready:
                raise reason_refused(self.path)
            if now - heard > SILENCE_SECONDS:
                raise Unavailable(f"the helper at {self.path} has gone silent", path=self.path, maybe_done=True)
            if ping:
                reason = reason_unreachable(self.path)
                if reason is not None:
                    reason.details["maybe_done"] = True
                    raise reason
                self._send(Ping())
