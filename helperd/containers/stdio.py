"""The shim's side of a container's standard streams: pipes or a terminal, windows, and what is kept for later.

The standard library alone is imported.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections import deque

from helperd.containers import frames, inside
from helperd.containers.outlets import Client, Ring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from helperd.containers.spec import SpecWire

HELD = 1 << 20  # most bytes that a pipe holds (pipe(7), pipe-max-size)


class Stdio:
    """Reads output while every attached client has room for it, and writes input as the command takes it.

    `clients` is the shim's own list. `last_output` is when output was last seen, on the monotonic clock.
    """

    def __init__(self, spec: SpecWire, clients: list[Client]) -> None:
        self._clients = clients
        self._interactive = spec["interactive"]
        self._terminal = spec["terminal"] is not None
        self._owner = (spec["uid"], spec["gid"])
        self._outputs: dict[int, int] = {}  # descriptor → OUT or ERR
        self._ended: list[int] = []
        self._input_fd = -1
        self._input: deque[tuple[Client | None, bytes]] = deque()  # None: end of input
        self._ring = Ring()
        self.last_output = 0.0

    # Making -----------------------------------------------------------------------------------------------------------

    def make_pipes(self) -> tuple[int, int, int]:
        """Return what the command gets as its three streams; the caller closes them after the fork."""
        stdin = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        made = []
        if self._interactive:
            os.close(stdin)
            stdin, self._input_fd = os.pipe()
            os.set_blocking(self._input_fd, False)
            made.append(stdin)
        for kind in (frames.OUT, frames.ERR):
            reader, writer = os.pipe()
            os.set_blocking(reader, False)
            self._outputs[reader] = kind
            made.append(writer)
        for fd in made:
            # A command may open /dev/stdout again, under its own user.
            os.fchown(fd, *self._owner)
        return stdin, made[-2], made[-1]

    def take_terminal(self, master: int) -> None:
        """Use a terminal made inside, in place of pipes."""
        os.set_blocking(master, False)
        self._outputs[master] = frames.OUT
        self._ended.append(frames.ERR)
        self._input_fd = master

    def watched(self) -> dict[int, int]:
        """Return the descriptors to poll, with their events."""
        result = dict.fromkeys(self._outputs, select.POLLIN) if self._room() else {}
        if self._input and self._input_fd >= 0:
            result[self._input_fd] = result.get(self._input_fd, 0) | select.POLLOUT
        return result

    def on_ready(self, fd: int, events: int) -> None:
        """Do what `poll` said is possible with a descriptor of `watched`."""
        if fd == self._input_fd and events & (select.POLLOUT | select.POLLERR):
            self._write_input()
        if fd in self._outputs and events & ~select.POLLOUT:
            self._read_output(fd)

    # Output -----------------------------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Whether all output has been read."""
        return not self._outputs

    @property
    def blocked(self) -> bool:
        """Whether an attached client has no room."""
        return not self._room()

    def _room(self) -> int:
        return min((client.room() for client in self._clients if client.attached and not client.passing), default=frames.CHUNK)

    def catch_up(self) -> None:
        """Read what was written so far; no more than pipes hold, since others may go on writing."""
        for fd in tuple(self._outputs):
            for _ in range(HELD // frames.CHUNK + 1):
                if fd not in self._outputs or not self._read_output(fd):
                    break

    def _read_output(self, fd: int) -> bool:
        """Take a part of what there is; False where there is nothing, or no room for it."""
        room = min(self._room(), frames.CHUNK)
        if not room:
            return False
        try:
            data = os.read(fd, room)
        except BlockingIOError:
            return False
        except OSError:  # EIO: nobody holds the terminal any more
            data = b""
        if not data:
            self._end_output(fd)
            return False
        self.last_output = time.monotonic()
        kind = self._outputs[fd]
        self._ring.add(kind, data)
        for client in self._clients:
            if client.attached:
                client.offer_output(kind, data)
        return True

    def _end_output(self, fd: int) -> None:
        kind = self._outputs.pop(fd)
        self._ended.append(kind)
        if fd == self._input_fd:
            self._input_fd = -1
            self._drop_input()
        os.close(fd)
        for client in self._clients:
            if client.attached:
                client.send_output(kind, b"")

    def end_all(self) -> None:
        """Read no more, whoever may still hold the other end."""
        for fd in list(self._outputs):
            self._end_output(fd)

    def attach(self, client: Client, how: int, lines: int) -> None:
        """Send `client` the output that it wants, see `frames.ATTACH`."""
        if client.attached:
            return
        client.attached, client.passing = how != frames.KEPT_ALONE, how == frames.PASSING
        if how != frames.NEW:
            for kind, data in self._ring.pieces(lines):
                client.send_output(kind, data)
        for kind in self._ended if client.attached else (frames.OUT, frames.ERR):
            client.send_output(kind, b"")

    def kept(self) -> bytes:
        """The kept output as frames."""
        return b"".join(frames.encode(kind, data) for kind, data in self._ring.pieces())

    # Input ------------------------------------------------------------------------------------------------------------

    def put(self, client: Client, data: bytes) -> None:
        """Queue input. Raises ValueError when the peer exceeds its window."""
        client.input_outstanding += len(data)
        if client.input_outstanding > frames.WINDOW:
            raise ValueError("more input than the window allows")
        self._input.append((client, data))
        if self._input_fd < 0 or not self._interactive:
            self._drop_input()

    def put_end(self) -> None:
        """Queue the end of input: closes a pipe; a terminal gets its end-of-file character."""
        if self._interactive and self._input_fd >= 0:
            self._input.append((None, b"\x04" if self._terminal else b""))

    def close_input(self) -> None:
        """The command has ended."""
        if self._input_fd >= 0 and self._input_fd not in self._outputs:
            os.close(self._input_fd)
        self._input_fd = -1
        self._drop_input()

    def resize(self, rows: int, cols: int) -> None:
        """Set the terminal's size; the kernel sends SIGWINCH to its foreground."""
        if self._terminal and self._input_fd >= 0:
            with contextlib.suppress(OSError):
                inside.set_size(self._input_fd, rows, cols)

    def _write_input(self) -> None:
        while self._input:
            client, data = self._input.popleft()
            if client is None and not data:
                self.close_input()
                return
            try:
                count = os.write(self._input_fd, data)
            except BlockingIOError:
                count = 0
            except OSError:  # the command has closed its input
                count = len(data)
            self._taken(client, count)
            if count < len(data):
                self._input.appendleft((client, data[count:]))
                return

    def _taken(self, client: Client | None, count: int) -> None:
        if client is not None and count:
            client.input_outstanding -= count
            client.send(frames.TAKEN, frames.COUNT.pack(count))

    def _drop_input(self) -> None:
        while self._input:
            client, data = self._input.popleft()
            self._taken(client, len(data))
