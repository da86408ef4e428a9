"""The operation that changes a network in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from drivers.changing import checked_update
from drivers.driver import find
from drivers.host_access import routes_text
from drivers.unusable import require_usable
from helperd.changes import CallContext, Changes
from helperd.host_access import require_own_way
from helperd.host_facts import HostFacts
from helperd.network_difference import differences
from helperd.network_edit import edited
from helperd.networks import Networks
from helperd.site_addresses import known, taken
from helperd.store import Change
from helperd.streams import Stream
from helperd.subnets import check_subnets
from protocol.errors import InUse
from protocol.model import Network, Plan, Subnet
from protocol.requests import NetworkUpdate, SubnetRequest


class NetworkUpdates:
    """Changes networks while their containers run."""

    def __init__(self, changes: Changes, networks: Networks, facts: HostFacts) -> None:
        self._changes, self._records, self._networks, self._facts = changes, changes.records, networks, facts

    async def update(self, request: NetworkUpdate, call: CallContext, stream: Stream) -> Any:
        """Operation `network.update`."""
        async with self._changes.lock:
            before = self._records.network(request.name)
            after = self._wanted(before, request)
            self._refuse_ports(before, after)
            if routes_text(after) != routes_text(before):
                require_own_way(after, taken(after, known(self._records, self._facts)),
                                f"network {after.name} can't be changed so while the host has access to it")
            changed = differences(before, after)
            change = Change("network.update", call.uid, networks=(after,))
            steps = self._changes.steps(change) if changed else ()
            plan = self._networks.plan(change, steps) if changed else Plan()
            mended = await self._networks.health.ready(before, dry_run=request.dry_run) if plan.steps else []
            warnings = [*mended, *await self._facts.warnings_now(after),
                        *self._without_address(before, after), *_until_the_file(after, changed)]
            if changed and not request.dry_run:
                await self._changes.carry_out(change, steps=steps)
        return {"network": after, "changes": changed, "warnings": warnings, "plan": plan, "dry_run": request.dry_run}

    def _wanted(self, network: Network, request: NetworkUpdate) -> Network:
        records = self._records
        driver = find(records.drivers, network.driver)
        require_usable(driver)
        owners = {address: records.owner(endpoint) for address, endpoint in records.leases(network.id).items()}
        others = list(records.networks.values())
        after = edited(network, request, driver.info, owners, lambda wanted: self._new_subnets(network, wanted))
        return checked_update(driver, network, after, self._facts.view(records.instance), others)

    def _new_subnets(self, network: Network, wanted: Sequence[SubnetRequest]) -> tuple[Subnet, ...]:
        records = self._records
        automatic = find(records.drivers, network.driver).info.automatic_gateway
        ours = frozenset(item.link for item in records.networks.values() if item.made_link and item.link)
        families = {6 if ":" in item.subnet else 4 for item in wanted}
        return check_subnets(network.name, wanted, ipv4=4 in families, ipv6=6 in families, networks=records.networks.values(),
                             host=self._facts.ranges(ours), pools=self._networks.pools,
                             own_link="" if network.made_link else network.link, automatic_gateway=automatic,
                             outside=bool(network.uplink))

    def _refuse_ports(self, before: Network, after: Network) -> None:
        """Ports that are published through a network would lead nowhere once it is internal."""
        if after.internal and not before.internal:
            names = [self._records.owner(item.id) for item in self._records.endpoints_of(network=after.id) if item.ports]
            if names:
                raise InUse(f"network {after.name} can't become internal while ports are published through it, for "
                            f"{', '.join(names[:8])}: withdraw them first (netdeck port withdraw CONTAINER --all)", name=after.name,
                            users=names)

    def _without_address(self, before: Network, after: Network) -> list[str]:
        """A family that the network gets is not given to containers that are on it already: their addresses stay as they are."""
        members = [self._records.owner(item.id) for item in self._records.endpoints_of(network=after.id)]
        return [f"containers that are connected already have no IPv{family} address on {after.name}: disconnect and connect them to "
                "give them one" for family, old, new in ((4, before.ipv4, after.ipv4), (6, before.ipv6, after.ipv6))
                if members and new and not old]


def _until_the_file(network: Network, changed: Sequence[str]) -> list[str]:
    if not network.predefined or network.driver != "bridge" or not changed:
        return []
    return [f"the configuration file sets up the network {network.name} too: this stays until the file is changed, then all that it says "
            "takes effect at the next start of the helper"]
