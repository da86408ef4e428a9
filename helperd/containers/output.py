"""Output of a container as its reader sees it."""

from __future__ import annotations

import asyncio
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

    A chunk counts as consumed when the next one is asked for, or `close` is called. Whoever stops asking makes the
    container wait after 256 KiB.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._chunks: asyncio.Queue[Chunk | None] = asyncio.Queue()
        self._open = {frames.OUT, frames.ERR}
        self._owed = 0

    def feed(self, kind: int, data: bytes) -> None:
        """Take over a frame of output."""
        if data:
            self._chunks.put_nowait(Chunk("stdout" if kind == frames.OUT else "stderr", data))
            return
        self._open.discard(kind)
        if not self._open:
            self._chunks.put_nowait(None)

    def end(self) -> None:
        """No more will come."""
        self._chunks.put_nowait(None)

    def close(self) -> None:
        """Detach; the container runs on."""
        self._source.detach(self)
        self._chunks.put_nowait(None)

    def __aiter__(self) -> AsyncIterator[Chunk]:
        return self

    async def __anext__(self) -> Chunk:
        if self._owed:
            self._source.acknowledge(self._owed)
            self._owed = 0
        chunk = await self._chunks.get()
        if chunk is None:
            self._chunks.put_nowait(None)
            raise StopAsyncIteration
        self._owed = len(chunk.data)
        return chunk
