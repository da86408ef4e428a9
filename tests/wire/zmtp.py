"""A client by hand (rfc.zeromq.org/spec/37), for what libzmq would not send."""

from __future__ import annotations

import socket

_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
_READY = b"\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"
PING = b"\x04PING\x00\x00"


def greeted(path: str) -> socket.socket:
    """A connection to `path` on which a DEALER has said who it is. Raises ConnectionError where the other side ends it."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.settimeout(10.0)
        sock.connect(path)
        sock.sendall(_GREETING)
        theirs = b""
        while len(theirs) < 64:
            theirs += _some(sock, 64 - len(theirs))
        sock.sendall(command(_READY))
        _some(sock, 4096)
    except BaseException:
        sock.close()
        raise
    return sock


def _some(sock: socket.socket, most: int) -> bytes:
    got = sock.recv(most)
    if not got:
        raise ConnectionError("it was closed")
    return got


def command(body: bytes) -> bytes:
    """A short command."""
    return b"\x04" + bytes([len(body)]) + body


def frame(body: bytes, *, more: bool = False) -> bytes:
    """A long frame of a message, with more to come or not."""
    return (b"\x03" if more else b"\x02") + len(body).to_bytes(8, "big") + body
