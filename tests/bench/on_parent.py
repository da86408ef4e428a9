"""Attaching containers to macvlan and ipvlan networks: ours through the wire, against the CNI plugins and ip, in turns; and traffic by ours
against a bare link of the kernel."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial

from tests.bench.emulated import emulated, rows_from_machine
from tests.bench.measures import Missing, command_ms, middle, spread
from tests.bench.ours import known, our_helper, timed
from tests.bench.peers import Peer, addresses, batches, cni_folder, complete, namespace
from tests.bench.places import add_namespaces, bench_host
from tests.bench.ports import SAME, Path, traffic
from tests.bench.rows import Row
from tests.simulated_host import SimulatedHost

COUNT = 20
WARM = 3
PAUSE = 0.1  # seconds between two attaches
AIM = 1 / 8
YARDSTICK = "macvlan"
"""What is measured in the virtual machine too: beside its figures on the running kernel, they tell what emulation does to a ratio."""
MODES = {"macvlan": "bridge", "ipvlan": "l2"}
Opened = Callable[[str, int], contextlib.AbstractContextManager[Peer]]


def _cable(host: SimulatedHost) -> None:
    host.add_namespace("outside")
    host.run("ip link add up0 type veth peer name far0 netns outside && ip link set up0 up && ip -n outside link set far0 up && "
             "ip -n outside addr add 10.95.0.1/16 dev far0")


def has(kind: str) -> bool:
    """Whether this kernel makes links of `kind`."""
    with bench_host() as host:
        _cable(host)
        return "made" in host.run(f"ip link add link up0 name probe type {kind} 2>&1 && echo made", check=False)


@contextlib.contextmanager
def _ours(kind: str, count: int) -> Iterator[Peer]:
    with our_helper(_cable) as helper:
        add_namespaces(helper.host, [namespace(number) for number in range(1, count + 1)])
        known(helper, count)
        helper.call("network.create", name="bench", driver=kind, options={"parent": "up0"}, subnets=[{"subnet": "10.95.0.0/16"}])

        def attach(number: int) -> float:
            return timed(helper, "network.connect", network="bench", container=f"netns:{namespace(number)}")

        yield Peer("netdeck", attach, lambda number: addresses(helper.host, number))


@contextlib.contextmanager
def _cni(kind: str, count: int) -> Iterator[Peer]:
    """The CNI plugin with host-local addresses, run as a container engine runs it."""
    folder = cni_folder()
    if not os.access(f"{folder}/{kind}", os.X_OK):
        raise Missing(f"the CNI plugin {kind} is not installed (Debian: containernetworking-plugins)")
    with bench_host() as host:
        _cable(host)
        add_namespaces(host, [namespace(number) for number in range(1, count + 1)])
        pool = {"type": "host-local", "dataDir": "/run/cni-addresses", "routes": [{"dst": "0.0.0.0/0"}],
                "ranges": [[{"subnet": "10.95.0.0/16", "gateway": "10.95.0.1"}]]}
        network = json.dumps({"cniVersion": "1.0.0", "name": "bench", "type": kind, "master": "up0", "mode": MODES[kind], "mtu": 1500,
                              "ipam": pool})

        def attach(number: int) -> float:
            env = {"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "CNI_PATH": folder, "CNI_COMMAND": "ADD", "CNI_IFNAME": "eth0",
                   "CNI_CONTAINERID": f"container{number}", "CNI_NETNS": f"/run/netns/{namespace(number)}"}
            return host.call(command_ms, [f"{folder}/{kind}"], network, env)

        yield Peer(f"CNI {kind} ADD", attach, lambda number: addresses(host, number))


@contextlib.contextmanager
def _ip_batch(kind: str, count: int) -> Iterator[Peer]:
    """The floor: the same kernel objects by two runs of ``ip -batch``; no store, no address allocation, no check."""
    program = shutil.which("ip", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        raise Missing("ip is not installed (Debian: iproute2)")
    with bench_host() as host:
        _cable(host)
        add_namespaces(host, [namespace(number) for number in range(1, count + 1)])

        def attach(number: int) -> float:
            mac = f"address 02:00:00:00:{number >> 8:02x}:{number & 255:02x} " if kind == "macvlan" else ""
            outside = (f"link add link up0 name nd{number} {mac}mtu 1500 group 28260 netns {namespace(number)} type {kind} "
                       f"mode {MODES[kind]}\n")
            inside = (f"link set dev nd{number} name eth0 alias netdeck:1:00000000:endpoint:{number:064x}\n"
                      f"address add 10.95.{number >> 8}.{(number & 255) + 1}/16 dev eth0\nlink set dev eth0 up\n"
                      "route add default via 10.95.0.1 dev eth0 proto 171\n")
            return host.call(batches, program, namespace(number), outside, inside)

        yield Peer("ip -batch (the floor)", attach, lambda number: addresses(host, number))


PEERS: dict[str, tuple[Opened, float | None]] = {
    "netdeck": (_ours, None), "CNI ADD": (_cni, AIM), "ip -batch (the floor)": (_ip_batch, None),
}


def attach_rows(kind: str) -> Iterator[Row]:
    """Attaching to a network of `kind`."""
    figures: dict[str, list[float]] = {}
    missing: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        peers: dict[str, Peer] = {}
        for name, (opened, _) in PEERS.items():
            try:
                peers[name] = stack.enter_context(opened(kind, WARM + COUNT))
            except Missing as error:
                missing[name] = str(error)
        for number in range(1, WARM + COUNT + 1):
            for name, peer in peers.items():
                time.sleep(PAUSE)
                taken = peer.attach(number)
                if number > WARM:
                    figures.setdefault(name, []).append(taken)
        for peer in peers.values():
            complete(peer, (1, WARM + COUNT))
    ours = figures["netdeck"]
    for name, (_, aim) in PEERS.items():
        if name != "netdeck":
            theirs = middle(figures[name]) if name in figures else None
            note = missing.get(name) or f"ours {spread(ours)}; theirs {spread(figures[name])}"
            yield Row(f"attach to {kind} {MODES[kind]}", middle(ours), "ms", name.replace("CNI", f"CNI {kind}"), theirs, aim, note)


@contextlib.contextmanager
def _our_link(kind: str) -> Iterator[Path]:
    with our_helper(_cable) as helper:
        add_namespaces(helper.host, ["c1"])
        known(helper, 1)
        helper.call("network.create", name="bench", driver=kind, options={"parent": "up0"}, subnets=[{"subnet": "10.95.0.0/16"}])
        found = helper.call("network.connect", network="bench", container="netns:c1")["endpoint"]["addresses"][0].partition("/")[0]
        yield Path(helper.host, "/run/netns/c1", "/run/netns/outside", found, (5201, 5301))


@contextlib.contextmanager
def _bare_link(kind: str) -> Iterator[Path]:
    with bench_host() as host:
        _cable(host)
        add_namespaces(host, ["c1"])
        host.run(f"ip link add link up0 name eth0 netns c1 type {kind} mode {MODES[kind]} && ip -n c1 addr add 10.95.0.2/16 dev eth0 && "
                 "ip -n c1 link set eth0 up")
        yield Path(host, "/run/netns/c1", "/run/netns/outside", "10.95.0.2", (5201, 5301))


def traffic_rows(kind: str) -> Iterator[Row]:
    """From the site into a container, over the parent."""
    yield from traffic(f"throughput through {kind}", partial(_our_link, kind), partial(_bare_link, kind), f"a bare {kind}", SAME)


def rows_of(kind: str) -> Iterator[Row]:
    """All of `kind`; in the virtual machine where the running kernel has no such links."""
    if not has(kind):
        if emulated():
            raise Missing(f"the virtual machine's kernel has no {kind} (module {kind})")
        yield from rows_from_machine(kind)
        return
    yield from attach_rows(kind)
    yield from traffic_rows(kind)
    if emulated() and kind != YARDSTICK:
        yield from attach_rows(YARDSTICK)
