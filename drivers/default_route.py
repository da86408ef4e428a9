"""Which endpoint of a container gives its default routes, and what follows from that for published ports. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from drivers.driver import Driver
from drivers.objects import HOST, AnyObject, Masked, Route
from drivers.parsed import family_of
from protocol.model import Endpoint, Network


def choose_default_routes(attached: Iterable[tuple[Network, Endpoint]], drivers: Mapping[str, Driver]) -> tuple[AnyObject, ...]:
    """The default routes of a container from all its attachments, at most one a family.

    As Docker orders them: networks that lead somewhere before internal ones (most of which give none: their driver says so), those
    that give a gateway for both families before those that give one, then by name. IPv4 and IPv6 may come from two networks. None is
    given beside one that the container had from somebody else when it was attached.
    """
    offers = [
        (network.internal, network.name, [route for route in drivers[network.driver].default_routes(network, endpoint)
                                          if _family(route) not in endpoint.kept_defaults])
        for network, endpoint in attached
    ]
    offers.sort(key=lambda offer: (offer[0], -len({_family(route) for route in offer[2]}), offer[1]))
    chosen: dict[int, AnyObject] = {}
    for _, _, routes in offers:
        for route in routes:
            chosen.setdefault(_family(route), route)
    return tuple(chosen[family] for family in sorted(chosen))


def masked(attached: Iterable[tuple[Network, Endpoint]], routes: Iterable[AnyObject]) -> tuple[Masked, ...]:
    """The addresses of a container whose published ports it would answer by another way than they came: its default `routes`
    are not by that link."""
    ways = {_family(route): route.link for route in routes if isinstance(route, Route)}
    found: dict[Masked, None] = {}
    for _, endpoint in attached:
        versions = {family_of(port.host) for port in endpoint.ports}
        for prefix in endpoint.addresses:
            if family_of(prefix) in versions and ways.get(family_of(prefix)) != endpoint.ifname:
                found[Masked(HOST, prefix.partition("/")[0])] = None
    return tuple(found)


def _family(route: AnyObject) -> int:
    if not isinstance(route, Route):
        raise ValueError(f"a default route of a driver is not a route: {route}")
    return family_of(route.destination)
