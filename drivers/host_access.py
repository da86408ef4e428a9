"""Host access: a link of the host's own on the parent of a network, beside those of the containers. Pure.

The kernel keeps a parent apart from what hangs on it (drivers/net/macvlan.c, drivers/net/ipvlan), but not the links on it from each
other: so the host gets one too. Nothing but the containers is routed by it: the host's way to the rest of the subnet, the site's
router among it, stays what it was. So its address has the length of the family, and each container is a route of its own, but for
an ip-range in which there is nobody else.

Over the new link the host must not speak for addresses that it has on others: the site would learn that they are at its MAC address,
and reverse path filters would drop what then comes in by it. `arp_ignore` and `arp_announce` see to that (ip-sysctl.rst).
"""

from __future__ import annotations

import ipaddress
from typing import Protocol, runtime_checkable

from drivers.ipv6 import settings6
from drivers.objects import HOST, Address, AnyObject, Chain, Child, Jump, Match, Route, Rule, Sysctl, Up
from protocol.model import Endpoint, Network
from protocol.names import display_text

AUX = "host-access"  # the aux-address under which the host's own address is kept out of the pool


@runtime_checkable
class GivesHostAccess(Protocol):
    """What a driver may have beside `drivers.driver.Driver`: one that puts `network_part` among the objects of a network, and `ways_to`
    among those of an endpoint."""

    def check_host_access(self, network: Network) -> None:
        """Raises InvalidValue, with the reason, where the host can't be given a link in `network`."""
        ...


def host_link(network: Network) -> str:
    """What the host's link in a network is called."""
    return "ha-" + network.id[:12]


def network_part(network: Network, own: Child) -> tuple[AnyObject, ...]:
    """The host's part of `network`, with `own` for its link (of the kind of the containers'); () where it has none."""
    if not network.host_addresses:
        return ()
    link = own.name
    families = {ipaddress.ip_address(address).version for address in network.host_addresses}
    settings = {"arp_ignore": "1", "arp_announce": "2"}
    settings_of6 = {"accept_ra": "0", "disable_ipv6": "0" if 6 in families else "1"}
    ranges = (Route(HOST, part, link) for part in _routed(network))
    chain = f"host-access-{link}"
    return (
        own, *(Sysctl(HOST, f"net.ipv4.conf.*.{name}", value, link) for name, value in settings.items()),
        *settings6(HOST, link, own.mtu, settings_of6),
        *(Address(HOST, link, _alone(address)) for address in network.host_addresses), Up(HOST, link), *ranges,
        Chain(HOST, chain, _rules(network)), Jump(HOST, "forward-from", link, chain), Jump(HOST, "forward-to", link, chain),
    )


def ways_to(network: Network, endpoint: Endpoint) -> tuple[AnyObject, ...]:
    """The host's routes to one container, where no range of the network holds its addresses."""
    families = {ipaddress.ip_address(address).version for address in network.host_addresses}
    ranges = [ipaddress.ip_network(part) for part in _routed(network)]
    found: list[AnyObject] = []
    for prefix in endpoint.addresses:
        address = ipaddress.ip_interface(prefix).ip
        if address.version in families and not any(address in part for part in ranges):
            found.append(Route(HOST, _alone(str(address)), host_link(network)))
    return tuple(found)


def routes_text(network: Network) -> tuple[str, ...]:
    """What of the network is routed as a whole; containers elsewhere have a route each."""
    return _routed(network)


def _alone(address: str) -> str:
    return f"{address}/{ipaddress.ip_address(address).max_prefixlen}"


def _routed(network: Network) -> tuple[str, ...]:
    """The ip-ranges in which there can be nobody but containers and the host itself: no gateway, no address kept for others, and
    not the whole subnet, which the host has a route to already."""
    own = {ipaddress.ip_address(address) for address in network.host_addresses}
    families = {address.version for address in own}
    found = []
    for subnet in network.subnets:
        if subnet.ip_range is None:
            continue
        part, whole = ipaddress.ip_network(subnet.ip_range), ipaddress.ip_network(subnet.subnet)
        others = [ipaddress.ip_address(text) for text in (*subnet.aux.values(), *((subnet.gateway,) if subnet.gateway else ()))]
        if part.version in families and part != whole and not any(address in part for address in others if address not in own):
            found.append(str(part))
    return tuple(found)


def _rules(network: Network) -> tuple[Rule, ...]:
    """The link is for the host itself: it makes no router of it, but for published ports of other networks."""
    name = display_text(network.name).replace('"', "'").replace("\\", "/")[:40].encode("ascii", "replace").decode("ascii")
    return (
        Rule((Match("ct state", ("established", "related")),), "return", f"{name}: answers to what was let through"),
        Rule((Match("ct status", ("dnat",)),), "return", f"{name}: to ports that the host publishes"),
        Rule((), "drop", f"{name}: the host has access to it, and forwards nothing to or from it"),
    )
