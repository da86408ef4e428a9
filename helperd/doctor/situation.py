"""What the checks look at: the host as it is now, gathered once for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from drivers.driver import Driver
from helperd.kernel.adapters import Adapter
from helperd.neighbours import Hindrance
from helperd.subnets import Cut, HostRanges
from protocol.model import Endpoint, Link, Network


@dataclass(frozen=True, slots=True)
class Situation:
    """`links` are the host's, `peers` the other ends of its veths by the host's ifindex, with the container's name. `sysctl` reads a
    setting (name with ``*`` for a link, link); None where there is none. `uplinks` by family, that of the default route first."""

    networks: Sequence[Network]
    endpoints: Mapping[str, Sequence[Endpoint]]  # of a network, by its id
    links: Mapping[str, Link]
    peers: Mapping[int, tuple[str, Link]]
    uplinks: Mapping[int, tuple[str, ...]]
    sysctl: Callable[[str, str], str | None]
    ranges: HostRanges
    leases: Callable[[str], Mapping[str, str]]
    pools: Mapping[int, Sequence[Cut]]
    hindrances: Sequence[Hindrance] = ()
    owners: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of a rule of others, by its finding's id
    unread: tuple[str, ...] = ()  # families (ip, ip6) whose table of iptables-legacy can't be read
    hooks: frozenset[str] = frozenset()  # families (ip, ip6) with Docker's chain for its users
    router_advertised: tuple[str, ...] = ()  # links that have a default route from router advertisements
    parent_drivers: Mapping[str, Driver] = field(default_factory=dict)  # those whose networks hang on a link of the host
    adapter: Callable[[str], Adapter] = lambda name: Adapter()  # what is behind a link, by its name

    def bridges(self) -> list[Network]:
        """The networks that have a bridge on this host."""
        return [network for network in self.networks if network.driver == "bridge"]

    def used(self, network: Network) -> bool:
        """Whether containers are connected."""
        return bool(self.endpoints.get(network.id))
