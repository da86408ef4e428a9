"""The terminal driver: Textual's own for Linux, without the reports that cost bytes, and with a way to hear answers.

Mouse reports are off until asked for, and then never of mere motion (`?1003h`): each would be answered by a repaint.
Focus reports (`?1004h`) are never asked for: Textual restyles the whole screen on each.

ctrl+z stops the whole job, as the terminal itself would (termios(3), VSUSP): what started the workstation is stopped with it.
Textual's own handlers run between any two instructions, where the writer's lock may be held; these run as callbacks of the loop.
"""

from __future__ import annotations

import asyncio
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

from tui.terminal.pacing import ASK_CURSOR, ASK_SYNCHRONIZED, Answer

WATCH_SECONDS: Final = 2.0  # between two looks whether the terminal is still there
RETURN_RETRY: Final = 0.2  # seconds until the terminal is asked for again by a job that was sent to the background
LAST_ANSWER: Final = 1.0  # seconds to wait for an answer under way before the terminal is left: the shell would read it as typed
_NO_ANSWER_YET: Final = 0.2  # the same for a terminal that has not answered anything so far
_KITTY_POP: Final = "\x1b[<u"
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
        self._asked = self._answered = 0  # questions written, answers come
        self._watch: asyncio.TimerHandle | None = None
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
        if data in _LEFT_OUT or self._writer_thread is None:
            return
        self._asked += data.count(ASK_SYNCHRONIZED) + data.count(ASK_CURSOR)
        super().write(data)

    def start_application_mode(self) -> None:
        self._asked = self._answered = 0
        self._mind_signals(True)
        super().start_application_mode()  # type: ignore[no-untyped-call]
        if self._writer_thread is not None:  # None: a job in the background may not have the terminal yet
            self.active = True
            self._call(self._listener.terminal_started)
            if os.isatty(self.fileno) and self._watch is None:
                self._watch = self._loop.call_later(WATCH_SECONDS, self._watch_terminal)

    def close(self) -> None:
        super().close()
        self._writer_thread = None

    # Stopped and continued

    def _mind_signals(self, on: bool) -> None:
        for number, answer in ((signal.SIGTSTP, self._stop), (signal.SIGCONT, self._continued)):
            if on:
                self._loop.add_signal_handler(number, answer)
            else:
                self._loop.remove_signal_handler(number)  # the kernel's own behaviour again

    def stop_job(self) -> None:
        """Give the terminal back and stop, with all processes of our group; take it again when continued.

        The kernel ignores the signal where no shell is there to continue us: then the screen is only painted anew.
        """
        self._stop(0)

    def _stop(self, whom: int | None = None) -> None:
        automatic = self._auto_restart
        if automatic and self.active:
            self.suspend_application_mode()
        self._mind_signals(False)
        os.kill(os.getpid() if whom is None else whom, signal.SIGTSTP)  # returns when we are continued
        self._mind_signals(True)
        if automatic:
            self._return_to_terminal()

    def _continued(self) -> None:
        """Continued after a SIGSTOP, of which nobody told us: whoever had the terminal meanwhile left it in any state."""
        if not self._auto_restart or not self.active:
            return
        before = self.attrs_before
        self.write(_KITTY_POP)
        self.active = False
        self.disable_input()
        self.close()
        self._return_to_terminal()
        self.attrs_before = before

    def _return_to_terminal(self) -> None:
        if self.active:
            return
        self._must_signal_resume = True
        self.resume_application_mode()
        if not self.active:
            self._loop.call_later(RETURN_RETRY, self._return_to_terminal)

    def _watch_terminal(self) -> None:
        """End as by SIGHUP when the terminal is gone: the signal itself goes to the session's leader alone, and the input
        thread would read the end of file for ever."""
        self._watch = None
        if not self.active:
            return
        poll = select.poll()
        poll.register(self.fileno, 0)
        if any(state & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, state in poll.poll(0)):
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGHUP)
        self._watch = self._loop.call_later(WATCH_SECONDS, self._watch_terminal)

    def stop_application_mode(self) -> None:
        if self.active:
            self._await_last_answer()
        self.active = False
        super().stop_application_mode()

    def _await_last_answer(self) -> None:
        end = time.monotonic() + (LAST_ANSWER if self._answered else _NO_ANSWER_YET)
        while self._answered < self._asked and time.monotonic() < end:
            time.sleep(0.005)  # the input thread counts them

    def process_message(self, message: Message) -> None:
        # Runs in the input thread.
        answer = _ANSWERS.get(type(message))
        if answer is None:
            super().process_message(message)
            return
        # Answers come in order: one to the cursor's question is the last of its kind, whatever was not answered before.
        self._answered = self._asked if answer is Answer.CURSOR else self._answered + 1
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
