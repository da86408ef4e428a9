"""A site's network for tests of drivers that hang on a link of the host."""

from __future__ import annotations

from typing import Any

from tests.running_helper import RunningHelper
from tests.simulated_host import SimulatedHost


class Lan:
    """`eth0` (192.168.1.250/24, 2001:db8:1::250/64) leads to the router, the namespace `outside` (192.168.1.1, 2001:db8:1::1), with
    10.99.0.1 and 2001:db8:99::1 behind it; `eth1` leads there too, without addresses."""

    def __init__(self, host: SimulatedHost) -> None:
        host.add_namespace("outside")
        host.run(
            "for n in 0 1; do ip link add eth$n type veth peer name up$n netns outside && ip link set eth$n up && "
            "ip -n outside link set up$n up; done && "
            "ip addr add 192.168.1.250/24 dev eth0 && ip -6 addr add 2001:db8:1::250/64 dev eth0 nodad && "
            "ip -n outside addr add 192.168.1.1/24 dev up0 && ip -n outside -6 addr add 2001:db8:1::1/64 dev up0 nodad && "
            "ip -n outside addr add 10.99.0.1/32 dev lo && ip -n outside -6 addr add 2001:db8:99::1/128 dev lo && "
            "ip netns exec outside sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
        self.host = host


def attach(helper: RunningHelper, network: str, name: str, **args: Any) -> dict[str, Any]:
    """A named namespace connected to a network; the endpoint."""
    if name not in helper.host.run("ip netns list").split():
        helper.host.add_namespace(name)
    return dict(helper.call("network.connect", network=network, container=f"netns:{name}", **args)["endpoint"])


def reaches(helper: RunningHelper, name: str, target: str) -> bool:
    """True if `name` gets an answer to a ping within a few tries (the first may meet a link that is just coming up)."""
    out = helper.host.run(["ping", "-n", "-c", "3", "-i", "0.3", "-W", "1", target], netns=name, check=False)
    return ", 0 received" not in out and " received" in out


def silent(helper: RunningHelper, name: str, target: str) -> bool:
    """True if nothing answers `name` from `target`."""
    out = helper.host.run(["ping", "-n", "-c", "2", "-i", "0.2", "-W", "0.5", target], netns=name, check=False)
    return ", 0 received" in out or "unreachable" in out
