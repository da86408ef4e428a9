"""The operations that only look: containers, interfaces, events, drivers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from drivers.port_commands import vlan_text
from drivers.vlans import filters, uplink_port, words
from helperd.changes import CallContext
from helperd.containers_known import KnownContainers
from helperd.inspect import container_document
from helperd.live import Live
from helperd.records import Records
from helperd.streams import Stream
from protocol.messages import COUNTER_COLUMNS, Counters
from protocol.model import Container, Endpoint, Link
from protocol.packed_counters import unpack_counters
from protocol.requests import ContainerInspect, ContainerList, DriverList, EventList, InterfaceList


class Views:
    """What clients ask for once; what they follow comes by subscription."""

    def __init__(self, records: Records, known: KnownContainers, live: Live, shown: Callable[[Endpoint], Endpoint]) -> None:
        self._records, self._known, self._live, self._shown = records, known, live, shown

    async def containers(self, request: ContainerList, call: CallContext, stream: Stream) -> Any:
        if request.foreign:
            await self._known.scan()
        return [item for item in self._known.everyone(ended=request.all)
                if request.foreign or item.runtime == "netdeck" or item.attached]

    async def inspect(self, request: ContainerInspect, call: CallContext, stream: Stream) -> Any:
        return [self._document(await self._known.stored(name)) for name in request.names]

    def _document(self, container: Container) -> dict[str, Any]:
        endpoints = map(self._shown, self._records.endpoints_of(container=container.id))
        pairs = [(self._records.networks[item.network], item) for item in endpoints]
        topics = ("links", "addresses", "routes", "neighbours")
        inside: dict[str, list[Any]] = {topic.capitalize(): [] for topic in topics}
        if container.inode:
            for topic, _, value in self._live.world.snapshot(topics, (container.inode,)):
                inside[topic.capitalize()].append(msgspec.to_builtins(value))
        return container_document(container, pairs, inside)

    async def interfaces(self, request: InterfaceList, call: CallContext, stream: Stream) -> Any:
        batch = await self._live.counters.sample()
        message = Counters(0, batch.time, batch.ns, batch.ifindex, batch.columns)
        numbers = {(inode, ifindex): values for inode, ifindex, values in unpack_counters(message)}
        zeros = (0,) * len(COUNTER_COLUMNS)
        vlans = self._vlans()
        host, carried = self._live.world.host, self._carried()
        return [{"link": msgspec.to_builtins(row), "vlans": vlans.get(row.name, "") if row.inode == host else "",
                 "networks": [row.network] if row.network else carried.get(row.name, []) if row.inode == host else [],
                 "counters": dict(zip(COUNTER_COLUMNS, numbers.get((row.inode, row.ifindex), zeros), strict=True))}
                for row in self._live.world.rows("links") if isinstance(row, Link)]

    def _carried(self) -> dict[str, list[str]]:
        """Names of the networks that a link of the host carries, as their bridge, parent or uplink, by the link's name."""
        found: dict[str, list[str]] = {}
        for network in sorted(self._records.networks.values(), key=lambda item: item.name):
            for link in filter(None, (network.link, network.uplink)):
                found.setdefault(link, []).append(network.name)
        return found

    def _vlans(self) -> dict[str, str]:
        """The VLANs of ports of bridges that are aware of them, by the name of the host's link."""
        records = self._records
        found = {item.host_link: words(records.networks[item.network], item) for item in records.endpoints.values()
                 if item.host_link and item.network in records.networks and filters(records.networks[item.network])}
        for network in records.networks.values():
            found |= {port.link: vlan_text(port) for port in uplink_port(network)}
        return found

    async def events(self, request: EventList, call: CallContext, stream: Stream) -> Any:
        return [item for item in self._live.world.events() if item.time > request.since][-request.limit:]

    async def drivers(self, request: DriverList, call: CallContext, stream: Stream) -> Any:
        return [driver.info for driver in self._records.drivers.values()]
