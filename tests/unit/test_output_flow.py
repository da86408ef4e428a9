"""Output on its way from a container to who reads it: many small pieces become few messages, and few of those are on the way at once."""

from __future__ import annotations

import asyncio
import contextlib

from helperd.containers import frames
from helperd.containers.outlets import PIECE, Ring
from helperd.containers.output import Output
from helperd.streams import MESSAGES, WINDOW, Stream
from protocol.messages import Input


class Source:
    """Counts what is acknowledged."""

    acknowledged = 0

    def acknowledge(self, count: int) -> None:
        self.acknowledged += count

    def detach(self, output: Output) -> None:
        pass


def test_small_pieces_of_one_stream_are_kept_together() -> None:
    ring = Ring()
    for number in range(30_000):
        ring.add(frames.OUT, b"%d\n" % number)
    pieces = ring.pieces()
    text = b"".join(data for _, data in pieces)
    assert len(text) == frames.RING and text.endswith(b"29998\n29999\n") and len(pieces) <= frames.RING // PIECE + 1
    for kind in (frames.ERR, frames.OUT, frames.ERR):
        ring.add(kind, b"x")
    assert [kind for kind, _ in ring.pieces()[-3:]] == [frames.ERR, frames.OUT, frames.ERR], "in the order in which they were written"


async def test_what_has_come_together_is_one_chunk() -> None:
    source = Source()
    output = Output(source)
    for _ in range(100):
        output.feed(frames.OUT, b"ab")
    output.feed(frames.ERR, b"no")
    output.feed(frames.OUT, b"c" * frames.CHUNK)
    output.feed(frames.OUT, b"d")
    output.feed(frames.OUT, b"")
    output.feed(frames.ERR, b"")
    found = [(chunk.stream, chunk.data) async for chunk in output]
    assert found == [("stdout", b"ab" * 100), ("stderr", b"no"), ("stdout", b"c" * frames.CHUNK), ("stdout", b"d")]
    assert source.acknowledged == sum(len(data) for _, data in found)


async def test_few_messages_are_on_the_way_however_small() -> None:
    sent: list[bytes] = []
    stream = Stream(lambda name, data: sent.append(data), lambda size: None)

    async def write() -> None:
        for _ in range(100):
            await stream.output("stdout", b"abc")

    writing = asyncio.create_task(write())
    steps = ((0, MESSAGES), (3, MESSAGES + 1), (2, MESSAGES + 1), (1, MESSAGES + 2), (3 * MESSAGES, 2 * MESSAGES + 2))
    for acknowledged, on_the_way in steps:
        stream.feed(Input(1, ack=acknowledged))
        await asyncio.sleep(0.01)
        assert len(sent) == on_the_way
    writing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await writing
    stream.feed(Input(1, ack=3 * MESSAGES))
    sent.clear()
    writing = asyncio.create_task(stream.output("stdout", b"x" * (2 * WINDOW)))
    await asyncio.sleep(0.01)
    assert sum(map(len, sent)) == WINDOW and not writing.done()
    stream.close()
    await writing
