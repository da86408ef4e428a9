"""Whether anybody can answer on a link: to ask for an address where nobody can would only take time."""

from __future__ import annotations

import asyncio
import time

from helperd.kernel.host_links import carries
from protocol.errors import Unavailable
from protocol.model import Container, Network

SETTLING = 5.0  # seconds in which a link that was switched on with its network finds its carrier
_LOOK_SECONDS = 0.1


async def require_carrier(network: Network, link: str, container: Container) -> None:
    """Raises Unavailable where nobody can answer on `link`. Only one that was switched on a moment ago is waited for."""
    while True:
        up, carrier = carries(link)
        if up and carrier:
            return
        if not network.uplink or not up or not 0 <= time.time() - network.created < SETTLING:
            why, remedy = ("has no carrier", "See to what is at its other end") if up else (
                "is switched off", f"Switch it on with `ip link set {link} up`")
            raise Unavailable(f"no address for {container.ref} on network {network.name}: {link} {why}, so no DHCP server can answer. "
                              f"{remedy}; nothing was changed", name=network.name)
        await asyncio.sleep(_LOOK_SECONDS)
