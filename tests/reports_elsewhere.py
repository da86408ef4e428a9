"""Reports of tests that another process runs: it writes them to a file of a folder that both see (tests/report_writer.py), and here they
are read and handed to this process's pytest, as if the tests had run in it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.requirement_table import keep

REPORTS, SAID, TESTS = "reports", "said", "tests"


class ReportsElsewhere:
    """A process and what it reports. `reports_of` waits for the reports of a test; `close` ends it.

    A process that ends, does not begin in `begin_seconds` or is quiet for `quiet_seconds` is in `trouble`, which says so with its
    last words; no more reports come then.
    """

    name = "the process beside"
    begin_seconds, quiet_seconds = 300.0, 960.0

    def __init__(self, tests: Sequence[str]) -> None:
        self.started = time.monotonic()
        self.begun: float | None = None  # when it began and ended, by its own clock
        self.ended: float | None = None
        self.trouble = ""
        self._folder = tempfile.TemporaryDirectory(prefix="netdeck-beside-")
        self.out = Path(self._folder.name)
        self._found: dict[str, list[dict[str, Any]]] = {}
        self._whole: set[str] = set()
        self._read = 0
        self._heard = time.monotonic()
        self._process: subprocess.Popen[bytes] | None = None
        (self.out / TESTS).write_text("".join(f"{test}\n" for test in tests))

    def _start(self, command: Sequence[str], environment: dict[str, str] | None = None) -> None:
        # It must not outlive us, whatever ends us.
        words = ["setpriv", "--pdeathsig", "KILL", *command]
        with (self.out / SAID).open("wb") as said:
            self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
                                             env=environment)

    def reports_of(self, test: str) -> list[dict[str, Any]]:
        """The reports of a test, serialized; not all of them where the process ended first: see `trouble`."""
        while test not in self._whole and not self.trouble:
            if not self.look():
                self._check()
                time.sleep(0.05)
        return self._found.get(test, [])

    def whole(self, test: str) -> bool:
        """Whether the test ended, and all its reports have come."""
        return test in self._whole

    def look(self) -> bool:
        """Read what has come; False where nothing has."""
        try:
            with (self.out / REPORTS).open("rb") as file:
                file.seek(self._read)
                lines = [line for line in file.read().splitlines(keepends=True) if line.endswith(b"\n")]
        except FileNotFoundError:
            return False
        for line in lines:
            self._read += len(line)
            self._take(json.loads(line))
        if lines:
            self._heard = time.monotonic()
        return bool(lines)

    def _take(self, message: dict[str, Any]) -> None:
        if "begun" in message:
            self.begun = message["begun"]
        elif "ended" in message:
            self.ended = message["ended"]
        elif "done" in message:
            self._whole.add(message["done"])
        else:
            self._found.setdefault(message["test"], []).append(message["report"])

    def _check(self) -> None:
        now = time.monotonic()
        if self._process is not None and self._process.poll() is not None:
            if not self.look():
                self.trouble = f"{self.name} ended before this test had (status {self._process.returncode})"
        elif self.begun is None and now - self.started > self.begin_seconds:
            self.trouble = f"{self.name} did not come up in {self.begin_seconds:.0f} s"
        elif self.begun is not None and now - self._heard > self.quiet_seconds:
            self.trouble = f"nothing was heard from {self.name} for {self.quiet_seconds:.0f} s"
        if self.trouble:
            self.trouble += self.last_words()
            self._kill()

    def last_words(self) -> str:
        """The ends of all that was said."""
        words = ""
        for path in self._word_files():
            with contextlib.suppress(OSError):
                text = path.read_text(errors="backslashreplace").strip()
                if text:
                    words += f"\n--- {path.name} ---\n{text[-3000:]}"
        return words

    def _word_files(self) -> Iterator[Path]:
        yield self.out / SAID

    def _kill(self, patience: float = 0) -> None:
        """End it; with `patience`, it is asked first and may take so many seconds."""
        if self._process is not None and self._process.poll() is None:
            if patience:
                self._process.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(patience)
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """End it; it has nothing to keep."""
        self._kill()
        self._folder.cleanup()


def hand_on(item: pytest.Item, elsewhere: ReportsElsewhere) -> None:
    """Reports a test to pytest as it was reported elsewhere; as failed where that is not the whole."""
    config = item.config
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    begun = time.time()
    reports = [config.hook.pytest_report_from_serializable(config=config, data=data) for data in elsewhere.reports_of(item.nodeid)]
    if not elsewhere.whole(item.nodeid) or not reports:
        reports.append(pytest.TestReport(item.nodeid, item.location, {}, "failed", elsewhere.trouble or "no report came", "call",
                                         start=begun, stop=time.time(), duration=time.time() - begun, user_properties=item.user_properties))
    for report in reports:
        keep(config, report)
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)


def print_time(text: str) -> None:
    """Among the times that ./test prints at its end."""
    if "NETDECK_TEST_TIMES" in os.environ:
        with open(os.environ["NETDECK_TEST_TIMES"], "a", encoding="utf-8") as file:
            file.write(f"  ({text})\n")
