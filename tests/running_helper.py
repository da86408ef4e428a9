"""The real helper, run in a simulated host of a test, with a client outside."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from protocol.blocking import BlockingClient
from tests.simulated_host import HostError, HostProcess, SimulatedHost
from tests.waiting import LONGEST_SECONDS

ROOT = Path(__file__).resolve().parent.parent


class RunningHelper:
    """`python -m helperd` in `host`, its state in a folder of its own; it can be killed and started again."""

    def __init__(self, host: SimulatedHost, folder: Path) -> None:
        self.host, self.folder = host, folder
        # The path of a unix socket has room for 107 bytes; pytest's folders are longer than that at times.
        self._short = tempfile.TemporaryDirectory(prefix="nd-")
        Path(self._short.name).chmod(0o755)
        self.socket = f"{self._short.name}/helper.sock"
        self.process: HostProcess | None = None
        self._client: BlockingClient | None = None
        self._log = folder / "helper.log"

    def start(self, env: dict[str, str] | None = None, timeout: float = LONGEST_SECONDS) -> RunningHelper:
        """Start it and wait until it answers."""
        with self._log.open("a") as log:
            self.process = self.host.popen(
                [sys.executable, "-m", "helperd", "--socket", self.socket, "--state-dir", str(self.folder / "state"),
                 "--run-dir", str(self.folder / "run"), "--config", str(self.folder / "config.toml")],
                stdout=log, stderr=log, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **(env or {})})
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise HostError(f"the helper ended at its start:\n{self.log()}")
            with contextlib.suppress(Exception):
                client = BlockingClient(self.socket)
                client.__enter__()
                self._client = client
                return self
            time.sleep(0.05)
        raise HostError(f"the helper does not answer:\n{self.log()}")

    def log(self) -> str:
        return self._log.read_text(errors="backslashreplace") if self._log.exists() else ""

    @property
    def client(self) -> BlockingClient:
        assert self._client is not None, "the helper was not started"
        return self._client

    def call(self, op: str, **args: Any) -> Any:
        """One operation, as root."""
        return self.client.call(op, args)

    def command(self, *words: str, check: bool = True, timeout: float = LONGEST_SECONDS) -> str:
        """One `netdeck` command line in the host; its output."""
        return self.host.run(["env", f"NETDECK_SOCKET={self.socket}", f"PYTHONPATH={ROOT}", sys.executable, "-m", "tui", *words],
                             check=check, timeout=timeout)

    def document(self, *words: str) -> Any:
        """As `command`, with ``--format json``, parsed."""
        return json.loads(self.command(*words, "--format", "json"))

    def kill(self) -> None:
        """SIGKILL for the core, at once; the front ends by itself."""
        self._forget_client()
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """SIGTERM, and wait."""
        self._forget_client()
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=20)

    def restart(self) -> RunningHelper:
        self.stop()
        return self.start()

    def _forget_client(self) -> None:
        if self._client is not None:
            self._client.__exit__(None, None, None)
            self._client = None

    def close(self) -> None:
        self.kill()
        self._short.cleanup()
