"""The IPv6 settings of a link, as kernel objects, and the MTU that a link must have for them to exist. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from drivers.objects import Sysctl

IPV6_MIN_MTU = 1280  # RFC 8200, section 5


def settings6(place: str, link: str, mtu: int, settings: Mapping[str, str]) -> tuple[Sysctl, ...]:
    """`settings`, by their names behind ``net.ipv6.conf.LINK.``, of a link with `mtu`: none where that is too small.

    The kernel takes IPv6 away from a link with an MTU below 1280, and its settings with it; both come back, with the defaults of
    the namespace, when the MTU is raised (net/ipv6/addrconf.c, NETDEV_CHANGEMTU). So the settings are made after the MTU.
    """
    if mtu < IPV6_MIN_MTU:
        return ()
    return tuple(Sysctl(place, f"net.ipv6.conf.*.{name}", value, link) for name, value in settings.items())
