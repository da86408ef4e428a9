"""One connection of an asyncio client to the helper: a ZeroMQ DEALER in the event loop, and words for why there is none."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import struct
from collections.abc import Callable

import zmq

from protocol.errors import Forbidden, NetdeckError, TooMuch, Unavailable
from protocol.messages import DEFAULT_SOCKET, MAX_MESSAGE, SOCKET_ENV

SEND_QUEUE = 4_096
TURN = 128  # messages taken before other tasks get their turn
HEARTBEAT_MS = 5_000
HEARTBEAT_TIMEOUT_MS = 15_000

_EVENT = struct.Struct("=Hi")
_EVENTS = zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL


def socket_path(path: str | None = None) -> str:
    """`path`, or what $NETDECK_SOCKET says, or the default."""
    return path or os.environ.get(SOCKET_ENV) or DEFAULT_SOCKET


def reason_unreachable(path: str) -> NetdeckError | None:
    """Why nothing can be connected to at `path`, in words with what to do; None where something listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except OSError as error:
            number = error.errno
        else:
            return None
    match number:
        case errno.ENOENT | errno.ENOTDIR:
            text = f"no helper at {path}: start it with `netdeck helper`, or name its socket in ${SOCKET_ENV}"
        case errno.ECONNREFUSED:
            text = f"the helper at {path} has stopped: start it with `netdeck helper`"
        case errno.EACCES | errno.EPERM:
            text = f"you may not use the helper at {path}: ask to be put into the group that owns it (netdeck), and log in again"
            return Forbidden(text, path=path)
        case errno.EAGAIN:
            return None  # it listens; its queue is full at the moment
        case None:
            text = f"{path} can't be used as a socket"
        case _:
            text = f"the helper at {path} can't be reached: {os.strerror(number)}"
    return Unavailable(text, path=path)


def reason_refused(path: str) -> Forbidden:
    """What a client says when the helper did not let it in."""
    return Forbidden(
        f"the helper at {path} refuses user {os.getuid()}: its configuration gives that user no role", path=path, uid=os.getuid()
    )


def open_dealer(context: zmq.Context[zmq.Socket[bytes]], path: str) -> zmq.Socket[bytes]:
    """A DEALER socket that connects to `path`."""
    dealer = context.socket(zmq.DEALER)
    dealer.setsockopt(zmq.LINGER, 0)
    dealer.setsockopt(zmq.SNDHWM, SEND_QUEUE)
    dealer.setsockopt(zmq.RCVHWM, TURN)
    dealer.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
    dealer.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
    dealer.setsockopt(zmq.RECONNECT_IVL, 50)
    dealer.setsockopt(zmq.RECONNECT_IVL_MAX, 1_000)
    return dealer


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
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self._dealer = open_dealer(self._context, path)
        self._monitor = self._dealer.get_monitor_socket(_EVENTS)
        self._closed = False
        self._scheduled = False
        self._loop.add_reader(self._dealer.fileno(), self._schedule)
        self._loop.add_reader(self._monitor.fileno(), self._events)
        self._dealer.connect("ipc://" + path)

    def send(self, body: bytes) -> None:
        """Hand over one message. Raises TooMuch for one that the helper would not take, Unavailable where too many wait."""
        if len(body) > MAX_MESSAGE:
            raise TooMuch(f"message of {len(body)} bytes, at most {MAX_MESSAGE}", limit=MAX_MESSAGE)
        if self._closed:
            raise Unavailable(f"not connected to the helper at {self._path}", path=self._path)
        try:
            self._dealer.send(body, zmq.DONTWAIT)
        except zmq.Again as error:
            raise Unavailable(f"the helper at {self._path} reads nothing", path=self._path) from error
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
        self._dealer.disable_monitor()
        self._monitor.close(0)
        self._dealer.close(0)
        self._context.term()
