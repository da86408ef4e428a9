"""The simulated host itself: what is done in it stays in it, and nothing of it outlives it."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.simulated_host import ROOT, HostError, SimulatedHost, simulated_host
from tests.waiting import LONGEST_SECONDS


def test_links_and_namespaces_stay_inside(host: SimulatedHost, netns_dir: Path) -> None:
    host.add_namespace("blue")
    host.run("ip link add nd-a type veth peer name nd-b netns blue")
    assert "nd-b" in host.run("ip -br link", netns="blue")
    assert "nd-a" not in {name for _, name in socket.if_nameindex()}
    assert not Path("/run/netns/blue").exists()
    assert os.stat(netns_dir / "blue").st_ino == int(host.run("stat -L -c %i /run/netns/blue"))
    assert host.run("ls /sys/class/net").split() == ["lo", "nd-a"]


def test_what_is_written_below_etc_stays_inside(host: SimulatedHost) -> None:
    """Also where the machine has a file mounted there, as containers have it with resolv.conf."""
    before = {path: Path(path).stat().st_mtime_ns for path in ("/etc", "/etc/passwd", "/etc/hosts")}
    assert host.run("cat /etc/passwd") == Path("/etc/passwd").read_text()
    assert host.run("echo mine > /etc/netdeck-new; echo 192.0.2.7 mine >> /etc/hosts; rm /etc/passwd; ls /etc").count("netdeck-new") == 1
    assert "mine" in host.run("cat /etc/netdeck-new /etc/hosts", netns=host.add_namespace("blue"))
    assert not Path("/etc/netdeck-new").exists() and "192.0.2.7 mine" not in Path("/etc/hosts").read_text()
    assert {path: Path(path).stat().st_mtime_ns for path in before} == before
    code = ("from tests.simulated_host import SimulatedHost; made = SimulatedHost(); "
            "print(made.run('cat /etc/hosts; echo changed > /etc/hosts'), open('/etc/hosts').read()); made.close()")
    script = f"mount --bind /etc/hostname /etc/hosts && exec {sys.executable} -c {shlex.quote(code)}"
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.split() == Path("/etc/hostname").read_text().split() * 2, done.stdout + done.stderr


def test_a_failed_command_shows_its_words(host: SimulatedHost) -> None:
    with pytest.raises(HostError, match="nosuch"):
        host.run("ip link show nosuch")
    assert "nosuch" in host.run("ip link show nosuch", check=False)


def test_call_runs_inside_and_brings_back_results_and_errors(host: SimulatedHost) -> None:
    host.run("ip link add nd-c type bridge")
    word = "closure"

    async def names() -> tuple[str, list[str]]:
        return word, [name for _, name in socket.if_nameindex()]

    assert host.call(names) == ("closure", ["lo", "nd-c"])
    with pytest.raises(ZeroDivisionError) as caught:
        host.call(divmod, 1, 0)
    assert any("divmod" in note or "Traceback" in note for note in caught.value.__notes__)
    assert host.call(os.getpid) < 1000


def test_python_runs_in_a_namespace_of_the_host(host: SimulatedHost) -> None:
    host.add_namespace("red")
    code = "import os, sys; print(os.stat('/proc/self/ns/net').st_ino, sys.argv[1])"
    inode, word = host.python(code, "argument", netns="red").split()
    assert (int(inode), word) == (os.stat(host.path("red")).st_ino, "argument")


def test_signals_reach_the_process_itself(host: SimulatedHost) -> None:
    process = host.popen(["sleep", "1000"])
    comm = Path(f"/proc/{process.inner_pid}/comm")
    deadline = time.monotonic() + LONGEST_SECONDS
    while comm.read_text() != "sleep\n" and time.monotonic() < deadline:
        time.sleep(0.01)  # between fork and exec it still has its parent's name
    assert comm.read_text() == "sleep\n"
    process.kill()
    assert process.wait(LONGEST_SECONDS) == -signal.SIGKILL


def test_nothing_outlives_the_host() -> None:
    with simulated_host() as host:
        host.run("setsid sleep 987 > /dev/null 2>&1 &")
        inode = os.stat(host.path()).st_ino
        assert _holders(inode)
    deadline = time.monotonic() + LONGEST_SECONDS
    while _holders(inode) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _holders(inode)


def test_a_killed_test_run_leaves_no_host() -> None:
    code = (
        "import time; from tests.simulated_host import SimulatedHost;"
        "host = SimulatedHost(); print(host.pid, flush=True); time.sleep(99)"
    )
    run = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    holder = int(run.stdout.readline())
    run.kill()
    run.wait()
    run.stdout.close()
    deadline = time.monotonic() + LONGEST_SECONDS
    while Path(f"/proc/{holder}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{holder}").exists()


def _holders(inode: int) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.stat(process / "ns/net").st_ino == inode:
                found.append(process.name)
        except OSError:
            continue
    return found
