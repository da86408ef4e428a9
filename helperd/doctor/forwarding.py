"""Settings of the host that packets of networks need: forwarding, and a reverse path filter that does not drop them.

Sources: ip-sysctl.rst of the kernel (ip_forward, forwarding, accept_ra, rp_filter), RFC 3704.
"""

from __future__ import annotations

from collections.abc import Iterator

from helperd.doctor.situation import Situation
from helperd.doctor.sysctl_fix import Setting
from protocol.findings import Finding
from protocol.model import Network
from protocol.names import display_text

_FORWARDING = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}
_OF_LINK = {4: "net.ipv4.conf.*.forwarding", 6: "net.ipv6.conf.*.forwarding"}

Mendable = tuple[Finding, tuple[Setting, ...]]


def forwarding(situation: Situation) -> Iterator[Mendable]:
    """Forwarding that is off: for a family as a whole, or on one link that packets pass."""
    for family, name in _FORWARDING.items():
        networks = [item for item in _routed(situation) if (item.ipv4 if family == 4 else item.ipv6)]
        if not networks:
            continue
        names = tuple(item.name for item in networks)
        severity = "error" if any(situation.used(item) for item in networks) else "warning"
        if situation.sysctl(name, "") == "0":
            settings = (*_keep_advertised(situation, family), Setting(name, "", "0", "1"))
            yield Finding(
                f"forwarding-ipv{family}", severity, f"IPv{family} forwarding is off on this host ({name} = 0)",
                "Containers reach each other and the host, but nothing outside, and nothing outside reaches a published port.",
                "Switch it on. The host then routes between all its links: see to it that its firewall says what may pass.",
                automatic=True, networks=names), settings
            continue
        links = dict.fromkeys((*(item.link for item in networks), *situation.uplinks.get(family, ())))
        off = [link for link in links if link in situation.links and situation.sysctl(_OF_LINK[family], link) == "0"]
        for link in off:
            yield Finding(
                f"forwarding-ipv{family}.{display_text(link)}", severity, f"IPv{family} forwarding is off on the link {display_text(link)}",
                "What comes in by this link is not passed on: containers get no answers, or can't send.",
                "Switch it on for this link.", automatic=True, networks=names), (Setting(_OF_LINK[family], link, "0", "1"),)


def _routed(situation: Situation) -> list[Network]:
    """The bridges by which the host routes: nothing of an internal one is, and one with an uplink has the site's router."""
    return [item for item in situation.bridges() if not item.internal and not item.uplink]


def _keep_advertised(situation: Situation, family: int) -> Iterator[Setting]:
    """A host that forwards takes no router advertisements, unless told so by 2: it would lose its own default route."""
    if family == 6:
        for link in situation.router_advertised:
            before = situation.sysctl("net.ipv6.conf.*.accept_ra", link)
            if before == "1":
                yield Setting("net.ipv6.conf.*.accept_ra", link, before, "2")


def reverse_path(situation: Situation) -> Iterator[Mendable]:
    """A strict reverse path filter where answers, or containers, come in by another link than the way back goes."""
    everywhere = int(situation.sysctl("net.ipv4.conf.all.rp_filter", "") or 0)

    def strict(link: str) -> bool:
        return max(everywhere, int(situation.sysctl("net.ipv4.conf.*.rp_filter", link) or 0)) == 1

    bridges = [item for item in _routed(situation) if item.ipv4]
    for link in situation.uplinks.get(4, ())[1:]:
        if bridges and strict(link):
            before = situation.sysctl("net.ipv4.conf.*.rp_filter", link) or "0"
            yield Finding(
                f"rp-filter.{display_text(link)}", "warning",
                f"the reverse path filter is strict on {display_text(link)}, and the host has several ways out "
                f"({', '.join(map(display_text, situation.uplinks[4]))})",
                f"A packet that comes in by {display_text(link)} is dropped when the route to its sender leads elsewhere. So clients that "
                "reach a published port by that link may get no answer.",
                "Set it to loose (2), where any route to the sender is enough.", automatic=True,
                networks=tuple(item.name for item in bridges)), (Setting("net.ipv4.conf.*.rp_filter", link, before, "2"),)
    for network in bridges:
        if network.options.get("inhibit_ipv4") == "true" and network.link in situation.links and strict(network.link):
            before = situation.sysctl("net.ipv4.conf.*.rp_filter", network.link) or "0"
            yield Finding(
                f"rp-filter.{network.link}", "warning", f"the reverse path filter is strict on {network.link}, which has no IPv4 address",
                f"The host has no route to the containers of {network.name} by that bridge, so all that they send through it is dropped.",
                "Set it to loose (2), or give the host a route to the subnet by that bridge.", automatic=True,
                networks=(network.name,)), (Setting("net.ipv4.conf.*.rp_filter", network.link, before, "2"),)
