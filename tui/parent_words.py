"""Which links of the host can be a network's parent or uplink, in words. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from protocol.model import ParentLink


def about(link: ParentLink) -> str:
    """What it is: kind, addresses but those that say nothing of the network, and whether it is down or has no carrier (ip(8)'s word)."""
    addresses = [address for address in link.addresses if not address.startswith("fe80:")]
    return " ".join(filter(None, (link.kind, *addresses, "down" if not link.up else "" if link.carrier else "NO-CARRIER")))


def reason(link: ParentLink, network: str) -> str:
    """Why it can't serve, in the driver's words, without what the line says anyhow."""
    name = re.escape(link.name)
    found = re.match(rf"(?:{name} can't be the (?:parent|uplink) of network {re.escape(network)}: "
                     rf"|network {re.escape(network)} can't hang on {name}(?: in mode \w+)?: |{name} (?=is a))", link.why)
    return link.why[found.end():] if found else link.why


def usable(links: Sequence[ParentLink]) -> list[str]:
    """Names of those that can serve."""
    return [link.name for link in links if not link.why]
