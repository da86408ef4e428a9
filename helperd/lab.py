"""A lab: a private host with a helper of its own, and one command run on it. ``python -m helperd.lab [--demo] -- COMMAND…``

The process that the caller started leaves the host's namespaces and forks; the child is the first process of a new pid
namespace: it furnishes the host, starts the helper, runs COMMAND and ends with it, which ends everything else. Exit codes:
COMMAND's own (128 + N after signal N, 126 and 127 where it can't be run), 1 where the lab can't be made, 2 for wrong usage.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from helperd import lab_host
from helperd.kernel.lab_mounts import die_with_parent
from protocol.errors import NetdeckError, Unavailable

START_TIMEOUT = 30.0  # seconds; a slow machine under emulation needs ten times the usual second
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
        helper = _start_helper()
        _wait_until_helper_answers(helper)
        if demo:
            _spawn([sys.executable, "-P", "-m", "helperd.lab_demo"], lab_host.environment(), log=DEMO_LOG)
        code = _run(command)
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


def _run(command: Sequence[str]) -> int:
    environment = {**os.environ, "NETDECK_SOCKET": lab_host.SOCKET, "NETDECK_LAB": "1"}
    try:
        child = _spawn(command, environment)
    except OSError as error:
        print(f"netdeck: {command[0]}: {error.strerror}", file=sys.stderr)
        return 127 if isinstance(error, FileNotFoundError) else 126
    return _wait_for(child)


def _wait_for(child: int) -> int:
    """Reap whatever ends until `child` has; hand it the signals that were meant for it. Return its exit code."""
    while True:
        received = signal.sigwaitinfo(_WATCHED)
        if received.si_signo == signal.SIGCHLD:
            for pid, status in _reap():
                if pid == child:
                    return status
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
