"""Memory of core, front and workstation on a host with 1,000 endpoints: proportional set size, which shares what is shared."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench.measures import Missing, pss_mb, rss_mb
from tests.bench.ours import Run, core_pid, front_pid
from tests.bench.paint import workstation
from tests.bench.rows import Row

AIMS = {"core": 60.0, "front": 40.0, "workstation": 80.0}  # MB
SETTLE = 5.0


def rows(run: Run) -> Iterator[Row]:
    crowd = run.crowd
    helper = crowd.helper
    count = crowd.total
    try:
        with workstation(helper.socket) as session:
            if not session.pump(20, lambda: session.shows(crowd.network)):
                raise Missing("the workstation shows no rows within 20 s: " + " / ".join(
                    line.strip() for line in session.screen.display if line.strip())[-200:])
            session.pump(SETTLE)
            yield _row("workstation", session.pid, count)
            yield _row("core", core_pid(helper), count)
            yield _row("front", front_pid(helper), count)
    except Missing as error:
        yield Row("memory of the workstation", None, "MB", "the aim", AIMS["workstation"], 1.0, str(error))
        yield _row("core", core_pid(helper), count)
        yield _row("front", front_pid(helper), count)


def _row(name: str, pid: int, count: int) -> Row:
    return Row(f"memory of the {name}", pss_mb(pid), "MB", "the aim", AIMS[name], 1.0,
               f"PSS with {count:,} endpoints; RSS {rss_mb(pid):.0f} MB")
