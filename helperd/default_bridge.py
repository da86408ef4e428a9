"""The default network `bridge` as the configuration file has it: what is asked for, and the way there from what there is."""

from __future__ import annotations

import hashlib
import ipaddress
import logging
from collections.abc import Mapping, Sequence

import msgspec

from drivers.driver import Driver, find
from helperd.bridge_settings import NAME, OPTIONS, BridgeSettings, bridge_request, subnet_request
from helperd.changes import Changes
from helperd.host_facts import HostFacts
from helperd.store import Change
from helperd.subnets import Cut, check_subnets, default_pools
from protocol.errors import Conflict, NetdeckError
from protocol.model import Network, Subnet
from protocol.names import display_text
from protocol.requests import SubnetRequest

log = logging.getLogger("netdeck.networks")
_NOTE = "default bridge"  # in the store: which settings were carried out last


def pools_with(instance: str, configured: Sequence[Cut]) -> dict[int, tuple[Cut, ...]]:
    """The pools by family: the configured ones, for a family without any the default ones."""
    found = default_pools(instance)
    for family in found:
        own = tuple(cut for cut in configured if cut.base.version == family)
        if own:
            found[family] = own
    return found


class DefaultBridge:
    """Brings the stored network `bridge` to what the file says, at the start of the helper."""

    def __init__(self, changes: Changes, facts: HostFacts, settings: BridgeSettings, pools: Mapping[int, Sequence[Cut]]) -> None:
        self._changes, self._facts, self._settings, self._pools = changes, facts, settings, pools
        self.hindrance = ""  # why what the file says is not in force, in words

    def _digest(self) -> str:
        return hashlib.sha256(msgspec.json.encode(self._settings)).hexdigest()

    async def follow(self, *, made: bool) -> None:
        """Plan the network anew where the file has changed since it was last carried out, unless it was `made` just now. What can't
        be done is told in `hindrance` and in the log, and the network stays as it was."""
        store = self._changes.store
        if made:
            store.keep_note(_NOTE, self._digest())
        if store.note(_NOTE) == self._digest():
            return
        async with self._changes.lock:
            current = next((item for item in self._changes.records.networks.values() if item.name == NAME and item.predefined), None)
            if current is None:
                return  # it could not be made, which was told
            try:
                wanted = self._wanted(current)
                self._check_containers(current, wanted)
                if wanted != current:
                    await self._changes.carry_out(Change("network.update", 0, networks=(wanted,)))
            except NetdeckError as error:
                self.hindrance = error.message
                log.error("the network %s stays as it is: %s", NAME, error.message)
                return
        store.keep_note(_NOTE, self._digest())

    def _wanted(self, current: Network) -> Network:
        records = self._changes.records
        driver: Driver = find(records.drivers, "bridge")
        request = bridge_request(self._settings)
        families = (4, 6) if request.ipv6 else (4,)
        asked = {family: subnet_request(self._settings, family) for family in families}
        kept = {family: item for item in current.subnets if (family := _family(item)) in families and asked[family] is None}
        requests = [item for item in asked.values() if item is not None]
        requests += [SubnetRequest(subnet=item.subnet, gateway=item.gateway) for item in kept.values()]
        others = [item for item in records.networks.values() if item.id != current.id]
        ours = frozenset(item.link for item in records.networks.values() if item.made_link and item.link)
        subnets = check_subnets(NAME, requests, ipv4=True, ipv6=request.ipv6, networks=others, host=self._facts.ranges(ours),
                                pools=self._pools)
        subnets = tuple(msgspec.structs.replace(item, chosen=kept[_family(item)].chosen) if _family(item) in kept else item
                        for item in subnets)
        options = {**current.options, **{option.name: option.default for option in driver.info.options
                                         if option.name in OPTIONS.values()}, **request.options}
        network = msgspec.structs.replace(current, subnets=tuple(sorted(subnets, key=_family)), options=options, ipv4=True,
                                          ipv6=request.ipv6)
        host = self._facts.view(records.instance)
        link = host.links.get(current.link)
        if link is not None and current.made_link and not link.ours:  # its mark may not be seen yet, if it was just made again
            host = msgspec.structs.replace(host, links={**host.links, link.name: msgspec.structs.replace(link, ours=True)})
        return driver.check(network, host, others)

    def _check_containers(self, current: Network, wanted: Network) -> None:
        """Raise Conflict where containers that are connected could not keep what they have."""
        records = self._changes.records
        endpoints = records.endpoints_of(network=current.id)
        if not endpoints:
            return
        names = ", ".join(display_text(records.owner(item.id)) for item in endpoints[:8]) + (" …" if len(endpoints) > 8 else "")
        before, after = ([(item.subnet, item.gateway) for item in network.subnets] for network in (current, wanted))
        if before != after:
            what = " to ".join(", ".join(f"{subnet} (gateway {gateway})" for subnet, gateway in rows) for rows in (before, after))
            raise Conflict(f"the configuration changes its subnets from {what}, and containers are connected, which keep their addresses: "
                           f"{names}. Disconnect them and restart the helper", users=names)
        leases = records.leases(current.id)
        for subnet in wanted.subnets:
            for name, address in subnet.aux.items():
                if address in leases:
                    raise Conflict(f"the configuration makes {address} the gateway ({name}), and container "
                                   f"{display_text(records.owner(leases[address]))} has it. Disconnect it and restart the helper",
                                   users=names)


def _family(subnet: Subnet) -> int:
    return ipaddress.ip_network(subnet.subnet).version
