"""Containers of ours inside a user namespace that maps one user only, as in the lab of somebody without root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.kernel.sandbox_runs import NOBODY

ROOT = Path(__file__).resolve().parents[2]

_LAB = """
import asyncio, os, sys
from helperd.containers.sandbox import Sandbox, SandboxError
from helperd.containers.spec import ExecTarget, SandboxSpec, Terminal

async def run(*argv, **changes):
    run_dir = changes.pop("run_dir", None)
    if run_dir is None:
        run_dir = os.path.join(sys.argv[1], f"run{len(os.listdir(sys.argv[1]))}")
        os.mkdir(run_dir, 0o700)
    sandbox = await Sandbox.start(SandboxSpec(id="x", run_dir=run_dir, argv=argv, hostname="box", **changes))
    output = sandbox.attach()
    await sandbox.go()
    text = b"".join([chunk.data async for chunk in output]).decode()
    status = await sandbox.wait()
    await sandbox.close()
    return status, text, sandbox.warnings

async def main():
    for rootfs in (None, sys.argv[2]):
        print("RUN", await run("sh", "-c", "id -u; hostname; ls /sys/class/net; cat /proc/sys/net/ipv4/ping_group_range",
            rootfs=rootfs))
        print("TTY", await run("sh", "-c", "tty; stty size", terminal=Terminal(10, 20), rootfs=rootfs))
    try:
        await run("true", uid=12345, gid=12345)
    except SandboxError as error:
        print("REFUSED", error.message)
    long = os.path.join(sys.argv[1], "long")
    os.mkdir(long, 0o700)
    sandbox = await Sandbox.start(SandboxSpec(id="x", run_dir=long, argv=("sleep", "60"), hostname="box"))
    await sandbox.go()
    print("EXEC", await run("hostname", exec_in=ExecTarget(sandbox.pid, sandbox.starttime), run_dir=""))
    print("STOP", await sandbox.stop(0))
    await sandbox.close()

asyncio.run(main())
"""


def _interpreter(user: int) -> str:
    """One that this user may run: the virtual environment's may be below root's home. Nothing but our own code is needed."""
    for path in (sys.executable, "/usr/bin/python3"):
        tried = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", path, "-c", ""]
        if subprocess.run(tried, capture_output=True, check=False).returncode == 0:
            return path
    pytest.skip(f"user {user} can run no Python here")


@pytest.mark.req("X18")
@pytest.mark.parametrize("user", [0, NOBODY])
def test_containers_in_a_user_namespace(user: int) -> None:
    directory = Path(tempfile.mkdtemp(prefix="netdeck-test-"))
    try:
        rootfs = directory / "rootfs"
        (rootfs / "bin").mkdir(parents=True)
        busybox = shutil.which("busybox")
        assert busybox is not None, "apt-get install busybox-static"
        shutil.copy(busybox, rootfs / "bin/busybox")
        for name in ("sh", "id", "hostname", "ls", "cat", "stty", "tty"):
            (rootfs / "bin" / name).symlink_to("busybox")
        runs = directory / "runs"
        runs.mkdir()
        subprocess.run(["chown", "-R", f"{user}:{user}", str(directory)], check=True)
        done = subprocess.run(
            ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "unshare", "-Urnmpf", "--mount-proc",
             _interpreter(user), "-c", _LAB, str(runs), str(rootfs)],
            cwd=ROOT, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip
    finally:
        shutil.rmtree(directory)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line]
    ended = "ExitStatus(code=0, signal=None, error=None)"
    assert [line for line in lines if line.startswith("RUN")] == [f"RUN ({ended}, '0\\nbox\\nlo\\n0\\t0\\n', ())"] * 2
    assert [line for line in lines if line.startswith("TTY")] == [f"TTY ({ended}, '/dev/pts/0\\r\\n10 20\\r\\n', ())"] * 2
    assert any("there is no user 12345 in this user namespace" in line for line in lines), lines
    assert f"EXEC ({ended}, 'box\\n', ())" in lines
    assert "STOP ExitStatus(code=None, signal=9, error=None)" in lines
