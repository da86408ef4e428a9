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
    """A host with many endpoints on one bridge, the network's name, and how long each attach took."""

    helper: RunningHelper
    network: str
    attach_ms: list[float]


class Run:
    """One run of the benchmarks; the crowd is made when it is first asked for and serves all who ask."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()

    @cached_property
    def crowd(self) -> Crowd:
        helper = self._stack.enter_context(our_helper())
        names = [f"c{number}" for number in range(1, CROWD + 1)]
        add_namespaces(helper.host, names)
        known(helper, CROWD, 60.0)
        helper.call("network.create", name="crowd")
        taken = [timed(helper, "network.connect", network="crowd", container=f"netns:{name}") for name in names]
        return Crowd(helper, "crowd", taken)

    def close(self) -> None:
        self._stack.close()
