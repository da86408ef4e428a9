"""A container of ours gives its caller no privilege, whatever root directory the caller names."""

# ruff: noqa: ASYNC221, ASYNC240  # nobody is held up by a test that reads a file

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from helperd.containers import etc_files
from helperd.containers.command import ROOT_CAPABILITIES
from helperd.containers.sandbox import Sandbox, SandboxError
from helperd.containers.spec import ExecTarget, Terminal
from tests.kernel.sandbox_runs import NOBODY, Place, a_place, started

NOTHING = f"{0:016x}"
ROOT = f"{sum(1 << bit for bit in ROOT_CAPABILITIES):016x}"


@pytest.fixture
def place() -> Iterator[Place]:
    with a_place() as made:
        yield made


@pytest.fixture
def busybox(place: Place) -> Path:
    """A root directory of nobody's."""
    found = shutil.which("busybox")
    assert found is not None, "apt-get install busybox-static"
    root = place.path / "rootfs"
    (root / "bin").mkdir(parents=True)
    (root / "etc").mkdir()
    shutil.copy(found, root / "bin/busybox")
    for name in ("sh", "cat", "ls", "id", "hostname", "mount", "ping", "grep", "readlink", "stty", "tty", "touch"):
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc/hosts").write_text("")
    (root / "etc/resolv.conf").write_text("")
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", str(root)], check=True)
    return root


def _status(text: str) -> dict[str, list[str]]:
    return {name: rest.split() for name, _, rest in (line.partition(":") for line in text.splitlines())}


def _rootfs_files(place: Place) -> dict[str, Any]:
    hosts, resolv = str(place.path / "hosts"), str(place.path / "resolv.conf")
    etc_files.write_in_place(hosts, etc_files.hosts("box", ["10.0.0.2"]))
    etc_files.write_in_place(resolv, "nameserver 9.9.9.9\n")
    return {"hosts_file": hosts, "resolv_file": resolv}


@pytest.mark.parametrize("terminal", [None, Terminal()])
async def test_a_user_holds_nothing(place: Place, terminal: Terminal | None) -> None:
    finished = await place.run("cat", "/proc/self/status", uid=NOBODY, gid=NOBODY, groups=(NOBODY, 12345), terminal=terminal)
    status = _status(finished.stdout)
    assert status["Uid"] == [str(NOBODY)] * 4
    assert status["Gid"] == [str(NOBODY)] * 4
    assert status["Groups"] == ["12345", str(NOBODY)]
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert status[name] == [NOTHING]
    assert status["NoNewPrivs"] == ["1"]
    assert status["SigIgn"] == [NOTHING]
    assert status["SigBlk"] == [NOTHING]


async def test_root_holds_what_docker_leaves_it(place: Place) -> None:
    status = _status((await place.run("cat", "/proc/self/status")).stdout)
    for name in ("CapPrm", "CapEff", "CapBnd"):
        assert status[name] == [ROOT]
    assert status["CapAmb"] == status["CapInh"] == [NOTHING]
    assert status["NoNewPrivs"] == ["1"]


async def test_an_executed_command_holds_nothing_either(place: Place) -> None:
    async with started(place.spec("sleep", "60", uid=NOBODY, gid=NOBODY)) as sandbox:
        await sandbox.go()
        target = ExecTarget(sandbox.pid, sandbox.starttime)
        finished = await place.run("cat", "/proc/self/status", exec_in=target, run_dir="", uid=NOBODY, gid=NOBODY)
        status = _status(finished.stdout)
        assert status["CapEff"] == status["CapPrm"] == [NOTHING]
        assert (status["Uid"][0], status["NoNewPrivs"]) == (str(NOBODY), ["1"])


async def test_set_user_id_and_file_capabilities_give_nothing(place: Place) -> None:
    setuid = place.path / "setuid"
    shutil.copy("/bin/cat", setuid)
    setuid.chmod(0o4755)
    capable = place.path / "capable"
    shutil.copy("/bin/cat", capable)
    # security.capability: VFS_CAP_REVISION_2 with the effective bit, NET_RAW and NET_ADMIN permitted
    os.setxattr(capable, "security.capability", bytes.fromhex("0100000200300000000000000000000000000000"))
    for path in (setuid, capable):
        finished = await place.run(str(path), "/proc/self/status", uid=NOBODY, gid=NOBODY)
        status = _status(finished.stdout)
        assert status["Uid"] == [str(NOBODY)] * 4
        assert status["CapEff"] == status["CapPrm"] == [NOTHING]


async def test_ping_needs_no_privilege(place: Place) -> None:
    for address in ("127.0.0.1", "::1"):
        finished = await place.run("ping", "-c", "1", "-W", "2", address, uid=NOBODY, gid=NOBODY)
        assert finished.status.code == 0, finished.stderr


async def test_the_hosts_files_keep_their_rights(place: Place) -> None:
    finished = await place.run(
        "sh", "-c", "cat /etc/shadow; touch /etc/x; mount -t tmpfs t /mnt; ip link add br9 type bridge; echo 1 > /proc/sys/vm/drop_caches",
        uid=NOBODY, gid=NOBODY,
    )  # fmt: skip
    assert finished.stdout == ""
    assert finished.stderr.lower().count("permission denied") + finished.stderr.count("not permitted") >= 4
    assert not Path("/etc/x").exists()


async def test_nothing_of_the_shim_is_left_open(place: Place) -> None:
    for terminal in (None, Terminal()):
        finished = await place.run("ls", "/proc/self/fd", terminal=terminal)
        assert finished.stdout.split() == ["0", "1", "2", "3"]  # the last is what ls reads


async def test_the_shim_is_out_of_the_containers_reach(place: Place) -> None:
    async with started(place.spec("sleep", "60")) as sandbox:
        await sandbox.go()
        run_dir = os.stat(sandbox.run_dir)
        assert run_dir.st_mode & 0o777 == 0o700
        for name in ("shim.sock", "shim.json", "shim.log"):
            assert os.stat(f"{sandbox.run_dir}/{name}").st_mode & 0o777 == 0o600
        finished = await place.run("sh", "-c", f"kill -9 {sandbox.shim_pid}; kill -9 {sandbox.pid}")
        assert "No such process" in finished.stderr


# A root directory of the caller's ------------------------------------------------------------------------------------------


async def test_a_root_of_ones_own(place: Place, busybox: Path) -> None:
    script = "hostname; id -u; cat /etc/hosts /etc/resolv.conf; ls /; ls /dev; ls /sys/class/net; echo $HOME"
    finished = await place.run("sh", "-c", script, rootfs=str(busybox), uid=NOBODY, gid=NOBODY, **_rootfs_files(place))
    assert finished.status.code == 0, finished.stderr
    assert finished.warnings == ()
    words = finished.stdout.split()
    assert words[:2] == ["box", str(NOBODY)]
    assert "10.0.0.2\tbox" in finished.stdout
    assert "nameserver 9.9.9.9" in finished.stdout
    assert {"proc", "sys", "dev", "bin", "etc"} <= set(words)
    assert {"null", "ptmx", "pts", "shm", "urandom", "tty"} <= set(words)
    assert "home" not in words
    # What was missing was made with the caller's rights.
    assert {path.name: path.stat().st_uid for path in busybox.iterdir()} == dict.fromkeys(("bin", "etc", "proc", "sys", "dev"), NOBODY)
    assert (busybox / "etc/hosts").read_text() == ""


async def test_a_terminal_in_a_root_of_ones_own(place: Place, busybox: Path) -> None:
    finished = await place.run("sh", "-c", "tty; stty size", rootfs=str(busybox), uid=NOBODY, gid=NOBODY, terminal=Terminal(11, 22))
    assert finished.stdout.split() == ["/dev/pts/0", "11", "22"]


async def test_what_is_no_terminal_is_not_handed_to_the_caller(place: Place, busybox: Path) -> None:
    """Removing a directory on the host takes what is mounted on it in the container along: then all of /dev is the caller's."""
    async with started(place.spec("busybox", "sleep", "60", rootfs=str(busybox), uid=NOBODY, gid=NOBODY)) as sandbox:
        await sandbox.go()
        (busybox / "dev").rmdir()
        (busybox / "dev/pts").mkdir(parents=True)
        (busybox / "secret").write_text("root's")
        (busybox / "dev/pts/ptmx").symlink_to("/secret")
        target = ExecTarget(sandbox.pid, sandbox.starttime)
        with pytest.raises(SandboxError, match="its /dev/pts/ptmx is something else"):
            await place.run("true", exec_in=target, run_dir="", uid=NOBODY, gid=NOBODY, terminal=Terminal())
        assert (busybox / "secret").stat().st_uid == os.getuid()


async def test_the_old_root_is_out_of_reach(place: Place, busybox: Path) -> None:
    finished = await place.run("sh", "-c", "ls /proc/1/root/ ../../../..; cat /proc/mounts", rootfs=str(busybox), cwd="/bin")
    assert "home" not in finished.stdout.split("proc /proc")[0]
    assert str(place.path) not in finished.stdout


async def test_root_in_a_root_of_its_own_cannot_set_the_hosts_switches(place: Place, busybox: Path) -> None:
    finished = await place.run(
        "sh", "-c", "echo 60 > /proc/sys/kernel/panic; echo 1 > /proc/irq/default_smp_affinity; cat /proc/timer_list /proc/keys",
        rootfs=str(busybox),
    )  # fmt: skip
    assert finished.stderr.count("Read-only file system") == 2
    assert finished.stdout == ""


async def test_links_in_a_root_lead_nowhere_else(place: Place, busybox: Path) -> None:
    (busybox / "etc/resolv.conf").unlink()
    (busybox / "etc/resolv.conf").symlink_to("../../../../../../run/resolver/resolv.conf")
    (busybox / "etc/hosts").unlink()
    (busybox / "etc/hosts").symlink_to("/etc/passwd")
    (busybox / "proc").symlink_to("/bin")
    subprocess.run(["chown", "-hR", f"{NOBODY}:{NOBODY}", str(busybox)], check=True)
    (busybox / "proc").unlink()
    before = Path("/etc/passwd").read_text()
    finished = await place.run("cat", "/etc/resolv.conf", "/etc/hosts", rootfs=str(busybox), uid=NOBODY, gid=NOBODY, **_rootfs_files(place))
    assert "nameserver 9.9.9.9" in finished.stdout
    assert "10.0.0.2\tbox" in finished.stdout
    assert not Path("/run/resolver").exists()
    made = busybox / "run/resolver/resolv.conf"
    assert (made.stat().st_uid, made.read_text()) == (NOBODY, "")
    assert (busybox / "etc/passwd").stat().st_uid == NOBODY
    assert Path("/etc/passwd").read_text() == before


def _close(root: Path) -> None:
    root.chmod(0o700)
    os.chown(root, 0, 0)


def _give_away(root: Path) -> None:
    os.chown(root, 0, 0)


def _hide(root: Path) -> None:
    root.parent.chmod(0o700)


def _replace(root: Path) -> None:
    shutil.rmtree(root)
    root.write_text("")


async def test_a_root_cannot_slip_code_of_its_own_to_the_root_user(place: Place, busybox: Path) -> None:
    """Python imports late, a codec for example; from here that would be a file of the caller's."""
    trap = "import os\nos.close(os.open('/trapped', os.O_CREAT))\n"
    for directory in {os.path.dirname(os.__file__), "/usr/lib/python3.11"}:
        library = busybox / directory.lstrip("/")
        names = [f"{name}.py" for name in sys.stdlib_module_names if name not in ("encodings", "ctypes", "json")]
        names += [f"encodings/{name}.py" for name in ("__init__", "ascii", "latin_1", "idna", "cp437", "utf_8")]
        names += ["ctypes/__init__.py", "ctypes/util.py", "json/__init__.py", "json/tool.py"]
        for name in names:
            (library / name).parent.mkdir(parents=True, exist_ok=True)
            (library / name).write_text(trap)
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", str(busybox)], check=True)
    user: dict[str, Any] = {"uid": NOBODY, "gid": NOBODY}
    async with started(place.spec("cat", rootfs=str(busybox), interactive=True, **user, **_rootfs_files(place))) as sandbox:
        await sandbox.go()
        target = ExecTarget(sandbox.pid, sandbox.starttime)
        for terminal in (None, Terminal()):
            finished = await place.run("id", "-u", exec_in=target, run_dir="", terminal=terminal, **user)
            assert finished.stdout.strip() == str(NOBODY)
        with pytest.raises(SandboxError, match="not found"):
            await place.run("nonesuch\udcff\u00e9", exec_in=target, run_dir="", **user)
    assert not (busybox / "trapped").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_close, "Permission denied"),
        (_give_away, "belongs to user 0, not to user 65534"),
        (_hide, "Permission denied"),
        (shutil.rmtree, "No such file or directory"),
        (_replace, "Not a directory"),
    ],
)
async def test_a_root_that_is_not_the_callers_is_refused(place: Place, busybox: Path, change: Callable[[Path], None], words: str) -> None:
    change(busybox)
    with pytest.raises(SandboxError, match=words) as told:
        await Sandbox.start(place.spec("sh", rootfs=str(busybox), uid=NOBODY, gid=NOBODY))
    assert told.value.exit_code == 125
    assert "rootfs" in told.value.message


async def test_a_root_that_cannot_hold_what_is_needed_is_told(place: Place, busybox: Path) -> None:
    (busybox / "etc/hosts").unlink()
    (busybox / "etc").chmod(0o555)
    with pytest.raises(SandboxError, match="rootfs has no /etc/hosts, and it cannot be made: Permission denied"):
        await Sandbox.start(place.spec("sh", rootfs=str(busybox), uid=NOBODY, gid=NOBODY, **_rootfs_files(place)))
    (busybox / "etc").chmod(0o755)
    (busybox / "etc/hosts").mkdir()
    with pytest.raises(SandboxError, match="which is not a file"):
        await Sandbox.start(place.spec("sh", rootfs=str(busybox), uid=NOBODY, gid=NOBODY, **_rootfs_files(place)))
    with pytest.raises(SandboxError, match="expected an absolute path"):
        await Sandbox.start(place.spec("sh", rootfs="rootfs"))


async def test_mounts_of_a_container_stay_in_it(place: Place, busybox: Path) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    async with started(place.spec("sh", "-c", "read x", rootfs=str(busybox), interactive=True)) as sandbox:
        await sandbox.go()
        assert Path("/proc/self/mountinfo").read_text() == before
        assert (await sandbox.stop(0)).signal == signal.SIGKILL
    assert Path("/proc/self/mountinfo").read_text() == before
