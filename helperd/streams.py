"""The two directions of a streaming call, each with a window: output to the caller, input from it in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from protocol.messages import Input

WINDOW = 262_144  # bytes of output that the caller has not acknowledged
MESSAGES = 16  # that they came in: the front forgets who has a thousand waiting, of the 64 calls that it may have
INPUT_WINDOW = 2 * 262_144  # bytes of input held; client libraries stop at half of it
INPUT_LIMIT = 4096  # input messages held
CHUNK = 65_536  # bytes of output in one message


class Stream:
    """One streaming call, seen from the core. `emit(stream, data)` hands output on towards the caller, `taken(n)` tells it how
    much of its input was consumed."""

    def __init__(self, emit: Callable[[str, bytes], None], taken: Callable[[int], None]) -> None:
        self._emit, self._taken = emit, taken
        self._unacknowledged = 0
        self._sent: deque[int] = deque()  # bytes of each message that is not acknowledged as a whole
        self._held = 0
        self._room = asyncio.Event()
        self._room.set()
        self._inputs: asyncio.Queue[Input | None] = asyncio.Queue()
        self.closed = False

    async def output(self, stream: str, data: bytes) -> None:
        """Send `data` of ``stdout`` or ``stderr``; waits while the window is full, so that the command waits too."""
        for start in range(0, len(data), CHUNK):
            await self._room.wait()
            if self.closed:
                return
            part = data[start:start + CHUNK]
            self._unacknowledged += len(part)
            self._sent.append(len(part))
            if self._full():
                self._room.clear()
            self._emit(stream, part)

    def feed(self, message: Input) -> bool:
        """An input message of the caller. False when it sent more than its window: the message is not taken then."""
        if message.ack is not None and message.ack > 0:
            self._acknowledged(message.ack)
        if message.data is None and not message.eof and message.resize is None and message.signal is None:
            return True
        size = len(message.data or b"")
        if self._held + size > INPUT_WINDOW or self._inputs.qsize() >= INPUT_LIMIT:
            return False
        self._held += size
        self._inputs.put_nowait(message)
        return True

    def _full(self) -> bool:
        return self._unacknowledged >= WINDOW or len(self._sent) >= MESSAGES

    def _acknowledged(self, size: int) -> None:
        self._unacknowledged = max(0, self._unacknowledged - size)
        while self._sent and size >= self._sent[0]:
            size -= self._sent.popleft()
        if self._sent:
            self._sent[0] -= size
        if not self._full():
            self._room.set()

    async def next_input(self) -> Input | None:
        """The next message of the caller, None when it is gone."""
        return await self._inputs.get()

    def consumed(self, size: int) -> None:
        """`size` bytes of input reached the command."""
        self._held -= size
        if not self.closed:
            self._taken(size)

    def close(self) -> None:
        """The caller is gone: output is dropped from here on, input has ended."""
        self.closed = True
        self._room.set()
        self._inputs.put_nowait(None)
