"""The core's handle on a container of ours: starts its shim, speaks with it, and finds it again after a restart.

Everything here runs in one event loop. The order is start, attach, go: what a command prints before someone is attached
is kept only to 64 KiB. Closing the handle leaves the container running, unless `go` has not been said.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal as signals
import socket
import subprocess
import sys
from pathlib import Path

from helperd.containers import frames
from helperd.containers.command import DEFAULT_PATH, NOT_STARTED
from helperd.containers.endings import (
    ExitStatus as ExitStatus,
)
from helperd.containers.endings import (
    ended_within,
    exit_status,
    open_process,
)
from helperd.containers.endings import (
    kill_all as kill_all,
)
from helperd.containers.endings import (
    recorded_exit as recorded_exit,
)
from helperd.containers.output import Chunk as Chunk
from helperd.containers.output import Output as Output
from helperd.containers.spec import SandboxSpec, to_wire

SHIM = Path(__file__).with_name("shim.py")
LINGER = 30.0  # seconds that `close` waits for a reader of the last output
START_TIMEOUT = 30.0  # seconds for a shim to be ready; slow only under emulation


class SandboxError(Exception):
    """A container could not be made or its command not be run; `exit_code` is Docker's: 125, 126 or 127."""

    code = "container_failed"

    def __init__(self, message: str, exit_code: int = NOT_STARTED) -> None:
        self.message = message
        self.exit_code = exit_code
        self.details: dict[str, object] = {"exit_code": exit_code}
        super().__init__(message)


class SandboxGone(SandboxError):
    """There is no shim to connect to; `status` says how the container ended, if that was written down."""

    code = "container_gone"

    def __init__(self, message: str, status: ExitStatus | None) -> None:
        super().__init__(message)
        self.status = status


class Sandbox:
    """One running container, or one command executed in one.

    `pid` and `starttime` (clock ticks since boot) name its process 1 as this process sees it, `pidfd` holds it
    (readable when it has ended; the handle closes it), `netns_inode` is its network namespace.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, run_dir: str, process: _Child | None, *,
                 holds: bool = True) -> None:
        loop = asyncio.get_running_loop()
        self.run_dir = run_dir
        self.pid = self.starttime = self.shim_pid = self.netns_inode = 0
        self.pidfd = -1
        self.warnings: tuple[str, ...] = ()
        self.started = False
        self._reader, self._writer, self._process, self._holds = reader, writer, process, holds
        self._output: Output | None = None
        self._ready: asyncio.Future[None] = loop.create_future()
        self._going: asyncio.Future[None] = loop.create_future()
        self._exit: asyncio.Future[ExitStatus] = loop.create_future()
        self._detached = asyncio.Event()
        self._input_room = asyncio.Event()
        self._input_outstanding = 0
        self._input_lock = asyncio.Lock()
        self._task = asyncio.create_task(self._receive())

    # Life -------------------------------------------------------------------------------------------------------------

    @classmethod
    async def start(cls, spec: SandboxSpec) -> Sandbox:
        """Make the container, up to where its network can be configured. Raises SandboxError."""
        if not spec.argv:
            raise SandboxError("a container needs a command")
        payload = to_wire(spec)
        if len(payload) > frames.MAX_PAYLOAD:
            raise SandboxError("the command and its environment are too long")
        ours, theirs = socket.socketpair()
        try:
            child = _Child(theirs)
        except OSError as error:
            ours.close()
            raise SandboxError(f"cannot start a process: {error.strerror}") from error
        finally:
            theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours)
        sandbox = cls(reader, writer, spec.run_dir, child)
        sandbox._send(frames.SPEC, payload)
        await sandbox._until_ready()
        return sandbox

    @classmethod
    async def reconnect(cls, run_dir: str) -> Sandbox:
        """Connect to the shim of `run_dir` again.

        Raises SandboxGone when there is none that answers; what was left of the container has then been ended.
        """
        try:
            return await cls.listen(run_dir, holds=True)
        except SandboxGone as error:
            await kill_all(run_dir)
            raise SandboxGone(error.message, recorded_exit(run_dir)) from None

    @classmethod
    async def listen(cls, run_dir: str, *, holds: bool = False) -> Sandbox:
        """One connection more to the shim of `run_dir`, to read of its output: nothing ends with it.

        Raises SandboxGone when there is none that answers.
        """
        try:
            directory = os.open(run_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:  # it goes with a restart of the machine
            raise SandboxGone(f"the container of {run_dir} is gone ({error.strerror})", None) from None
        try:
            reader, writer = await asyncio.open_unix_connection(f"/proc/self/fd/{directory}/shim.sock")
        except OSError as error:
            status = recorded_exit(run_dir)
            why = "has ended" if status else f"is gone ({error.strerror})"
            raise SandboxGone(f"the container of {run_dir} {why}", status) from None
        finally:
            os.close(directory)
        sandbox = cls(reader, writer, run_dir, None, holds=holds)
        try:
            await sandbox._until_ready()
        except SandboxError as error:
            raise SandboxGone(error.message, recorded_exit(run_dir)) from None
        return sandbox

    async def _until_ready(self) -> None:
        try:
            async with asyncio.timeout(START_TIMEOUT):
                await self._ready
        except TimeoutError:
            await self.close()
            raise SandboxError(f"the container was not ready within {START_TIMEOUT:.0f} s") from None
        except BaseException:
            await self.close()
            raise

    async def go(self) -> None:
        """Run the command; return when it runs. Raises SandboxError with 126 or 127 when it can't be run."""
        self._send(frames.GO)
        await asyncio.shield(self._going)

    async def wait(self) -> ExitStatus:
        """Return how the command ended, as soon as it has; its last output may still be on the way."""
        return await asyncio.shield(self._exit)

    async def stop(self, timeout: float = 10.0) -> ExitStatus:
        """Send SIGTERM, and SIGKILL after `timeout` seconds; return how the command ended."""
        self.signal(signals.SIGTERM)
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(self.wait(), timeout)
        self.signal(signals.SIGKILL)
        return await self.wait()

    async def close(self) -> None:
        """Let go of the container: it runs on if `go` was said, and ends otherwise.

        When its command has ended, this waits until who is attached has had the last output, or detaches, or 30 s.
        """
        if self._exit.done() and not self._exit.cancelled() and self._output is not None and not self._task.done():
            detached = asyncio.ensure_future(self._detached.wait())
            await asyncio.wait((self._task, detached), timeout=LINGER, return_when=asyncio.FIRST_COMPLETED)
            detached.cancel()
        self._writer.close()
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await self._task
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
        for future in (self._ready, self._going, self._exit):
            if not future.done():
                future.cancel()
            elif not future.cancelled():
                future.exception()
        if self._output is not None:
            self._output.end()

    # Streams ----------------------------------------------------------------------------------------------------------

    def attach(self, how: int = frames.NEW, lines: int = frames.ALL_LINES) -> Output:
        """Return the output from now on, or what else `how` says (`frames.NEW` …), with `lines` at most of what is kept. One at
        a time."""
        if self._output is not None:
            raise RuntimeError("already attached")
        self._output = Output(self)
        if self._task.done():
            self._output.end()
        else:
            self._send(frames.ATTACH, frames.WANTED.pack(how, lines))
        return self._output

    def detach(self, output: Output) -> None:
        """What `Output.close` does."""
        if self._output is output:
            self._output = None
            self._detached.set()
            self._send(frames.DETACH)

    def acknowledge(self, count: int) -> None:
        """Tell the shim that `count` bytes of output were consumed."""
        if self._output is not None:
            self._send(frames.ACK, frames.COUNT.pack(count))

    async def write_stdin(self, data: bytes) -> None:
        """Hand over input; waits while the command has 256 KiB it didn't read. What comes after its end is dropped."""
        view = memoryview(data)
        async with self._input_lock:
            while view and not self._exit.done():
                room = min(frames.WINDOW - self._input_outstanding, frames.CHUNK)
                if room <= 0:
                    self._input_room.clear()
                    await self._input_room.wait()
                    continue
                piece, view = bytes(view[:room]), view[room:]
                self._input_outstanding += len(piece)
                self._send(frames.STDIN, piece)
                await self._drain()

    def eof(self) -> None:
        """End the input: closes a pipe, types ctrl-D on a terminal."""
        self._send(frames.EOF)

    def resize(self, rows: int, cols: int) -> None:
        """Set the size of the terminal in cells."""
        if not (0 <= rows < 65536 and 0 <= cols < 65536):
            raise ValueError(f"no terminal has {rows} rows and {cols} columns")
        self._send(frames.RESIZE, frames.SIZE.pack(rows, cols))

    def signal(self, name: str | int) -> None:
        """Send a signal ("SIGTERM", "TERM", "15" or 15) to process 1. Raises ValueError for one that does not exist."""
        self._send(frames.SIGNAL, bytes((signal_number(name),)))

    # Wire -------------------------------------------------------------------------------------------------------------

    def _send(self, kind: int, payload: bytes = b"") -> None:
        if not self._writer.is_closing():
            self._writer.write(frames.encode(kind, payload))

    async def _drain(self) -> None:
        with contextlib.suppress(OSError):
            await self._writer.drain()

    async def _receive(self) -> None:
        try:
            while True:
                kind, length = frames.HEADER.unpack(await self._reader.readexactly(frames.HEADER.size))
                if length > frames.MAX_PAYLOAD:
                    break
                self._take(kind, await self._reader.readexactly(length) if length else b"")
        except (asyncio.IncompleteReadError, OSError, ValueError, KeyError):
            pass
        self._writer.close()
        await self._lost()

    def _take(self, kind: int, payload: bytes) -> None:
        if kind in (frames.OUT, frames.ERR):
            if self._output is not None:
                self._output.feed(kind, payload)
        elif kind == frames.TAKEN:
            self._input_outstanding -= frames.COUNT.unpack(payload)[0]
            self._input_room.set()
        elif kind == frames.READY:
            self._take_greeting(json.loads(payload))
        elif kind == frames.STARTED:
            self.started = True
            _settle(self._going)
        elif kind == frames.EXIT:
            self._take_exit(exit_status(json.loads(payload)))

    def _take_greeting(self, greeting: dict[str, object]) -> None:
        self.pid, self.starttime = int(str(greeting["pid"])), int(str(greeting["starttime"]))
        self.shim_pid, self.netns_inode = int(str(greeting["shim_pid"])), int(str(greeting["netns"]))
        warnings = greeting["warnings"]
        self.warnings = tuple(str(text) for text in warnings) if isinstance(warnings, list) else ()
        if greeting["started"]:
            self.started = True
            _settle(self._going)
        held = open_process(self.pid, self.starttime) if self._holds else None
        self.pidfd = -1 if held is None else held
        _settle(self._ready)

    def _take_exit(self, status: ExitStatus) -> None:
        failure = SandboxError(status.error, status.shell_code) if status.error else None
        for future in (self._ready, self._going):
            if not future.done():
                future.set_exception(failure or SandboxError("the container has ended"))
                future.exception()
        if not self._exit.done():
            self._exit.set_result(status)
        self._input_room.set()

    async def _lost(self) -> None:
        """The connection has ended: with the container, or because the shim was killed."""
        if not self._exit.done():
            if self.pidfd >= 0 and not await ended_within(self.pidfd, 1.0):
                # It may have undone that it dies with its parent; nobody would reap or report it.
                with contextlib.suppress(OSError):
                    signals.pidfd_send_signal(self.pidfd, signals.SIGKILL)
                await ended_within(self.pidfd, 5.0)
            status = recorded_exit(self.run_dir) or ExitStatus(None, None, "the process that held the container died")
            self._take_exit(status)
        if self._output is not None:
            self._output.end()


class _Child:
    """A shim that is our child: reaped when it ends."""

    def __init__(self, connection: socket.socket) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(SHIM)],
            stdin=connection.fileno(),
            stdout=subprocess.DEVNULL,
            env={"PATH": DEFAULT_PATH},
            cwd="/",
            start_new_session=True,
        )
        self._pidfd = os.pidfd_open(self._process.pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._reap)

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._process.wait()


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def signal_number(name: str | int) -> int:
    """Return the number of a signal by name or number. Raises ValueError."""
    text = str(int(name) if isinstance(name, int) else name).upper()
    if text.isascii() and text.isdigit() and int(text) in signals.valid_signals():
        return int(text)
    try:
        return signals.Signals[text if text.startswith("SIG") else f"SIG{text}"]
    except KeyError:
        raise ValueError(f"no signal is called {name!r}") from None
