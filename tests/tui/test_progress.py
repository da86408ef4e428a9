"""The progress line: only on a terminal, only for what takes long, and gone afterwards."""

from __future__ import annotations

import subprocess
import sys

from tests.running_lab import environment
from tests.tui.pty_session import PtySession

SCRIPT = """
import sys, time
from tui.progress import ProgressLine
with ProgressLine("network create web") as line:
    line.report("link \\x1b[31mbr", 2, 7)
    time.sleep(float(sys.argv[1]))
print("done")
"""


def test_it_appears_after_a_second_and_goes_away() -> None:
    with PtySession([sys.executable, "-c", SCRIPT, "1.7"]) as session:
        assert session.pump(60, lambda: session.shows("network create web: 2/7 link \\x1b[31mbr (1 s)"))
        assert session.pump(60, lambda: session.shows("done"))
        assert not session.shows("network create")
        assert session.wait_exit() == 0


def test_what_is_quick_shows_nothing() -> None:
    with PtySession([sys.executable, "-c", SCRIPT, "0.1"]) as session:
        assert session.wait_exit() == 0
        assert bytes(session.output).strip() == b"done"


def test_nothing_is_written_where_nobody_looks() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, "1.2"], capture_output=True, text=True, check=True, env=environment())
    assert (done.stdout, done.stderr) == ("done\n", "")
