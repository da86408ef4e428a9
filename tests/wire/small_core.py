"""A core of a few lines behind a real front process: what the tests of the wire speak to."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from helperd.frames import (
    Caller,
    CallFrame,
    CancelFrame,
    ChangeRows,
    CountersFrame,
    CountersSentFrame,
    FromFront,
    GoneFrame,
    InputFrame,
    SubscribeFrame,
    UnsubscribeFrame,
    WatchFrame,
    change_frames,
    reply,
    state_frames,
)
from helperd.front_config import FrontConfig
from helperd.front_process import FrontProcess
from helperd.listener import open_listener
from protocol.errors import Cancelled, InvalidValue, NetdeckError, NotFound, to_wire
from protocol.messages import COUNTERS, CallId, ErrorMessage, Progress, Result


class SmallCore:
    """Operations: ``echo`` (its arguments), ``whoami``, ``fail``, ``steps`` (three progress messages), ``hang``, ``cat`` (streams its
    input back), ``flood`` (1 MiB of output, as the acknowledgements allow)."""

    def __init__(self) -> None:
        self.front: FrontProcess
        self.path = ""
        self.state: dict[tuple[str, str], Any] = {}
        self.seen: list[FromFront] = []
        self.callers: dict[int, Caller] = {}
        self.subscriptions: dict[int, SubscribeFrame] = {}
        self.counters_free: set[int] = set()
        self.gone: set[int] = set()
        self.done: dict[str, int] = {}  # by key: how often it was carried out
        self._floods: dict[tuple[int, CallId], int] = {}
        self._last: dict[tuple[int, CallId], int] = {}

    async def on_frame(self, frame: FromFront) -> None:
        """What the front says."""
        self.seen.append(frame)
        del self.seen[:-1000]
        match frame:
            case CallFrame():
                self._call(frame)
            case InputFrame():
                self._input(frame)
            case CancelFrame(caller=caller, id=ident):
                self._answer(caller, ErrorMessage(ident, to_wire(Cancelled("cancelled"))))
            case SubscribeFrame():
                self.subscriptions[frame.sub] = frame
                rows = [(topic, key, value) for (topic, key), value in self.state.items() if topic in frame.topics]
                for part in state_frames(frame.caller.client, frame.sub, rows):
                    self.front.post(part)
                if COUNTERS in frame.topics:
                    self.counters_free.add(frame.sub)
            case UnsubscribeFrame(sub=sub):
                self.subscriptions.pop(sub, None)
                self.counters_free.discard(sub)
            case CountersSentFrame(sub=sub):
                self.counters_free.add(sub)
            case GoneFrame(client=client):
                self.gone.add(client)
                for sub, other in list(self.subscriptions.items()):
                    if other.caller.client == client:
                        del self.subscriptions[sub]
            case WatchFrame():
                pass
            case _:
                raise AssertionError(f"unexpected {frame}")

    def _answer(self, caller: Caller, message: Progress | Result | ErrorMessage) -> None:
        self.front.post(reply(caller, message))

    def _call(self, frame: CallFrame) -> None:
        caller, call = frame.caller, frame.call
        self.callers[caller.client] = caller
        match call.op:
            case "echo" | "info":
                if call.key is not None:
                    self.done[call.key] = self.done.get(call.key, 0) + 1
                self._answer(caller, Result(call.id, call.args))
            case "whoami":
                self._answer(caller, Result(call.id, {"uid": caller.uid, "gid": caller.gid, "pid": caller.pid}))
            case "steps":
                for step in (1, 2, 3):
                    self._answer(caller, Progress(call.id, f"step {step}", step, 3))
                self._answer(caller, Result(call.id, None))
            case "fail":
                self._refuse(caller, call.id, InvalidValue("mtu is too low", field="mtu", value=1))
            case "hang" | "cat":
                pass
            case "flood":
                self._floods[(caller.client, call.id)] = 1_048_576
                self._flood(caller, call.id, 262_144)
            case _:
                self._refuse(caller, call.id, NotFound(f"no operation {call.op!r}", name=call.op))

    def _refuse(self, caller: Caller, ident: CallId, error: NetdeckError) -> None:
        self._answer(caller, ErrorMessage(ident, to_wire(error)))

    def _input(self, frame: InputFrame) -> None:
        caller, given = frame.caller, frame.input
        if given.data:
            self._answer(caller, Progress(given.id, stream="stdout", data=given.data, taken=len(given.data)))
        if given.resize:
            self._answer(caller, Progress(given.id, stream="stdout", data=f"{given.resize}".encode()))
        if given.signal:
            self._answer(caller, Result(given.id, {"exit_code": 130}))
        if given.eof:
            self._answer(caller, Result(given.id, {"exit_code": 0}))
        if given.ack and (caller.client, given.id) in self._floods:
            self._flood(caller, given.id, given.ack)

    def _flood(self, caller: Caller, ident: CallId, room: int) -> None:
        left = self._floods[(caller.client, ident)]
        while room > 0 and left > 0:
            size = min(32_768, left, room)
            self._answer(caller, Progress(ident, stream="stdout", data=b"x" * size))
            left -= size
            room -= size
        self._floods[(caller.client, ident)] = left
        if left == 0:
            del self._floods[(caller.client, ident)]
            self._answer(caller, Result(ident, {"exit_code": 0}))

    async def change(self, *rows: tuple[str, str, str, Any]) -> None:
        """Change the state and tell everyone."""
        for topic, what, key, value in rows:
            if what == "put":
                self.state[(topic, key)] = value
            else:
                self.state.pop((topic, key), None)
        changes: ChangeRows = rows
        for frame in change_frames(changes):
            await self.front.send(frame)

    def count(self, number: int) -> None:
        """One reading of one interface's counters, for each subscription that can take one."""
        for sub in list(self.counters_free):
            frame = self.subscriptions[sub]
            self.counters_free.discard(sub)
            columns = struct.pack("<8Q", *(number + column for column in range(8)))
            packed = struct.pack("<Q", 7), struct.pack("<I", 3), columns
            self.front.post(CountersFrame(frame.caller.client, sub, time.monotonic(), *packed))


@contextlib.asynccontextmanager
async def running_core(
    directory: Path, config: FrontConfig | None = None, mode: int = 0o660, core: SmallCore | None = None
) -> AsyncIterator[SmallCore]:
    """A small core with its front, ready for clients at ``directory/helper.sock``."""
    core = core or SmallCore()
    with open_listener(directory / "helper.sock", mode=mode) as listener:
        core.path = str(listener.path)
        core.front = FrontProcess(listener, config or FrontConfig("epoch-1", host="test"), core.on_frame)
        task = asyncio.create_task(core.front.run())
        try:
            async with asyncio.timeout(30):
                await core.front.ready.wait()
            yield core
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


