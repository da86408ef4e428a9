"""The core's end of the pipe to the front: typed frames over a stream socket, with back-pressure.

What comes in is treated as if an attacker had written it: bounded, typed, counted. The first fault ends the channel.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import msgspec

from helperd.frames import (
    MAX_TO_CORE,
    MAX_TO_FRONT,
    Caller,
    CallFrame,
    CancelFrame,
    EndFrame,
    FrameError,
    FromCore,
    FromFront,
    GoneFrame,
    InputFrame,
    ReplyFrame,
    SubscribeFrame,
    UnsubscribeFrame,
    WatchFrame,
    pack,
)
from protocol.errors import NetdeckError
from protocol.limits import check, check_id, check_interest, check_links
from protocol.messages import CallId

MAX_OPEN_CALLS = 8_192  # of all clients; a front in order stays far below
MAX_OPEN_SUBSCRIPTIONS = 4_096
SEND_TIMEOUT = 10.0

_DECODER = msgspec.msgpack.Decoder(FromFront)


class FrontChannel:
    """Frames from and to one front. Iterating ends when the front closes its end; raises FrameError when it sends rubbish."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._calls: set[tuple[int, CallId]] = set()
        self._subscriptions: dict[int, int] = {}  # number → client

    @classmethod
    async def open(cls, sock: socket.socket) -> FrontChannel:
        """Take over `sock`, the core's end of a stream socketpair."""
        return cls(*await asyncio.open_connection(sock=sock, limit=MAX_TO_CORE))

    async def __aiter__(self) -> AsyncIterator[FromFront]:
        while True:
            try:
                length = int.from_bytes(await self._reader.readexactly(4), "little")
                if length > MAX_TO_CORE:
                    raise FrameError(f"frame of {length} bytes from the front, at most {MAX_TO_CORE}")
                body = await self._reader.readexactly(length)
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            yield self._accept(body)

    def _accept(self, body: bytes) -> FromFront:
        try:
            frame: FromFront = _DECODER.decode(body)
            self._check(frame)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, NetdeckError) as error:
            raise FrameError(f"the front sent what is not a frame: {error}") from error
        return frame

    def _check(self, frame: FromFront) -> None:
        match frame:
            case CallFrame(caller=caller, call=call):
                _check_caller(caller)
                check(call)
                key = (caller.client, call.id)
                if key in self._calls or len(self._calls) >= MAX_OPEN_CALLS:
                    raise FrameError(f"call {call.id!r} is open already, or {MAX_OPEN_CALLS} calls are")
                self._calls.add(key)
            case InputFrame(caller=caller, input=given):
                _check_caller(caller)
                check(given)
            case CancelFrame(caller=caller, id=ident):
                _check_caller(caller)
                check_id(ident)
            case SubscribeFrame(caller=caller):
                _check_caller(caller)
                check_interest(frame.topics, frame.inodes, frame.period, frame.links)
                if frame.sub in self._subscriptions or len(self._subscriptions) >= MAX_OPEN_SUBSCRIPTIONS:
                    raise FrameError(f"subscription {frame.sub} is open already, or {MAX_OPEN_SUBSCRIPTIONS} are")
                self._subscriptions[frame.sub] = caller.client
            case UnsubscribeFrame(sub=sub):
                self._subscriptions.pop(sub, None)
            case WatchFrame(caller=caller):
                _check_caller(caller)
                check_links(frame.links)
            case GoneFrame(client=client):
                self._calls = {key for key in self._calls if key[0] != client}
                self._subscriptions = {sub: of for sub, of in self._subscriptions.items() if of != client}
            case _:
                pass

    @property
    def unsent(self) -> int:
        """Bytes that the front has not read yet."""
        return self._writer.transport.get_write_buffer_size()

    def post(self, frame: FromCore) -> None:
        """Send without waiting. Raises FrameError where the frame can't be encoded or is too long."""
        data = pack(frame, MAX_TO_FRONT)
        if isinstance(frame, ReplyFrame) and frame.final:
            self._calls.discard((frame.client, frame.id))
        elif isinstance(frame, EndFrame):
            self._subscriptions.pop(frame.sub, None)
        if not self._writer.is_closing():
            self._writer.write(data)

    async def drain(self) -> bool:
        """Wait while the pipe is full; False where the front has read nothing for 10 s."""
        try:
            async with asyncio.timeout(SEND_TIMEOUT):
                await self._writer.drain()
        except TimeoutError:
            return False
        except ConnectionError:
            pass  # the reading side tells of the end
        return True

    async def send(self, frame: FromCore) -> None:
        """`post`, then wait while the pipe is full."""
        self.post(frame)
        await self.drain()

    def close(self) -> None:
        """Drop the pipe and what waits in it."""
        self._writer.transport.abort()


def _check_caller(caller: Caller) -> None:
    if min(caller.client, caller.uid, caller.gid, caller.pid) < 0 or max(caller.uid, caller.gid) >= 2**32 - 1:
        raise FrameError(f"impossible credentials {caller}")
