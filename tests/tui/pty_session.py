"""A program in a real pseudo-terminal, whose screen is kept by a terminal emulator (pyte).

The reader can be slow like a thin link, and can answer the program's questions in time, late, partly, or never.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import pyte

from tests.waiting import LONGEST_SECONDS

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = Path(__file__).resolve().parent / "apps" / "sample.py"
_FOREIGN = re.compile(rb"\x1b\[[<>=][0-9;]*u|\x1b\[\?[0-9;]*\$p|\x1b\[6n|\x1b\][^\x07]*\x07")
_HELD_BACK = 32


@dataclass
class Answers:
    """How the terminal answers: which questions, and how many seconds late."""

    synchronized: bool = True
    cursor: bool = True
    delay: float = 0.0

    def to(self, question: bytes) -> bytes:
        if question == b"\x1b[?2026$p" and self.synchronized:
            return b"\x1b[?2026;2$y"
        if question == b"\x1b[6n" and self.cursor:
            return b"\x1b[1;1R"
        return b""


_QUESTION = re.compile(rb"\x1b\[\?2026\$p|\x1b\[6n")

Cell = tuple[str, str, str, bool, bool, bool]


@dataclass
class PtySession:
    """`argv` in a pseudo-terminal of `columns` × `lines`. `rate`: bytes per second that are read; 0: no limit."""

    argv: list[str]
    columns: int = 100
    lines: int = 30
    env: Mapping[str, str] = field(default_factory=dict)
    answers: Answers = field(default_factory=Answers)
    rate: float = 0.0
    received: int = 0
    questions: int = 0
    #: Notes of the tests: frames of data seen, and seconds until a key was answered.
    frames: int = 0
    echo: float = 0.0

    def __enter__(self) -> PtySession:
        self.screen = pyte.Screen(self.columns, self.lines)
        self._stream = pyte.ByteStream(self.screen)
        self._tail = b""
        self._due: list[tuple[float, bytes]] = []
        self._budget = 0.0
        self._refilled = time.monotonic()
        self.output = bytearray()
        self.status: int | None = None
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)  # a run in the background ignores them, and a terminal's programs would inherit that
            environment = {
                **os.environ,
                "TERM": "xterm-256color",
                "COLORTERM": "truecolor",
                "TEXTUAL_ANIMATIONS": "none",
                "PYTHONPATH": str(ROOT),
                **self.env,
            }
            os.execvpe(self.argv[0], self.argv, environment)
        self.resize(self.columns, self.lines)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        if (columns, lines) != (self.columns, self.lines):
            self.columns, self.lines = columns, lines
            self.screen.resize(lines, columns)

    def send(self, keys: bytes) -> None:
        os.write(self.fd, keys)

    def pump(self, seconds: float, until: Callable[[], bool] = lambda: False, quiet: float | None = None) -> bool:
        """Read for at most `seconds`, until `until()` or until for `quiet` seconds nothing came and the program had nothing to do (one that
        waits for a busy processor is silent too). Whether `until` held."""
        end = time.monotonic() + seconds
        last = time.monotonic()
        while time.monotonic() < end:
            self._send_due()
            if self._read():
                last = time.monotonic()
                if until():
                    return True
            elif quiet is not None and not self._due:
                if self._at_work():
                    last = time.monotonic()
                elif time.monotonic() - last > quiet:
                    break
        return until()

    def settle(self, seconds: float = 60.0, quiet: float = 0.6) -> None:
        """Read until the program has been quiet for a while."""
        self.pump(seconds, quiet=quiet)

    def _at_work(self) -> bool:
        """Whether a thread of the program runs, or would if it had a processor (proc_pid_stat(5): R; D while it waits for a disk)."""
        for path in Path(f"/proc/{self.pid}/task").glob("*/stat"):
            with contextlib.suppress(OSError):
                if path.read_text().rpartition(")")[2].split()[0] in "RD":
                    return True
        return False

    def shows(self, text: str) -> bool:
        return any(text in line for line in self.screen.display)

    def cells(self) -> list[list[Cell]]:
        """What a person can see: colours and attributes that a space can't show are left out."""
        return [[_seen(self.screen.buffer[y][x]) for x in range(self.columns)] for y in range(self.lines)]

    def wait_exit(self, seconds: float = LONGEST_SECONDS) -> int | None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._read()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = status
                return status
        return None

    def _read(self) -> bool:
        allowed = 65536
        if self.rate:
            now = time.monotonic()
            self._budget = min(self.rate * 0.2, self._budget + (now - self._refilled) * self.rate)
            self._refilled = now
            allowed = int(self._budget)
            if allowed < 128:
                time.sleep(0.005)
                return True  # not quiet: we are the ones who don't read
        ready, _, _ = select.select([self.fd], [], [], 0.02)
        if not ready:
            return False
        try:
            data = os.read(self.fd, allowed)
        except OSError:
            time.sleep(0.02)
            return False
        self._budget -= len(data)
        self.received += len(data)
        self.output += data
        self._feed(self._tail + data)
        return True

    def _feed(self, data: bytes) -> None:
        # A question, or a sequence that pyte does not know, may be cut by the end of what was read.
        cut = data.rfind(b"\x1b", max(0, len(data) - _HELD_BACK))
        complete = cut < 0 or re.match(rb"\x1b(\[[0-9;?<>=]*[$]?[A-Za-z@`]|[78=>c])", data[cut:]) is not None
        self._tail = b"" if complete else data[cut:]
        data = data if complete else data[:cut]
        for question in _QUESTION.findall(data):
            self.questions += 1
            answer = self.answers.to(question)
            if answer:
                self._due.append((time.monotonic() + self.answers.delay, answer))
        self._stream.feed(_FOREIGN.sub(b"", data))
        self._send_due()

    def _send_due(self) -> None:
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            os.write(self.fd, self._due.pop(0)[1])


def _seen(char: pyte.screens.Char) -> Cell:
    if char.data == " " and not (char.reverse or char.underscore or char.strikethrough):
        return (" ", "", char.bg, False, False, False)
    return (char.data, char.fg, char.bg, char.bold, char.reverse, char.underscore)


def sample(kind: str, rows: int, tick: float = 0.0) -> list[str]:
    """The command of the sample application."""
    return [sys.executable, str(SAMPLE), kind, str(rows), str(tick)]
