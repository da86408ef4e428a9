"""Carries bytes between a sandbox and the caller of a streaming operation until the command's output ends or the caller goes."""

from __future__ import annotations

import asyncio
import contextlib

from helperd.containers.sandbox import Output, Sandbox
from helperd.streams import Stream


async def pump(sandbox: Sandbox, output: Output, stream: Stream) -> None:
    """Both directions at once. When the caller goes away the container is detached and runs on."""
    inputs = asyncio.create_task(_inputs(sandbox, stream))
    outputs = asyncio.create_task(show(output, stream))
    try:
        await asyncio.wait((inputs, outputs), return_when=asyncio.FIRST_COMPLETED)
        if not stream.closed:
            await outputs
    finally:
        for task in (inputs, outputs):
            task.cancel()
        await asyncio.gather(inputs, outputs, return_exceptions=True)
        output.close()


async def show(output: Output, stream: Stream) -> None:
    """Give `output` to the caller, to its end."""
    async for chunk in output:
        await stream.output(chunk.stream, chunk.data)


async def _inputs(sandbox: Sandbox, stream: Stream) -> None:
    """Ends when the caller is gone. Input to a command that does not read any more is dropped."""
    while (message := await stream.next_input()) is not None:
        # A signal that no system knows is no reason to hear nothing more of the caller.
        with contextlib.suppress(ConnectionError, ProcessLookupError, ValueError):
            if message.data:
                await sandbox.write_stdin(message.data)
            if message.resize is not None:
                sandbox.resize(*message.resize)
            if message.signal is not None:
                sandbox.signal(message.signal)
            if message.eof:
                sandbox.eof()
        if message.data:
            stream.consumed(len(message.data))
