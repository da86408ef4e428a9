"""A lab with its helper for one test or one file: a simulated host on which netdeck runs, made by netdeck itself."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.simulated_host import ROOT, HostError, SimulatedHost, _first_child

NETDECK = (sys.executable, "-P", "-m", "tui")
_HOLDER = ("sh", "-c", "echo ready; exec cat > /dev/null")


class Lab(SimulatedHost):
    """The host of ``netdeck lab``, which holds eth0, eth1, the namespace `outside` and a running helper.

    All that `SimulatedHost` can do works in it; `netdeck` runs the command line there.
    """

    def __init__(self) -> None:
        self._holder = subprocess.Popen(
            [sys.executable, "-P", "-m", "helperd.lab", "--", *_HOLDER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(),
        )
        assert self._holder.stdout is not None
        said = self._holder.stdout.readline()
        if said != "ready\n":
            said += self._holder.stdout.read()
            self._holder.wait()
            raise HostError(f"no lab for the test: {said.strip()}")
        self.pid = _first_child(self._holder.pid)
        self._processes = []

    @property
    def root(self) -> Path:
        """The lab's file system, seen from outside."""
        return Path(f"/proc/{self.pid}/root")

    @property
    def socket(self) -> str:
        """The helper's socket, seen from outside."""
        return str(self.root / "run/netdeck/helper.sock")

    def helper_log(self) -> str:
        """What the helper has written so far."""
        return (self.root / "run/netdeck/helper.log").read_text(errors="backslashreplace")

    def netdeck(
        self, *arguments: str, input: str | None = None, code: int | None = 0, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """``netdeck ARGUMENTS…`` in the lab. Raises HostError where its exit code is not `code` (None: any will do)."""
        done = subprocess.run(
            self._inside([*NETDECK, *arguments], ""),
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            errors="backslashreplace",
            timeout=timeout,
            check=False,
            env=environment(),
        )
        if code is not None and done.returncode != code:
            raise HostError(f"netdeck {' '.join(arguments)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def ask(self, *arguments: str) -> Any:
        """The JSON that ``netdeck ARGUMENTS…`` prints."""
        return json.loads(self.netdeck(*arguments).stdout)

    def _inside(self, command: str | Sequence[str], netns: str) -> list[str]:
        words = super()._inside(command, netns)
        if os.geteuid() != 0:
            words[1:1] = ["-U", "--preserve-credentials"]
        return words


def environment() -> dict[str, str]:
    """The environment of a netdeck under test: our packages importable, no helper named."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("NETDECK_")}
    return {**kept, "PYTHONPATH": str(ROOT)}


@contextlib.contextmanager
def running_lab() -> Iterator[Lab]:
    """A lab for the time of a `with` block."""
    lab = Lab()
    try:
        yield lab
    finally:
        lab.close()
