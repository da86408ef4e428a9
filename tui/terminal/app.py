"""`QuickApp`: a Textual application that stays quick on a slow link. Everything in this package comes together here."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Hashable
from typing import Any, ClassVar, Final

from textual import constants, events
from textual.app import ReturnType
from textual.binding import Binding, BindingType
from textual.driver import Driver

from tui.terminal.cell_diff import CellDiffOutput
from tui.terminal.check import TerminalCheck, check_terminal
from tui.terminal.clipboard import write_clipboard
from tui.terminal.driver import QuickDriver
from tui.terminal.pacing import SHORTEST_INTERVAL, Answer, FramePacer

#: Where callbacks changed nothing no frame follows; this long after them that is taken to be so, in seconds.
_FRAME_GRACE: Final = max(0.1, 3 / constants.MAX_FPS)


class QuickApp(CellDiffOutput[ReturnType]):
    """Base class of the workstation's application.

    - `paint_data(callback, key=…)` instead of refreshing widgets directly when *data* changed;
    - `round_trip`: seconds to the terminal and back, smoothed; None where it is not known;
    - `copy_text(text)`: onto the clipboard of the user's terminal;
    - `set_mouse(on)`; ctrl+l paints everything again; ctrl+z stops the job that it runs in;
    - `terminal_check`: why all this may be switched off.

    `data_interval` is the shortest time between two frames of data, in seconds.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+l", "repaint", "Repaint", id="app.repaint", show=False, system=True),
        Binding("ctrl+z", "suspend_process", "Suspend", id="app.suspend", show=False, system=True, priority=True),
    ]

    mouse_at_start: bool = False
    data_interval: float = SHORTEST_INTERVAL

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.terminal_check: TerminalCheck = check_terminal()
        self.cell_diff = self.terminal_check.usable
        self._pacer: FramePacer | None = None
        self._frame_open = False
        self._frame_grace: asyncio.TimerHandle | None = None
        super().__init__(*arguments, **options)

    def get_driver_class(self) -> type[Driver]:
        stock = super().get_driver_class()
        return QuickDriver if self.terminal_check.usable and os.name == "posix" else stock

    @property
    def round_trip(self) -> float | None:
        return None if self._pacer is None else self._pacer.round_trip

    @property
    def paced(self) -> bool:
        """Whether data frames wait for the terminal's answers."""
        return self._pacer is not None

    def paint_data(self, callback: Callable[[], None], *, key: Hashable = None) -> None:
        """Run `callback` (which refreshes widgets) when the terminal is ready for more data.

        A later callback with the same key replaces one that still waits; without a key each callback is its own.
        Without pacing (headless, or switched off) it runs at once.
        """
        if self._pacer is None:
            callback()
        else:
            self._pacer.offer(callback if key is None else key, callback)

    def copy_text(self, text: str) -> None:
        """Put `text` on the clipboard of the user's terminal (OSC 52); raises `clipboard.TooLargeError`."""
        self._clipboard = text
        if self._driver is not None and not self.is_headless:
            write_clipboard(self._driver.write, text, os.environ)

    @property
    def mouse(self) -> bool:
        """Whether the terminal reports the mouse."""
        return isinstance(self._driver, QuickDriver) and self._driver.mouse

    def set_mouse(self, on: bool) -> None:
        """Have the terminal report the mouse, or leave it to the terminal's own selection."""
        if isinstance(self._driver, QuickDriver):
            self._driver.set_mouse(on)

    def action_repaint(self) -> None:
        """Write the whole screen again, whatever the terminal is thought to show."""
        self.forget_terminal()
        self.refresh()

    def action_suspend_process(self) -> None:
        """Stop the whole job, as ctrl+z does where the terminal itself minds it. `fg` paints everything again."""
        if isinstance(self._driver, QuickDriver):
            self._suspend_signal()
            self._driver.stop_job()
        else:
            super().action_suspend_process()

    def on_resize(self, event: events.Resize) -> None:
        # Terminals move and cut lines when they change size. Textual paints all anew only when the size differs.
        if self._grid is not None and (self._grid.width, self._grid.height) == (event.size.width, event.size.height):
            self.forget_terminal()
        else:
            self._grid = None

    def terminal_started(self) -> None:
        self.forget_terminal()
        if self._pacer is None:
            self._pacer = FramePacer(self._ask_terminal, self._paint_frame, interval=self.data_interval)
        self._pacer.start()

    def terminal_answered(self, answer: Answer, when: float) -> None:
        if self._pacer is not None:
            self._pacer.answered(answer, when)

    def set_data_interval(self, seconds: float) -> None:
        """Change the shortest time between two frames of data."""
        self.data_interval = seconds
        if self._pacer is not None:
            self._pacer.interval = seconds

    def _ask_terminal(self, question: str) -> None:
        if self._driver is not None and self._running:
            self._driver.write(question)

    def _paint_frame(self, callbacks: list[Callable[[], None]]) -> None:
        # The pacer is woken by the driver and by timers; widgets need the application's own context.
        self.call_later(self._run_frame, callbacks)

    def _run_frame(self, callbacks: list[Callable[[], None]]) -> None:
        self._frame_open = True
        self._frame_grace = asyncio.get_running_loop().call_later(_FRAME_GRACE, self._nothing_painted)
        for callback in callbacks:
            callback()

    def frame_written(self, size: int) -> None:
        # That may have been a frame for a key, with the data still to come: then one frame more is under way, no harm.
        if size:
            self._close_frame(wrote=True)

    def _nothing_painted(self) -> None:
        if not self.output_waits:
            self._close_frame(wrote=False)

    def _close_frame(self, *, wrote: bool) -> None:
        if self._frame_grace is not None:
            self._frame_grace.cancel()
            self._frame_grace = None
        if self._frame_open and self._pacer is not None:
            self._frame_open = False
            self._pacer.painted(wrote)

    def on_exit_app(self) -> None:
        if self._pacer is not None:
            self._pacer.stop()
