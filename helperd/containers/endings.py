"""How containers of ours end: the status that the shim writes down, and the clean-up of orphans."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

from helperd.containers.command import NOT_STARTED
from helperd.containers.inside import start_time


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How a command ended: its exit code, or the signal that ended it; `error` when it was never run or lost."""

    code: int | None
    signal: int | None = None
    error: str | None = None

    @property
    def shell_code(self) -> int:
        """The one number a shell would show: 128 + signal for a death by signal."""
        if self.signal is not None:
            return 128 + self.signal
        return NOT_STARTED if self.code is None else self.code


def exit_status(record: dict[str, object]) -> ExitStatus:
    """Read the JSON object of an EXIT frame or of the file `exit`."""
    code, number, error = record.get("code"), record.get("signal"), record.get("error")
    return ExitStatus(
        code if isinstance(code, int) else None,
        number if isinstance(number, int) else None,
        error if isinstance(error, str) else None,
    )


def recorded_exit(run_dir: str) -> ExitStatus | None:
    """Return how the container of `run_dir` ended, None when that was not written (yet)."""
    if not run_dir:
        return None
    try:
        record = json.loads(Path(run_dir, "exit").read_bytes())
    except (OSError, ValueError):
        return None
    return exit_status(record) if isinstance(record, dict) else None


def open_process(pid: int, starttime: int) -> int | None:
    """Return a pidfd of exactly this process, None when it is gone."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return None
    with contextlib.suppress(OSError, ValueError, IndexError):
        if start_time(pid) == starttime:
            return pidfd
    os.close(pidfd)
    return None


def _settle(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


async def ended_within(pidfd: int, timeout: float) -> bool:
    """Wait for a process to end, at most `timeout` seconds; return whether it has."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    loop.add_reader(pidfd, _settle, done)
    try:
        await asyncio.wait_for(done, timeout)
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(pidfd)
    return True


def _recorded_processes(run_dir: str) -> list[tuple[int, int, float]]:
    """(pid, start time, seconds it may take to end by itself) of the container and its shim."""
    try:
        record = json.loads(Path(run_dir, "shim.json").read_bytes())
        return [
            (int(record["pid"]), int(record["starttime"]), 0.0),
            (int(record["shim_pid"]), int(record["shim_starttime"]), 1.0),
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def discard(directory: Path) -> None:
    """Take a run directory away for good. It is renamed first: a shim that was given up while it started, or that ends just now, still
    writes into it, by its path."""
    gone = directory.with_name(f"{directory.name}.gone")
    with contextlib.suppress(OSError):
        directory.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


async def kill_all(run_dir: str) -> bool:
    """End the container and the shim recorded in `run_dir`; return whether either was still there.

    Processes are taken by pidfd and compared by start time, so a pid that was given to another is left alone.
    """
    found = False
    # The container first: the shim then writes down how it ended, and ends by itself.
    for pid, starttime, patience in _recorded_processes(run_dir):
        pidfd = open_process(pid, starttime)
        if pidfd is None:
            continue
        try:
            if patience and await ended_within(pidfd, patience):
                continue
            found = True
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            await ended_within(pidfd, 5.0)
        finally:
            os.close(pidfd)
    return found
