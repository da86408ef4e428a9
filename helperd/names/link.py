"""The resolver's main loop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
from collections import Counter

import dns.rdtypes.ANY.OPT
import dns.rdtypes.ANY.PTR
import dns.rdtypes.ANY.SOA
import dns.rdtypes.IN.A
import dns.rdtypes.IN.AAAA  # noqa: F401 - what is loaded late would be looked for when nothing may be read any more

from helperd.child_frames import Limits, Ready
from helperd.core_link import CoreLink
from helperd.names.frames import to_resolver
from helperd.names.resolver import Resolver


def serve(pair: socket.socket, limits: Limits) -> None:
    """Answer containers until the core is gone."""
    asyncio.run(_serve(pair, limits))


async def _serve(pair: socket.socket, limits: Limits) -> None:
    pair.setblocking(False)
    counts: Counter[str] = Counter()
    link = CoreLink(pair, counts)
    resolver = Resolver(limits, link.tell, counts)
    asyncio.get_running_loop().add_reader(pair, link.read, lambda body, sockets: resolver.take(to_resolver(body), sockets))
    gc.freeze()
    link.tell(Ready())
    with contextlib.suppress(asyncio.CancelledError):
        await link.over
    # Not by the loop's end: what still waits for an answer must not hold the sockets of containers any longer.
    os._exit(0)
