"""A connection of the blocking client: a ZeroMQ DEALER that is waited for with a poll, and pings while nothing comes."""

from __future__ import annotations

import struct
import time

import zmq

from protocol.client_connect import close_with, open_dealer, reason_refused, reason_unreachable
from protocol.codec import decode_from_helper, encode
from protocol.errors import TooMuch, Unavailable
from protocol.messages import MAX_MESSAGE, FromClient, FromHelper, Ping

PING_SECONDS = 2.0
SILENCE_SECONDS = 12.0
_EVENT = struct.Struct("=Hi")


def end_in(seconds: float) -> float:
    """The moment, for `PollingSocket.receive`, that is `seconds` from now."""
    return time.monotonic() + seconds


class PollingSocket:
    """Connected to `path`. Raises Unavailable or Forbidden where nothing listens there for this user."""

    def __init__(self, path: str) -> None:
        reason = reason_unreachable(path)
        if reason is not None:
            raise reason
        self._path = path
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self._dealer = open_dealer(context)
        self._monitor = self._dealer.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_DISCONNECTED)
        self._close = close_with(self, context, self._dealer, self._monitor)
        self._poller = zmq.Poller()
        self._poller.register(self._dealer, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)
        self._dealer.connect("ipc://" + path)

    def close(self) -> None:
        """Drop the connection."""
        self._close()

    def send(self, message: FromClient) -> None:
        """Hand over one message. Raises TooMuch for one that the helper would not take."""
        body = encode(message)
        if len(body) > MAX_MESSAGE:
            raise TooMuch(f"message of {len(body)} bytes, at most {MAX_MESSAGE}", limit=MAX_MESSAGE)
        try:
            self._dealer.send(body, zmq.DONTWAIT)
        except zmq.Again as error:
            if self._refused():  # a helper that refuses us at once has left nothing to send into
                raise reason_refused(self._path) from error
            raise Unavailable(f"the helper at {self._path} reads nothing", path=self._path) from error

    def _event(self) -> int:
        number: int = _EVENT.unpack(self._monitor.recv_multipart()[0])[0]
        return number

    def _refused(self) -> bool:
        """Whether the monitor has heard so."""
        while self._monitor.poll(0):
            if self._event() != zmq.EVENT_DISCONNECTED:
                return True
        return False

    def receive(self, end: float | None, ping: bool = True) -> FromHelper | None:
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
            if self._monitor in ready and self._event() != zmq.EVENT_DISCONNECTED:
                raise reason_refused(self._path)
            if now - heard > SILENCE_SECONDS:
                raise Unavailable(f"the helper at {self._path} has gone silent", path=self._path, maybe_done=True)
            if ping:
                reason = reason_unreachable(self._path)
                if reason is not None:
                    reason.details["maybe_done"] = True
                    raise reason
                self.send(Ping())
