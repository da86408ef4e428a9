"""The blocking client, for scripts and the command line: one call after the other, no event loop, quick to load."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import msgspec

from protocol.client_connect import socket_path
from protocol.client_polling import PollingSocket, end_in
from protocol.errors import BadRequest, Cancelled, NetdeckError, TooMuch, Unavailable, from_wire
from protocol.messages import (
    VERSION,
    Call,
    Cancel,
    ErrorMessage,
    Hello,
    Input,
    Progress,
    Result,
    Welcome,
)
from protocol.requests import repeatable

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
        self._socket = PollingSocket(self.path)
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
        self._socket.close()

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

        Where the helper is started anew meanwhile, a call with a `key`, or one that changes nothing, is sent again; another raises
        Unavailable with `maybe_done`. An exception here (Ctrl-C too) asks the helper to give the call up.
        """
        plain = msgspec.to_builtins(args, builtin_types=(bytes,)) if isinstance(args, msgspec.Struct) else dict(args or {})
        call = Call(next(self._ids), op, plain, key, deadline)
        self._socket.send(call)
        try:
            return self._answer(call, None if deadline is None else end_in(deadline + DEADLINE_GRACE), on_progress)
        except NetdeckError:
            raise
        except BaseException:
            self._socket.send(Cancel(call.id))
            raise

    def _answer(self, call: Call, end: float | None, on_progress: Callable[[Progress], None] | None) -> Any:
        while True:
            message = self._socket.receive(end)
            match message:
                case None:
                    self._socket.send(Cancel(call.id))
                    raise Cancelled(f"{call.op} got no answer within its deadline")
                case Progress(id=call.id):
                    if on_progress is not None:
                        on_progress(message)
                    if message.data:
                        self._socket.send(Input(call.id, ack=len(message.data)))
                case Result(id=call.id):
                    return message.value
                case ErrorMessage(id=call.id) if _asks_for_hello(message):
                    # The call itself met a front that was started anew, which did nothing with it.
                    self.welcome = self._hello()
                    self._socket.send(call)
                case ErrorMessage(id=call.id):
                    raise from_wire(message.error)
                case ErrorMessage(id=None):
                    self._lost_call(call, message)
                case _:
                    pass  # an answer to an older call that was given up

    def _lost_call(self, call: Call, message: ErrorMessage) -> None:
        """The helper does not know us any more, or dropped messages."""
        error = from_wire(message.error)
        if isinstance(error, TooMuch):
            raise error
        if not _asks_for_hello(message):
            return
        self.welcome = self._hello()
        if not repeatable(call.op, call.key):
            text = f"the helper was started anew during {call.op}: it may have been done or not"
            raise Unavailable(text, path=self.path, maybe_done=True)
        self._socket.send(call)

    def _hello(self) -> Welcome:
        self._socket.send(Hello(VERSION, self._name))
        end = end_in(self._timeout)
        while True:
            message = self._socket.receive(end, ping=False)
            match message:
                case None:
                    text = f"the helper at {self.path} does not answer within {self._timeout:g} s"
                    raise Unavailable(text, path=self.path)
                case Welcome():
                    return message
                case ErrorMessage(id=None) if not _asks_for_hello(message):
                    raise from_wire(message.error)
                case _:
                    pass


def _asks_for_hello(message: ErrorMessage) -> bool:
    """Whether the front that answered does not know this client: it is another than the one that was greeted."""
    error = from_wire(message.error)
    return isinstance(error, BadRequest) and bool(error.details.get("hello"))
