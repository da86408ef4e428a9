"""Addresses of containers that somebody else on the site has too. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime

from helperd.site_probes import OPTION
from protocol.findings import Finding
from protocol.model import DHCP, Endpoint, Network
from protocol.names import display_text


def findings(endpoints: Iterable[Endpoint], networks: Mapping[str, Network], owner: Callable[[str], str]) -> Iterator[Finding]:
    """One for each address. `owner` says what people call the container of an endpoint."""
    for item in endpoints:
        network = networks[item.network]
        name, whose, pool = network.name, owner(item.id), network.ipam != DHCP
        for other in item.conflicts:
            since = datetime.fromtimestamp(other.since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
            keep = (f"netdeck network update --aux-address other={other.address} {name}",) if pool else ()
            yield Finding(
                f"address-conflict.{name}.{other.address}", "error",
                f"{other.address}, which {whose} has on network {name}, somebody else has too: {other.mac} on "
                f"{display_text(other.link)}, since {since}",
                "What is sent to that address reaches now the one and now the other (RFC 5227).",
                "Give the other another address: this is over when nobody answers for it any more. Where it is a router that answers for "
                f"addresses that are free: netdeck network update -o {OPTION}=false {name}. "
                + ("Or keep this one out of the network, and give the container another:" if pool else
                   "Or see to it that the DHCP server does not give this one, and connect the container again:"),
                commands=(f"netdeck network disconnect {name} {shlex.quote(whose)}", *keep,
                          f"netdeck network connect {name} {shlex.quote(whose)}"), networks=(name,))
