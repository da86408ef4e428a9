"""Simulated hosts for benchmarks: many named namespaces quickly, and quiet before the next measurement."""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.simulated_host import CLONE_NEWNET, SimulatedHost, simulated_host

MS_BIND = 0x1000
_SLAB = Path("/proc/slabinfo")


def add_namespaces(host: SimulatedHost, names: Sequence[str]) -> None:
    """Makes named namespaces as ``ip netns add`` does, some 2 ms each; their loopback stays down."""

    def make() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        home = os.open("/proc/self/ns/net", os.O_RDONLY)
        for name in names:
            target = f"/run/netns/{name}"
            os.close(os.open(target, os.O_CREAT | os.O_EXCL, 0o444))
            if libc.unshare(CLONE_NEWNET) != 0 or libc.mount(b"/proc/self/ns/net", target.encode(), None, MS_BIND, None) != 0:
                raise OSError(ctypes.get_errno(), name)
        libc.setns(home, CLONE_NEWNET)

    host.call(make)


@contextlib.contextmanager
def bench_host() -> Iterator[SimulatedHost]:
    """A simulated host with forwarding on; after it the next may start only when the kernel has taken it down."""
    before = living_namespaces()
    with simulated_host() as host:
        host.run("sysctl -qw net.ipv4.ip_forward=1 && ip link add warm0 type veth peer name warm1 && ip link del warm0")
        yield host
    settle(before)


def living_namespaces() -> int:
    """How many network namespaces this machine's kernel holds (those being taken down too); 0 where it does not tell."""
    try:
        for line in _SLAB.read_text().splitlines():
            if line.startswith("net_namespace "):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


def settle(count: int, seconds: float = 4.0) -> None:
    """Waits, for `seconds` at most, until no more than `count` network namespaces are left: the kernel takes them down
    behind our back, under the lock that every link operation needs."""
    end = time.monotonic() + seconds
    while living_namespaces() > count + 2 and time.monotonic() < end:
        time.sleep(0.1)
