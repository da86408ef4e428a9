"""The core's hold on the front: starts it, starts it anew when it ends, hangs or sends rubbish, and speaks to the one that lives."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from helperd.channel import FrontChannel
from helperd.child_process import Counted, keep_running, resident, start_child
from helperd.frames import (
    Caller,
    EpochFrame,
    FrameError,
    FromCore,
    FromFront,
    GoneFrame,
    QueryFrame,
    ReadyFrame,
    StatsFrame,
)
from helperd.front_config import FrontConfig
from helperd.listener import Listener
from helperd.witness import Witness, place

READY_SECONDS = 60.0  # a machine in software emulation takes 10 s to import the modules
CHECK_SECONDS = 5.0
HUNG_SECONDS = 20.0
MAX_UNSENT = 134_217_728  # bytes waiting for a front that doesn't read
CLIENTS_OF_A_FRONT = 1 << 32  # client numbers of successive fronts begin so far apart

_log = logging.getLogger("netdeck.front")


class FrontProcess:
    """One front after the other on the same listening socket.

    `on_frame` gets every frame but Ready and Stats; it must return soon. When a front ends, it gets a GoneFrame for each client
    that one had.
    """

    def __init__(
        self,
        listener: Listener,
        config: FrontConfig,
        on_frame: Callable[[FromFront], Awaitable[None]],
        users: Sequence[str] = (),
    ) -> None:
        self.listener = listener
        self._config = config
        self._on_frame = on_frame
        self._users = tuple(users)
        self._channel: FrontChannel | None = None
        self._place = place(listener.socket)
        self._witness: Witness | None = None
        self._clients: set[int] = set()
        self._silent = 0.0  # seconds that questions are unanswered; below 0 while it begins
        self._counted = Counted()
        self._fault = asyncio.Event()
        self.ready = asyncio.Event()
        self.pid = 0  # of the front that lives, 0 where none does
        self.starts = 0

    async def run(self) -> None:
        """Keep a front alive until cancelled; then end it."""
        await keep_running("front", self._one_front, _log)

    async def _one_front(self) -> str:
        self.starts += 1
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        seen, shown = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) if self._place is not None else (None, None)
        config = msgspec.structs.replace(self._config, first_client=1 + (self.starts - 1) * CLIENTS_OF_A_FRONT)
        try:
            process = await self._start(theirs, shown)
        except BaseException:
            ours.close()
            if seen is not None:
                seen.close()
            raise
        finally:
            theirs.close()
            if shown is not None:
                shown.close()
        if seen is not None and self._place is not None:
            self._witness = Witness(seen, self._place)
        tasks: list[asyncio.Task[str]] = []
        self._fault.clear()
        try:
            _write_first(ours, config)
            ours.setblocking(False)
            channel = await FrontChannel.open(ours)
            self._channel = channel
            self.pid, self._silent = process.pid, -READY_SECONDS
            for work in (self._read(channel), self._watch(), self._faulty(), self._wait(process)):
                tasks.append(asyncio.create_task(work))
            done, _pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return "; ".join(sorted(task.result() for task in done))
        finally:
            channel_now, self._channel = self._channel, None
            self.ready.clear()
            self.pid = 0
            if self._witness is not None:
                self._witness.close()
                self._witness = None
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if channel_now is not None:
                channel_now.close()
            else:
                ours.close()
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            await self._forget_clients()

    async def _start(self, theirs: socket.socket, shown: socket.socket | None) -> asyncio.subprocess.Process:
        listening = self.listener.fileno()
        words = ["--listen-fd", str(listening), "--core-fd", str(theirs.fileno())]
        descriptors = [listening, theirs.fileno()]
        if shown is not None:
            words += ["--show-fd", str(shown.fileno())]
            descriptors.append(shown.fileno())
        return await start_child("helperd.front", words, descriptors, self._users)

    async def _read(self, channel: FrontChannel) -> str:
        try:
            async for frame in channel:
                await self._take(frame)
        except FrameError as error:
            return str(error)
        return "it closed its pipe"

    async def _take(self, frame: FromFront) -> None:
        match frame:
            case ReadyFrame():
                self._silent = 0.0
                self.ready.set()
            case StatsFrame(values=values):
                self._silent = 0.0
                self._counted.answer(values)
            case GoneFrame(client=client):
                self._clients.discard(client)
                if self._witness is not None:
                    self._witness.forget(client)
                await self._on_frame(frame)
            case _:
                client = getattr(frame, "client", 0)
                caller = getattr(frame, "caller", None)
                if caller is not None:
                    await self._believe(caller)
                self._clients.add(client if caller is None else caller.client)
                await self._on_frame(frame)

    async def _believe(self, caller: Caller) -> None:
        """Raises FrameError where the front says of a client what the core does not see itself."""
        tcp = self._config.tcp
        if tcp is not None and caller.pid == 0 and caller.uid in tcp.keys.values():
            return  # there the front alone checks the key
        if self._witness is not None:
            await self._witness.check(caller)

    async def _watch(self) -> str:
        """Ask the front for a sign of life now and then. Counted by questions: a core that was stopped meanwhile has not listened."""
        while self._silent < HUNG_SECONDS:
            self._silent += CHECK_SECONDS
            self.post(QueryFrame())
            await asyncio.sleep(CHECK_SECONDS)
        return "it hangs"

    async def _faulty(self) -> str:
        await self._fault.wait()
        return "it does not read"

    async def _wait(self, process: asyncio.subprocess.Process) -> str:
        code = await process.wait()
        # What it still sent is read first, by the end of the pipe.
        await asyncio.sleep(0.2)
        return f"exit status {code}"

    async def _forget_clients(self) -> None:
        self._counted.answer({})
        clients, self._clients = self._clients, set()
        for client in clients:
            await self._on_frame(GoneFrame(client))

    def post(self, frame: FromCore) -> None:
        """Send without waiting. Without a living front the frame is dropped: whoever it was for is gone.

        Raises FrameError where the frame has a value without a msgpack form.
        """
        if self._channel is None:
            return
        self._channel.post(frame)
        if self._channel.unsent > MAX_UNSENT:
            self._fault.set()

    async def send(self, frame: FromCore) -> None:
        """The same, and wait while the pipe is full. A front that reads nothing for 10 s is replaced."""
        self.post(frame)
        if self._channel is not None and not await self._channel.drain():
            self._fault.set()

    def set_epoch(self, epoch: str) -> None:
        """Everyone must subscribe again."""
        self._config = msgspec.structs.replace(self._config, epoch=epoch)
        self.post(EpochFrame(epoch))

    async def stats(self) -> dict[str, int]:
        """What the front counts, with its memory; empty where no front answers within 2 s."""
        if self._channel is None:
            return {}
        values = await self._counted.ask(lambda: self.post(QueryFrame()))
        return {} if values is None else {**values, "memory": resident(self.pid), "starts": self.starts}


def _write_first(sock: socket.socket, config: FrontConfig) -> None:
    # A few kilobytes at most: they fit into the socket's buffer.
    body = msgspec.msgpack.encode(config)
    sock.sendall(struct.pack("<I", len(body)) + body)
