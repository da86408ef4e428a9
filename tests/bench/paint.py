"""From the start of the workstation, in a real pseudo-terminal, to the first frame that shows a network of the helper."""

from __future__ import annotations

import compileall
import os
import sys
import time
from collections.abc import Iterator

from tests.bench.measures import middle, spread
from tests.bench.ours import Run, our_helper
from tests.bench.rows import Row
from tests.simulated_host import ROOT
from tests.tui.pty_session import PtySession

COUNT = 6
AIM = 1000.0  # ms
LONGEST = 15.0


def workstation(socket: str) -> PtySession:
    """The workstation, as the launcher starts it, on the helper at `socket`."""
    return PtySession([sys.executable, "-P", "-m", "tui"], columns=120, lines=40, env={"NETDECK_SOCKET": socket})


def first_rows(socket: str, network: str) -> float:
    """Milliseconds from the start until `network` is on the screen. Raises RuntimeError with what is there instead."""
    start = time.monotonic()
    with workstation(socket) as session:
        if session.pump(LONGEST, lambda: session.shows(network)):
            return (time.monotonic() - start) * 1000
        shown = " / ".join(line.strip() for line in session.screen.display if line.strip())
        raise RuntimeError(f"the workstation shows no rows within {LONGEST:g} s: {shown[-400:]}")


def rows(run: Run) -> Iterator[Row]:
    # The launcher compiles at set-up; an environment that forbids to write bytecode must not count here.
    for room in ("protocol", "drivers", "helperd", "tui"):
        compileall.compile_dir(os.path.join(ROOT, room), quiet=2)
    with our_helper() as helper:
        helper.call("network.create", name="paint-me")
        taken = [first_rows(helper.socket, "paint-me") for _ in range(COUNT)]
    yield _row("start to first rows", taken)
    crowd = run.crowd
    yield _row(f"the same with {crowd.total:,} endpoints", [
        first_rows(crowd.helper.socket, crowd.network) for _ in range(COUNT)])


def _row(what: str, taken: list[float]) -> Row:
    return Row(what, middle(taken), "ms", "the aim", AIM, 1.0, spread(taken))
