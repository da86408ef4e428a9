"""What links open where containers may not talk to each other: objects of two containers each, from the stored state. Pure.

A link follows a name, so a container that comes, goes, or publishes a port changes what others linked to it may reach.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from drivers.linking import OpensLinks
from drivers.objects import AnyObject
from helperd.container_links import follows, shown_ports
from helperd.store import Change
from protocol.model import Container, Endpoint, Network

if TYPE_CHECKING:
    from helperd.records import Records

NO_CHANGE = Change("", 0)


class Openings(NamedTuple):
    """Before a change and after it."""

    before: list[AnyObject]
    after: list[AnyObject]

    def places(self) -> set[str]:
        """Where the objects are that the change makes or takes away."""
        return {item.place for item in {*self.before} ^ {*self.after}}


def openings(records: Records, change: Change) -> Openings:
    """What links open now, and once `change` is done."""
    if not records.linking and not any(item.links for item in change.containers):
        return Openings([], [])
    return Openings(opened(records), opened(records, change))


def opened(records: Records, change: Change = NO_CHANGE) -> list[AnyObject]:
    """All that links open once `change` is done."""
    networks = [item for item in (*(item for item in records.networks.values() if item.id not in change.drop_networks
                                    and all(item.id != fresh.id for fresh in change.networks)), *change.networks)
                if _opens(records, item)]
    if not networks:
        return []
    fresh = {item.id: item for item in change.containers}
    named = {item.name: item for item in change.containers}
    found: list[AnyObject] = []
    for source in {**records.linking, **fresh}.values():
        if source.id in change.drop_containers or source.status != "running" or not source.links:
            continue
        ends = _endpoints(records, change, source)
        for link in source.links:
            target = named.get(link.target) or records.named(link.target)
            if target is not None and target.id not in change.drop_containers and follows(link, target):
                found += _between(records, networks, ends, target, _endpoints(records, change, target))
    return list(dict.fromkeys(found))


def _opens(records: Records, network: Network) -> bool:
    driver = records.drivers.get(network.driver)
    return isinstance(driver, OpensLinks) and driver.opens_links(network)


def _endpoints(records: Records, change: Change, container: Container) -> dict[str, Endpoint]:
    """The endpoints of a container by network, once `change` is done."""
    stored = [item for item in records.endpoints_of(container=container.id) if item.id not in change.drop_endpoints]
    return {item.network: item for item in (*stored, *(item for item in change.endpoints if item.container == container.id))}


def _between(records: Records, networks: list[Network], source: dict[str, Endpoint], target: Container,
             ends: dict[str, Endpoint]) -> list[AnyObject]:
    found: list[AnyObject] = []
    for network in networks:
        if network.id in source and network.id in ends:
            driver = records.drivers[network.driver]
            assert isinstance(driver, OpensLinks)
            ports = list(dict.fromkeys(shown_ports(target, ends.values())))
            found += driver.link_objects(network, source[network.id], ends[network.id], ports)
    return found
