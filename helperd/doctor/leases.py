"""Leases that are over: their containers have no address until a DHCP server of the site gives one again. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from helperd.cut_off import wire_of
from protocol.findings import Finding
from protocol.model import Endpoint, Network


def findings(endpoints: Iterable[Endpoint], networks: Mapping[str, Network], owner: Callable[[str], str]) -> list[Finding]:
    """One for each container whose lease was lost. `owner` says what people call the container of an endpoint."""
    found = []
    for item in endpoints:
        network = networks.get(item.network)
        if item.lease is None or not item.lease.lost or network is None:
            continue
        link = wire_of(network)
        whose = owner(item.id)
        found.append(Finding(
            id=f"lease-{item.id[:12]}", severity="error", what=f"{whose} lost its lease of {item.lease.prefix} on network {network.name}",
            why=f"{item.lease.lost}. A container without a lease may not use its address (RFC 2131, 4.4.5), so it was taken away",
            remedy=f"See to the DHCP server {item.lease.server} and to the way there, {link}: a lease is asked for again and again, and "
                   "set as soon as a server answers", commands=(f"tcpdump -ni {link} port 67 or port 68",), networks=(network.name,)))
    return found
