"""What the kernel holds of networks whose driver can't be used: nobody knows what it should be, so a repair leaves it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from drivers.objects import AnyObject, Bridge, Veth, parse_mark
from drivers.unusable import problem
from helperd.records import Records


def without_theirs(records: Records, observed: Iterable[AnyObject], desired: Iterable[AnyObject]) -> list[AnyObject]:
    """`observed` but for what belongs to networks of unusable drivers, and what lives in their containers and nobody wants."""
    found = list(observed)
    networks = {item.id for item in records.networks.values() if problem(records.drivers, item.driver)}
    if not networks:
        return found
    endpoints = {item.id: item for item in records.endpoints.values() if item.network in networks}
    places = {item.container for item in endpoints.values()}
    links: set[tuple[str, str]] = set()
    for item in found:
        mark = parse_mark(item.alias) if isinstance(item, Bridge | Veth) else None
        if isinstance(item, Bridge | Veth) and mark is not None and mark[2] in (networks | endpoints.keys()):
            links.add((item.place, item.name))
            if isinstance(item, Veth):
                links.add((item.peer_place, item.peer_name))
    wanted = {item.key for item in desired}
    return [item for item in found if item.key in wanted or not (
        item.place in places or item.on in links or (item.key[0] == "link" and (item.place, item.key[2]) in links))]
