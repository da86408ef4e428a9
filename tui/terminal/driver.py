"""The terminal driver: Textual's own for Linux, without the reports that cost bytes, and with a way to hear answers.

Mouse reports are off until asked for, and then never of mere motion (`?1003h`): each would be answered by a repaint.
Focus reports (`?1004h`) are never asked for: Textual restyles the whole screen on each.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from typing import Any, Final, Protocol, runtime_checkable

from textual.app import App
from textual.drivers.linux_driver import LinuxDriver
from textual.events import CursorPosition
from textual.message import Message
from textual.messages import TerminalSupportsSynchronizedOutput

from tui.terminal.pacing import Answer

WATCH_SECONDS: Final = 2.0  # between two looks whether the terminal is still there
_LEFT_OUT: Final = frozenset({"\x1b[?1004h"})
_MOUSE_ON: Final = "\x1b[?1000h\x1b[?1002h\x1b[?1006h"
_MOUSE_OFF: Final = "\x1b[?1006l\x1b[?1002l\x1b[?1000l"
_ANSWERS: Final[dict[type[Message], Answer]] = {
    TerminalSupportsSynchronizedOutput: Answer.SYNCHRONIZED,
    CursorPosition: Answer.CURSOR,
}


@runtime_checkable
class TerminalListener(Protocol):
    """What the driver tells its application."""

    mouse_at_start: bool

    def terminal_answered(self, answer: Answer, when: float) -> None:
        """The terminal answered a question at the monotonic time `when`."""

    def terminal_started(self) -> None:
        """The terminal was (again) put into application mode: nothing on it is ours yet."""


class QuickDriver(LinuxDriver):
    """`LinuxDriver` for slow links. Its application must be a `TerminalListener`."""

    def __init__(
        self,
        app: App[Any],
        *,
        debug: bool = False,
        mouse: bool = True,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        assert isinstance(app, TerminalListener)
        self._listener: TerminalListener = app
        self._mouse = mouse and app.mouse_at_start
        self._knows_synchronized = False
        #: Whether the terminal is in application mode (not suspended).
        self.active = False

    @property
    def backlog(self) -> int:
        """Writes that the terminal has not yet taken."""
        writer = self._writer_thread
        return 0 if writer is None else writer._queue.qsize()

    @property
    def mouse(self) -> bool:
        return self._mouse

    def set_mouse(self, on: bool) -> None:
        """Ask the terminal to report the mouse, or to leave it to its own selection of text."""
        if on == self._mouse or self._writer_thread is None:
            return
        self._mouse = on
        self.write(_MOUSE_ON if on else _MOUSE_OFF)

    def write(self, data: str) -> None:
        if data not in _LEFT_OUT:
            super().write(data)

    def start_application_mode(self) -> None:
        super().start_application_mode()  # type: ignore[no-untyped-call]
        if self._writer_thread is not None:
            self.active = True
            self._call(self._listener.terminal_started)
            if os.isatty(self.fileno):
                self._call(self._watch_terminal)

    def _watch_terminal(self) -> None:
        """End as by SIGHUP when the terminal is gone: the signal itself goes to the session's leader alone, and the input
        thread would read the end of file for ever."""
        if not self.active:
            return
        poll = select.poll()
        poll.register(self.fileno, 0)
        if any(state & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, state in poll.poll(0)):
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGHUP)
        self._loop.call_later(WATCH_SECONDS, self._watch_terminal)

    def stop_application_mode(self) -> None:
        self.active = False
        super().stop_application_mode()

    def process_message(self, message: Message) -> None:
        # Runs in the input thread.
        answer = _ANSWERS.get(type(message))
        if answer is None:
            super().process_message(message)
            return
        self._call(self._listener.terminal_answered, answer, time.monotonic())
        if answer is Answer.SYNCHRONIZED and not self._knows_synchronized:
            self._knows_synchronized = True
            super().process_message(message)

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)

    def _enable_mouse_support(self) -> None:
        if self._mouse:
            self.write(_MOUSE_ON)

    def _disable_mouse_support(self) -> None:
        if self._mouse:
            self.write(_MOUSE_OFF)

    def _request_terminal_sync_mode_support(self) -> None:
        """Left to the pacer, which asks for this at every start."""
