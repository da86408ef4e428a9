"""The front's end of the pipe to the core: non-blocking, since the front waits for everything in one place."""

from __future__ import annotations

import contextlib
import itertools
import socket
from collections.abc import Generator, Iterator

from helperd.frames import MAX_TO_CORE, MAX_TO_FRONT, FrameError, FromFront, pack

READ_BYTES = 262_144


class CoreGone(Exception):
    """The core closed its end: there is nothing left to serve."""


class CorePipe:
    """Frames to and from the core."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._in = bytearray()
        self._out = bytearray()

    def fileno(self) -> int:
        """The pipe's fd, to wait for."""
        return self._socket.fileno()

    @property
    def unsent(self) -> int:
        """Bytes that the core has not taken yet."""
        return len(self._out)

    def read_first(self) -> bytes:
        """The first frame's body, waiting for it. Raises CoreGone."""
        self._socket.setblocking(True)
        while not self.holds_frame:
            self._fill()
        self._socket.setblocking(False)
        return next(self.bodies(1))

    def bodies(self, limit: int) -> Iterator[bytes]:
        """The bodies of at most `limit` frames that have come, without waiting. Raises CoreGone."""
        if not self.holds_frame:
            self._fill()
        with contextlib.closing(self._split()) as whole:
            yield from itertools.islice(whole, limit)

    @property
    def holds_frame(self) -> bool:
        """Whether a whole frame was read already, so that the fd need not tell of it."""
        return len(self._in) >= 4 and len(self._in) >= 4 + int.from_bytes(self._in[:4], "little")

    def _fill(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except ConnectionError as error:
            raise CoreGone from error
        if not data:
            raise CoreGone
        self._in += data

    def _split(self) -> Generator[bytes, None, None]:
        start = 0
        try:
            while len(self._in) - start >= 4:
                end = start + 4 + int.from_bytes(self._in[start : start + 4], "little")
                if end - start > MAX_TO_FRONT + 4:
                    raise FrameError("frame from the core is too long")
                if len(self._in) < end:
                    break
                body = bytes(self._in[start + 4 : end])
                start = end
                yield body
        finally:
            del self._in[:start]

    def post(self, frame: FromFront) -> None:
        """Send as soon as the pipe takes it."""
        self._out += pack(frame, MAX_TO_CORE)
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as the pipe takes it. Raises CoreGone."""
        while self._out:
            try:
                sent = self._socket.send(self._out)
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError as error:
                raise CoreGone from error
            del self._out[:sent]
