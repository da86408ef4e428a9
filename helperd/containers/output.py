"""Output of a container as its reader sees it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal, Protocol

from helperd.containers import frames


class Source(Protocol):
    """Where output comes from."""

    def acknowledge(self, count: int) -> None:
        """`count` bytes were consumed."""

    def detach(self, output: Output) -> None:
        """No more is wanted."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of output."""

    stream: Literal["stdout", "stderr"]
    data: bytes


class Output:
    """The output of a container, as an asynchronous iterator of `Chunk`; ends when both streams have.

    What has come together is one chunk. It counts as consumed when the next one is asked for, or `close` is called. Whoever stops
    asking makes the container wait after 256 KiB.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._chunks: deque[Chunk] = deque()
        self._ended = False
        self._changed = asyncio.Event()
        self._open = {frames.OUT, frames.ERR}
        self._owed = 0

    def feed(self, kind: int, data: bytes) -> None:
        """Take over a frame of output."""
        if data:
            self._chunks.append(Chunk("stdout" if kind == frames.OUT else "stderr", data))
            self._changed.set()
            return
        self._open.discard(kind)
        if not self._open:
            self.end()

    def end(self) -> None:
        """No more will come."""
        self._ended = True
        self._changed.set()

    def close(self) -> None:
        """Detach; the container runs on."""
        self._source.detach(self)
        self.end()

    def __aiter__(self) -> AsyncIterator[Chunk]:
        return self

    async def __anext__(self) -> Chunk:
        if self._owed:
            self._source.acknowledge(self._owed)
            self._owed = 0
        while not self._chunks:
            if self._ended:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        parts = [self._chunks.popleft()]
        self._owed = len(parts[0].data)
        while self._chunks and self._chunks[0].stream == parts[0].stream and self._owed + len(self._chunks[0].data) <= frames.CHUNK:
            parts.append(self._chunks.popleft())
            self._owed += len(parts[-1].data)
        return Chunk(parts[0].stream, b"".join(part.data for part in parts))
