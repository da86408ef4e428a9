"""What is wrong now with the host's link by which a network reaches its site, asked of the kernel."""

from __future__ import annotations

import shlex
import socket

from helperd.cut_off import DETACHED, MISSING, cut_off, wire_of
from helperd.kernel.host_links import HostLinkNow, carries, look_up
from protocol.model import Network


def detached(network: Network) -> bool:
    """Whether its uplink and its bridge are there, and the one is no port of the other."""
    try:
        port = look_up(network.uplink) if network.uplink else None
        return port is not None and port.master != socket.if_nametoindex(network.link)
    except OSError:
        return False


def hindrances(network: Network, *, new: bool = False) -> list[str]:
    """What is wrong with the way out of a network. A `new` one's is not made yet: an uplink is switched on and made a port with it."""
    link = wire_of(network)
    if network.internal or not (network.uplink or network.options.get("parent")):
        return []
    if not is_there(link):
        if not new:
            return [cut_off(network, MISSING, f"containers on {network.name} are")]
        link = link.rpartition(".")[0]  # what it is made on
    if not new and detached(network):
        return [cut_off(network, DETACHED, f"containers on {network.name} are")]
    if all(carries(link)) or (new and network.uplink and not carries(link)[0]):
        return []
    card = _switched_off_below(link) or link
    below = f", below {link}," if card != link else ""
    if not carries(card)[0]:
        return [f"{card}{below} is down, so nothing leaves by it: bring it up with ip link set {shlex.quote(card)} up"]
    return [f"{link} has no carrier, so nothing leaves by it: see to what is at its other end"]


def _switched_off_below(link: str) -> str:
    """What a VLAN is on, where that is why it has no carrier, else ""."""
    try:
        now: HostLinkNow | None = look_up(link)
        below = socket.if_indextoname(now.lower) if now is not None and now.up and now.kind == "vlan" and now.lower else ""
    except OSError:
        return ""
    return below if below and not carries(below)[0] else ""


def is_there(link: str) -> bool:
    """Whether the host has a link of that name now."""
    try:
        return socket.if_nametoindex(link) > 0
    except OSError:
        return False
