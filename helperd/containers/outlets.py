"""What the shim keeps for those who are connected to it. The standard library alone is imported."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections import deque

from helperd.containers import frames

PIECE = 4096  # bytes; smaller ones of one stream are put together: each of those that are kept is a message to who asks for them


class Ring:
    """The last `frames.RING` bytes of output, in order, each piece with the stream it came from."""

    def __init__(self) -> None:
        self._pieces: deque[tuple[int, bytes]] = deque()
        self._size = 0

    def add(self, kind: int, data: bytes) -> None:
        """Keep `data` of stream `kind`, and forget the oldest bytes for it."""
        self._size += len(data)
        if self._pieces and self._pieces[-1][0] == kind and len(self._pieces[-1][1]) < PIECE:
            data = self._pieces.pop()[1] + data
        self._pieces.append((kind, data))
        while self._size > frames.RING:
            oldest_kind, oldest = self._pieces.popleft()
            excess = self._size - frames.RING
            self._size -= min(len(oldest), excess)
            if len(oldest) > excess:
                self._pieces.appendleft((oldest_kind, oldest[excess:]))

    def pieces(self, lines: int = frames.ALL_LINES) -> list[tuple[int, bytes]]:
        """Return what is kept, oldest first; its last `lines` lines."""
        return last_lines(list(self._pieces), lines)


def last_lines(pieces: list[tuple[int, bytes]], count: int) -> list[tuple[int, bytes]]:
    """The last `count` lines of output, whichever stream they came from. An end of line at the very end begins no other."""
    text = b"".join(data for _, data in pieces)
    at = len(text) - text.endswith(b"\n") if count else len(text) - 1
    for _ in range(count):
        at = text.rfind(b"\n", 0, at)
        if at < 0:
            break
    skipped, found = at + 1, []
    for kind, data in pieces:
        if len(data) > skipped:
            found.append((kind, data[skipped:]))
        skipped = max(0, skipped - len(data))
    return found


class Client:
    """One connection: what it sent and is not a whole frame yet, what it has yet to be sent, and its window."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.received = bytearray()
        self.unsent = bytearray()
        self.attached = False
        self.passing = False  # what it has no room for is passed over, and the command never waits for it
        self.passed_over = 0
        self.unacknowledged = 0
        self.input_outstanding = 0

    def send(self, kind: int, payload: bytes = b"") -> None:
        """Queue a frame."""
        self.unsent += frames.encode(kind, payload)

    def send_output(self, kind: int, data: bytes) -> None:
        """Queue output; it counts against the window. Empty data ends the stream."""
        self.unacknowledged += len(data)
        self.send(kind, data)

    def offer_output(self, kind: int, data: bytes) -> None:
        """Queue output, or pass it over where the client holds nobody up and has no room; it is told how much when it has."""
        if self.passing and len(data) > self.room():
            self.passed_over += len(data)
            return
        self.send_output(kind, data)

    def room(self) -> int:
        """Return how many bytes of output may be sent now."""
        return max(0, frames.WINDOW - self.unacknowledged)

    def acknowledge(self, count: int) -> None:
        """The peer consumed `count` bytes of output."""
        self.unacknowledged = max(0, self.unacknowledged - count)
        if self.passed_over and self.room() >= frames.CHUNK:
            told, self.passed_over = b"netdeck: %d bytes of output were passed over\n" % self.passed_over, 0
            self.send_output(frames.ERR, told)

    def read(self) -> list[tuple[int, bytes]] | None:
        """Return the frames that came in, None when the peer is gone. Raises FrameError."""
        try:
            data = self.sock.recv(256 << 10)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not data:
            return None
        self.received += data
        return frames.decode(self.received)

    def flush(self) -> bool:
        """Send what the socket takes; return False when the peer is gone."""
        try:
            while self.unsent:
                del self.unsent[: self.sock.send(self.unsent)]
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True


def say_goodbye(clients: list[Client], seconds: float) -> None:
    """End our side of each connection, and wait at most `seconds` for the other side to end its own.

    A socket that is closed while the peer still writes takes with it what the peer has not read: the exit status.
    """
    waiting = {client.sock.fileno(): client.sock for client in clients}
    poll = select.poll()
    for fd, sock in waiting.items():
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
        poll.register(fd, select.POLLIN)
    end = time.monotonic() + seconds
    while waiting and (left := end - time.monotonic()) > 0:
        for fd, _ in poll.poll(int(left * 1000) + 1):
            try:
                over = not waiting[fd].recv(65536)
            except BlockingIOError:
                over = False
            except OSError:
                over = True
            if over:
                poll.unregister(fd)
                del waiting[fd]
