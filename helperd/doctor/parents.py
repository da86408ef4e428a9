"""Networks that hang on a link of the host: whether that is there and can carry them, and what its kind and their mode don't allow. Pure.

Sources: drivers/net/macvlan.c, drivers/net/ipvlan; IEEE 802.11 (a station's access point knows one address of it), 802.1Qbg (reflective
relay); what virtual machines' switches let pass is in the manuals of their makers.
"""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Iterator

from drivers.host_access import GivesHostAccess
from helperd.cut_off import wire_of
from helperd.doctor.situation import Situation
from helperd.kernel_news import link_is_up
from protocol.errors import InvalidValue
from protocol.findings import Finding
from protocol.model import Link, Network
from protocol.names import display_text

_UP = 0x1  # IFF_UP
# Whose switch drops what does not come from the card's own MAC address, unless it is told otherwise; those that can't be told.
_VIRTUAL = {"virtio_net": "KVM", "vmxnet3": "VMware", "hv_netvsc": "Hyper-V", "vif": "Xen", "xen_netfront": "Xen"}
_CLOUD = {"ena": "Amazon EC2", "gve": "Google Compute Engine", "mana": "Microsoft Azure"}


def parents(situation: Situation) -> Iterator[Finding]:
    """What is wrong, or good to know, of each network with containers that hangs on a link of the host, or has an uplink."""
    for network in situation.networks:
        hangs = network.driver in situation.parent_drivers
        if not (hangs or network.uplink) or network.internal or not situation.used(network):
            continue
        link = situation.links.get(wire_of(network))
        if link is None or not link_is_up(link):
            yield _cut_off(situation, network, link)
            continue
        yield from _foreign_addresses(situation, network, link)
        if hangs:
            yield from _limits(situation, network)


def _cut_off(situation: Situation, network: Network, link: Link | None) -> Finding:
    name, count = display_text(wire_of(network)), _containers(situation, network)
    if link is None:
        below = name.rpartition(".")[0] if network.made_link and not network.uplink else name
        return Finding(
            f"parent.{network.name}", "error", f"the link {name} that network {network.name} hangs on is gone",
            f"Where it was deleted or moved, {count} cut off. Where it only has another name, what hangs on it works, and nothing can "
            "join.",
            f"Bring {below} back, or give it that name again: {'the rest is' if below != name else 'what hangs on it is'} made again then, "
            "where it is lost.",
            networks=(network.name,))
    off = next((item for item in (link, _card(situation, link)) if not item.flags & _UP), None)
    below = "" if off is None or off is link else f", for {display_text(off.name)} below it is switched off"
    return Finding(
        f"parent.{network.name}", "error",
        f"the link {name} that network {network.name} hangs on {'is switched off' if off is link else 'has no carrier'}{below}",
        f"Nothing leaves or comes by it: {count} cut off.",
        "Switch it on." if off is not None else "See to the cable, or to what is at its other end.",
        commands=(f"ip link set {shlex.quote(off.name)} up",) if off is not None else (), networks=(network.name,))


def _foreign_addresses(situation: Situation, network: Network, link: Link) -> Iterator[Finding]:
    """Cards and switches that pass only frames with the card's own MAC address: containers with addresses of their own."""
    if not network.uplink and (network.driver != "macvlan" or network.options.get("macvlan_mode") == "passthru"):
        return
    card = _card(situation, link)
    behind = situation.adapter(card.name)
    name = display_text(card.name)
    other = "Use driver ipvlan, whose containers have the MAC address of the link."
    who = f"network {network.name} (driver {network.driver})"
    if behind.wireless:
        yield Finding(
            f"wireless.{network.name}", "error", f"{who} hangs on {name}, which is wireless",
            "An access point answers only the MAC address that has joined it: what containers send with theirs is dropped.",
            other, networks=(network.name,))
    elif behind.driver in _CLOUD:
        yield Finding(
            f"virtual.{network.name}", "error",
            f"{who} hangs on {name}, a card of {_CLOUD[behind.driver]} (driver {behind.driver})",
            "The network there passes only frames with MAC and IP addresses that were given to the machine.",
            f"{other} Their IP addresses have to be given to the machine there, too.", networks=(network.name,))
    elif behind.driver in _VIRTUAL:
        yield Finding(
            f"virtual.{network.name}", "notice",
            f"{who} hangs on {name}, a card of a virtual machine (driver {behind.driver})",
            f"A switch of {_VIRTUAL[behind.driver]} often passes only frames with the card's own MAC address: then nothing reaches the "
            "containers.",
            "If they get no answers, let the switch pass other MAC addresses (promiscuous mode, forged transmits, MAC spoofing). Or: "
            + other,
            networks=(network.name,))


def _card(situation: Situation, link: Link) -> Link:
    """The link below VLANs."""
    by_index = {item.ifindex: item for item in situation.links.values()}
    for _ in range(8):
        below = by_index.get(link.lower)
        if link.kind != "vlan" or below is None or link.lower_inode not in (0, link.inode):
            break
        link = below
    return link


def _limits(situation: Situation, network: Network) -> Iterator[Finding]:
    """What can't be with this mode, said once for each network, so that nobody looks for a fault."""
    details = tuple(_limit_lines(situation, network))
    if details:
        mode = network.options.get(f"{network.driver}_mode", "")
        yield Finding(
            f"limits.{network.name}", "notice",
            f"what network {network.name} (driver {network.driver}, mode {mode}, on {display_text(network.link)}) can't do",
            "The kernel sets these limits, or the switch outside. None of them is a fault.",
            "Where they don't matter there is nothing to do.", details=details, networks=(network.name,))


def _limit_lines(situation: Situation, network: Network) -> Iterator[str]:
    link = display_text(network.link)
    driver = situation.parent_drivers[network.driver]
    if isinstance(driver, GivesHostAccess) and not network.host_addresses:
        try:
            driver.check_host_access(network)
        except InvalidValue:
            yield f"the host and its containers can't reach each other over {link}, nor can the host be given a way in this mode"
        else:
            yield (f"the host and its containers can't reach each other over {link}: netdeck network host-access {network.name} on "
                   "gives the host a way")
    least = situation.links[network.link].mtu
    if least < (wanted := int(network.options.get("mtu", least))):
        yield f"packets over {least} bytes: {link} takes no larger ones now, where the network's MTU is {wanted}"
    mode, flag = network.options.get(f"{network.driver}_mode", ""), network.options.get("ipvlan_flag", "bridge")
    if "vepa" in (mode, flag):
        yield (f"its containers reach each other only where the switch at {link} sends frames back to the port that they came from "
               "(hairpin, 802.1Qbg)")
    elif "private" in (mode, flag):
        yield "its containers can't reach each other"
    if network.driver == "macvlan" and mode != "passthru":
        card = _card(situation, situation.links[network.link])
        count = _foreign_count(situation, card)
        yield (f"{display_text(card.name)} sends with {count} MAC address{'es' if count != 1 else ''} beside its own, of containers and "
               "of the host's ways to them: a switch with port security must allow that many on its port")
    if network.driver == "ipvlan" and mode != "l2":
        yield "there is no broadcast and no multicast in it"
        yield from (f"other hosts reach {item.subnet} only with a route: ip route add {item.subnet} via {address}"
                    for item in network.subnets if (address := _address_of(situation, network, item.subnet)))


def _foreign_count(situation: Situation, card: Link) -> int:
    """How many MAC addresses other than its own a card sends with, for all macvlan networks on it and its VLANs."""
    beside = [item for item in situation.networks if item.driver == "macvlan" and (link := situation.links.get(item.link)) is not None
              and _card(situation, link) is card]
    return sum(len(situation.endpoints[item.id]) + bool(item.host_addresses) for item in beside)


def _address_of(situation: Situation, network: Network, subnet: str) -> str:
    """The host's address on the parent, of the family of `subnet`; "" where it has none."""
    version = ipaddress.ip_network(subnet).version
    own = (ipaddress.ip_interface(item.address).ip for item in situation.ranges.addresses if item.device == network.link)
    return next((str(address) for address in own if address.version == version and not address.is_link_local), "")


def _containers(situation: Situation, network: Network) -> str:
    count = len(situation.endpoints[network.id])
    return "its container is" if count == 1 else f"its {count} containers are"
