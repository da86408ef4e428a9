"""A bridge network with an uplink: a link of the host as its port, so that the bridge is a switch of the site's network. Pure.

The host takes no part in such a network: it has no address on the bridge, and the router is the site's. A link by which the host is
reached can't be given away like that, so it is refused: as a port of a bridge it would answer for none of its addresses any more.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import msgspec

from drivers.beside import FAMILY, told
from drivers.driver import HostView
from drivers.objects import HOST, AnyObject, Uplink
from drivers.parents import NO_SLAAC, vlan_id
from protocol.errors import Conflict, InvalidValue, NotFound
from protocol.model import Network, OptionInfo
from protocol.names import display_text, suggestion

UPLINK = OptionInfo(
    "uplink", "link", "", "a link of the host, without addresses, that becomes a port of the bridge and leads to the site's network; the "
    "host itself has no address there", fixed="the host's link is given back when the network is removed", notes=(
        "The bridge is a switch of the site's network: the host has no address on it, and its firewall does not stand between the "
        "containers and the site.", NO_SLAAC))


def with_uplink(network: Network, host: HostView, others: Sequence[Network]) -> Network:
    """`network`, which knows now how its uplink was before. Raises NotFound, InvalidValue, Conflict where that can't be one."""
    name = network.uplink
    if not name:
        return network
    if network.internal:
        raise InvalidValue(f"an internal network leads nowhere, so option uplink={name} has no effect: leave out one of them",
                           field="uplink", value=name)
    for other in others:
        if other.id != network.id and name in (other.uplink, other.link):
            raise Conflict(f"{name} can't be the uplink of network {network.name}: network {other.name} has it", field="uplink", value=name,
                           with_=other.name)
    link = host.links.get(name)
    if link is None:
        theirs = sorted(display_text(item.name) for item in host.links.values() if not (item.loopback or item.ours))
        known = ", ".join(theirs[:16]) or "none"
        what = _by_hand(name, host) or f"{suggestion(name, host.links)}: known are {known}"
        raise NotFound(f"there is no link {name} on this host{what}", field="uplink", name=name)
    addresses = [item for item in link.addresses if not item.startswith("fe80:")]
    on_top = sorted(display_text(item.name) for item in host.links.values() if item.lower == name and item.kind in FAMILY)
    on_top += [told(item) + "," for item in link.hung if item.kind in FAMILY and item.where != "host"]
    for there, why, remedy in (
            (link.loopback, "it is a loopback link", "name the link that leads to the site's network"),
            (not link.mac, "it is not an Ethernet link", "name one that has a MAC address"),
            (link.ours, "netdeck made it for another network", "name a link of the host"),
            (bool(link.master), f"it is a port of {link.master}", f"take it out first, or use that bridge with -o name={link.master}"),
            (link.kind == "bridge", "it is a bridge", f"use it as the network's own with -o name={name}"),
            (bool(on_top), f"{' '.join(on_top)} hangs on it", "remove that first, or name another link"),
            (bool(addresses), f"the host has {', '.join(addresses)} on it, where it could not be reached any more",
             f"use macvlan with -o parent={name}, which leaves the host its link, or name a link without addresses"),
            (link.routed, "the host has routes by it, which would lead nowhere any more",
             f"use macvlan with -o parent={name}, or name a link without routes")):
        if there:
            raise Conflict(f"{name} can't be the uplink of network {network.name}: {why}. Instead, {remedy}", field="uplink", value=name,
                           with_=link.master or name)
    check_mtu(network, host)
    return msgspec.structs.replace(network, uplink_was_up=link.up)


def check_mtu(network: Network, host: HostView) -> None:
    """Raises InvalidValue where the network's packets are larger than its uplink takes: a bridge drops them without a word."""
    link = host.links.get(network.uplink)
    if link is not None and int(network.options.get("mtu", "1500")) > link.mtu:
        raise InvalidValue(f"option mtu={network.options['mtu']} is more than {network.uplink} has: expected at most {link.mtu}",
                           field="mtu", value=network.options["mtu"], expected=str(link.mtu))


def uplink_objects(network: Network) -> tuple[AnyObject, ...]:
    """The host's link as a port."""
    name = network.uplink
    return (Uplink(HOST, name, network.link, network.uplink_was_up),) if name else ()


def _by_hand(name: str, host: HostView) -> str:
    """How the VLAN is made that is missing, "" where `name` is not one of a link: netdeck makes it for a parent, not for an uplink."""
    base, _, text = name.rpartition(".")
    vid = vlan_id(text)
    if base not in host.links or len(name) > 15:
        return ""
    if vid is None:
        return f", and {text!r} is no VLAN id of {base}: expected 1 to 4094"
    return (f", and VLANs are made for parents (macvlan, ipvlan) only: make it with `ip link add link {shlex.quote(base)} name "
            f"{shlex.quote(name)} type vlan id {vid} && ip link set {shlex.quote(name)} up`")
