"""One connection of an asyncio client to the helper: a ZeroMQ DEALER in the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Callable

import zmq

from protocol.client_connect import close_with, open_dealer, reason_refused
from protocol.errors import NetdeckError, TooMuch, Unavailable
from protocol.messages import MAX_MESSAGE

TURN = 128  # messages taken before other tasks get their turn

_EVENT = struct.Struct("=Hi")
_EVENTS = zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL


class ClientSocket:
    """A connection. `on_message` gets each message; `on_lost` is called once, when the connection is gone or was refused.

    Plain sockets and their fds, not `zmq.asyncio`: no future per message.
    """

    def __init__(
        self, path: str, on_message: Callable[[bytes], None], on_lost: Callable[[NetdeckError], None]
    ) -> None:
        self._path = path
        self._on_message = on_message
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self._dealer = open_dealer(context)
        self._monitor = self._dealer.get_monitor_socket(_EVENTS)
        self._close = close_with(self, context, self._dealer, self._monitor)
        self._closed = False
        self._why: NetdeckError | None = None  # it was lost
        self._scheduled = False
        self._loop.add_reader(self._dealer.fileno(), self._schedule)
        self._loop.add_reader(self._monitor.fileno(), self._events)
        self._dealer.connect("ipc://" + path)
        # libzmq signs the fd only for a socket that was found empty once.
        self._loop.call_soon(self._events)
        self._schedule()

    def send(self, body: bytes) -> None:
        """Hand over one message. Raises TooMuch for one that the helper would not take, Unavailable where too many wait, Forbidden where
        we are refused."""
        if len(body) > MAX_MESSAGE:
            raise TooMuch(f"message of {len(body)} bytes, at most {MAX_MESSAGE}", limit=MAX_MESSAGE)
        if self._closed:
            raise Unavailable(f"not connected to the helper at {self._path}", path=self._path)
        try:
            self._dealer.send(body, zmq.DONTWAIT)
        except zmq.Again as error:
            self._events()  # a helper that refuses us at once has left nothing to send into
            raise self._why or Unavailable(f"the helper at {self._path} reads nothing", path=self._path) from error
        # The fd tells of a change only once, and sending may have taken the sign that a message came.
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled and not self._closed:
            self._scheduled = True
            self._loop.call_soon(self._receive)

    def _receive(self) -> None:
        self._scheduled = False
        for _ in range(TURN):
            if self._closed:
                return
            try:
                body = self._dealer.recv(zmq.DONTWAIT)
            except zmq.Again:
                return
            self._on_message(body)
        self._schedule()

    def _events(self) -> None:
        while not self._closed:
            try:
                frames = self._monitor.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            number = _EVENT.unpack(frames[0])[0]
            self._receive()  # what came before the end counts
            if self._closed:
                return
            if number == zmq.EVENT_DISCONNECTED:
                self._lose(Unavailable(f"the helper at {self._path} closed the connection", path=self._path))
            else:
                self._lose(reason_refused(self._path))

    def _lose(self, error: NetdeckError) -> None:
        self._why = error
        self.close()
        self._on_lost(error)

    def close(self) -> None:
        """Drop the connection and what was not sent."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(OSError, ValueError):
            self._loop.remove_reader(self._dealer.fileno())
            self._loop.remove_reader(self._monitor.fileno())
        self._close()
