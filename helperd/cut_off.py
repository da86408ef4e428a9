"""The states of the way from a network to its site, by a link of the host, and in words what each means and what mends it. Pure."""

from __future__ import annotations

import shlex

from protocol.model import Network

READY, MISSING, DOWN, DETACHED, NO_LEASE = "ready", "missing", "down", "detached", "no lease"


def wire_of(network: Network) -> str:
    """The host's link that leads to the network's site."""
    return network.uplink or network.link


def cut_off(network: Network, state: str, whom: str) -> str:
    """What cuts `whom` off in a network in `state`, and what mends it; "" where nothing does. `whom` is the subject of a sentence with
    its verb: ``db, web are``."""
    link = wire_of(network)
    if state == MISSING:
        return f"the link {link} is gone: {whom} cut off until it is back"
    if state == DOWN:
        return f"the link {link} has no carrier or is switched off: {whom} cut off until it is up"
    if state == DETACHED:
        return (f"{link} is no port of {network.link} any more: {whom} cut off until it is one again, by netdeck doctor --fix changed or "
                f"ip link set {shlex.quote(link)} master {network.link}")
    return ""
