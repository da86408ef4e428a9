"""A host of its own for one test: network, mount and PID namespaces that a holder process keeps, gone with it.

Nothing done in it reaches the machine: `/run` is an empty tmpfs, `/proc` and `/sys` show only this host, and what is written below `/etc`
stays in it. Other folders are the machine's, so a test and its host can share `tmp_path`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import os
import pickle
import shlex
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Coroutine, Iterator, Sequence
from inspect import iscoroutinefunction
from pathlib import Path
from typing import IO, Any, ParamSpec, TypeVar, overload

ROOT = Path(__file__).resolve().parent.parent

P = ParamSpec("P")
R = TypeVar("R")

# linux/sched.h
CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

_NAMESPACES = ("--net", "--mount", "--propagation=private", "--uts", "--pid", "--mount-proc")

# The shell stays PID 1 and reaps orphans; it ends, and all its host with it, when our end of its standard input closes.
# Its /etc is the machine's with a layer above it that takes what is written, and the files mounted in there, which no layer shows.
_HOLDER = """
set -e
mount -t tmpfs -o mode=0755 etc /run
mkdir /run/new /run/work
while read -r id parent device root place rest; do
    case $place in /etc/*) cd /etc && cp -a --parents "${place#/etc/}" /run/new ;; esac
done < /proc/self/mountinfo
cd /
if mount -t overlay -o lowerdir=/etc,upperdir=/run/new,workdir=/run/work etc /etc 2> /dev/null; then
    umount /run
else
    cp -a /etc/. /run/new
    mount --bind /run/new /etc
fi
mount -t tmpfs -o mode=0755 run /run
mkdir /run/netns
mount -t sysfs sysfs /sys
ip link set lo up
echo ready
cat > /dev/null
exit 0
"""


class HostError(AssertionError):
    """A command in a simulated host failed; the text holds the command, its status and what it printed."""


class HostProcess(subprocess.Popen[str]):
    """A process in a simulated host. Signals go to the process itself, not to the nsenter that waits for it."""

    @functools.cached_property
    def inner_pid(self) -> int:
        """The process's PID as this machine sees it."""
        for _ in range(500):
            if child := _first_child(self.pid):
                return child
            if self.poll() is not None:
                break
            time.sleep(0.002)
        raise HostError(f"{self.args!r} ended before it could be signalled")

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.inner_pid, sig)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class SimulatedHost:
    """Namespaces that live as long as this object; `close` ends every process in them."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(
            ["unshare", *_NAMESPACES, "--fork", "--kill-child", "sh", "-c", _HOLDER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._holder.stdout is not None
        said = self._holder.stdout.readline()
        if said != "ready\n":
            said += self._holder.stdout.read()
            self._holder.wait()
            raise HostError(f"no namespaces for the test: {said.strip()}")
        self.pid: int = _first_child(self._holder.pid)
        """PID of the holder, as this machine sees it (inside, it is 1)."""
        self._processes: list[HostProcess] = []

    @property
    def netns_dir(self) -> Path:
        """The host's `/run/netns`, seen from outside."""
        return Path(f"/proc/{self.pid}/root") / "run" / "netns"

    def run(
        self, command: str | Sequence[str], *, netns: str = "", input: str = "", check: bool = True, timeout: float = 60
    ) -> str:
        """Runs a shell line (str) or an argument list in the host, or in its namespace `netns`; returns its output.

        With `check`, a status other than 0 raises HostError; without, standard error is part of what is returned.
        """
        done = subprocess.run(
            self._inside(command, netns),
            input=input,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if check else subprocess.STDOUT,
            text=True,
            errors="backslashreplace",
            timeout=timeout,
            check=False,
        )
        if check and done.returncode != 0:
            shown = command if isinstance(command, str) else shlex.join(command)
            raise HostError(f"{shown}\nstatus {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def popen(
        self,
        command: str | Sequence[str],
        *,
        netns: str = "",
        stdin: int | IO[Any] = subprocess.DEVNULL,
        stdout: int | IO[Any] = subprocess.PIPE,
        stderr: int | IO[Any] = subprocess.STDOUT,
        env: dict[str, str] | None = None,
    ) -> HostProcess:
        """Starts a process in the host; it is killed with the host at the latest."""
        process = HostProcess(
            self._inside(command, netns), stdin=stdin, stdout=stdout, stderr=stderr, env=env, text=True
        )
        self._processes.append(process)
        return process

    def python(self, code: str, *arguments: str, netns: str = "", timeout: float = 60) -> str:
        """Runs Python code in a fresh interpreter in the host, with the repository importable; returns its output."""
        return self.run([sys.executable, "-c", code, *arguments], netns=netns, timeout=timeout)

    @overload
    def call(self, function: Callable[P, Coroutine[Any, Any, R]], *args: P.args, **kwargs: P.kwargs) -> R: ...

    @overload
    def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R: ...

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Runs a function of the test in a forked child inside the host; returns its result, raises its exception.

        Closures work, a coroutine function is run in an event loop of its own, the result must be picklable. The
        child has one thread, so it may enter namespaces as it likes.
        """
        read, write = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            os.close(read)
            os._exit(_enter_and_call(self.pid, write, function, args, kwargs))
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            answer = pipe.read()
        os.waitpid(child, 0)
        if not answer:
            raise HostError(f"{function!r} ended without an answer (killed, or os._exit)")
        result, error, trace = pickle.loads(answer)
        if error is not None:
            error.add_note(trace)
            raise error
        return result

    def add_namespace(self, name: str) -> str:
        """Makes the named namespace, its loopback up; returns the name."""
        self.run(f"ip netns add {shlex.quote(name)} && ip -n {shlex.quote(name)} link set lo up")
        return name

    def path(self, netns: str = "") -> str:
        """Path, seen from outside, of the namespace file of the host or of its namespace `netns`."""
        return str(self.netns_dir / netns) if netns else f"/proc/{self.pid}/ns/net"

    def close(self) -> None:
        """Ends every process of the host, and with them its namespaces. May be called twice."""
        assert self._holder.stdin is not None and self._holder.stdout is not None
        if self._holder.poll() is None:
            # Killing a PID namespace's first process kills the rest of it.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self._holder.wait()
        self._holder.stdin.close()
        self._holder.stdout.close()
        for process in self._processes:
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        self._processes.clear()

    def _inside(self, command: str | Sequence[str], netns: str) -> list[str]:
        words = ["sh", "-c", command] if isinstance(command, str) else list(command)
        # ip-netns remounts /sys for the namespace; no shell line is needed for it.
        enter = ["ip", "netns", "exec", netns] if netns else []
        return ["nsenter", "-t", str(self.pid), "-n", "-m", "-u", "-p", f"--wdns={ROOT}", "--", *enter, *words]


@contextlib.contextmanager
def simulated_host() -> Iterator[SimulatedHost]:
    """A simulated host for the time of a `with` block."""
    host = SimulatedHost()
    try:
        yield host
    finally:
        host.close()


def _first_child(pid: int) -> int:
    """PID of the first child of a process, 0 when it has none."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except FileNotFoundError:
        return 0
    return int(children.split()[0]) if children.strip() else 0


def _enter_and_call(pid: int, pipe: int, function: Callable[..., Any], args: Any, kwargs: Any) -> int:
    """In the forked child: enters the namespaces, forks once more into the PID namespace, writes the pickled answer."""
    libc = ctypes.CDLL(None, use_errno=True)
    handle = os.pidfd_open(pid)
    if libc.setns(handle, CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS) != 0:
        os.write(pipe, pickle.dumps((None, OSError(ctypes.get_errno(), "setns"), "")))
        return 1
    os.close(handle)
    if grandchild := os.fork():
        os.close(pipe)
        return os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]) & 0xFF
    os.chdir(ROOT)
    answer: tuple[object, BaseException | None, str]
    try:
        value = function(*args, **kwargs)
        if iscoroutinefunction(function):
            value = asyncio.new_event_loop().run_until_complete(value)
        answer = (value, None, "")
    except BaseException as error:  # the parent raises it again: a failed assertion, pytest's own exceptions
        answer = (None, error, traceback.format_exc())
    try:
        data = pickle.dumps(answer)
    except Exception as error:
        data = pickle.dumps((None, HostError(f"the answer can't be pickled: {error}; it was {answer!r}"), ""))
    with os.fdopen(pipe, "wb") as out:
        out.write(data)
    os._exit(0)
