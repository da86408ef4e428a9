"""The helper under measurement: the real one in a simulated host, spoken to through its socket."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench.places import add_namespaces, bench_host
from tests.running_helper import RunningHelper
from tests.simulated_host import SimulatedHost

CROWD = 1000
MEASURED = 20  # attaches at each end of the crowd
WARM = 3  # of those, the first that don't count
ALONE = 8  # of those, the ones that are measured alone
ANNOUNCED = 2.5  # seconds: an address is announced at once and one and two seconds later, to every port of the bridge


@contextlib.contextmanager
def our_helper(before: Callable[[SimulatedHost], None] = lambda host: None) -> Iterator[RunningHelper]:
    """A helper with a store of its own; `before` prepares its host."""
    with bench_host() as host, tempfile.TemporaryDirectory(prefix="netdeck-bench-") as folder:
        before(host)
        helper = RunningHelper(host, Path(folder))
        try:
            helper.start(timeout=60)
            yield helper
        finally:
            helper.close()


def timed(helper: RunningHelper, op: str, **args: Any) -> float:
    """One operation through the wire; the milliseconds from the call to its answer."""
    start = time.perf_counter()
    helper.call(op, **args)
    return (time.perf_counter() - start) * 1000


def known(helper: RunningHelper, count: int, seconds: float = 20.0) -> None:
    """Waits until the helper has found `count` containers, so that finding them is not what is measured."""
    end = time.monotonic() + seconds
    while len(helper.call("container.list")) < count:
        if time.monotonic() > end:
            raise RuntimeError(f"the helper does not find the {count} namespaces:\n{helper.log()}")
        time.sleep(0.2)


def core_pid(helper: RunningHelper) -> int:
    """The core's process, as this machine sees it."""
    assert helper.process is not None
    return helper.process.inner_pid


def front_pid(helper: RunningHelper) -> int:
    """The front's process: the core's child that runs helperd.front."""
    core = core_pid(helper)
    for task in os.listdir(f"/proc/{core}/task"):
        for child in Path(f"/proc/{core}/task/{task}/children").read_text().split():
            if b"helperd.front" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    raise RuntimeError("the core has no front")


class Crowd(NamedTuple):
    """A host with many endpoints on one bridge, the network's name, and how long attaches took at both ends of the crowd:
    `alone`, when the announcements of the one before have ended, and `in_a_row`, one behind the other."""

    helper: RunningHelper
    network: str
    total: int
    alone_early: list[float]
    alone_late: list[float]
    in_a_row_early: list[float]
    in_a_row_late: list[float]


class Run:
    """One run of the benchmarks; the crowd is made when it is first asked for and serves all who ask."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()

    @cached_property
    def crowd(self) -> Crowd:
        helper = self._stack.enter_context(our_helper())
        names = [f"c{number}" for number in range(1, CROWD + 1)]
        helper.call("network.create", name="crowd")

        def attach(some: list[str], pause: float = 0.0) -> list[float]:
            taken: list[float] = []
            for name in some:
                time.sleep(pause)
                taken.append(timed(helper, "network.connect", network="crowd", container=f"netns:{name}"))
            return taken

        def ends(some: list[str]) -> tuple[list[float], list[float]]:
            return attach(some[ALONE:]), attach(some[:ALONE], ANNOUNCED)

        # Number 10 is measured on a host that holds no more than that yet.
        add_namespaces(helper.host, names[:MEASURED])
        known(helper, MEASURED)
        attach(names[:WARM])
        row_early, alone_early = ends(names[WARM:MEASURED])
        add_namespaces(helper.host, names[MEASURED:])
        known(helper, CROWD, 60.0)
        attach(names[MEASURED:-MEASURED])
        row_late, alone_late = ends(names[-MEASURED:])
        return Crowd(helper, "crowd", CROWD, alone_early, alone_late, row_early, row_late)

    def close(self) -> None:
        self._stack.close()
