"""ctrl+z and a terminal that goes away, through a real pseudo-terminal, a real shell and a real lab."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from tests.running_lab import NETDECK, environment
from tests.tui.pty_session import Answers, PtySession, sample
from tests.waiting import LONGEST_SECONDS

pytestmark = [pytest.mark.req("W1"), pytest.mark.req("W6"), pytest.mark.timeout(300)]

SHELL = ["bash", "--norc", "--noprofile", "-i"]
PROMPT = "ready> "
ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"  # the alternate screen, which pyte does not know
ENV = {"PS1": PROMPT, "HISTFILE": "", "BASH_SILENCE_DEPRECATION_WARNING": "1"}
LAB = [sys.executable, "-P", "-m", "helperd.lab", "--", *NETDECK]


@pytest.fixture
def shell() -> Iterator[PtySession]:
    """A shell with job control."""
    with PtySession(SHELL, columns=100, lines=30, env={**environment(), **ENV}) as session:
        assert session.pump(60, lambda: session.shows(PROMPT.strip()))
        yield session


def run(session: PtySession, command: list[str]) -> None:
    session.send(" ".join(command).encode() + b"\r")


def tree(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def gone(processes: list[psutil.Process], seconds: float = LONGEST_SECONDS) -> list[psutil.Process]:
    """Those that are still there after that time."""
    end = time.monotonic() + seconds
    left = processes
    while left and time.monotonic() < end:
        left = [process for process in left if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
        time.sleep(0.05)
    return left


def settings_of(session: PtySession) -> list[str]:
    """The words of `stty -a` at the shell; a mark in the answer tells it from the echo."""
    session.send(b"clear; stty -a; echo do''ne\r")
    assert session.pump(60, lambda: session.shows("done")), session.screen.display
    session.settle(5)
    words = " ".join(session.screen.display).split()
    assert not [word for word in words if "2026" in word or "[1;1R" in word], "an answer of the terminal reached the shell"
    return words


def test_ctrl_z_gives_the_shell_its_terminal_and_fg_paints_everything_again(shell: PtySession) -> None:
    run(shell, sample("live", 50))
    assert shell.pump(60, lambda: shell.shows("veth000003")), shell.screen.display
    shell.settle()
    expected = shell.cells()
    for _ in range(2):
        shell.send(b"\x1a")
        assert shell.pump(60, lambda: shell.shows("Stopped")), shell.screen.display
        shell.settle(5)
        assert shell.output.rfind(LEAVE) > shell.output.rfind(ENTER) and not shell.screen.cursor.hidden
        settings = settings_of(shell)
        assert "icanon" in settings and "echo" in settings and "isig" in settings
        shell.send(b"fg\r")
        assert shell.pump(60, lambda: shell.shows("veth000003")), shell.screen.display
        shell.settle()
        assert shell.cells() == expected
    shell.send(b"x")
    assert shell.pump(60, lambda: shell.shows("echo 1")), "it answers keys again"
    shell.send(b"q")
    assert shell.pump(60, lambda: shell.shows(PROMPT.strip()))
    settings = settings_of(shell)
    assert "icanon" in settings and "echo" in settings


def test_in_the_background_it_writes_nothing_and_waits_for_the_terminal(shell: PtySession) -> None:
    run(shell, sample("live", 50))
    assert shell.pump(60, lambda: shell.shows("veth000003"))
    shell.settle()
    shell.send(b"\x1a")
    assert shell.pump(60, lambda: shell.shows("Stopped"))
    shell.send(b"bg\r")
    shell.settle(5)
    settings = settings_of(shell)
    assert "icanon" in settings and "veth000003" not in settings
    shell.send(b"fg\r")
    assert shell.pump(60, lambda: shell.shows("veth000003")), shell.screen.display
    shell.settle()
    shell.send(b"x")
    assert shell.pump(60, lambda: shell.shows("echo 1"))


def test_a_stop_that_was_not_announced_is_recovered_from(shell: PtySession) -> None:
    """SIGSTOP can't be caught: the shell finds its terminal raw; after fg everything is as it was."""
    run(shell, sample("live", 50))
    assert shell.pump(60, lambda: shell.shows("veth000003"))
    shell.settle()
    expected = shell.cells()
    program = psutil.Process(shell.pid).children()[0]
    program.send_signal(signal.SIGSTOP)
    assert shell.pump(60, lambda: shell.shows("Stopped"))
    shell.send(b"fg\r")
    shell.pump(60, lambda: shell.cells() == expected)
    shell.settle()
    assert shell.cells() == expected
    shell.send(b"q")
    assert gone([program]) == []
    shell.settle(5)
    settings = settings_of(shell)
    assert "icanon" in settings and "echo" in settings


def test_without_a_shell_that_could_continue_it_ctrl_z_does_not_hang() -> None:
    with PtySession(sample("live", 50)) as session:
        assert session.pump(60, lambda: session.shows("veth000003"))
        session.settle()
        expected = session.cells()
        session.send(b"\x1a")
        session.settle()
        session.send(b"x")
        assert session.pump(60, lambda: session.shows("echo 1")), session.screen.display
        assert session.cells()[2:] == expected[2:]


@pytest.mark.timed  # it is waited for a second, and no longer
def test_an_answer_under_way_is_waited_for_before_the_terminal_is_left(shell: PtySession) -> None:
    """On a long link the answer to the last question comes when the shell already reads the keys."""
    shell.answers = Answers(delay=0.3)
    run(shell, sample("live", 50, tick=0.1))
    assert shell.pump(60, lambda: shell.shows("veth000003") and shell.questions > 4), shell.screen.display
    for leave, sign in ((b"\x1a", "Stopped"), (b"q", PROMPT.strip())):
        asked = shell.questions
        assert shell.pump(60, lambda asked=asked: shell.questions > asked)  # type: ignore[misc]
        shell.send(leave)
        assert shell.pump(60, lambda sign=sign: shell.shows(sign)), shell.screen.display  # type: ignore[misc]
        shell.settle(5)
        assert not shell.shows("2026") and not shell.shows("[1;1R"), shell.screen.display
        if leave == b"\x1a":
            shell.send(b"fg\r")
            assert shell.pump(60, lambda: shell.shows("veth000003"))


@pytest.mark.req("X18")
def test_a_lab_is_stopped_and_continued_as_one_job(shell: PtySession) -> None:
    run(shell, LAB)
    ready = lambda: shell.shows("● live") and shell.shows("172.17.0.0/16")  # noqa: E731
    assert shell.pump(60, ready), shell.screen.display
    shell.send(b"\x1a")
    assert shell.pump(60, lambda: shell.shows("Stopped")), shell.screen.display
    shell.send(b"clear; jobs; echo li''st\r")
    assert shell.pump(60, lambda: shell.shows("list") and shell.shows("Stopped")), shell.screen.display
    shell.send(b"fg\r")
    assert shell.pump(60, ready), shell.screen.display
    processes = tree(shell.pid)[1:]
    assert len(processes) > 3
    shell.send(b"q")
    assert gone(processes) == []


@pytest.mark.req("X18")
@pytest.mark.parametrize("how", ["closed", "closed, and nobody is told", "signal"])
def test_a_terminal_that_hangs_up_ends_the_workstation_and_its_lab(how: str) -> None:
    argv = ["sh", "-c", f"trap '' HUP; {shlex.join(LAB)}; exit 0"] if "nobody" in how else LAB
    with PtySession(argv, columns=80, lines=24, env=environment()) as session:
        assert session.pump(60, lambda: session.shows("● live")), session.screen.display
        processes = tree(session.pid)
        names = " ".join(" ".join(process.cmdline()) for process in processes)
        assert "helperd.lab" in names and " tui" in names and "--lab" in names
        if how == "signal":
            os.kill(session.pid, signal.SIGHUP)
        else:
            os.dup2(os.open(os.devnull, os.O_RDWR), session.fd)  # the last descriptor of the terminal's side
        assert gone(processes) == []
        pid, session.status = os.waitpid(session.pid, 0)
        assert pid == session.pid
