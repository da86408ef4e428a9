"""The operation that gives the host a link of its own in a network, or takes it away."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

import msgspec

from drivers.driver import find
from drivers.host_access import AUX, GivesHostAccess, routes_text
from drivers.unusable import require_usable
from helperd.changes import CallContext, Changes
from helperd.endpoints import Last, Wish, chosen_addresses
from helperd.host_facts import HostFacts
from helperd.network_difference import differences
from helperd.networks import Networks
from helperd.prefixes import parse_address
from helperd.site_addresses import NAME_SERVER, Known, hindrance, is_private, known, taken, vouches
from helperd.site_probes import SiteProbes, asks
from helperd.store import Change, lease_address
from helperd.streams import Stream
from protocol.errors import Conflict, InvalidValue
from protocol.model import DHCP, Endpoint, Network, Plan, Subnet
from protocol.requests import NetworkHostAccess

_TRIES = 16  # addresses that others may have, one after the other, until the next is taken as it is


class HostAccess:
    """Switches host access on and off."""

    def __init__(self, changes: Changes, networks: Networks, facts: HostFacts, probes: SiteProbes) -> None:
        self._changes, self._records, self._networks, self._facts = changes, changes.records, networks, facts
        self._probes = probes

    async def switch(self, request: NetworkHostAccess, call: CallContext, stream: Stream) -> Any:
        """Operation `network.host-access`."""
        held = await self._held_by_others(request) if request.on and not request.dry_run else {}
        async with self._changes.lock:
            before = self._records.network(request.name)
            require_usable(find(self._records.drivers, before.driver))
            after, last = self._on(before, request, held) if request.on else (self._off(before, request), {})
            changed = differences(before, after)
            change = Change("network.host-access", call.uid, networks=(after,))
            mended = await self._networks.health.ready(before, dry_run=request.dry_run) if request.on else []
            steps = self._changes.steps(change) if changed else ()
            plan = self._networks.plan(change, steps) if changed else Plan()
            if changed and not request.dry_run:
                await self._changes.carry_out(change, last, steps)
        warnings = [*mended, *(await self._facts.warnings_now(after) if request.on else ())]
        return {"network": after, "changes": changed, "warnings": warnings, "plan": plan, "dry_run": request.dry_run}

    async def _held_by_others(self, request: NetworkHostAccess) -> dict[str, str]:
        """Who on the site answers for addresses that the host would else get, by address. Not under the lock of changes."""
        held: dict[str, str] = {}
        for _ in range(_TRIES):
            async with self._changes.lock:
                network = self._records.network(request.name)
                require_usable(find(self._records.drivers, network.driver))
                after, _last = self._on(network, request, held)
            if network.host_addresses or not asks(network):
                break
            host = Endpoint(id="", network=network.id, container="")
            found = await self._probes.named(network, host, after.host_addresses)
            if not found:
                break
            held |= found
            for address in found if network.ipam == DHCP else ():
                raise self._in_the_way(address, network, f"{held[address]} on {network.link}")
        return held

    def _on(self, network: Network, request: NetworkHostAccess, held: Mapping[str, str]) -> tuple[Network, Last]:
        driver = find(self._records.drivers, network.driver)
        if not isinstance(driver, GivesHostAccess):
            raise InvalidValue(f"host access is for networks that hang on a link of the host; network {network.name} (driver "
                               f"{network.driver}) is none" + (", and the host reaches its containers as it is"
                                                               if network.driver == "bridge" else ""),
                               field="name", value=network.name)
        driver.check_host_access(network)
        asked = {4: request.ip, 6: request.ip6}
        if network.host_addresses:
            if any(address is not None and address not in network.host_addresses for address in asked.values()):
                raise InvalidValue(f"the host has access to network {network.name} already, as {', '.join(network.host_addresses)}: switch "
                                   "it off first to give it another address", field="ip", value=str(request.ip or request.ip6))
            return network, {}
        seen = known(self._records, self._facts)
        if network.ipam == DHCP:
            own = self._beside_server(network, request, seen)
            for endpoint in self._records.endpoints_of(network=network.id):
                for prefix in endpoint.addresses:
                    self._require(lease_address(prefix), network, seen, near=vouches(prefix, own), owner=endpoint.id)
            return msgspec.structs.replace(network, host_addresses=(own,)), {}
        kept = {6 if ":" in subnet.aux[AUX] else 4: subnet.aux[AUX] for subnet in network.subnets if AUX in subnet.aux}
        bare = msgspec.structs.replace(network, subnets=tuple(map(_without_own, network.subnets)))
        wish = Wish(bare, asked[4] or kept.get(4), asked[6] or kept.get(6))
        elsewhere = taken(network, seen)
        for endpoint in self._records.endpoints_of(network=network.id):
            for address in map(lease_address, endpoint.addresses):
                if elsewhere.get(address, NAME_SERVER) != NAME_SERVER:
                    raise self._in_the_way(address, network, f"it is {elsewhere[address]}", endpoint.id)
        prefixes, last = chosen_addresses(self._records, wish, elsewhere, held)
        addresses = tuple(map(lease_address, prefixes))
        for address in addresses:
            if address in elsewhere:  # one that was asked for, and is a name server
                raise self._in_the_way(address, network, f"it is {elsewhere[address]}")
        subnets = tuple(_with_own(item, addresses) for item in bare.subnets)
        after = msgspec.structs.replace(bare, host_addresses=addresses, subnets=subnets)
        require_own_way(after, elsewhere, f"the host can't be given access to network {network.name}")
        return after, last

    def _require(self, address: str, network: Network, seen: Known, *, near: bool, owner: str = "") -> None:
        why = hindrance(address, network, seen, access=True, near=near)
        if why:
            raise self._in_the_way(address, network, why, owner)

    def _in_the_way(self, address: str, network: Network, why: str, owner: str = "") -> Conflict:
        """`owner` is the endpoint that has the address already, "" for the host's to be."""
        if not owner:
            field = "ip6" if ":" in address else "ip"
            return Conflict(f"{address} can't be the host's address in network {network.name}: {why}. Choose another that nobody has: "
                            f"netdeck network host-access --{field} ADDRESS {network.name} on", field=field, value=address, with_=why)
        whose = self._records.owner(owner)
        return Conflict(f"the host can't be given access to network {network.name}: its way to {address}, which container {whose} has "
                        f"there, would be another than it is now ({why}). Disconnect {whose} first", with_=whose, value=address)

    def _beside_server(self, network: Network, request: NetworkHostAccess, seen: Known) -> str:
        """The address that the operator names where the site's server gives out all others."""
        if request.ip is None or request.ip6 is not None:
            raise InvalidValue(f"the addresses of network {network.name} come from the site's DHCP server: name one for the host that it "
                               f"does not give out: netdeck network host-access --ip ADDRESS {network.name} on", field="ip",
                               value=str(request.ip6 or ""))
        address = parse_address(request.ip, "ip")
        owner = self._records.leases(network.id).get(str(address))
        if address.version != 4 or address.is_multicast or address.is_loopback or address.is_unspecified:
            raise InvalidValue(f"{address} can't be the host's address in network {network.name}: expected an IPv4 address of the site",
                               field="ip", value=str(address))
        if owner is not None:
            raise Conflict(f"address {address} is in use by container {self._records.owner(owner)}", field="ip", value=str(address),
                           with_=self._records.owner(owner))
        leased = [prefix for item in self._records.endpoints_of(network=network.id) for prefix in item.addresses]
        self._require(str(address), network, seen, near=is_private(address) or any(vouches(prefix, str(address)) for prefix in leased))
        return str(address)

    def _off(self, network: Network, request: NetworkHostAccess) -> Network:
        if request.ip is not None or request.ip6 is not None:
            raise InvalidValue("an address is chosen when host access is switched on: leave it out", field="ip",
                               value=str(request.ip or request.ip6))
        if not network.host_addresses:
            return network
        return msgspec.structs.replace(network, host_addresses=(), subnets=tuple(map(_without_own, network.subnets)))


def require_own_way(network: Network, elsewhere: Mapping[str, str], can_not: str) -> None:
    """Raises Conflict, which begins with `can_not`, where the host's routes to `network` would lead to addresses that are `elsewhere`."""
    for part in map(ipaddress.ip_network, routes_text(network)):
        for address, what in elsewhere.items():
            if what != NAME_SERVER and address not in network.host_addresses and ipaddress.ip_address(address) in part:
                raise Conflict(f"{can_not}: the host's way to the ip-range {part} would be its way to {address} too, which is {what}. Keep "
                               f"that out of the network, with netdeck network update --aux-address other={address} {network.name}",
                               field="ip_range", with_=address, value=str(part))


def _without_own(subnet: Subnet) -> Subnet:
    return msgspec.structs.replace(subnet, aux={name: value for name, value in subnet.aux.items() if name != AUX})


def _with_own(subnet: Subnet, addresses: tuple[str, ...]) -> Subnet:
    net = ipaddress.ip_network(subnet.subnet)
    own = next((text for text in addresses if ipaddress.ip_address(text) in net), None)
    return subnet if own is None else msgspec.structs.replace(subnet, aux={**subnet.aux, AUX: own})
