"""A lab: a private host with a helper of its own, and one command run on it. ``python -m helperd.lab [--demo] -- COMMAND…``

The process that the caller started leaves the host's namespaces and forks; the child is the first process of a new pid
namespace: it furnishes the host, starts the helper, again where it dies, runs COMMAND and ends with it, which ends everything
else. Exit codes:
COMMAND's own (128 + N after signal N, 126 and 127 where it can't be run), 1 where the lab can't be made, 2 for wrong usage.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from helperd import lab_host
from helperd.kernel.lab_mounts import die_with_parent
from protocol.errors import NetdeckError, Unavailable

START_TIMEOUT = 240.0  # seconds; one that dies is told at once, and an emulated machine that shares its processor needs a hundred
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds before a dead helper is started again
LIVED = 60.0  # seconds after which a helper that died is not one that can't start
HELPER_LOG = f"{lab_host.RUN_DIR}/helper.log"
DEMO_LOG = f"{lab_host.RUN_DIR}/demo.log"
USAGE = "usage: python -m helperd.lab [--demo] -- COMMAND…"
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_WATCHED = frozenset({signal.SIGCHLD, *_FORWARDED})
_SI_KERNEL = 128  # asm-generic/siginfo.h: a terminal sent it, to the whole foreground group, COMMAND included


def main(arguments: Sequence[str]) -> int:
    """Make the lab, run the command in it, return its exit code."""
    demo = list(arguments[:1]) == ["--demo"]
    rest = list(arguments[1 if demo else 0:])
    if len(rest) < 2 or rest[0] != "--":
        print(USAGE, file=sys.stderr)
        return 2
    try:
        lab_host.enter()
    except NetdeckError as error:
        return _failed(error)
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    child = os.fork()
    if child == 0:
        _first_process(rest[1:], demo)
    foreground = _foreground_group()
    code = _wait_for(child)
    _take_terminal_back(foreground)
    return code


def _failed(error: NetdeckError) -> int:
    print(f"netdeck: {error.message}", file=sys.stderr)
    return 1


def _first_process(command: Sequence[str], demo: bool) -> NoReturn:
    code = 1
    try:
        die_with_parent(signal.SIGKILL)
        lab_host.furnish()
        helper = Helper(_start_helper())
        _wait_until_helper_answers(helper.pid)
        if demo:
            _spawn([sys.executable, "-P", "-m", "helperd.lab_demo"], lab_host.environment(), log=DEMO_LOG)
        code = _run(command, helper)
    except NetdeckError as error:
        code = _failed(error)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _spawn(command: Sequence[str], environment: dict[str, str], log: str = "") -> int:
    """Start a process with default signals; with `log`, away from the terminal and its signals."""
    files = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ] if log else []
    return os.posix_spawnp(command[0], list(command), environment, file_actions=files, setsid=bool(log),
                           setsigmask=(), setsigdef=(*_WATCHED, signal.SIGPIPE, signal.SIGXFSZ))


def _start_helper() -> int:
    return _spawn([sys.executable, "-P", "-m", "helperd", "--lab", "--socket", lab_host.SOCKET,
                   "--state-dir", lab_host.STATE_DIR, "--run-dir", lab_host.RUN_DIR, "--config", lab_host.CONFIG],
                  lab_host.environment(), log=HELPER_LOG)


def _wait_until_helper_answers(helper: int) -> None:
    # A child asks, so that this process never loads what the question needs. It loads while the helper starts.
    asker = os.fork()
    if asker == 0:
        _ask()
    end = time.monotonic() + START_TIMEOUT
    while (left := end - time.monotonic()) > 0:
        received = signal.sigtimedwait(_WATCHED, left)
        if received is not None and received.si_signo != signal.SIGCHLD:
            os._exit(128 + received.si_signo)
        for pid, status in _reap():
            if pid == asker and status == 0:
                return
            if pid in (helper, asker):
                raise Unavailable(f"the lab's helper did not start: {_last_words()}")
    raise Unavailable(f"the lab's helper did not answer within {START_TIMEOUT:.0f} s: {_last_words()}")


def _ask() -> NoReturn:
    try:
        from helperd.lab_demo import ask_helper

        ask_helper(lab_host.SOCKET, START_TIMEOUT)
    except NetdeckError:
        os._exit(1)
    os._exit(0)


def _last_words() -> str:
    try:
        lines = Path(HELPER_LOG).read_text(errors="backslashreplace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else "it said nothing"


class Helper:
    """The lab's helper, started again after it has died, not where it was stopped.

    The networks and containers go on meanwhile, and come back to it from its store.
    The pause before a start doubles from `FIRST_PAUSE` to `LONGEST_PAUSE` seconds, and is short again after a helper that lived.
    """

    def __init__(self, pid: int, start: Callable[[], int] = _start_helper, clock: Callable[[], float] = time.monotonic) -> None:
        self.pid = pid
        self._start, self._clock = start, clock
        self._started = clock()
        self._pause = FIRST_PAUSE
        self._due: float | None = None

    @property
    def waits(self) -> float | None:
        """Seconds until it is started again; None while it runs."""
        return None if self._due is None else max(0.0, self._due - self._clock())

    def ended(self, code: int) -> None:
        """It was reaped. One that was stopped by its user ends with 0, and stays so."""
        self.pid = 0
        if code == 0:
            _note("the helper was stopped: 'netdeck helper --detach' starts one")
            return
        now = self._clock()
        if now - self._started > LIVED:
            self._pause = FIRST_PAUSE
        _note(f"the helper ended with exit code {code}: it is started again in {self._pause:g} s")
        self._due = now + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def start_again_if_due(self) -> None:
        """Start it where its pause is over."""
        if self.waits != 0:
            return
        self._started, self._due = self._clock(), None
        try:
            self.pid = self._start()
        except OSError as error:
            _note(f"the helper can't be started: {error.strerror}")
            self.ended(127)


def _note(text: str) -> None:
    """A line in the helper's log, which is all that is left to read when something is wrong with it."""
    with contextlib.suppress(OSError), open(HELPER_LOG, "a", encoding="utf-8") as file:
        file.write(f"netdeck lab: WARNING {text}\n")


def _run(command: Sequence[str], helper: Helper) -> int:
    environment = {**os.environ, "NETDECK_SOCKET": lab_host.SOCKET, "NETDECK_LAB": "1"}
    try:
        child = _spawn(command, environment)
    except OSError as error:
        print(f"netdeck: {command[0]}: {error.strerror}", file=sys.stderr)
        return 127 if isinstance(error, FileNotFoundError) else 126
    return _wait_for(child, helper)


def _wait_for(child: int, helper: Helper | None = None) -> int:
    """Reap whatever ends until `child` has; hand it the signals that were meant for it. Return its exit code."""
    while True:
        pause = None if helper is None else helper.waits
        received = signal.sigwaitinfo(_WATCHED) if pause is None else signal.sigtimedwait(_WATCHED, pause)
        if helper is not None:
            helper.start_again_if_due()
        if received is None:
            continue
        if received.si_signo == signal.SIGCHLD:
            for pid, status in _reap():
                if pid == child:
                    return status
                if helper is not None and pid == helper.pid:
                    helper.ended(status)
        # A terminal that hangs up tells the leader of its session alone, and that may be the lab.
        elif received.si_code != _SI_KERNEL or received.si_signo == signal.SIGHUP:
            os.kill(child, received.si_signo)


def _reap() -> list[tuple[int, int]]:
    """Children that have ended: their pids and exit codes, 128 + N after signal N."""
    ended: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        code = os.waitstatus_to_exitcode(status)
        ended.append((pid, code if code >= 0 else 128 - code))


def _foreground_group() -> int | None:
    """The terminal's foreground process group, if it is ours."""
    try:
        return group if (group := os.tcgetpgrp(0)) == os.getpgrp() else None
    except OSError:
        return None


def _take_terminal_back(group: int | None) -> None:
    """A shell in the lab leaves the terminal to a process group that is gone."""
    if group is None:
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    try:
        os.tcsetpgrp(0, group)
    except OSError:
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
