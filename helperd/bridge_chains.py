"""What chains of others do with frames on our bridges: those of nftables' family `bridge`, where `ebtables` puts its rules too. Pure.

A frame between two containers, or one and the site, passes the bridge's hooks prerouting, forward and postrouting; one from a container to
the host, which is how it gets to the outside too, prerouting and input; one from the host to a container output and postrouting. There
a link is the bridge's port, and the bridge itself is `ibrname` and `obrname`; in prerouting and input there is no link that a frame goes
out by, in output and postrouting none that it came in by.
Sources: nft(8), ebtables(8), net/bridge/br_input.c, br_forward.c.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from drivers.parsed import family_of
from helperd.forward_chains import ForeignBase, Probe, Stop, stop_of
from protocol.model import Endpoint, Network

FAMILY = "bridge"
HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
BRIDGED = ("prerouting", "forward", "postrouting")  # of a frame that goes from port to port
BETWEEN, TO_HOST, FROM_HOST = "between its containers", "from its containers to the host", "from the host to its containers"
TO_SITE, FROM_SITE = "from its containers to the site", "from the site to its containers"
_MOST = 64  # endpoints of a network that are looked at: a rule about one of many more is somebody's intention
_NOBODY = Endpoint(id="", network="", container="", ifname="", host_link="")  # where nobody is connected yet


class Frame(NamedTuple):
    """A frame that is thought of, which way it goes, and the hooks that it meets."""

    way: str
    hooks: tuple[str, ...]
    probe: Probe


def frames(network: Network, endpoints: Sequence[Endpoint]) -> Iterator[Frame]:
    """The frames that the bridge of `network` must carry."""
    some = [item for item in endpoints if item.host_link][:_MOST] or [_NOBODY]
    for family in (4, 6):
        if not (network.ipv4 if family == 4 else network.ipv6):
            continue
        for number, one in enumerate(some):
            other = some[number - 1]
            base = Probe(family, one.host_link, "", source=_address(network, one, family), in_bridge=network.link, source_mac=one.mac)
            if other is not one and network.options.get("icc") != "false":
                yield Frame(BETWEEN, BRIDGED, _towards(base, network, other))
            site = network.uplink
            if site:
                yield Frame(TO_SITE, BRIDGED, msgspec.structs.replace(base, oif=site, out_bridge=network.link))
                yield Frame(FROM_SITE, BRIDGED, _towards(Probe(family, site, "", in_bridge=network.link), network, one))
            else:
                yield Frame(TO_HOST, ("prerouting", "input"), base)
                yield Frame(FROM_HOST, ("output", "postrouting"), _towards(Probe(family, "", ""), network, one))


def _towards(probe: Probe, network: Network, endpoint: Endpoint) -> Probe:
    return msgspec.structs.replace(probe, oif=endpoint.host_link, destination=_address(network, endpoint, probe.family),
                                   out_bridge=network.link, target_mac=endpoint.mac)


def _seen(probe: Probe, hook: str) -> Probe:
    """What a chain of `hook` sees of it."""
    if hook in ("prerouting", "input"):
        return msgspec.structs.replace(probe, oif="", out_bridge="")
    return probe if hook == "forward" else msgspec.structs.replace(probe, iif="", in_bridge="")


def _address(network: Network, endpoint: Endpoint, family: int) -> str:
    """Its address, or where it will be."""
    known = [*(prefix.partition("/")[0] for prefix in endpoint.addresses), *(item.subnet for item in network.subnets)]
    return next((text for text in known if family_of(text) == family), "")


def frame_stops(bases: Sequence[ForeignBase], network: Network, endpoints: Sequence[Endpoint]) -> list[tuple[str, int, Stop]]:
    """(which way, family, what drops it) of the frames that `network` needs, each once."""
    asked = sorted((base for base in bases if base.family == FAMILY), key=lambda base: (HOOKS.index(base.hook), base.priority))
    if not asked:
        return []
    met = [(frame, base) for frame in frames(network, endpoints) for base in asked if base.hook in frame.hooks]
    found = ((frame, stop_of(base, _seen(frame.probe, base.hook))) for frame, base in met)
    return list(dict.fromkeys((frame.way, frame.probe.family, stop) for frame, stop in found if stop is not None))
