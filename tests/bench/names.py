"""Names in container networks: questions a second and the slowest of a hundred, ours against aardvark-dns and dnsmasq.

Each is asked from inside a container, where it is meant to be asked: ours at 127.0.0.11 in the container, the others at the
bridge's address on the other end of its veth. `dnsperf` asks as fast as answers come; a client that asks one question after the
other tells how long one takes.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.bench.measures import Missing, middle
from tests.bench.ours import Run, our_helper
from tests.bench.places import add_namespaces, bench_host
from tests.bench.rows import Row
from tests.simulated_host import SimulatedHost

NAMES = 20
SECONDS = 2.0
ROUNDS = 3
AARDVARK = "/usr/lib/podman/aardvark-dns"
QUERIES = "".join(f"c{number} A\n" for number in range(1, NAMES + 1))
ONE_BY_ONE = """
import socket, sys, time
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.connect((sys.argv[1], 53))
sock.settimeout(5)
taken = []
for number in range(2000):
    name = b"c%d" % (number % 20 + 1)
    question = number.to_bytes(2, "big") + b"\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0" + bytes((len(name),)) + name + b"\\0\\0\\1\\0\\1"
    start = time.perf_counter()
    sock.send(question)
    answer = sock.recv(512)
    taken.append(time.perf_counter() - start)
    assert answer[:2] == question[:2] and answer[7] == 1, answer
print(sorted(taken)[1980] * 1000)
"""


class Server(NamedTuple):
    """A name server that knows c1 to c20, asked at `address` from the namespace c1 of `host`."""

    host: SimulatedHost
    address: str

    def slowest(self) -> float:
        """The 99th percentile of one question's time, in ms."""
        return float(self.host.run(["python3", "-c", ONE_BY_ONE, self.address], netns="c1", timeout=60))

    def rate(self) -> float:
        """Questions a second."""
        self.host.run("cat > /run/questions", input=QUERIES)
        out = self.host.run(["dnsperf", "-s", self.address, "-d", "/run/questions", "-l", str(SECONDS)], netns="c1", timeout=60)
        lost = re.search(r"Queries lost: +\d+ \(([\d.]+)%\)", out)
        found = re.search(r"Queries per second: +([\d.]+)", out)
        if found is None or lost is None or float(lost[1]) > 5:
            raise RuntimeError(f"dnsperf: {out}")
        return float(found[1])


@contextlib.contextmanager
def netdeck() -> Iterator[Server]:
    with our_helper() as helper:
        add_namespaces(helper.host, [f"c{number}" for number in range(1, NAMES + 1)])
        helper.call("network.create", name="bench")
        for number in range(1, NAMES + 1):
            helper.host.run(f"ip -n c{number} link set lo up")
            helper.call("network.connect", network="bench", container=f"netns:c{number}")
        yield Server(helper.host, "127.0.0.11")


@contextlib.contextmanager
def _bridge() -> Iterator[SimulatedHost]:
    with bench_host() as host:
        host.run("ip netns add c1 && ip link add br0 type bridge && ip addr add 10.97.0.1/24 dev br0 && ip link set br0 up && "
                 "ip link add veth1 master br0 up type veth peer name eth0 netns c1 && ip -n c1 addr add 10.97.0.2/24 dev eth0 && "
                 "ip -n c1 link set eth0 up && ip -n c1 link set lo up")
        yield host


@contextlib.contextmanager
def aardvark() -> Iterator[Server]:
    program = AARDVARK if os.access(AARDVARK, os.X_OK) else shutil.which("aardvark-dns")
    if program is None:
        raise Missing("aardvark-dns is not installed (Debian: aardvark-dns)")
    with _bridge() as host:
        lines = "".join(f"{number:064x} 10.97.0.{number + 1}  c{number}\n" for number in range(1, NAMES + 1))
        host.run("mkdir /run/aardvark && cat > /run/aardvark/bench", input=f"10.97.0.1\n{lines}")
        host.popen([program, "-c", "/run/aardvark", "-p", "53", "run"])
        yield _ready(Server(host, "10.97.0.1"))


@contextlib.contextmanager
def dnsmasq() -> Iterator[Server]:
    program = shutil.which("dnsmasq", path="/usr/sbin:/usr/bin")
    if program is None:
        raise Missing("dnsmasq is not installed (Debian: dnsmasq-base)")
    with _bridge() as host:
        records = [f"--host-record=c{number},10.97.0.{number + 1}" for number in range(1, NAMES + 1)]
        host.popen([program, "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root", "--pid-file=",
                    "--listen-address=10.97.0.1", "--bind-interfaces", *records])
        yield _ready(Server(host, "10.97.0.1"))


def _ready(server: Server) -> Server:
    end = time.monotonic() + 10
    ask = ["dig", "+short", "+tries=1", "+time=1", f"@{server.address}", "c1"]
    while server.host.run(ask, netns="c1", check=False).strip() != "10.97.0.2":
        if time.monotonic() > end:
            raise RuntimeError(f"nobody answers at {server.address}")
        time.sleep(0.1)
    return server


PEERS: dict[str, Callable[[], contextlib.AbstractContextManager[Server]]] = {
    "netdeck": netdeck, "aardvark-dns": aardvark, "dnsmasq": dnsmasq}


def rows(run: Run) -> Iterator[Row]:
    if shutil.which("dnsperf") is None:
        raise Missing("dnsperf is not installed (Debian: dnsperf)")
    rates: dict[str, list[float]] = {}
    slowest: dict[str, list[float]] = {}
    missing: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        servers: dict[str, Server] = {}
        for name, opened in PEERS.items():
            try:
                servers[name] = stack.enter_context(opened())
            except Missing as error:
                missing[name] = str(error)
        for _ in range(ROUNDS):
            for name, server in servers.items():
                slowest.setdefault(name, []).append(server.slowest())
                rates.setdefault(name, []).append(server.rate())
    for name in ("aardvark-dns", "dnsmasq"):
        note = missing.get(name, f"n={ROUNDS}, in turns")
        there = name in rates
        yield Row("names: 99th percentile of one question", middle(slowest["netdeck"]), "ms", name,
                  middle(slowest[name]) if there else None, None, note)
        yield Row("names: time a question at full load", 1e6 / middle(rates["netdeck"]), "us", name,
                  1e6 / middle(rates[name]) if there else None, None,
                  f"{middle(rates['netdeck']):.0f} questions a second" + (f" against {middle(rates[name]):.0f}" if there else f"; {note}"))
