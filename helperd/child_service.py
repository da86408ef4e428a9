"""The core's hold on a process without privilege that reads what strangers send (the resolver, the DHCP client): starts it, starts it
anew when it ends, hangs or sends rubbish, and speaks to the one that lives."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from helperd.child_frames import MAX_PACKET, Alive, Limits, PacketError, Ping, Ready, Start, ToChild, pack
from helperd.child_process import Counted, keep_running, resident, start_child

MAX_UNSENT = 100_000  # packets that wait for a child that doesn't read
_log = logging.getLogger("netdeck.children")


class Patience(msgspec.Struct, frozen=True):
    """How long it is waited for a child, in seconds: to begin, between two questions whether it lives, for an answer to those."""

    ready: float = 60.0  # a machine in software emulation takes 10 s to import the modules
    check: float = 5.0
    hung: float = 20.0


class ChildService:
    """One process after the other. `on_start` is called when one begins: it posts all that it must know. `on_frame` gets what it
    says, as `decode` reads it. `module` is what runs, `what` the word for it."""

    def __init__(self, module: str, what: str, decode: Callable[[bytes], object], on_start: Callable[[], None],
                 on_frame: Callable[[Any], None], limits: Limits | None = None, users: Sequence[str] = (),
                 patience: Patience | None = None) -> None:
        self._on_start, self._on_frame, self._module, self._what, self._decode = on_start, on_frame, module, what, decode
        self._limits, self._users, self._patience = limits or Limits(), tuple(users), patience or Patience()
        self._pair: socket.socket | None = None
        self._out: deque[tuple[bytes, tuple[int, ...]]] = deque()
        self._silent = 0.0  # seconds that questions are unanswered; below 0 while it begins
        self._fault: asyncio.Future[str] | None = None
        self._closed = asyncio.Event()
        self.ready = asyncio.Event()
        self._counted = Counted()
        self.pid = 0  # of the child that lives, 0 where none does
        self.starts = 0

    async def run(self) -> None:
        """Keep a child alive until cancelled; then end it."""
        await keep_running(self._what, self._one, _log)

    async def _one(self) -> str:
        self.starts += 1
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            process = await start_child(self._module, ["--core-fd", str(theirs.fileno())], [theirs.fileno()], self._users)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._fault, self._closed = loop.create_future(), asyncio.Event()
        self._pair, self.pid, self._silent = ours, process.pid, -self._patience.ready
        watch = asyncio.create_task(self._watch())
        ended = asyncio.create_task(process.wait())
        try:
            loop.add_reader(ours, self._read)
            self.post(Start(self._limits))
            self._on_start()
            await asyncio.wait((self._fault, watch, ended), return_when=asyncio.FIRST_COMPLETED)
            if self._fault.done():
                return self._fault.result()
            return f"exit status {ended.result()}" if ended.done() else watch.result()
        finally:
            self._pair, self.pid = None, 0
            self.ready.clear()
            loop.remove_reader(ours)
            loop.remove_writer(ours)
            ours.close()
            while self._out:
                _close(self._out.popleft()[1])
            for task in (watch, ended):
                task.cancel()
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            await asyncio.gather(watch, ended, return_exceptions=True)

    async def _watch(self) -> str:
        """Ask for a sign of life now and then. Counted by questions: a core that was stopped meanwhile has not listened."""
        while self._silent < self._patience.hung:
            self._silent += self._patience.check
            self.post(Ping())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), self._patience.check)
                await asyncio.sleep(1.0)  # its exit status would tell more
                return "it closed its end"
        return "it hangs"

    def _failed(self, why: str) -> None:
        if self._fault is not None and not self._fault.done():
            self._fault.set_result(why)

    def _read(self) -> None:
        for _ in range(32):
            if self._pair is None:
                return
            try:
                body = self._pair.recv(MAX_PACKET + 1)
            except BlockingIOError:
                return
            except OSError as error:
                self._failed(str(error))
                return
            if not body:
                asyncio.get_running_loop().remove_reader(self._pair)
                self._closed.set()
                return
            try:
                frame = self._decode(body)
            except PacketError as error:
                self._failed(str(error))
                return
            self._silent = 0.0
            if isinstance(frame, Ready):
                self.ready.set()
            elif isinstance(frame, Alive):
                self._counted.answer(frame.counts)
            else:
                self._on_frame(frame)

    async def stats(self) -> dict[str, int]:
        """What the child counts, with its memory; empty where none answers within 2 s."""
        if self._pair is None:
            return {}
        counts = await self._counted.ask(lambda: self.post(Ping()))
        return {} if counts is None else {**counts, "memory": resident(self.pid), "starts": self.starts, "pid": self.pid}

    def post(self, frame: ToChild, descriptors: tuple[int, ...] = ()) -> None:
        """Send as soon as the child takes it; `descriptors` are closed then. Without a living child it is dropped: the next one
        is told everything."""
        if self._pair is None:
            _close(descriptors)
            return
        self._out.append((pack(frame), descriptors))
        if len(self._out) > MAX_UNSENT:
            self._failed("it does not read")
        if len(self._out) == 1:
            self._flush()

    def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        while self._out and self._pair is not None:
            body, descriptors = self._out[0]
            try:
                socket.send_fds(self._pair, [body], descriptors)
            except BlockingIOError:
                loop.add_writer(self._pair, self._flush)
                return
            except OSError as error:
                self._failed(f"it can't be told anything: {error}")
                return
            self._out.popleft()
            _close(descriptors)
        if self._pair is not None:
            loop.remove_writer(self._pair)


def _close(descriptors: Sequence[int]) -> None:
    for fd in descriptors:
        os.close(fd)
