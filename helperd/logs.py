"""What a container of ours has printed: the last of it, and what follows."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helperd.changes import CallContext
from helperd.containers import frames
from helperd.containers.outlets import last_lines
from helperd.containers.run_dir import OUTPUT
from helperd.containers.sandbox import Sandbox, SandboxGone
from helperd.records import Records
from helperd.streaming import show
from helperd.streams import Stream
from protocol.errors import Forbidden, InUse, InvalidValue, NotFound, TooMuch
from protocol.model import Container
from protocol.names import display_text
from protocol.requests import ContainerLogs

MAX_READERS = 8  # of one container at a time: its shim takes 16 connections, and the helper's own has to be among them
_STREAMS = {frames.OUT: "stdout", frames.ERR: "stderr"}


class Logs:
    """The operation `container.logs`. `directory` tells where a container's shim is reached."""

    def __init__(self, records: Records, directory: Callable[[str], Path]) -> None:
        self._records, self._directory = records, directory
        self._readers: Counter[str] = Counter()

    async def logs(self, request: ContainerLogs, call: CallContext, stream: Stream) -> Any:
        container = self._own(request.name, call)
        lines = frames.ALL_LINES if request.tail is None else request.tail
        if self._readers[container.id] >= MAX_READERS:
            raise TooMuch(f"{MAX_READERS} callers read the output of container {container.ref} already: wait until one has ended",
                          limit=MAX_READERS)
        self._readers[container.id] += 1
        try:
            sandbox = await Sandbox.listen(str(self._directory(container.id)))
        except SandboxGone:
            await self._kept(container, lines, stream)
        else:
            await _shown(sandbox, frames.PASSING if request.follow else frames.KEPT_ALONE, lines, stream)
        finally:
            self._readers[container.id] -= 1
            if not self._readers[container.id]:
                del self._readers[container.id]
        return {}

    def _own(self, name: str, call: CallContext) -> Container:
        container = self._records.container(name)
        if container is None and ":" not in name:
            raise NotFound(f"no container {display_text(name)!r}: `netdeck ps -a` lists all", name=display_text(name))
        if container is None or container.runtime != "netdeck":
            ref = display_text(name) if container is None else container.ref
            raise InvalidValue(f"container {ref} is not of netdeck's own: what it prints is with its runtime", field="name", value=ref)
        if call.uid not in (0, container.uid):
            raise Forbidden(f"container {container.ref} is not yours: only its owner and root read what it prints", name=container.ref)
        if container.status == "created":
            raise InUse(f"container {container.ref} is being started: wait until it runs", name=container.ref, users=[])
        return container

    async def _kept(self, container: Container, lines: int, stream: Stream) -> None:
        """The output of one that has ended, as its shim left it."""
        try:
            kept = frames.decode(bytearray((self._directory(container.id) / OUTPUT).read_bytes()))
        except FileNotFoundError:  # it goes with a restart of the machine, and with a shim that was killed
            return
        for kind, data in last_lines(kept, lines):
            await stream.output(_STREAMS[kind], data)


async def _shown(sandbox: Sandbox, how: int, lines: int, stream: Stream) -> None:
    output = sandbox.attach(how, lines)
    try:
        gone, shown = asyncio.ensure_future(_left(stream)), asyncio.ensure_future(show(output, stream))
        try:
            await asyncio.wait((gone, shown), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (gone, shown):
                task.cancel()
            await asyncio.gather(gone, shown, return_exceptions=True)
    finally:
        output.close()
        await sandbox.close()


async def _left(stream: Stream) -> None:
    """Ends when the caller is gone. There is nobody here to give input to."""
    while (message := await stream.next_input()) is not None:
        if message.data:
            stream.consumed(len(message.data))
