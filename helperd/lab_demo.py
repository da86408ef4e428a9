"""What runs in a lab that was started without a command: two networks, five containers, and traffic of bounded rate.

It is a client like any other. ``python -m helperd.lab_demo`` makes it on the helper that NETDECK_SOCKET names.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from protocol.blocking import BlockingClient
from protocol.errors import NetdeckError, Unavailable
from protocol.messages import DEFAULT_SOCKET, SOCKET_ENV

_RETRY = 0.05  # seconds between questions to a helper that is starting

# Answers GET /N with N bytes, at most a megabyte.
_SERVER = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = b"x" * min(1_000_000, int(self.path.strip("/") or 0))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words):
        pass
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""

# URL MEAN PERIOD: asks for about MEAN bytes each second, in a wave of PERIOD seconds.
_CLIENT = """
import math, sys, time, urllib.request
url, mean, period = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
while True:
    size = int(mean * 0.25 * (1 + math.sin(time.time() * 2 * math.pi / period))) + 100
    try:
        urllib.request.urlopen(f"{url}/{size}", timeout=5).read()
    except OSError:
        time.sleep(1)
    time.sleep(0.25)
"""


@dataclass(frozen=True, slots=True)
class DemoContainer:
    """A container of the demonstration: its first network with the address there, its further networks."""

    name: str
    command: tuple[str, ...]
    network: str = "bridge"
    ip: str | None = None
    ip6: str | None = None
    further: Mapping[str, str] = field(default_factory=dict)
    publish: tuple[str, ...] = ()


PROGRAMS = Path("/run/netdeck/demo")  # in the lab, where /run is private
_PYTHON = "python3" if shutil.which("python3", path="/usr/bin:/bin") else sys.executable


def _python(program: str, *arguments: str) -> tuple[str, ...]:
    return (_PYTHON, "-I", "-S", str(PROGRAMS / program), *arguments)


NETWORKS: tuple[dict[str, Any], ...] = (
    {"name": "web", "ipv6": True, "labels": {"demo": "yes"},
     "subnets": [{"subnet": "10.20.0.0/24"}, {"subnet": "fd00:20::/64"}]},
    {"name": "db", "internal": True, "labels": {"demo": "yes"}, "subnets": [{"subnet": "10.30.0.0/24"}]},
)
#: Where the kernel has macvlan: a network of the site's, on a link of the host.
SITE: dict[str, Any] = {"name": "site", "driver": "macvlan", "options": {"parent": "eth1"}, "labels": {"demo": "yes"},
                        "subnets": [{"subnet": "10.0.1.0/24", "gateway": "10.0.1.1"}]}
ON_SITE = "probe"
CONTAINERS = (
    DemoContainer("shop", _python("server.py"), "web", "10.20.0.10", "fd00:20::10", publish=("80:8080",)),
    DemoContainer("database", _python("server.py"), "db", "10.30.0.10"),
    DemoContainer("orders", _python("client.py", "http://10.30.0.10:8080", "40e3", "37"), "web", "10.20.0.11", "fd00:20::11",
                  {"db": "10.30.0.11"}),
    DemoContainer("visitors", _python("client.py", "http://10.20.0.10:8080", "400e3", "23"), "web", "10.20.0.12", "fd00:20::12"),
    DemoContainer("probe", ("ping", "-q", "-i", "1", "203.0.113.1")),
)


def ask_helper(path: str, timeout: float) -> None:
    """Return when the helper at `path` answers. Raises Unavailable when it has not within `timeout` seconds."""
    end = time.monotonic() + timeout
    while True:
        try:
            if os.path.exists(path):
                with BlockingClient(path) as client:
                    client.call("info", {})
                return
        except Unavailable:
            if time.monotonic() > end:
                raise
        if time.monotonic() > end:
            raise Unavailable(f"no helper answered at {path} within {timeout:.0f} s", socket=path)
        time.sleep(_RETRY)


def make(client: BlockingClient) -> None:
    """Make the networks and start the containers. Raises NetdeckError, OSError."""
    PROGRAMS.mkdir(parents=True, exist_ok=True)
    for name, text in (("server.py", _SERVER), ("client.py", _CLIENT)):
        (PROGRAMS / name).write_text(text)
    for network in NETWORKS:
        client.call("network.create", network)
    for container in CONTAINERS:
        client.call("container.run", {
            "name": container.name, "command": container.command, "networks": [container.network], "ip": container.ip,
            "ip6": container.ip6, "detach": True, "publish": container.publish,
        })
        for network_name, address in container.further.items():
            client.call("network.connect", {"network": network_name, "container": container.name, "ip": address})
    with contextlib.suppress(NetdeckError):
        client.call("network.create", SITE)
        client.call("network.connect", {"network": SITE["name"], "container": ON_SITE})


def main() -> int:
    """Make the demonstration; return 1, with a line on standard error, where that fails."""
    try:
        with BlockingClient(os.environ.get(SOCKET_ENV) or DEFAULT_SOCKET) as client:
            make(client)
    except (NetdeckError, OSError) as error:
        print(f"netdeck: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
