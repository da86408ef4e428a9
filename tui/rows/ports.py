"""Where the published ports of a container can be reached. Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from protocol.model import Container, Port
from protocol.ports import order
from tui.feed import Feed
from tui.link_words import FLAG_UP

_LOOPBACK = 0x8  # IFF_LOOPBACK, linux/if.h


@dataclass(frozen=True, slots=True)
class Reach:
    """``ADDRESS:PORT`` of the host. `outside`: from other machines that reach these addresses; `here`: on this host alone.
    `missing`: the host does not have the address that the port was published on."""

    outside: tuple[str, ...] = ()
    here: tuple[str, ...] = ()
    missing: bool = False


def reach(feed: Feed, port: Port) -> Reach:
    """Where `port` is reachable, by the addresses that the host has now. Those of container networks are left out: what is on them
    reaches the container itself."""
    published = ipaddress.ip_address(port.host)
    outside: list[str] = []
    here: list[str] = []
    known = False
    for link in feed.links_in(feed.host_inode):
        for row in feed.addresses_of(f"{link.inode}/{link.ifindex}"):
            address = ipaddress.ip_address(row.address.partition("/")[0])
            if address.version != published.version or address.is_link_local or not link.flags & FLAG_UP:
                continue
            if address == published:
                known = True
            elif not published.is_unspecified or (link.network and not link.flags & _LOOPBACK):
                continue
            (here if link.flags & _LOOPBACK else outside).append(endpoint_text(str(address), port.host_port))
    return Reach(tuple(outside), tuple(here), not known and not published.is_unspecified)


def endpoint_text(address: str, port: int) -> str:
    """``192.0.2.1:80``, ``[fd00::1]:80``."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def published(feed: Feed, container: Container) -> tuple[Port, ...]:
    """All published ports of a container, in the order in which they are listed."""
    return tuple(sorted((port for endpoint in feed.endpoints_of(container=container.id) for port in endpoint.ports), key=order))
