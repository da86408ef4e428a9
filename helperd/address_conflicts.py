"""Addresses of containers that somebody else on the site has too, for as long as he answers for them. Nothing of it is stored: after a
start of the helper the wire tells it again."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping

import msgspec

from helperd.records import Records
from helperd.world import World
from protocol.model import AddressConflict, Endpoint, Network
from protocol.names import display_text

SILENT_ROUNDS = 3  # in which he does not answer any more, until he counts as gone
TOLD_SECONDS = 60.0  # between two events about one address, which whoever is on the wire brings about as often as he likes
_MOST = 1024  # that are kept

Wire = tuple[str, int]  # link, VLAN
Key = tuple[str, str]  # endpoint, address


class _Known(msgspec.Struct):
    told: AddressConflict
    vlan: int
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

    def heard(self, owner: str, network: Network, wire: Wire, address: str, mac: str) -> None:
        """Somebody answered for an address of the endpoint `owner`."""
        known = self._known.get((owner, address))
        if known is not None and known.told.mac == mac:
            known.silent = 0
            return
        now = time.monotonic()
        tells = known is None or now - known.moment >= TOLD_SECONDS
        moment = now if known is None or tells else known.moment
        self._known[owner, address] = _Known(AddressConflict(address, mac, wire[0], time.time()), wire[1], moment)
        while len(self._known) > _MOST:
            forgotten = next(iter(self._known))
            del self._known[forgotten]
            self._tell(forgotten[0])
        if tells:
            self._world.log("address", "conflict", network.name, where=self._records.owner(owner), level="error", text=(
                f"{mac} on {display_text(wire[0])} has {address} too: give one of them another address, and keep this out of the network "
                f"with netdeck network update --aux-address other={address} {network.name}"))
        self._tell(owner)

    def wires(self) -> Mapping[tuple[str, Wire], list[str]]:
        """The addresses that are to be asked for again, by network and wire. Those that are used no more are forgotten."""
        found: dict[tuple[str, Wire], list[str]] = {}
        for (owner, address), item in list(self._known.items()):
            endpoint = self._records.endpoints.get(owner)
            if endpoint is None or all(prefix.partition("/")[0] != address for prefix in endpoint.addresses):
                del self._known[owner, address]
            else:
                found.setdefault((endpoint.network, (item.told.link, item.vlan)), []).append(address)
        return found

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

    def forget(self, network: Network) -> None:
        """The operator does not want to know who answers for addresses of `network`: a router may for all of them."""
        for owner, address in [key for key in self._known if self._records.leases(network.id).get(key[1]) == key[0]]:
            del self._known[owner, address]
            self._tell(owner)

    def _tell(self, owner: str) -> None:
        endpoint = self._records.endpoints.get(owner)
        if endpoint is not None:
            self.shown(endpoint)
