"""The frames that core and shim exchange over a stream socket.

A frame is one byte of kind, the length of the payload as u32 little-endian, and the payload. Both ends refuse payloads
above `MAX_PAYLOAD`. The standard library alone is imported, because the shim runs without site-packages.

core → shim
    SPEC      JSON, see `spec.py`; first frame of the connection the shim is started with
    GO        empty: the network is configured, run the command
    STDIN     bytes for the command; at most `WINDOW` bytes may be unacknowledged
    EOF       empty: end of standard input
    RESIZE    u16 rows, u16 columns
    SIGNAL    u8 signal number, sent to process 1 of the container
    ATTACH    u8 how, u32 lines: what output is wanted (`NEW` …), and how many lines at most of what is kept
    DETACH    empty
    ACK       u32: bytes of output consumed
shim → core
    READY     JSON {pid, starttime, shim_pid, shim_starttime, netns, warnings, started}; greeting of every connection
    STARTED   empty: execve succeeded
    OUT, ERR  bytes of output; an empty payload ends that stream
    TAKEN     u32: bytes of standard input consumed
    EXIT      JSON {code, signal, error, time}
"""

from __future__ import annotations

import struct

SPEC, GO, STDIN, EOF, RESIZE, SIGNAL, ATTACH, DETACH, ACK = range(1, 10)
READY, STARTED, OUT, ERR, TAKEN, EXIT = range(65, 71)

HEADER = struct.Struct("<BI")
SIZE = struct.Struct("<HH")  # rows, columns
COUNT = struct.Struct("<I")
WANTED = struct.Struct("<BI")  # how, lines

# What an ATTACH wants: output from now on; the kept output too; that, but passed over rather than held up; the kept output alone.
NEW, KEPT, PASSING, KEPT_ALONE = range(4)
ALL_LINES = 0xFFFFFFFF

MAX_PAYLOAD = 4 << 20
CHUNK = 64 << 10  # most bytes of data in one frame
WINDOW = 256 << 10  # most unacknowledged bytes, each way
RING = 64 << 10  # output kept for those who attach later


class FrameError(ValueError):
    """The peer sent something that is no frame."""


def encode(kind: int, payload: bytes = b"") -> bytes:
    """Return one frame. Raises FrameError when the payload is too long."""
    if len(payload) > MAX_PAYLOAD:
        raise FrameError(f"payload of {len(payload)} bytes is above {MAX_PAYLOAD}")
    return HEADER.pack(kind, len(payload)) + payload


def decode(buffer: bytearray) -> list[tuple[int, bytes]]:
    """Take all whole frames off the front of `buffer`. Raises FrameError on a length that is not allowed."""
    found: list[tuple[int, bytes]] = []
    start = 0
    while len(buffer) - start >= HEADER.size:
        kind, length = HEADER.unpack_from(buffer, start)
        if length > MAX_PAYLOAD:
            raise FrameError(f"payload of {length} bytes is above {MAX_PAYLOAD}")
        end = start + HEADER.size + length
        if len(buffer) < end:
            break
        found.append((kind, bytes(buffer[start + HEADER.size : end])))
        start = end
    del buffer[:start]
    return found
