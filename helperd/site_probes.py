"""Addresses on a wire of the site are asked for there before a container gets them: somebody whom netdeck does not know may have them, and
would be cut off.

An address that was named, or leased, is waited for a quarter of a second, and refused or declined if anybody answers. One from a pool is
waited for an instant, in which a host on a wire has answered many times over; the next few are asked for with it, so that a row of
containers waits once; and for those that answer late the question goes on behind the attachment, and comes again for as long as they do.
Who asks for an address at the same time counts as one who has it, until a container of ours has it (RFC 5227, 2.1.1; RFC 4862, 5.4.3).
Where there is no way to the site nothing is asked, and nothing costs anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from weakref import WeakValueDictionary

from drivers.parsed import address_of, family_of, network_of
from drivers.vlans import site_vlan
from helperd.address_conflicts import AddressConflicts, InUse, Wire
from helperd.cut_off import wire_of
from helperd.ipam import next_address, pool_of
from helperd.kernel.site_probe import Question
from helperd.records import Records
from helperd.world import World
from protocol.model import Endpoint, Network

log = logging.getLogger("netdeck.probes")
OPTION = "address_probe"
_NAMED = (0.08, 0.08, 0.09)  # seconds after each time that it is asked
_POOL = (0.02, 0.03, 0.25, 2.7)
_INSTANT = 0.05  # seconds, of those, that an attachment waits
_AHEAD = 8  # addresses of a pool that are asked for at once
_HOLDS = 60.0  # seconds for which an answer counts, or that there was none
_MOST = 4096  # answers and silences that are kept
_APART = 0.2  # seconds at most that one who asked at the same time as another waits, so that they don't go on so (RFC 5227, 2.1.1)
_AGAIN = 10.0  # seconds, after which those are asked again who have an address of a container too
_EACH = 16  # addresses of containers that are asked for with them, in turn: who takes one later is found in time
_TOGETHER = 128  # that are asked for by one question: a socket takes no more at once

Key = tuple[str, int, str]  # link, VLAN, address


def _own(endpoint: Endpoint, families: Collection[int]) -> list[str]:
    return [prefix.partition("/")[0] for prefix in endpoint.addresses if family_of(prefix) in families]


def asks(network: Network) -> bool:
    """Whether addresses of `network` are on a wire of the site on which others can be asked for them."""
    options = network.options
    outside = bool(options.get("uplink")) or bool(options.get("parent") and not network.internal)
    return outside and options.get(OPTION, "true") == "true" and options.get("ipvlan_mode", "l2") == "l2"


class SiteProbes:
    """What has been heard from sites a moment ago."""

    def __init__(self, records: Records, world: World) -> None:
        self._records = records
        self.conflicts = AddressConflicts(records, world)
        self._held: dict[Key, tuple[str, float]] = {}  # who has it or means to, in words, and since when
        self._asking: set[Key] = set()  # those of them that were only asked for
        self._silent: dict[Key, float] = {}
        self._turns: WeakValueDictionary[tuple[str, int], asyncio.Lock] = WeakValueDictionary()  # link, VLAN → who asks there
        self._behind: set[asyncio.Task[None]] = set()

    def held(self, network: Network, endpoint: Endpoint) -> Mapping[str, str]:
        """Addresses that somebody on the endpoint's wire has, and who, in words: a MAC address, and that it answers for it."""
        if not self._held or not asks(network):
            return {}
        link, vlan, since = wire_of(network), site_vlan(network, endpoint), time.monotonic() - _HOLDS
        return {key[2]: who for key, (who, moment) in self._held.items() if key[:2] == (link, vlan) and moment >= since}

    async def named(self, network: Network, endpoint: Endpoint, addresses: Iterable[str]) -> dict[str, str]:
        """Ask for addresses that were chosen; who has which of them, in words as of `held`."""
        vlan = site_vlan(network, endpoint)
        wanted = list(addresses)
        if vlan is None or not wanted or not asks(network):
            return {}
        link = wire_of(network)
        for address in wanted:
            self._held.pop((link, vlan, address), None)
        question = self._question(network, link, vlan, wanted)
        asking = asyncio.ensure_future(question.ask(_NAMED))
        asking.add_done_callback(self._done)
        answered = asyncio.ensure_future(question.all_found.wait())
        try:
            await asyncio.wait((asking, answered), return_when=asyncio.FIRST_COMPLETED)
            question.listen()
        finally:
            for task in (asking, answered):
                task.cancel()
            await asyncio.gather(asking, answered, return_exceptions=True)
        return {address: self._held[link, vlan, address][0] for address in question.found if (link, vlan, address) in self._held}

    def unasked(self, network: Network, endpoint: Endpoint, families: Collection[int]) -> bool:
        """Whether the endpoint has addresses from the pools of `families` that nobody was asked for in the last minute."""
        vlan, own = site_vlan(network, endpoint), _own(endpoint, families)
        if vlan is None or not own or not asks(network):
            return False
        link, since = wire_of(network), time.monotonic() - _HOLDS
        return any(self._silent.get((link, vlan, address), -math.inf) < since for address in own)

    async def of_pool(self, network: Network, endpoint: Endpoint, families: Collection[int]) -> bool:
        """Ask for the addresses that the endpoint would get from the pools of `families`, and the next. Whether it must get another."""
        vlan, own = site_vlan(network, endpoint), _own(endpoint, families)
        if vlan is None or not own or not asks(network):
            return False
        link = wire_of(network)
        turn = self._turns.setdefault((link, vlan), asyncio.Lock())
        async with turn:  # of a row of containers that come at once, one asks for all
            if self.unasked(network, endpoint, families):
                await self._ask_ahead(network, link, vlan, own)
        since = time.monotonic() - _HOLDS
        held = [key for address in own if self._held.get(key := (link, vlan, address), ("", -math.inf))[1] >= since]
        if self._asking.intersection(held):
            await asyncio.sleep(random.uniform(0, _APART))
        return bool(held)

    async def _ask_ahead(self, network: Network, link: str, vlan: int, own: Sequence[str]) -> None:
        wanted = [item for address in own for item in self._from(network, address)]
        question = self._question(network, link, vlan, wanted)
        asking = asyncio.ensure_future(question.ask(_POOL))
        self._behind.add(asking)
        asking.add_done_callback(self._done)
        sent = asyncio.ensure_future(question.sent.wait())
        await asyncio.wait((asking, sent), timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
        sent.cancel()
        await asyncio.wait((asking,), timeout=_INSTANT)
        question.listen()  # what came while this process had no turn
        moment = time.monotonic()
        asked = own if asking.done() else wanted  # where there is no asking, the endpoint takes its own as they are
        for key in [(link, vlan, item) for item in asked if item not in question.found]:
            self._silent[key] = moment
            self._held.pop(key, None)

    def _done(self, asking: asyncio.Task[None]) -> None:
        self._behind.discard(asking)
        if not asking.cancelled() and (error := asking.exception()) is not None and not isinstance(error, OSError):
            log.error("asking a site for addresses: %r", error)  # a link that is down, or gone, is told of when it is used

    def _in_use(self) -> list[InUse]:
        """The addresses of containers on wires of the site."""
        networks = {ident: network for ident, network in self._records.networks.items() if asks(network)}
        return [(network.id, (wire_of(network), vlan), prefix.partition("/")[0])
                for item in self._records.endpoints.values() if (network := networks.get(item.network)) is not None
                if (vlan := site_vlan(network, item)) is not None for prefix in item.addresses]

    async def look(self, wanted: Iterable[InUse] | None = None) -> None:
        """Ask whether somebody else has `wanted`, all addresses in use if not given; `conflicts` knows then."""
        together: dict[tuple[str, Wire], list[str]] = {}
        for ident, wire, address in self._in_use() if wanted is None else wanted:
            together.setdefault((ident, wire), []).append(address)
        asking = [self._ask_again(self._records.networks[ident], wire, addresses[first:first + _TOGETHER])
                  for (ident, wire), addresses in together.items() for first in range(0, len(addresses), _TOGETHER)]
        for error in await asyncio.gather(*asking, return_exceptions=True):
            if error is not None:  # one question that fails must not be the end of the others
                log.error("asking a site for addresses in use: %r", error)

    async def _ask_again(self, network: Network, wire: Wire, addresses: Sequence[str]) -> None:
        question = self._question(network, *wire, addresses)
        with contextlib.suppress(OSError):  # a link that is down tells nothing
            await question.ask(_NAMED)
            self.conflicts.asked(network, addresses, question.found)

    async def run(self) -> None:
        """Ask again and again for the addresses of containers: all that somebody else has too, and some of the others in turn."""
        next_one = 0
        while True:
            await asyncio.sleep(_AGAIN)
            used = self._in_use()
            self.conflicts.keep(used)
            next_one %= max(len(used), 1)
            some = used[next_one:next_one + _EACH]
            next_one += _EACH
            await self.look(dict.fromkeys((*filter(self.conflicts.knows, used), *some)))

    def _whose(self, mac: str) -> str:
        """A MAC address, and the container of ours that has it."""
        owner = next((self._records.owner(item.id) for item in self._records.endpoints.values() if item.mac == mac), "")
        return f"{mac} ({owner})" if owner else mac

    def _question(self, network: Network, link: str, vlan: int, wanted: Iterable[str]) -> Question:
        def answered(address: str, mac: str, asks: bool) -> bool:
            owner = self._records.leases(network.id).get(address)
            endpoint = self._records.endpoints.get(owner or "")
            if endpoint is not None and endpoint.mac == mac:  # a switch that sends frames back where they came from (802.1Qbg)
                return False
            if owner is not None and asks:  # who hears the container's answer, and gives it up
                return False
            key = link, vlan, address
            self._silent.pop(key, None)
            self._held[key] = f"{self._whose(mac)} {'asks for it too, to take it,' if asks else 'answers for it'}", time.monotonic()
            (self._asking.add if asks else self._asking.discard)(key)
            for table in (self._held, self._silent):
                while len(table) > _MOST:
                    table.pop(next(iter(table)))
            self._asking &= self._held.keys()
            if owner is not None:
                self.conflicts.heard(owner, network, link, address, mac)
            return True

        return Question(link, wanted, vlan, answered)

    def _from(self, network: Network, address: str) -> list[str]:
        """`address`, and those that its pool gives after it."""
        found = [address]
        leases = self._records.leases(network.id)
        for pool in (pool_of(item, leases.keys()) for item in network.subnets if address_of(address) in network_of(item.subnet)):
            while len(found) < _AHEAD:
                following = next_address(pool, found[-1])
                if following is None or following in found:
                    break
                found.append(following)
        return found
