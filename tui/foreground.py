"""A command in a container, in the foreground: its input, output, window size, signals and exit code, over the wire."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from protocol.client import CallStream, Client
from protocol.errors import InvalidValue, NetdeckError
from protocol.names import display_text
from tui.raw_terminal import DetachScanner, raw, size_of

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_CHUNK = 65536
_PROXIED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


@dataclass(frozen=True, slots=True)
class Foreground:
    """How the caller's terminal and signals are connected. `tty` asks for a terminal, `interactive` for standard input."""

    interactive: bool
    tty: bool
    sig_proxy: bool = True


def run_foreground(path: str | None, operation: str, arguments: Mapping[str, Any], how: Foreground) -> int:
    """Run `operation`, one that streams, until it ends or is detached from. Return the command's exit code.

    Raises NetdeckError; InvalidValue where a terminal is asked for and standard input is none.
    """
    if how.tty and how.interactive and not os.isatty(_STDIN):
        raise InvalidValue("-t with -i needs a terminal, and standard input is none: leave out -t", field="tty")
    rows, columns = size_of(_terminal())
    sent = {**arguments, "interactive": how.interactive, "tty": how.tty, "rows": rows, "columns": columns}
    with contextlib.ExitStack() as stack:
        if how.tty and how.interactive:
            stack.enter_context(raw(_STDIN))
        return asyncio.run(_run(path, operation, sent, how))


def show_output(path: str | None, operation: str, arguments: Mapping[str, Any]) -> None:
    """Print what `operation`, one that streams, has to show, until it ends or ctrl+c. Raises NetdeckError."""
    asyncio.run(_run(path, operation, dict(arguments), Foreground(interactive=False, tty=False, sig_proxy=False)))


def _terminal() -> int:
    return next((fd for fd in (_STDIN, _STDOUT, _STDERR) if os.isatty(fd)), _STDIN)


async def _run(path: str | None, operation: str, arguments: dict[str, Any], how: Foreground) -> int:
    client = Client(path, name="netdeck")
    try:
        await client.connect()
        async with client.stream(operation, arguments) as stream:
            session = _Session(stream, how)
            return await session.run()
    finally:
        await client.close()


class _Session:
    def __init__(self, stream: CallStream, how: Foreground) -> None:
        self._stream = stream
        self._how = how
        self._loop = asyncio.get_running_loop()
        self._detached = asyncio.Event()
        self._sending: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        if self._how.tty:
            self._loop.add_signal_handler(signal.SIGWINCH, self._resize)
        if self._how.sig_proxy:
            for number in _PROXIED:
                self._loop.add_signal_handler(number, self._signal, number)
        if self._how.interactive:
            # A thread: standard input may be a file or a pipe shared with others, which must not be made non-blocking.
            threading.Thread(target=self._read_input, daemon=True).start()
        output = asyncio.ensure_future(self._show_output())
        detached = asyncio.ensure_future(self._detached.wait())
        try:
            await asyncio.wait({output, detached}, return_when=asyncio.FIRST_COMPLETED)
            if not output.done():
                return 0  # leaving the stream is what detaches: the container runs on
            return output.result()
        finally:
            for task in (output, detached, *self._sending):
                task.cancel()

    async def _show_output(self) -> int:
        async for part in self._stream:
            if part.data:
                fd = _STDERR if part.stream == "stderr" else _STDOUT
                await self._loop.run_in_executor(None, _write, fd, part.data)
            elif part.text.startswith("warning: "):
                end = "\r\n" if self._how.tty else "\n"  # the terminal is raw
                sys.stderr.write(f"netdeck: {display_text(part.text)}{end}")
        result = await self._stream.result()
        return int(result.get("exit_code", 0))

    def _resize(self) -> None:
        self._start(self._stream.resize(*size_of(_terminal())))

    def _signal(self, number: signal.Signals) -> None:
        self._start(self._stream.signal(number.name.removeprefix("SIG")))

    def _start(self, sending: Any) -> None:
        async def send() -> None:
            with contextlib.suppress(NetdeckError):  # the call ended meanwhile: its result tells
                await sending

        task = self._loop.create_task(send())
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    def _read_input(self) -> None:
        scanner = DetachScanner() if self._how.tty else None
        while True:
            try:
                data = os.read(_STDIN, _CHUNK)
            except OSError:
                data = b""
            ended = not data
            if scanner is not None:
                data = scanner.feed(data)
            try:
                if data:
                    self._wait(self._stream.send(data))
                if scanner is not None and scanner.detached:
                    self._loop.call_soon_threadsafe(self._detached.set)
                    return
                if ended:
                    self._wait(self._stream.eof())
                    return
            except (NetdeckError, RuntimeError, asyncio.CancelledError):
                return  # the call is over, or the loop

    def _wait(self, sending: Any) -> None:
        asyncio.run_coroutine_threadsafe(sending, self._loop).result()


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
