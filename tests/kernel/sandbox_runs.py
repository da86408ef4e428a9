"""What the tests of containers of our own have in common: a place to run in, and a run from start to end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helperd.containers.sandbox import Chunk, ExitStatus, Sandbox, kill_all
from helperd.containers.spec import SandboxSpec
from tests.waiting import LONGEST_SECONDS

NOBODY = 65534


@dataclass
class Finished:
    """A container that has ended, and what it printed."""

    status: ExitStatus
    stdout: str
    stderr: str
    warnings: tuple[str, ...]


@dataclass
class Place:
    """A directory that others may enter (a rootfs's owner has to), with run directories that they may not."""

    path: Path
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def run_dir(self) -> str:
        path = self.path / f"run{next(self._numbers)}"
        path.mkdir(mode=0o700)
        return str(path)

    def spec(self, *argv: str, **changes: Any) -> SandboxSpec:
        run_dir = changes.pop("run_dir", None)
        changes.setdefault("hostname", "box")
        return SandboxSpec(id="test", run_dir=self.run_dir() if run_dir is None else run_dir, argv=argv, **changes)

    async def run(self, *argv: str, stdin: bytes | None = None, **changes: Any) -> Finished:
        """Run a command to its end. `stdin` makes it interactive."""
        spec = self.spec(*argv, interactive=stdin is not None, **changes)
        async with started(spec) as sandbox:
            output = sandbox.attach()
            await sandbox.go()
            if stdin is not None:
                await sandbox.write_stdin(stdin)
                sandbox.eof()
            texts = {"stdout": b"", "stderr": b""}
            async for chunk in output:
                texts[chunk.stream] += chunk.data
            status = await sandbox.wait()
        return Finished(status, texts["stdout"].decode(), texts["stderr"].decode(), sandbox.warnings)


@contextlib.contextmanager
def a_place() -> Iterator[Place]:
    path = Path(tempfile.mkdtemp(prefix="netdeck-test-"))
    path.chmod(0o755)
    try:
        yield Place(path)
    finally:
        for run_dir in path.glob("run*"):
            asyncio.run(kill_all(str(run_dir)))
        shutil.rmtree(path)


@contextlib.asynccontextmanager
async def started(spec: SandboxSpec) -> AsyncIterator[Sandbox]:
    """A container from its start to its certain end."""
    sandbox = await Sandbox.start(spec)
    try:
        yield sandbox
    finally:
        await sandbox.close()
        if spec.run_dir:
            await kill_all(spec.run_dir)


async def read_until(output: AsyncIterator[Chunk], text: str) -> str:
    """Read output until `text` is in it; return all that was read."""
    seen = b""
    async with asyncio.timeout(LONGEST_SECONDS):
        async for chunk in output:
            seen += chunk.data
            if text.encode() in seen:
                return seen.decode()
    raise AssertionError(f"the output ended without {text!r}: {seen!r}")


async def gone(pid: int, seconds: float = LONGEST_SECONDS) -> bool:
    """Whether a process is gone, or a zombie of somebody's, within a time."""
    for _ in range(int(seconds / 0.02)):
        try:
            if _state(pid) in (b"Z", b"X"):
                return True
        except OSError:
            return True
        await asyncio.sleep(0.02)
    return False


def _state(pid: int) -> bytes:
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[0]


def load(directory: str, name: str) -> dict[str, Any]:
    """Read a JSON object from a run directory."""
    record: dict[str, Any] = json.loads(Path(directory, name).read_text())
    return record


def store(directory: str, name: str, record: dict[str, Any]) -> None:
    """Write a JSON object into a run directory."""
    Path(directory, name).write_text(json.dumps(record))


def memory(pid: int) -> dict[str, int]:
    """Return the fields of /proc/PID/smaps_rollup in kB."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {line.split(":")[0]: int(line.split()[1]) for line in rollup}


def content(path: str) -> str:
    return Path(path).read_text()


def network_inode(pid: int) -> int:
    return os.stat(f"/proc/{pid}/ns/net").st_ino
