"""Clocks and sizes: time of a command, CPU time and memory of a process, medians."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path


class Missing(Exception):
    """A peer can't be measured here; the text says plainly why."""


def middle(samples: Sequence[float]) -> float:
    return statistics.median(samples)


def spread(samples: Sequence[float], unit: str = "ms") -> str:
    """The number of samples with the tenth and the ninetieth percentile, for a row's note."""
    ordered = sorted(samples)
    low, high = ordered[len(ordered) // 10], ordered[(len(ordered) * 9) // 10]
    return f"n={len(ordered)}, {low:.3g} to {high:.3g} {unit}"


def command_ms(words: Sequence[str], text: str = "", env: dict[str, str] | None = None) -> float:
    """Runs a command and returns its time from fork to exit, in milliseconds. Raises RuntimeError with its words if it fails."""
    data = text.encode()
    start = time.perf_counter()
    done = subprocess.run(words, input=data, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, check=False, timeout=60)
    taken = (time.perf_counter() - start) * 1000
    if done.returncode != 0:
        raise RuntimeError(f"{words[0]}: status {done.returncode}: {done.stdout.decode(errors='backslashreplace').strip()}")
    return taken


def cpu_seconds(pid: int) -> float:
    """CPU time of a process with all its threads, exact to nanoseconds (/proc/PID/stat counts in 10 ms)."""
    # clock_getcpuclockid(3): the clock of a process is made of its id and CPUCLOCK_SCHED (linux/posix-timers.h).
    return time.clock_gettime((~pid << 3) | 2)


def pss_mb(pid: int) -> float:
    """Proportional set size in MB (10^6 bytes): what is shared is divided among those who share it."""
    return _rollup(pid, "Pss:")


def rss_mb(pid: int) -> float:
    """Resident set size in MB (10^6 bytes)."""
    return _rollup(pid, "Rss:")


def _rollup(pid: int, field: str) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024 / 1e6
    raise Missing(f"/proc/{pid}/smaps_rollup has no {field}")
