"""What a link opens on a bridge whose containers may not talk to each other, as kernel objects. Pure.

As docker's legacy links: the container that is linked reaches the ports that the other exposes or publishes, and gets its answers.
Frames don't pass between isolated ports of a bridge, so the two get routes to each other by the host, which filters what goes
there. Both families need the same, and nobody else's packets take another way. (The host tells both of a shorter way, by redirects:
IPv4's are not followed to an address that ARP has not found, IPv6's are, but for a setting of the endpoint's.) Source: moby,
libnetwork/drivers/bridge/link.go.
"""

from __future__ import annotations

from drivers.linking import Ports
from drivers.objects import HOST, AnyObject, Linked, Route
from drivers.parsed import family_of, lies_in
from protocol.model import Endpoint, Network

_BITS = {4: 32, 6: 128}


def opens_links(network: Network) -> bool:
    """Only on the default bridge: on networks of users a link is an alias, as docker has it."""
    return network.predefined and network.options.get("icc") == "false"


def link_objects(network: Network, source: Endpoint, target: Endpoint, ports: Ports) -> tuple[AnyObject, ...]:
    """Routes between the two by the bridge's own addresses, and the ports. Nothing where the other exposes none."""
    if not ports:
        return ()
    found: list[AnyObject] = []
    ends, others = _addresses(source), _addresses(target)
    for version in sorted(ends.keys() & others.keys()):
        gateway = next((item.gateway for item in network.subnets if lies_in(ends[version], item.subnet)), None)
        if gateway is None or (version == 4 and network.options.get("inhibit_ipv4") == "true"):
            continue  # the host has no address there
        mine, its = (prefix.partition("/")[0] for prefix in (ends[version], others[version]))
        found.append(Route(source.container, f"{its}/{_BITS[version]}", source.ifname, gateway))
        found.append(Route(target.container, f"{mine}/{_BITS[version]}", target.ifname, gateway))
        found += (Linked(HOST, mine, its, protocol, number) for number, protocol in ports)
    return tuple(dict.fromkeys(found))


def _addresses(endpoint: Endpoint) -> dict[int, str]:
    """Its first address of each family, with the prefix length."""
    return {family_of(prefix): prefix for prefix in reversed(endpoint.addresses)}
