"""`netdeck run` and `exec` from a real terminal, from pipes, and under signals."""

from __future__ import annotations

import signal
import subprocess
import termios
import time

import pytest

from tests.running_lab import NETDECK, Lab, environment
from tests.tui.pty_session import PtySession
from tests.waiting import LONGEST_SECONDS

PROMPT = "ready>"


def at_terminal(lab: Lab, *arguments: str) -> PtySession:
    return PtySession(lab._inside([*NETDECK, *arguments], ""), columns=100, lines=30)


def shell(lab: Lab, *options: str) -> PtySession:
    return at_terminal(lab, "run", "-i", "-t", "-e", f"PS1={PROMPT}", *options, "sh")


def piped(lab: Lab, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(lab._inside([*NETDECK, *arguments], ""), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, env=environment())


def names(lab: Lab, *options: str) -> list[str]:
    return [row["name"] for row in lab.ask("ps", "--format", "json", *options)]


@pytest.mark.req("X13")
def test_a_terminal_over_the_wire(module_lab: Lab) -> None:
    with shell(module_lab, "--rm") as session:
        before = termios.tcgetattr(session.fd)
        assert session.pump(60, lambda: session.shows(PROMPT))
        session.send(b"tty && stty size\r")
        assert session.pump(60, lambda: session.shows("30 100"))
        assert session.shows("/dev/pts/")
        session.resize(71, 17)
        session.send(b"sleep 0.3; stty size\r")
        assert session.pump(60, lambda: session.shows("17 71"))
        session.send(b"sleep 100\r")
        session.pump(0.5)
        session.send(b"\x03")
        session.send(b"echo back-$?\r")
        assert session.pump(60, lambda: session.shows("back-130"))
        session.send(b"exit 5\r")
        assert session.wait_exit() == 5 << 8
        assert termios.tcgetattr(session.fd) == before


def test_the_detach_keys_leave_it_running(module_lab: Lab) -> None:
    with shell(module_lab, "--name", "left-alone") as session:
        before = termios.tcgetattr(session.fd)
        assert session.pump(60, lambda: session.shows(PROMPT))
        session.send(b"\x10\x11")
        assert session.wait_exit() == 0
        assert termios.tcgetattr(session.fd) == before
    assert "left-alone" in names(module_lab)
    script = "stty size; echo $WHAT; exit 4"
    with at_terminal(module_lab, "exec", "-it", "-e", "WHAT=variable", "left-alone", "sh", "-c", script) as session:
        assert session.wait_exit() == 4 << 8
        assert session.shows("30 100") and session.shows("variable")
    module_lab.netdeck("rm", "-f", "left-alone")


def test_the_terminal_comes_back_when_the_helper_is_lost(lab: Lab) -> None:
    with shell(lab) as session:
        before = termios.tcgetattr(session.fd)
        assert session.pump(60, lambda: session.shows(PROMPT))
        assert termios.tcgetattr(session.fd) != before
        lab.run(f"kill -KILL {lab.ask('helper', '--status', '--format', 'json')['pid']}")
        assert session.wait_exit() == 125 << 8
        assert termios.tcgetattr(session.fd) == before
        assert session.shows("netdeck: ")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("sh", "-c", "sh -c 'kill -KILL $$'"), 137),
        (("true",), 0),
        (("sh", "-c", "exit 7"), 7),
        (("no-such-program",), 127),
        (("/etc/passwd",), 126),
    ],
)
def test_the_exit_code_is_the_commands(module_lab: Lab, arguments: tuple[str, ...], code: int) -> None:
    assert module_lab.netdeck("run", "--rm", *arguments, code=None).returncode == code


def test_an_error_of_our_own_is_125(module_lab: Lab) -> None:
    done = module_lab.netdeck("run", "--network", "nowhere", "true", code=125)
    assert done.stderr.startswith("netdeck: ") and "nowhere" in done.stderr and done.stderr.count("\n") == 1
    assert module_lab.netdeck("exec", "nobody", "true", code=125).stderr.count("\n") == 1
    said = module_lab.netdeck("run", "-i", "-t", "true", code=125).stderr
    assert "needs a terminal" in said


def test_output_and_errors_stay_apart(module_lab: Lab) -> None:
    done = module_lab.netdeck("run", "--rm", "sh", "-c", "echo out; echo err >&2; cat")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")  # and without -i there is no standard input


def test_much_input_comes_back_whole(module_lab: Lab) -> None:
    data = bytes(range(256)) * 8192  # 2 MiB, eight times the window
    process = piped(module_lab, "run", "--rm", "-i", "cat")
    out, err = process.communicate(data, timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert out == data


def test_a_reader_that_stops_stops_the_command(module_lab: Lab) -> None:
    process = piped(module_lab, "run", "--rm", "--name", "talker", "sh", "-c", "yes | head -c 50000000; echo end >&2; sleep 60")
    assert process.stdout is not None and process.stdin is not None and process.stderr is not None
    process.stdout.read(10)
    time.sleep(1.0)
    assert "talker" in names(module_lab)
    process.kill()
    process.wait(LONGEST_SECONDS)
    for stream in (process.stdin, process.stdout, process.stderr):
        stream.close()
    module_lab.netdeck("rm", "-f", "talker", code=None)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signals_are_passed_on(module_lab: Lab, sent: signal.Signals) -> None:
    name = sent.name.removeprefix("SIG")
    script = f"trap 'echo caught {name}; exit 9' {name}; echo up; while :; do sleep 0.05; done"
    process = module_lab.popen([*NETDECK, "run", "--rm", "sh", "-c", script], env=environment())
    assert process.stdout is not None and process.stdout.readline() == "up\n"
    process.send_signal(sent)
    assert process.wait(LONGEST_SECONDS) == 9
    assert f"caught {name}\n" in process.stdout.read()


def test_stop_takes_its_time_and_kills(module_lab: Lab) -> None:
    module_lab.netdeck("run", "-d", "--name", "stubborn", "sh", "-c", "trap '' TERM; while :; do sleep 1; done")
    start = time.monotonic()
    assert module_lab.netdeck("stop", "-t", "0.5", "stubborn").stdout == "stubborn\n"
    assert 0.4 < time.monotonic() - start < 8
    assert "stubborn" not in names(module_lab)
    assert "stubborn" in names(module_lab, "-a")
    module_lab.netdeck("rm", "stubborn")
    assert "stubborn" not in names(module_lab, "-a")
