"""Containers of our own from start to end: codes, signals, files, orphans, a core that dies and comes back."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from helperd.containers import etc_files, frames
from helperd.containers.sandbox import ExitStatus, Sandbox, SandboxError, SandboxGone, kill_all
from helperd.containers.spec import ExecTarget, Join
from tests.kernel.sandbox_runs import NOBODY, Place, a_place, content, gone, load, memory, network_inode, read_until, started, store
from tests.waiting import LONGEST_SECONDS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def place() -> Iterator[Place]:
    with a_place() as made:
        yield made


@pytest.mark.parametrize(
    ("script", "expected", "shell_code"),
    [
        ("exit 0", ExitStatus(0), 0),
        ("exit 7", ExitStatus(7), 7),
        ("exit 255", ExitStatus(255), 255),
        # Process 1 survives a signal that it doesn't handle, so a child sends the code on.
        ("sh -c 'kill -SEGV $$'", ExitStatus(139), 139),
    ],
)
async def test_the_exit_code_is_the_commands(place: Place, script: str, expected: ExitStatus, shell_code: int) -> None:
    finished = await place.run("sh", "-c", script)
    assert finished.status == expected
    assert finished.status.shell_code == shell_code


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (("nonesuch",), 127, "command 'nonesuch': not found in the container's PATH (netdeck has no images: "),
        (("/nonesuch",), 127, "command '/nonesuch': no such file in the container"),
        (("/etc/passwd",), 126, "cannot execute '/etc/passwd': Permission denied"),
        (("/etc",), 126, "cannot execute '/etc': Permission denied"),
        (("a\0b",), 126, "embedded null byte"),
    ],
)
async def test_a_command_that_cannot_run_is_told_with_dockers_code(place: Place, argv: tuple[str, ...], code: int, words: str) -> None:
    sandbox = await Sandbox.start(place.spec(*argv))
    with pytest.raises(SandboxError) as told:
        await sandbox.go()
    assert told.value.exit_code == code
    assert words in told.value.message
    status = await sandbox.wait()
    assert (status.code, status.error) == (code, told.value.message)
    await sandbox.close()
    assert await gone(sandbox.shim_pid)


async def test_a_file_that_is_no_program_is_told(place: Place) -> None:
    path = place.path / "text"
    path.write_text("just text")
    path.chmod(0o755)
    sandbox = await Sandbox.start(place.spec(str(path)))
    with pytest.raises(SandboxError, match="Exec format error") as told:
        await sandbox.go()
    assert told.value.exit_code == 126
    await sandbox.close()


async def test_the_namespaces_the_hostname_and_the_processes_are_its_own(place: Place) -> None:
    finished = await place.run("sh", "-c", "hostname; echo $$; ls -d /proc/[0-9]* | wc -l; readlink /proc/self/ns/net /proc/self/ns/mnt")
    hostname, pid, processes, network, mounts = finished.stdout.split()
    assert (hostname, pid) == ("box", "1")
    assert int(processes) <= 4
    assert network != os.readlink("/proc/self/ns/net")
    assert mounts != os.readlink("/proc/self/ns/mnt")
    assert finished.warnings == ()


@pytest.mark.req("N1")
async def test_a_new_network_has_loopback_and_nothing_else(place: Place) -> None:
    finished = await place.run("sh", "-c", "ls /sys/class/net; ip -o route show table all | grep -v 'dev lo'; ip -o link")
    assert finished.stdout.splitlines()[0] == "lo"
    assert "LOOPBACK,UP" in finished.stdout
    assert len(finished.stdout.splitlines()) == 2


@pytest.mark.req("H1")
async def test_on_host_the_network_is_the_hosts(place: Place) -> None:
    finished = await place.run("readlink", "/proc/self/ns/net", network="host")
    assert finished.stdout.strip() == os.readlink("/proc/self/ns/net")


async def test_a_network_can_be_joined_and_is_compared(place: Place) -> None:
    async with started(place.spec("sleep", "60")) as first:
        inode = network_inode(first.pid)
        assert inode == first.netns_inode
        second = await place.run("readlink", "/proc/self/ns/net", network=Join(inode, pid=first.pid))
        assert second.stdout.strip() == f"net:[{inode}]"
        with pytest.raises(SandboxError, match="is gone"):
            await Sandbox.start(place.spec("true", network=Join(inode + 1, pid=first.pid)))
        with pytest.raises(SandboxError, match="is gone"):
            await Sandbox.start(place.spec("true", network=Join(inode, path="/etc/passwd")))


async def test_the_three_files_are_the_containers_and_follow_changes(place: Place) -> None:
    paths = {name: str(place.path / name) for name in ("hosts", "resolv", "hostname")}
    etc_files.write_in_place(paths["hosts"], etc_files.hosts("box", ["10.9.8.7/24", "fd00::7"]))
    etc_files.write_in_place(paths["resolv"], etc_files.resolv_conf("nameserver 9.9.9.9\nnameserver 127.0.0.53\n"))
    etc_files.write_in_place(paths["hostname"], etc_files.hostname("box"))
    spec = place.spec(
        "sh",
        "-c",
        "cat /etc/hosts /etc/resolv.conf; echo --; read x; cat /etc/hosts; getent hosts peer; echo ==",
        interactive=True,
        hosts_file=paths["hosts"],
        resolv_file=paths["resolv"],
        hostname_file=paths["hostname"],
    )
    host_before = content("/etc/hosts")
    async with started(spec) as sandbox:
        output = sandbox.attach()
        await sandbox.go()
        before = await read_until(output, "--")
        assert "10.9.8.7\tbox" in before
        assert "fd00::7\tbox" in before
        assert "nameserver 9.9.9.9" in before
        assert "127.0.0.53" not in before
        inode = os.stat(paths["hosts"]).st_ino
        etc_files.write_in_place(paths["hosts"], etc_files.hosts("box", ["10.9.8.9"], {"10.1.1.1": ["peer"]}))
        assert os.stat(paths["hosts"]).st_ino == inode
        await sandbox.write_stdin(b"\n")
        after = await read_until(output, "==")
    assert "10.9.8.9\tbox" in after
    assert "10.9.8.7" not in after
    assert after.count("peer") == 2
    assert content("/etc/hosts") == host_before


async def test_stop_asks_first_and_then_kills(place: Place) -> None:
    async with started(place.spec("sh", "-c", "trap 'exit 3' TERM; echo up; while :; do sleep 0.05; done")) as polite:
        output = polite.attach()
        await polite.go()
        await read_until(output, "up")
        assert await polite.stop(10) == ExitStatus(3)
    async with started(place.spec("sleep", "60")) as deaf:
        await deaf.go()
        assert await deaf.stop(0.2) == ExitStatus(None, signal.SIGKILL)
        assert await gone(deaf.pid)
        record = load(deaf.run_dir, "exit")
        assert record["signal"] == signal.SIGKILL


async def test_signals_by_name_and_number(place: Place) -> None:
    script = "trap 'echo usr1' USR1; trap 'echo hup' HUP; echo up; while :; do sleep 0.05; done"
    async with started(place.spec("sh", "-c", script)) as sandbox:
        output = sandbox.attach()
        await sandbox.go()
        await read_until(output, "up")
        sandbox.signal("USR1")
        await read_until(output, "usr1")
        sandbox.signal("SIGHUP")
        await read_until(output, "hup")
        sandbox.signal(10)
        await read_until(output, "usr1")
        for wrong in ("NOPE", 0, 99, -1, "²"):
            with pytest.raises(ValueError, match="no signal is called"):
                sandbox.signal(wrong)


async def test_exec_runs_beside_process_1(place: Place) -> None:
    async with started(place.spec("sleep", "60", uid=NOBODY, gid=NOBODY)) as sandbox:
        await sandbox.go()
        target = ExecTarget(sandbox.pid, sandbox.starttime)
        finished = await place.run(
            "sh", "-c", "hostname; id -u; readlink /proc/self/ns/net; cat; exit 5",
            exec_in=target, run_dir="", uid=NOBODY, gid=NOBODY, stdin=b"typed",
        )  # fmt: skip
        assert finished.stdout.splitlines() == ["box", str(NOBODY), f"net:[{sandbox.netns_inode}]", "typed"]
        assert finished.status == ExitStatus(5)
        with pytest.raises(SandboxError, match="has ended"):
            await Sandbox.start(place.spec("true", exec_in=ExecTarget(sandbox.pid, sandbox.starttime + 1)))


async def test_an_executed_command_ends_with_its_connection(place: Place) -> None:
    async with started(place.spec("sleep", "60")) as sandbox:
        await sandbox.go()
        target = ExecTarget(sandbox.pid, sandbox.starttime)
        command = await Sandbox.start(place.spec("sleep", "50", exec_in=target, run_dir=""))
        await command.go()
        await command.close()
        assert await gone(command.pid)
        assert await gone(command.shim_pid)
        assert not await gone(sandbox.pid, 0.1)


async def test_without_go_everything_ends(place: Place) -> None:
    late = await Sandbox.start(place.spec("sleep", "60", go_timeout=0.3))
    status = await asyncio.wait_for(late.wait(), LONGEST_SECONDS)
    assert status.error == "the container ended before its command was started"
    assert await gone(late.pid)
    assert await gone(late.shim_pid)
    await late.close()
    left = await Sandbox.start(place.spec("sleep", "60"))
    await left.close()
    assert await gone(left.pid)
    assert await gone(left.shim_pid)


async def test_when_the_shim_is_killed_the_container_dies(place: Place) -> None:
    async with started(place.spec("sh", "-c", "sleep 60 & sleep 61", uid=NOBODY, gid=NOBODY)) as sandbox:
        await sandbox.go()
        os.kill(sandbox.shim_pid, signal.SIGKILL)
        status = await asyncio.wait_for(sandbox.wait(), LONGEST_SECONDS)
        assert status.error == "the process that held the container died"
        assert await gone(sandbox.pid)


async def test_a_container_that_unties_itself_from_the_shim_ends_all_the_same(place: Place) -> None:
    script = "import ctypes, time; ctypes.CDLL(None).prctl(1, 0); print('untied', flush=True); time.sleep(60)"
    for back in (False, True):
        async with started(place.spec("/usr/bin/python3", "-c", script)) as sandbox:
            output = sandbox.attach()
            await sandbox.go()
            await read_until(output, "untied")
            if back:
                await sandbox.close()
            os.kill(sandbox.shim_pid, signal.SIGKILL)
            if back:
                assert await gone(sandbox.shim_pid)
                with pytest.raises(SandboxGone):
                    await Sandbox.reconnect(sandbox.run_dir)
            else:
                await asyncio.wait_for(sandbox.wait(), LONGEST_SECONDS)
            assert await gone(sandbox.pid)


_CORE = """
import asyncio, sys
from helperd.containers.sandbox import Sandbox
from helperd.containers.spec import SandboxSpec
async def main():
    script = "echo early; i=0; while read line; do echo got $line; done; exit 9"
    spec = SandboxSpec(id="x", run_dir=sys.argv[1], argv=("sh", "-c", script), hostname="box", interactive=True)
    sandbox = await Sandbox.start(spec)
    if sys.argv[2] == "go":
        await sandbox.go()
    print(sandbox.pid, sandbox.shim_pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


async def _core(run_dir: str, mode: str) -> tuple[asyncio.subprocess.Process, int, int]:
    core = await asyncio.create_subprocess_exec(sys.executable, "-c", _CORE, run_dir, mode, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    assert core.stdout is not None
    pid, shim = (await core.stdout.readline()).split()
    return core, int(pid), int(shim)


async def test_a_container_outlives_the_core_and_is_found_again(place: Place) -> None:
    run_dir = place.run_dir()
    core, pid, shim = await _core(run_dir, "go")
    core.kill()
    await core.wait()
    assert not await gone(pid, 0.3)
    for _ in range(2):  # and once more
        sandbox = await Sandbox.reconnect(run_dir)
        assert (sandbox.pid, sandbox.shim_pid, sandbox.started) == (pid, shim, True)
        output = sandbox.attach(frames.KEPT)
        await sandbox.write_stdin(b"again\n")
        assert "early" in await read_until(output, "got again")
        await sandbox.close()
    sandbox = await Sandbox.reconnect(run_dir)
    sandbox.eof()
    assert await sandbox.wait() == ExitStatus(9)
    await sandbox.close()
    with pytest.raises(SandboxGone) as told:
        await Sandbox.reconnect(run_dir)
    assert told.value.status == ExitStatus(9)
    assert await gone(shim)


async def test_a_container_without_go_dies_with_the_core(place: Place) -> None:
    run_dir = place.run_dir()
    core, pid, shim = await _core(run_dir, "stay")
    core.kill()
    await core.wait()
    assert await gone(pid)
    assert await gone(shim)


async def test_an_end_while_the_core_was_down_is_learned(place: Place) -> None:
    run_dir = place.run_dir()
    core, pid, shim = await _core(run_dir, "go")
    core.kill()
    await core.wait()
    os.kill(pid, signal.SIGKILL)
    assert await gone(shim)
    with pytest.raises(SandboxGone) as told:
        await Sandbox.reconnect(run_dir)
    assert told.value.status == ExitStatus(None, signal.SIGKILL)


async def test_orphans_are_ended_and_a_reused_pid_is_not(place: Place) -> None:
    run_dir = place.run_dir()
    core, pid, shim = await _core(run_dir, "go")
    core.kill()
    await core.wait()
    record = load(run_dir, "shim.json")
    forged = dict(record, starttime=record["starttime"] + 1, shim_starttime=record["shim_starttime"] + 1)
    store(run_dir, "shim.json", forged)
    assert not await kill_all(run_dir)
    assert not await gone(pid, 0.2)
    store(run_dir, "shim.json", record)
    assert await kill_all(run_dir)
    assert await gone(pid)
    assert await gone(shim)
    assert not await kill_all(run_dir)
    assert not await kill_all(place.run_dir())


async def test_a_shim_is_small(place: Place) -> None:
    async with started(place.spec("sleep", "60")) as sandbox:
        await sandbox.go()
        sizes = memory(sandbox.shim_pid)
        private = sizes["Private_Clean"] + sizes["Private_Dirty"]
        print(f"shim: RSS {sizes['Rss']} kB, PSS {sizes['Pss']} kB, private {private} kB")
        assert private < 9000
        assert len(os.listdir(f"/proc/{sandbox.shim_pid}/fd")) < 12
