"""Docker's engine, started by hand in a simulated host, spoken to as its own command line does: HTTP over its socket."""

from __future__ import annotations

import contextlib
import glob
import http.client
import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.bench.measures import Missing
from tests.bench.places import bench_host
from tests.simulated_host import HostProcess, SimulatedHost

FOLDER = "/run/bench-docker"
NEEDED = {"dockerd": "docker.io", "containerd": "containerd", "runc": "runc"}
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

# Its control groups are the machine's: a parent group of our own keeps them apart. The machine may have either version.
_PREPARE = f"""
set -e
mkdir -p {FOLDER} /etc/docker
mount -t tmpfs bench {FOLDER}
mount -t tmpfs bench /etc/docker
mount -t tmpfs bench /sys/fs/cgroup
if [ "$(wc -l < /proc/self/cgroup)" = 1 ]; then
    mount -t cgroup2 cgroup /sys/fs/cgroup
else
    for group in $(cut -d: -f2 /proc/self/cgroup); do
        [ -n "$group" ] || continue
        mkdir "/sys/fs/cgroup/${{group#name=}}"
        mount -t cgroup -o "$group" cgroup "/sys/fs/cgroup/${{group#name=}}"
    done
fi
"""


class _Connection(http.client.HTTPConnection):
    """HTTP to a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("docker", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self._path)


class DockerEngine:
    """An engine that answers. `call` is one request on a connection that stays open."""

    def __init__(self, host: SimulatedHost, process: HostProcess) -> None:
        self.host, self.process = host, process
        self._connection = _Connection(f"/proc/{host.pid}/root{FOLDER}/docker.sock")
        self.first_container = 1

    def call(self, method: str, path: str, body: Mapping[str, Any] | bytes | None = None) -> Any:
        """One request of the engine's API; its answer as parsed JSON, or None where it is empty. Raises RuntimeError."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        kind = "application/x-tar" if isinstance(body, bytes) else "application/json"
        self._connection.request(method, path, data, {"Content-Type": kind} if data is not None else {})
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"docker {method} {path}: {answer.status} {text.decode(errors='backslashreplace').strip()}")
        return json.loads(text.splitlines()[-1]) if text.strip() else None

    def timed(self, method: str, path: str, body: Mapping[str, Any]) -> float:
        """As `call`; the milliseconds it took."""
        start = time.perf_counter()
        self.call(method, path, body)
        return (time.perf_counter() - start) * 1000

    def run_container(self, name: str, ports: Mapping[str, int] | None = None, address: str = "0.0.0.0") -> int:
        """A container that sleeps, on the default network; its process, as the engine's host numbers it. `ports` are those of
        the host by the container's (``80/tcp``), at its `address`."""
        made = self.call("POST", f"/containers/create?name={name}", {
            "Image": "bench", "Cmd": ["/bin/sleep", "3600"], "ExposedPorts": {port: {} for port in ports or {}},
            "HostConfig": {"CgroupParent": _parent(), "PortBindings": {
                port: [{"HostIp": address, "HostPort": str(number)}] for port, number in (ports or {}).items()}}})
        self.call("POST", f"/containers/{made['Id']}/start")
        return int(self.call("GET", f"/containers/{made['Id']}/json")["State"]["Pid"])

    def close(self) -> None:
        self._connection.close()


@contextlib.contextmanager
def docker_engine(*options: str) -> Iterator[DockerEngine]:
    """dockerd in a simulated host of its own, with its default of iptables, an image of one program, and nothing running."""
    for program, package in NEEDED.items():
        if shutil.which(program, path=PATH) is None:
            raise Missing(f"{program} is not installed (Debian: {package})")
    with contextlib.ExitStack() as stack:
        stack.callback(_remove_groups)
        host = stack.enter_context(bench_host())
        host.run(_PREPARE)
        log = stack.enter_context(open(f"/proc/{host.pid}/root{FOLDER}/log", "w"))
        process = host.popen(
            ["dockerd", "--data-root", f"{FOLDER}/data", "--exec-root", f"{FOLDER}/exec", "--pidfile", f"{FOLDER}/pid",
             "-H", f"unix://{FOLDER}/docker.sock", "--storage-driver", "vfs", "--cgroup-parent", _parent(), *options],
            stdout=log, stderr=log, env={"PATH": PATH, "HOME": FOLDER})
        engine = DockerEngine(host, process)
        stack.callback(engine.close)
        _wait(engine)
        engine.call("POST", "/images/create?fromSrc=-&repo=bench&tag=latest", _image())
        # The end of the host is the end of every process in it; to remove the containers one by one would take a minute.
        yield engine


def _wait(engine: DockerEngine) -> None:
    end = time.monotonic() + 30
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            engine.call("GET", "/version")
            return
        engine.close()
        if engine.process.poll() is not None or time.monotonic() > end:
            words = Path(f"/proc/{engine.host.pid}/root{FOLDER}/log").read_text(errors="backslashreplace").splitlines()
            raise Missing(f"dockerd does not start here: {words[-1] if words else 'it says nothing'}")
        time.sleep(0.1)


def _parent() -> str:
    return f"/netdeck-bench-{os.getpid()}"


def _remove_groups(seconds: float = 5.0) -> None:
    """The control groups that the engine leaves behind are the machine's, and ours to remove, as soon as they are empty."""
    end = time.monotonic() + seconds
    left = [Path(folder) for folder in glob.glob(f"/sys/fs/cgroup{_parent()}") + glob.glob(f"/sys/fs/cgroup/*{_parent()}")]
    while left and time.monotonic() < end:
        for parent in left:
            for folder in sorted((item for item in parent.rglob("*") if item.is_dir()), reverse=True):
                with contextlib.suppress(OSError):
                    folder.rmdir()
            with contextlib.suppress(OSError):
                parent.rmdir()
        left = [parent for parent in left if parent.exists()]
        time.sleep(0.05)


def _image() -> bytes:
    """A tar of /bin/sleep and the libraries it needs."""
    sleep = shutil.which("sleep") or "/bin/sleep"
    needed = subprocess.run(["ldd", sleep], capture_output=True, text=True, check=True).stdout
    files = {word for word in needed.split() if word.startswith("/")}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for place in sorted(files):
            tar.add(os.path.realpath(place), place.lstrip("/"))
        tar.add(os.path.realpath(sleep), "bin/sleep")
    return out.getvalue()
