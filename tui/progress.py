"""One line on standard error for what takes longer than a second. Nothing at all where that is no terminal."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from types import TracebackType

from protocol.names import display_text
from tui.tables import cut

DELAY = 1.0  # seconds until the line appears
PERIOD = 1.0  # seconds between its changes, so that a slow link is not kept busy


class ProgressLine:
    """``with ProgressLine("network create") as line: …`` and `line.report(…)` from any thread."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._text = ""
        self._started = time.monotonic()
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> ProgressLine:
        if sys.stderr.isatty():
            self._thread = threading.Thread(target=self._show, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()

    def report(self, text: str, step: int = 0, steps: int = 0) -> None:
        """What is being done now; `step` of `steps` where they are known (0: not)."""
        self._text = f"{step}/{steps} {text}" if steps else text

    def _show(self) -> None:
        if self._done.wait(DELAY):
            return
        while True:
            seconds = int(time.monotonic() - self._started)
            line = f"{self._title}: {display_text(self._text)} ({seconds} s)" if self._text else f"{self._title} ({seconds} s)"
            sys.stderr.write("\r\x1b[2K" + cut(line, shutil.get_terminal_size().columns - 1))
            sys.stderr.flush()
            if self._done.wait(PERIOD):
                sys.stderr.write("\r\x1b[2K")
                sys.stderr.flush()
                return
