"""Addresses of containers that somebody else on the site has too, for as long as he answers for them. Nothing of it is stored: after a
start of the helper the wire tells it again."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable

import msgspec

from helperd.records import Records
from helperd.world import World
from protocol.model import AddressConflict, Endpoint, Network
from protocol.names import display_text

SILENT_ROUNDS = 3  # in which he does not answer any more, until he counts as gone
TOLD_SECONDS = 60.0  # between two events about one address, which whoever is on the wire brings about as often as he likes
_MOST = 1024  # that are kept

Wire = tuple[str, int]  # link, VLAN
InUse = tuple[str, Wire, str]  # network id, where, address of a container
Key = tuple[str, str]  # endpoint, address


class _Known(msgspec.Struct):
    told: AddressConflict
    moment: float  # of the last event, of the monotonic clock
    silent: int = 0  # rounds


class AddressConflicts:
    """What is known of them. `shown` is called with an endpoint whose conflicts are others now."""

    def __init__(self, records: Records, world: World) -> None:
        self._records, self._world = records, world
        self._known: dict[Key, _Known] = {}
        self.shown: Callable[[Endpoint], None] = lambda endpoint: None

    def of(self, endpoint: Endpoint) -> Endpoint:
        """`endpoint` as clients see it: with its conflicts."""
        if not self._known:
            return endpoint
        own = {prefix.partition("/")[0] for prefix in endpoint.addresses}
        found = tuple(item.told for (ident, address), item in self._known.items() if ident == endpoint.id and address in own)
        return msgspec.structs.replace(endpoint, conflicts=found) if found else endpoint

    def all(self) -> list[Endpoint]:
        """Every endpoint that has some."""
        return [item for ident in dict.fromkeys(ident for ident, _ in self._known)
                if ident in self._records.endpoints and (item := self.of(self._records.endpoints[ident])).conflicts]

    def heard(self, owner: str, network: Network, link: str, address: str, mac: str) -> None:
        """Somebody answered for an address of the endpoint `owner`."""
        known = self._known.get((owner, address))
        if known is not None and known.told.mac == mac:
            known.silent = 0
            return
        now = time.monotonic()
        tells = known is None or now - known.moment >= TOLD_SECONDS
        moment = now if known is None or tells else known.moment
        self._known[owner, address] = _Known(AddressConflict(address, mac, link, time.time()), moment)
        while len(self._known) > _MOST:
            forgotten = next(iter(self._known))
            del self._known[forgotten]
            self._tell(forgotten[0])
        if tells:
            self._world.log("address", "conflict", network.name, where=self._records.owner(owner), level="error", text=(
                f"{mac} on {display_text(link)} has {address} too: give one of them another address, and keep this out of the network "
                f"with netdeck network update --aux-address other={address} {network.name}"))
        self._tell(owner)

    def knows(self, used: InUse) -> bool:
        """Whether somebody else has an address in use, as far as is known."""
        return (self._records.leases(used[0]).get(used[2], ""), used[2]) in self._known

    def keep(self, used: Iterable[InUse]) -> None:
        """Forget addresses that are in use no more, and those that the operator has nobody asked for: a router may answer for all."""
        now = {(self._records.leases(network).get(address, ""), address) for network, _, address in used}
        for key in self._known.keys() - now:
            del self._known[key]
            self._tell(key[0])

    def asked(self, network: Network, addresses: Collection[str], answered: Collection[str]) -> None:
        """Addresses in `network` were asked for, and some were answered for."""
        for address in addresses:
            owner = self._records.leases(network.id).get(address, "")
            item = self._known.get((owner, address))
            if item is None:
                continue
            item.silent = 0 if address in answered else item.silent + 1
            if item.silent >= SILENT_ROUNDS:
                del self._known[owner, address]
                self._world.log("address", "conflict over", network.name, where=self._records.owner(owner), level="notice",
                                text=f"{item.told.mac} on {display_text(item.told.link)} answers for {address} no more")
                self._tell(owner)

    def _tell(self, owner: str) -> None:
        endpoint = self._records.endpoints.get(owner)
        if endpoint is not None:
            self.shown(endpoint)
