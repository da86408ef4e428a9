"""Cell-diff output for a Textual application: each frame writes only the cells that changed.

Textual 8 paints whole regions again whether or not their cells changed, and queues every frame. `CellDiffOutput`
replaces its private `App._display`: updates are painted into a `CellGrid`, and what differs from what the terminal
shows is written when the writer has caught up; frames in between merge. The event loop never blocks on the terminal.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from typing import Any, Final

from rich.color import ColorSystem
from rich.console import RenderableType
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.app import App, ReturnType
from textual.screen import Screen
from textual.strip import Strip

from tui.terminal.cell_grid import CellGrid, Faces
from tui.terminal.driver import QuickDriver

SYNC_START: Final = "\x1b[?2026h"
SYNC_END: Final = "\x1b[?2026l"
#: A frame shorter than this is shown whole anyway; bracketing it would only cost bytes.
_SYNC_FROM: Final = 256
#: How long to wait before looking again whether the writer has caught up, in seconds.
_WRITER_RETRY: Final = 0.02
#: TERM names (up to the first "-") whose terminals erase with the current background colour.
_BCE_TERMS: Final = frozenset({"xterm", "tmux", "alacritty", "foot", "ghostty", "wezterm", "kitty", "rxvt", "vte", "konsole"})


def erases_with_background(environ: Mapping[str, str]) -> bool:
    """Whether the terminal named by TERM erases with the current background colour (bce in terminfo)."""
    return environ.get("TERM", "").partition("-")[0] in _BCE_TERMS


def strips_of(update: ChopsUpdate | LayoutUpdate) -> Iterator[tuple[int, int, Strip]]:
    """(column, line, strip) of everything that an update of Textual's compositor paints."""
    if isinstance(update, LayoutUpdate):
        for y, line in enumerate(update.strips, update.region.y):
            x = update.region.x
            for strip in line:
                yield x, y, strip
                x += strip.cell_length
        return
    for y, start, stop in update.spans:
        for end, (x, chop) in zip(update.chop_ends[y], update.chops[y].items(), strict=False):
            if chop is not None and x <= stop and end > start:
                yield x, y, chop


class CellDiffOutput(App[ReturnType]):
    """An `App` whose frames are cell differences. `cell_diff` switches it off (then everything is Textual's own)."""

    cell_diff: bool = True
    #: Frames written, and their bytes, since the start.
    frames_written: int = 0
    bytes_written: int = 0
    _grid: CellGrid | None = None
    _faces: Faces | None = None
    _flush_waits: bool = False

    def forget_terminal(self) -> None:
        """Assume nothing about what the terminal shows: everything is written again with the next frame."""
        if self._grid is not None:
            self._grid.forget()
            self._flush_grid()

    @property
    def output_waits(self) -> bool:
        """Whether a painted frame has not yet been handed to the writer, because the terminal is slow."""
        return self._flush_waits

    def _display(self, screen: Screen[Any], renderable: RenderableType | None) -> None:
        usable = self.cell_diff and isinstance(renderable, ChopsUpdate | LayoutUpdate) and self._can_write()
        if not usable:
            if renderable is not None and not self._batch_count:
                self._grid = None
            super()._display(screen, renderable)
            return
        try:
            assert isinstance(renderable, ChopsUpdate | LayoutUpdate)
            self._paint(renderable)
            self._flush_grid()
        finally:
            self.post_display_hook()

    def _can_write(self) -> bool:
        driver = self._driver
        return (
            not self._batch_count
            and self._running
            and not self._closed
            and not self.is_headless
            and driver is not None
            and not driver.is_inline
        )

    def _paint(self, update: ChopsUpdate | LayoutUpdate) -> None:
        grid = self._current_grid()
        number, put = grid.faces.number, grid.put
        for x, y, strip in strips_of(update):
            for text, style, control in strip:
                if not control:
                    x = put(x, y, text, number(style))

    def _current_grid(self) -> CellGrid:
        width, height = self.size
        colors = self.console._color_system or ColorSystem.TRUECOLOR
        if self._faces is None or self._faces.colors is not colors:
            self._faces = Faces(colors)
            self._grid = None
        grid = self._grid
        if grid is None or (grid.width, grid.height) != (width, height):
            grid = self._grid = CellGrid(
                width, height, self._faces, erases_with_background=erases_with_background(os.environ)
            )
        return grid

    def _flush_grid(self) -> None:
        """Write what differs, or try again soon when the writer still has an earlier frame to write."""
        if self._flush_waits:
            return
        if isinstance(self._driver, QuickDriver) and self._driver.backlog:
            self._flush_waits = True
            # Not a timer of Textual's: this also runs from the driver's callbacks, outside of the application's context.
            asyncio.get_running_loop().call_later(_WRITER_RETRY, self._flush_later)
            return
        self._write_difference()

    def _flush_later(self) -> None:
        self._flush_waits = False
        self._flush_grid()

    def _write_difference(self) -> None:
        driver = self._driver
        if self._grid is None or driver is None or not self._running or self._closed:
            return
        if isinstance(driver, QuickDriver) and not driver.active:
            return  # suspended: all is written again at the restart
        cursor = self.screen.outer_size.clamp_offset(self.cursor_position)
        self._previous_cursor_position = cursor
        frame = self._grid.render((cursor.x, cursor.y))
        if frame:
            if self._sync_available and len(frame) >= _SYNC_FROM:
                frame = f"{SYNC_START}{frame}{SYNC_END}"
            self.frames_written += 1
            self.bytes_written += len(frame.encode("utf-8", "replace"))
            driver.write(frame)
            driver.flush()
        self.frame_written(len(frame))

    def frame_written(self, size: int) -> None:
        """Called each time that everything painted so far has been handed to the writer, as `size` characters."""
