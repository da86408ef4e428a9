"""What chains of others do with connections that the relay carries. Pure.

A published port that leads into the other family ends at a socket of this host, and a second connection leads from here to the container:
both meet the chains for what the host itself gets and sends, not those for what is forwarded.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from drivers.bridge_ports import RELAYED, family, target_of
from helperd.forward_chains import ForeignBase, Probe, Stop, stops
from protocol.model import Endpoint, Network, Port
from protocol.names import display_text
from protocol.ports import EVERYWHERE

COMES, GOES = ("prerouting", "input"), ("output", "postrouting")
_MOST = 64  # ports of a network that are looked at
_UPLINKS = 4  # that are looked at
_TOLD = 8  # ports that are named


class Stopped(NamedTuple):
    """Packets of relayed ports: which way, their family, what stops them, and the ports of the host."""

    way: str
    family: int
    stop: Stop
    ports: tuple[Port, ...]


def relayed(network: Network, endpoints: Sequence[Endpoint]) -> Iterator[tuple[Port, str]]:
    """The ports that the relay carries from whoever reaches the host, and the address that each leads to."""
    for endpoint in endpoints:
        for port in endpoint.ports:
            target = target_of(network, endpoint, port)
            if target and (":" in target) != (family(port) == 6) and port.protocol in RELAYED \
                    and not ipaddress.ip_address(port.host).is_loopback:
                yield port, target


def relay_stops(bases: Sequence[ForeignBase], network: Network, endpoints: Sequence[Endpoint],
                uplinks: Mapping[int, Sequence[str]]) -> list[Stopped]:
    """What stops them, each once."""
    found: dict[tuple[str, int, Stop], dict[Port, None]] = {}
    for port, target in [*relayed(network, endpoints)][:_MOST]:
        version = family(port)
        here = "" if port.host == EVERYWHERE[version] else port.host
        ways = [(f"to {{}}, which the relay carries, by {display_text(link)}", COMES,
                 Probe(version, link, "", destination=here, protocol=port.protocol, port=port.host_port))
                for link in uplinks.get(version, ())[:_UPLINKS]]
        ways.append(("from the relay of {} to the container", GOES,
                     Probe(10 - version, "", network.link, destination=target, protocol=port.protocol, port=port.port)))
        for way, hooks, probe in ways:
            for stop in stops(bases, probe, hooks):
                found.setdefault((way, probe.family, stop), {})[port] = None
    return [Stopped(way.replace("{}", _named(tuple(ports)), 1), version, stop, tuple(ports))
            for (way, version, stop), ports in found.items()]


def _named(ports: Sequence[Port]) -> str:
    names = list(dict.fromkeys(f"{port.host_port}/{port.protocol}" for port in ports))
    more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    return f"port{'s' * (len(names) > 1)} {', '.join(names[:_TOLD])}{more}"
