"""Calls of an asyncio client that have no answer yet: plain ones, and streams with input and output."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, Self

from protocol.errors import NetdeckError, Unavailable
from protocol.messages import Call, CallId, Cancel, FromClient, Input, Progress

WINDOW = 262_144  # bytes of input that the helper has not taken yet
PIECE = 65_536  # bytes of one input message
ACK_BYTES = 32_768

ProgressHandler = Callable[[Progress], None]


class Sender(Protocol):
    """The part of a client that calls need."""

    def send_message(self, message: FromClient) -> None: ...

    def drop_call(self, ident: CallId) -> None: ...


class PendingCall:
    """A call without its answer. `repeatable` calls are sent again on a new connection; others fail with the old one."""

    def __init__(self, call: Call, repeatable: bool, on_progress: ProgressHandler | None) -> None:
        self.call = call
        self.repeatable = repeatable
        self._on_progress = on_progress
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def take_progress(self, message: Progress) -> None:
        """The helper says how far it is."""
        if self._on_progress is not None:
            self._on_progress(message)

    def take_result(self, value: Any) -> None:
        """The call is done."""
        if not self.future.done():
            self.future.set_result(value)

    def take_error(self, error: NetdeckError) -> None:
        """The call failed."""
        if not self.future.done():
            self.future.set_exception(error)
            self.future.exception()  # seen: nobody may be waiting any more


class CallStream:
    """A call with input and output, as an async context manager: leaving it cancels the call if it still runs.

    Iterate for its `Progress` messages (`stream` and `data`); what you have taken is acknowledged by itself, and while you take
    nothing the command at the other end waits.
    """

    def __init__(self, sender: Sender, call: Call) -> None:
        self.call = call
        self.repeatable = False
        self._sender = sender
        self._parts: deque[Progress] = deque()
        self._done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._changed = asyncio.Event()
        self._untaken = 0
        self._unacknowledged = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._done.done():
            self._send_if_connected(Cancel(self.call.id))
            self._done.cancel()
        self._sender.drop_call(self.call.id)

    def take_progress(self, message: Progress) -> None:
        """A part of the output, or how much input was taken."""
        self._untaken = max(0, self._untaken - message.taken)
        if message.data or message.text or message.steps:
            self._parts.append(message)
        self._changed.set()

    def take_result(self, value: Any) -> None:
        """The call is done."""
        if not self._done.done():
            self._done.set_result(value)
        self._changed.set()

    def take_error(self, error: NetdeckError) -> None:
        """The call failed."""
        if not self._done.done():
            self._done.set_exception(error)
            self._done.exception()
        self._changed.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Progress:
        while not self._parts:
            if self._done.done():
                raise StopAsyncIteration
            await self._wait()
        part = self._parts.popleft()
        self._unacknowledged += len(part.data)
        if self._unacknowledged and (self._unacknowledged >= ACK_BYTES or not self._parts):
            self._send_if_connected(Input(self.call.id, ack=self._unacknowledged))
            self._unacknowledged = 0
        return part

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _send_if_connected(self, message: FromClient) -> None:
        if not self._done.done():
            try:
                self._sender.send_message(message)
            except Unavailable:
                return  # the end of the connection ends the call too

    async def send(self, data: bytes) -> None:
        """Bytes for the command's standard input. Waits while the helper has 256 KiB that the command did not take.

        What is sent after the command's end is dropped: `result` tells how it ended.
        """
        for start in range(0, len(data), PIECE):
            piece = data[start : start + PIECE]
            while self._untaken + len(piece) > WINDOW and not self._done.done():
                await self._wait()
            self._untaken += len(piece)
            self._send_if_connected(Input(self.call.id, data=piece))

    async def eof(self) -> None:
        """No more input."""
        self._send_if_connected(Input(self.call.id, eof=True))

    async def resize(self, rows: int, columns: int) -> None:
        """The size of the caller's terminal changed."""
        self._send_if_connected(Input(self.call.id, resize=(rows, columns)))

    async def signal(self, name: str) -> None:
        """Send a signal, by its name without SIG."""
        self._send_if_connected(Input(self.call.id, signal=name))

    async def result(self) -> Any:
        """The call's result, once it is there. Raises the error that the call ended with."""
        return await asyncio.shield(self._done)
