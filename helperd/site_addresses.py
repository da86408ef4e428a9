"""Whether an address that a DHCP server or an operator names can be had by a container or by the host itself. Pure, but for `known`.

A site's DHCP server is not trusted with the host's routes: with host access each leased address becomes a route of the host, before
which no other counts. So what is leased then must be where the host looks for it already: on the link that the network hangs on.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from drivers.host_access import host_link
from helperd.cut_off import wire_of
from helperd.host_facts import HostFacts
from helperd.prefixes import IPAddress, IPNetwork, edges
from helperd.records import Records
from helperd.subnets import DEFAULT_LIKE, HostRanges
from protocol.model import Network
from protocol.names import display_text

NAME_SERVER = "a name server of the host"
_WIDEST = 16  # a server's subnet that is wider vouches for no more than this
_SHARED = ipaddress.ip_network("100.64.0.0/10")  # RFC 6598


class Known(NamedTuple):
    """All networks; the leases of one by its id, bare address → endpoint; whose endpoint it is; and the host, without the links of its
    own in networks."""

    networks: tuple[Network, ...]
    leases: Callable[[str], Mapping[str, str]]
    owner: Callable[[str], str]
    host: HostRanges


def known(records: Records, facts: HostFacts) -> Known:
    """What is known now."""
    networks = tuple(records.networks.values())
    return Known(networks, records.leases, records.owner, facts.ranges(frozenset(map(host_link, networks))))


def taken(network: Network, seen: Known) -> dict[str, str]:
    """Addresses that stay where they are, and what each is: the host's own, its routers and name servers, those of other networks'
    containers, and those that the host has in networks."""
    found: dict[str, str] = {}
    for other in seen.networks:
        if other.id != network.id:
            found |= {address: f"{seen.owner(ident)}'s on network {other.name}" for address, ident in seen.leases(other.id).items()}
        found |= dict.fromkeys(other.host_addresses, f"the host's own in network {other.name}")
    return found | _of_host(seen.host)


def hindrance(text: str, network: Network, seen: Known, *, access: bool, near: bool = True) -> str:
    """Why the bare address `text` can't be in `network`, whose addresses are not netdeck's to give; "" where it can.

    `access`: the host gets a route to it, or is it. `near`: what is known of the site's subnet by other means than the host's routes
    speaks for the address; it counts where the host has no part in that subnet."""
    address = ipaddress.ip_address(text)
    unusable = _unusable(address)
    if unusable:
        return unusable
    mine = _of_host(seen.host).get(text) or next(
        (f"the host's own in network {item.name}" for item in seen.networks if text in item.host_addresses), "")
    if mine:
        return f"it is {mine}"
    return _of_networks(address, network, seen, access) or (_elsewhere(address, network, seen.host, near) if access else "")


def vouches(prefix: str, address: str) -> bool:
    """Whether `address` is in the subnet of `prefix`, as a server gave it."""
    whole = ipaddress.ip_interface(prefix)
    length = max(whole.network.prefixlen, _WIDEST)
    return ipaddress.ip_address(address) in ipaddress.ip_network(f"{whole.ip}/{length}", strict=False)


def is_private(address: IPAddress) -> bool:
    """Whether it is of those that each site uses as it likes (RFC 1918, RFC 6598, RFC 4193)."""
    return address.is_private or address in _SHARED


def _unusable(address: IPAddress) -> str:
    for there, what in ((address.is_multicast, "a multicast address"), (address.is_loopback, "a loopback address"),
                        (address.is_unspecified, "no address"), (address.is_link_local, "a link-local address"),
                        (address.is_reserved, "of a reserved range"),
                        (address.version == 4 and int(address) >> 24 == 0, "no host's address")):
        if there:
            return f"it is {what}"
    return ""


def _of_host(host: HostRanges) -> dict[str, str]:
    found = dict.fromkeys(host.nameservers, NAME_SERVER)
    found |= {route.gateway: f"the router of the host's route {route.prefix}" for route in host.routes if route.gateway}
    return found | {item.address.partition("/")[0]: f"the host's own address on {display_text(item.device)}" for item in host.addresses}


def _of_networks(address: IPAddress, network: Network, seen: Known, access: bool) -> str:
    text = str(address)
    for other in seen.networks:
        if other.id == network.id or not (access or wire_of(other) == wire_of(network)):
            continue
        owner = seen.leases(other.id).get(text)
        if owner is not None:
            return f"it is {seen.owner(owner)}'s on network {other.name}"
        for subnet in other.subnets:
            # On one wire a network of ours and a server may share a subnet, where each gives out its own part.
            same = wire_of(other) == wire_of(network)
            part = ipaddress.ip_network(subnet.ip_range if same and subnet.ip_range else subnet.subnet)
            if address in part or text in (subnet.gateway, *subnet.aux.values()):
                return f"it is in {part} of network {other.name}, whose addresses netdeck gives out" if address in part else (
                    f"it is kept for something else in network {other.name}")
    return ""


def _elsewhere(address: IPAddress, network: Network, host: HostRanges, near: bool) -> str:
    """Why a route of the host's own to it would lead packets astray."""
    link = wire_of(network)
    prefixes: list[tuple[IPNetwork, str, str]] = [
        (prefix, route.device, route.gateway) for route in host.routes if route.prefix != "default"
        if (prefix := ipaddress.ip_network(route.prefix, strict=False)).version == address.version
        and prefix.prefixlen > DEFAULT_LIKE[prefix.version]]
    covering = [item for item in prefixes if address in item[0]]
    longest = max((item[0].prefixlen for item in covering), default=0)
    best = [item for item in covering if item[0].prefixlen == longest]
    here = next((prefix for prefix, device, gateway in best if device == link and not gateway), None)
    if here is not None:
        return f"it is {edges(here)[int(address)]} of {here}" if int(address) in edges(here) else ""
    if best:
        prefix, device, gateway = best[0]
        return f"the host's way to it is another: its route {prefix}" + (f" via {gateway}" if gateway else "") + (
            f" on {display_text(device)}" if device else "")
    on_link = sorted({str(prefix) for prefix, device, gateway in prefixes if device == link and not gateway})
    if on_link:
        return f"it is not where {link} leads, which is {', '.join(on_link)} by the host's routes"
    return "" if near else f"nothing says that it is where {link} leads"


def reserved(addresses: Mapping[str, str], version: int) -> Iterable[tuple[int, str]]:
    """`addresses` as pools have it, of one family."""
    parsed = ((ipaddress.ip_address(text), what) for text, what in addresses.items())
    return ((int(address), what) for address, what in parsed if address.version == version)
