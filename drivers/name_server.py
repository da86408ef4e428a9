"""Which containers are served names: those on at least one user-defined network whose containers are on this host. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from drivers.objects import NameServer, mark
from protocol.model import Endpoint, Network

_WITHOUT = ("host", "none")  # drivers whose containers have no network of their own


def has_names(network: Network) -> bool:
    """Whether containers resolve each other on `network`: on every one that somebody made, and not on the default bridge."""
    return not network.predefined and network.driver not in _WITHOUT


def name_server(pairs: Iterable[tuple[Network, Endpoint]], instance: str) -> tuple[NameServer, ...]:
    """The name server of one container on the networks of `pairs`: one, or none where it needs none, or where somebody else's
    answers at the same address."""
    for network, endpoint in pairs:
        if has_names(network) and not endpoint.foreign_names:
            return (NameServer(endpoint.container, mark(instance, "names", endpoint.container)),)
    return ()
