"""Published ports: publishing and withdrawing the 1st and the 1,000th, traffic through one, and between two containers.

Docker publishes only when it connects a container, and netavark when it sets one up: theirs is what that takes with a port, less
what it takes without. Docker runs without its userland proxy there, which is quicker; traffic is measured with its defaults.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from tests.bench.docker_engine import docker_engine
from tests.bench.measures import Missing, command_ms, middle, spread
from tests.bench.ours import Run, known, our_helper, timed
from tests.bench.peers import NETAVARK, NETAVARK_ID
from tests.bench.places import add_namespaces, bench_host
from tests.bench.rows import Row
from tests.simulated_host import SimulatedHost

MANY = 1000
SOME = 100  # of docker's in one container: it takes 30 ms for each
SAMPLES = 15
WARM = 3
SECONDS = 3  # of each measurement of throughput
ROUNDS = 3
CONNECTIONS = 2000
AIM = 1 / 8
SAME = 1.02  # no loss that could be measured

Taken = dict[str, tuple[list[float], list[float]]]  # which port → (publishing, withdrawing), ms each


def _ours() -> Taken:
    found: Taken = {}
    with our_helper() as helper:
        others = [f"many{first}" for first in range(0, MANY - 1, SOME)]
        add_namespaces(helper.host, ["c1", *others])
        known(helper, 1 + len(others))
        helper.call("network.create", name="bench")
        for name in ("c1", *others):
            helper.call("network.connect", network="bench", container=f"netns:{name}")
        for which in ("1st", "1,000th"):
            for number, name in enumerate(others if which != "1st" else ()):
                first, last = 20000 + SOME * number, 20000 + min(SOME * (number + 1), MANY - 1) - 1
                helper.call("port.publish", container=f"netns:{name}", ports=[f"{first}-{last}:{first}-{last}"])
            on, off = [], []
            for number in range(WARM + SAMPLES):
                on.append(timed(helper, "port.publish", container="netns:c1", ports=[f"{9000 + number}:80"]))
                off.append(timed(helper, "port.withdraw", container="netns:c1", ports=[f"{9000 + number}:80"]))
            found[which] = on[WARM:], off[WARM:]
    return found


def _docker() -> Taken:
    found: Taken = {}
    with docker_engine("--userland-proxy=false") as engine:
        engine.call("POST", "/networks/create", {"Name": "bench"})
        engine.run_container("with", {"80/tcp": 9000})
        engine.run_container("without")
        for name in ("with", "without"):
            engine.call("POST", "/networks/bridge/disconnect", {"Container": name})
        for which in ("1st", "1,000th"):
            if which != "1st":
                for first in range(0, MANY - 1, SOME):
                    numbers = range(20000 + first, 20000 + min(first + SOME, MANY - 1))
                    engine.run_container(f"many{first}", {f"{number}/tcp": number for number in numbers})
            taken: dict[str, list[float]] = {}
            for _ in range(WARM + SAMPLES):
                for name in ("with", "without"):
                    for way in ("connect", "disconnect"):
                        taken.setdefault(f"{way} {name}", []).append(
                            engine.timed("POST", f"/networks/bench/{way}", {"Container": name}))
            found[which] = _less(taken, "connect"), _less(taken, "disconnect")
    return found


def _less(taken: dict[str, list[float]], way: str) -> list[float]:
    without = middle(taken[f"{way} without"][WARM:])
    return [value - without for value in taken[f"{way} with"][WARM:]]


def _netavark() -> Taken:
    program = NETAVARK if os.access(NETAVARK, os.X_OK) else shutil.which("netavark")
    if program is None:
        raise Missing("netavark is not installed (Debian: netavark)")
    found: Taken = {}
    with bench_host() as host:
        add_namespaces(host, ["with", "without", "many"])

        def act(way: str, name: str, ports: Sequence[int]) -> float:
            # A range is one rule of netavark's; rule by rule it takes minutes.
            mappings = [{"container_port": ports[0], "host_ip": "", "host_port": ports[0], "protocol": "tcp", "range": len(ports)}
                        ] if ports else []
            address = {"with": 2, "without": 3, "many": 4}[name]
            request = json.dumps({
                "container_id": f"container{name}", "container_name": name, "port_mappings": mappings,
                "networks": {"bench": {"static_ips": [f"10.98.0.{address}"], "interface_name": "eth0"}},
                "network_info": {"bench": {
                    "name": "bench", "id": NETAVARK_ID, "driver": "bridge", "network_interface": "podman9",
                    "subnets": [{"subnet": "10.98.0.0/16", "gateway": "10.98.255.254"}], "ipv6_enabled": False,
                    "internal": False, "dns_enabled": False, "ipam_options": {"driver": "host-local"}}}})
            return host.call(command_ms, [str(program), "--config", "/run/netavark", way, f"/run/netns/{name}"], request)

        for which in ("1st", "1,000th"):
            if which != "1st":
                act("setup", "many", range(20000, 20000 + MANY - 1))
            taken: dict[str, list[float]] = {}
            for _ in range(WARM + SAMPLES):
                for name, ports in (("with", (9000,)), ("without", ())):
                    for way in ("setup", "teardown"):
                        taken.setdefault(f"{way} {name}", []).append(act(way, name, ports))
            found[which] = _less(taken, "setup"), _less(taken, "teardown")
    return found


def _programming() -> Iterator[Row]:
    ours = _ours()
    for name, measure in (("docker's programming", _docker), ("netavark's programming", _netavark)):
        try:
            theirs: Taken = measure()
            note = ""
        except (Missing, RuntimeError, OSError, subprocess.TimeoutExpired) as error:
            theirs, note = {}, str(error).splitlines()[0]
        for which, pair in ours.items():
            for index, way in enumerate(("publish", "withdraw")):
                peer = theirs[which][index] if which in theirs else None
                yield Row(f"{way} the {which} port", middle(pair[index]), "ms", name, middle(peer) if peer else None, AIM,
                          note or f"ours {spread(pair[index])}; theirs {spread(peer or [])}")


# Traffic

_CONNECT = """
import socket, sys, time
count = int(sys.argv[3])
start = time.perf_counter()
for _ in range(count):
    with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as sock:
        sock.recv(1)
print((time.perf_counter() - start) / count * 1e6)
"""
_ACCEPT = """
import socket
server = socket.create_server(("", 5301), backlog=512)
print("ready", flush=True)
while True:
    server.accept()[0].close()
"""


class Path:
    """A way that traffic goes: how a command is started at its server's end, and at its client's; where the client asks."""

    def __init__(self, host: SimulatedHost, server: str, client: str, target: str, ports: tuple[int, int]) -> None:
        self.host, self.client, self.target, self.ports = host, client, target, ports
        inside = ["nsenter", f"--net={server}"]
        host.popen([*inside, "iperf3", "-s", "-p", "5201"])
        accept = host.popen([*inside, sys.executable, "-c", _ACCEPT])
        assert accept.stdout is not None and accept.stdout.readline() == "ready\n"

    def gigabyte(self) -> float:
        """Milliseconds for 10^9 bytes over one connection."""
        out = json.loads(self.host.run(["nsenter", f"--net={self.client}", "iperf3", "-J", "-c", self.target, "-p", str(self.ports[0]),
                                        "-t", str(SECONDS)], timeout=60))
        return 8e12 / float(out["end"]["sum_received"]["bits_per_second"])

    def connection(self) -> float:
        """Microseconds for a connection that is closed at once."""
        return float(self.host.run(["nsenter", f"--net={self.client}", sys.executable, "-c", _CONNECT, self.target, str(self.ports[1]),
                                    str(CONNECTIONS)], timeout=60))


def _uplink(host: SimulatedHost) -> None:
    host.add_namespace("outside")
    host.run("ip link add up0 type veth peer name up1 netns outside && ip addr add 192.0.2.2/24 dev up0 && ip link set up0 up && "
             "ip addr add 2001:db8::2/64 dev up0 nodad && ip -n outside addr add 2001:db8::1/64 dev up1 nodad && "
             "ip -n outside addr add 192.0.2.1/24 dev up1 && ip -n outside link set up1 up")


def _unfiltered(host: SimulatedHost) -> None:
    """As on a host that has not loaded br_netfilter: where it is built in, bridged frames pass the rules of whoever has some."""
    host.run("sysctl -qw net.bridge.bridge-nf-call-iptables=0 2>/dev/null || true")


@contextlib.contextmanager
def _our_port(target: str = "192.0.2.2") -> Iterator[Path]:
    with our_helper(_uplink) as helper:
        add_namespaces(helper.host, ["c1"])
        known(helper, 1)
        helper.call("network.create", name="bench")
        helper.call("network.connect", network="bench", container="netns:c1")
        helper.call("port.publish", container="netns:c1", ports=["8001:5201", "8002:5301"])
        yield Path(helper.host, "/run/netns/c1", "/run/netns/outside", target, (8001, 8002))


@contextlib.contextmanager
def _dockers_port(target: str = "192.0.2.2") -> Iterator[Path]:
    with docker_engine() as engine:
        _uplink(engine.host)
        pid = engine.run_container("c1", {"5201/tcp": 8001, "5301/tcp": 8002}, "::" if ":" in target else "0.0.0.0")
        yield Path(engine.host, f"/proc/{pid}/ns/net", "/run/netns/outside", target, (8001, 8002))


@contextlib.contextmanager
def _our_bridge() -> Iterator[Path]:
    with our_helper(_unfiltered) as helper:
        add_namespaces(helper.host, ["c1", "c2"])
        known(helper, 2)
        helper.call("network.create", name="bench")
        found = [helper.call("network.connect", network="bench", container=f"netns:{name}") for name in ("c1", "c2")]
        target = found[0]["endpoint"]["addresses"][0].partition("/")[0]
        yield Path(helper.host, "/run/netns/c1", "/run/netns/c2", target, (5201, 5301))


@contextlib.contextmanager
def _bare_bridge() -> Iterator[Path]:
    with bench_host() as host:
        _unfiltered(host)
        add_namespaces(host, ["c1", "c2"])
        host.run("ip link add br0 type bridge && ip addr add 10.9.0.1/24 dev br0 && ip link set br0 up")
        for number in (1, 2):
            host.run(f"ip link add v{number} master br0 type veth peer name eth0 netns c{number} && ip link set v{number} up && "
                     f"ip -n c{number} addr add 10.9.0.{number + 1}/24 dev eth0 && ip -n c{number} link set eth0 up")
        yield Path(host, "/run/netns/c1", "/run/netns/c2", "10.9.0.2", (5201, 5301))


def traffic(what: str, ours: Callable[[], contextlib.AbstractContextManager[Path]],
             theirs: Callable[[], contextlib.AbstractContextManager[Path]], name: str, aim: float) -> Iterator[Row]:
    if shutil.which("iperf3") is None:
        yield Row(what, None, "ms/GB", name, None, aim, "iperf3 is not installed (Debian: iperf3)")
        return
    with contextlib.ExitStack() as stack:
        mine = stack.enter_context(ours())
        try:
            peer: Path | None = stack.enter_context(theirs())
            note = ""
        except Missing as error:
            peer, note = None, str(error)
        time.sleep(3)  # the announcements of addresses
        for text, unit, measure in ((what, "ms/GB", Path.gigabyte), (what.replace("throughput", "connecting"), "µs", Path.connection)):
            here: list[float] = []
            there: list[float] = []
            for _ in range(ROUNDS):
                here.append(measure(mine))
                if peer is not None:
                    there.append(measure(peer))
            yield Row(text, middle(here), unit, name, middle(there) if there else None, aim,
                      note or f"ours {spread(here, unit)}; theirs {spread(there, unit)}")


def rows(run: Run) -> Iterator[Row]:
    yield from _programming()
    yield from traffic("throughput through a published port", _our_port, _dockers_port, "docker's port", 1.0)
    across = "2001:db8::2"  # to containers that have IPv4 alone
    yield from traffic("throughput through a port of the other family", lambda: _our_port(across), lambda: _dockers_port(across),
                       "docker's proxy", 1.0)
    yield from traffic("throughput between two containers", _our_bridge, _bare_bridge, "a bare bridge", SAME)
