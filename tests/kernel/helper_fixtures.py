"""Fixtures with a running helper in a simulated host."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running_helper import RunningHelper
from tests.simulated_host import SimulatedHost


@pytest.fixture
def helper(host: SimulatedHost, tmp_path: Path) -> Iterator[RunningHelper]:
    """A helper with a store of its own, on a host with forwarding on and an uplink: `eth0` 192.0.2.2/24 and 2001:db8::2/64,
    which leads to the namespace `outside` (192.0.2.1, 2001:db8::1)."""
    host.add_namespace("outside")
    host.run(
        "ip link add eth0 type veth peer name up0 netns outside && ip link set eth0 up && ip -n outside link set up0 up && "
        "ip addr add 192.0.2.2/24 dev eth0 && ip -n outside addr add 192.0.2.1/24 dev up0 && "
        "ip addr add 2001:db8::2/64 dev eth0 nodad && ip -n outside addr add 2001:db8::1/64 dev up0 nodad && "
        "ip route add default via 192.0.2.1 && ip -6 route add default via 2001:db8::1 && "
        "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
    running = RunningHelper(host, tmp_path)
    running.start()
    try:
        yield running
    finally:
        running.close()
