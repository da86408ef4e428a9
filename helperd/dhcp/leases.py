"""The core's side of DHCP: leases are had before a change that needs them, kept while their endpoints live, given back with them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from helperd.changes import CallContext, Changes
from helperd.child_service import ChildService
from helperd.cut_off import wire_of
from helperd.dhcp.carrier import require_carrier
from helperd.dhcp.frames import (
    AnyFromDhcp,
    Leased,
    LeaseLost,
    LeaseRefused,
    Lessee,
    LesseeGone,
    WireFailed,
    from_dhcp,
)
from helperd.dhcp.terms import Terms, checked
from helperd.dhcp.wires import Wires, wire_id
from helperd.host_facts import HostFacts
from helperd.kernel.dhcp_socket import mac_of
from helperd.kernel.host_links import carries
from helperd.plan import Step
from helperd.site_addresses import hindrance, known, vouches
from helperd.site_probes import SiteProbes
from helperd.store import Change, lease_address
from helperd.world import World
from protocol.errors import Conflict, NetdeckError, NotFound, Unavailable
from protocol.model import DHCP, Container, Endpoint, Lease, Network
from protocol.names import display_text

log = logging.getLogger("netdeck.dhcp")
PATIENCE = 12.0  # seconds for a server to answer when a container is connected: it is asked three times
AFTER_REFUSAL = 4.0  # for another to do so, once one has said what can't be taken
READY_SECONDS = 60.0  # for the process: a machine in software emulation takes long to import the modules
STORE_SECONDS = 5.0  # until what a lease says is set again, where that failed
OFFERS = 4  # that are declined in a row when a container is connected: a count is as good against loops as the time between
DECLINE_SECONDS = 10.0  # until a server is asked again whose address was declined (RFC 2131, 3.1.5)
TOLD_SECONDS = 60.0  # between two events of one kind about one lease that a server brings about as often as it likes
_BAD = "lost", "error"


def lease_of(terms: Terms, moment: float) -> Lease:
    """What is stored of terms that came at `moment`."""
    return Lease(terms.prefix, terms.server, terms.server_mac, moment, terms.seconds, terms.t1, terms.t2, terms.gateway, terms.dns,
                 terms.domain, terms.note)


def _terms(lease: Lease) -> Terms:
    address, _, length = lease.prefix.partition("/")
    return Terms(address, int(length), lease.server, lease.server_mac, lease.seconds, lease.renew, lease.rebind, lease.gateway, lease.dns,
                 lease.domain, lease.note)


class News(NamedTuple):
    """What the process said of a lease, and when; why nobody but another can have its address."""

    frame: Leased | LeaseLost
    moment: float
    held: str = ""


class Leases:
    """All leases of this host. A process without privilege speaks to servers; what it says is checked again here."""

    def __init__(self, changes: Changes, facts: HostFacts, world: World, probes: SiteProbes) -> None:
        self._changes, self._records, self._facts, self._world, self._probes = changes, changes.records, facts, world, probes
        self.process = ChildService("helperd.dhcp", "DHCP client", from_dhcp, self._everything, self._heard)
        self._wires = Wires(self.process, self._records, self._link_is_back)
        self._needed = asyncio.Event()
        self._hopes: dict[str, tuple[Lessee, asyncio.Future[Terms]]] = {}
        self._limits: dict[str, asyncio.Timeout] = {}  # of those that wait
        self._refusals: dict[str, str] = {}
        self._held: dict[str, str] = {}  # ids that the process has been told of → the wire
        self._news: asyncio.Queue[News] = asyncio.Queue()
        self._latest: dict[str, News] = {}  # endpoint → the last of them that does not hold yet
        self._declined: dict[str, asyncio.TimerHandle] = {}  # endpoint → when it looks for a lease again
        self._looking: set[asyncio.Task[None]] = set()
        self._told: dict[tuple[str, str], float] = {}  # endpoint, action → when
        changes.listeners.append(self)

    async def run(self) -> None:
        """Keep the leases until cancelled. The process is started with the first network that needs it."""
        if any(item.ipam == DHCP for item in self._records.networks.values()):
            self._needed.set()
        await self._needed.wait()
        await asyncio.gather(self.process.run(), self._follow())

    # Before a change

    async def acquire(self, network: Network, endpoint: Endpoint, container: Container) -> Lease:
        """A lease for an endpoint that is about to be, of an address that nobody on the site answers for. Raises Unavailable where no
        server gives one in time, Conflict, NotFound."""
        offers = 0
        while True:
            lease = await self._granted_now(network, endpoint, container)
            self.require_free(self._records.networks.get(network.id, network), endpoint.id, container, lease)
            why = await self._answered(network, endpoint, lease)
            if not why:
                return lease
            self.drop(endpoint.id, declined=True)
            offers += 1
            if offers == OFFERS:
                raise _cannot_be(lease, container, network, f"{why}. {OFFERS} addresses in a row were declined: look at the server's pool")

    async def _answered(self, network: Network, endpoint: Endpoint, lease: Lease) -> str:
        """Why nobody but another can have the address (RFC 2131, 3.1.5; 4.4.1), "" where nobody answers for it."""
        address = lease_address(lease.prefix)
        who = (await self._probes.named(network, endpoint, (address,))).get(address)
        return f"{who} on {wire_of(network)}" if who else ""

    async def _granted_now(self, network: Network, endpoint: Endpoint, container: Container) -> Lease:
        """What a server gives."""
        link = wire_of(network)
        self._needed.set()
        try:
            mac_of(link)
            lessee = self._lessee(network, endpoint, container)
        except OSError as error:
            raise NotFound(f"no address for {container.ref} on network {network.name}: {link} on this host: {error.strerror}",
                           name=link) from error
        await require_carrier(network, link, container)
        hope: asyncio.Future[Terms] = asyncio.get_running_loop().create_future()
        self._hopes[endpoint.id] = lessee, hope
        try:
            await asyncio.wait_for(self.process.ready.wait(), READY_SECONDS)
            self._wires.open(lessee.wire)
            self._tell(lessee)
            async with asyncio.timeout(PATIENCE) as limit:
                self._limits[endpoint.id] = limit
                terms = await hope
        except TimeoutError:
            self.drop(endpoint.id)
            refusal = self._refusals.get(endpoint.id, "")
            said = f"a DHCP server answered on {link}, and not as it should: {display_text(refusal)}" if refusal else (
                f"no DHCP server answered on {link} within {PATIENCE:g} s" + ("" if carries(link)[1] else ": it has no carrier"))
            raise Unavailable(f"no address for {container.ref} on network {network.name}: {said}. See what is on the wire with "
                              f"`tcpdump -ni {link} port 67 or port 68`; nothing was changed", name=network.name) from None
        except BaseException:
            self.drop(endpoint.id)
            raise
        finally:
            self._hopes.pop(endpoint.id, None)
            self._refusals.pop(endpoint.id, None)
            self._limits.pop(endpoint.id, None)
        lease = lease_of(terms, time.time())
        problem = checked(terms)
        if problem:
            self.drop(endpoint.id)
            raise _cannot_be(lease, container, network, problem)
        return lease

    def require_free(self, network: Network, endpoint: str, container: Container, lease: Lease) -> None:
        """Decline a lease of an endpoint that is about to be, and raise Conflict, where its address can't be had."""
        why = self._hindrance(network, endpoint, lease)
        if why:
            self.drop(endpoint, declined=True)
            raise _cannot_be(lease, container, network, why)

    def _hindrance(self, network: Network, endpoint: str, lease: Lease) -> str:
        """Why the endpoint can't have the address of `lease`, "" where it can."""
        address = lease_address(lease.prefix)
        owner = self._records.leases(network.id).get(address)
        if owner not in (None, endpoint):
            return f"it is {self._records.owner(owner or '')}'s"
        if address == lease.server:
            return "it is the server's own"
        near = any(vouches(lease.prefix, own) for own in network.host_addresses)
        return hindrance(address, network, known(self._records, self._facts), access=bool(network.host_addresses), near=near)

    def drop(self, endpoint: str, *, declined: bool = False) -> None:
        """Give a lease back."""
        self._latest.pop(endpoint, None)
        if endpoint in self._declined:
            self._declined.pop(endpoint).cancel()
        if self._held.pop(endpoint, None) is not None:
            self.process.post(LesseeGone(endpoint, declined))

    def settle(self, endpoint: str) -> None:
        """After a change: what it had is given back unless there is such an endpoint."""
        if endpoint not in self._records.endpoints:
            self.drop(endpoint)
        self._close_unneeded()

    def _close_unneeded(self) -> None:
        needed = {*self._held.values(), *(lessee.wire for lessee, _ in self._hopes.values())}
        for network in self._records.networks.values():
            if network.ipam == DHCP:
                needed.update(wire_id(network, item) for item in self._records.endpoints_of(network=network.id))
        self._wires.only(needed)

    # What the process is told

    def _lessee(self, network: Network, endpoint: Endpoint, container: Container) -> Lessee:
        """Raises OSError where the MAC address is that of a link which is gone."""
        shared = network.driver == "ipvlan"  # its containers all have the MAC address of the parent (RFC 2132, 9.14)
        mac = endpoint.mac if endpoint.mac and not shared else mac_of(wire_of(network))
        identity = b"\x00netdeck-" + endpoint.id[:16].encode() if shared else b""
        hostname = container.ref.partition(":")[2] or (container.name if container.hostname == container.id[:12] else container.hostname)
        lease, wire = endpoint.lease, wire_id(network, endpoint)
        if lease is None or lease.lost:
            return Lessee(endpoint.id, wire, mac, hostname, identity, hint=lease_address(lease.prefix) if lease else "")
        return Lessee(endpoint.id, wire, mac, hostname, identity, _terms(lease), max(0.0, time.time() - lease.obtained))

    def _tell(self, lessee: Lessee) -> None:
        self._held[lessee.id] = lessee.wire
        self.process.post(lessee)

    def _everything(self) -> None:
        self._held.clear()
        self._wires.forget()
        self._resume_waiting(self._records.endpoints.values())
        for lessee, _ in self._hopes.values():
            self._wires.need(lessee.wire)
            self._tell(lessee)

    def _resume(self, endpoint: Endpoint) -> None:
        network, container = self._records.networks.get(endpoint.network), self._records.containers.get(endpoint.container)
        if network is not None and container is not None and network.ipam == DHCP:
            wire = wire_id(network, endpoint)
            self._wires.need(wire)
            try:
                self._tell(self._lessee(network, endpoint, container))
            except OSError as error:
                log.warning("the lease of %s waits for %s: %s", container.ref, wire_of(network), error.strerror)
                self._wires.open_later(wire)

    def _resume_waiting(self, endpoints: Iterable[Endpoint]) -> None:
        """Tell the process of those that it does not know."""
        for endpoint in endpoints:
            if endpoint.id not in self._held and endpoint.id not in self._declined:
                self._resume(endpoint)

    def _link_is_back(self, network: str) -> None:
        self._resume_waiting(self._records.endpoints_of(network=network))

    def changed(self, change: Change, steps: tuple[Step, ...], call: CallContext) -> None:
        """A change was committed."""
        for ident in change.drop_endpoints:
            self.drop(ident)
            self._told = {key: moment for key, moment in self._told.items() if key[0] != ident}
        for lessee, hope in self._hopes.values():
            if lessee.wire.partition(".")[0] in change.drop_networks and not hope.done():
                hope.set_exception(NotFound("the network was removed while a DHCP server was asked for an address; nothing was changed",
                                            name=lessee.wire[:12]))
        if change.drop_endpoints or change.drop_networks:
            self._close_unneeded()
        if any(network.ipam == DHCP for network in change.networks):
            self._needed.set()

    # What the process says

    def _heard(self, frame: AnyFromDhcp) -> None:
        match frame:
            case Leased() if frame.id in self._hopes:
                hope = self._hopes[frame.id][1]
                if not hope.done():
                    hope.set_result(frame.terms)
            case Leased() | LeaseLost():
                endpoint = self._records.endpoints.get(frame.id)
                if endpoint is not None:
                    self._latest[frame.id] = news = News(frame, time.time())
                    if isinstance(frame, Leased) and endpoint.addresses != (frame.terms.prefix,) and not checked(frame.terms):
                        looking = asyncio.create_task(self._look(endpoint, news))
                        self._looking.add(looking)
                        looking.add_done_callback(self._looking.discard)
                    else:
                        self._news.put_nowait(news)
            case LeaseRefused():
                self._refused(frame)
            case WireFailed():
                self._wires.open_later(frame.id)
            case _:
                pass

    def _refused(self, frame: LeaseRefused) -> None:
        limit = self._limits.pop(frame.id, None)
        if limit is not None:
            limit.reschedule(min(limit.when() or 0.0, asyncio.get_running_loop().time() + AFTER_REFUSAL))
        if frame.id in self._hopes:
            self._refusals[frame.id] = frame.why
        endpoint = self._records.endpoints.get(frame.id)
        if endpoint is not None:
            self._log_seldom(endpoint, "refused", "warning", f"a DHCP server said what can't be taken: {display_text(frame.why)}")

    async def _follow(self) -> None:
        """Bring endpoints to what their leases say now."""
        while True:
            frame, moment, held = news = await self._news.get()
            try:
                await (self._granted(frame, moment, held) if isinstance(frame, Leased) else self._over(frame))
                if self._latest.get(frame.id) is news:
                    del self._latest[frame.id]
            except NetdeckError as error:
                endpoint = self._records.endpoints.get(frame.id)
                if endpoint is not None:
                    self._log_seldom(endpoint, "failed", "error",
                                     f"what its lease says could not be set, and is tried again: {error.message}")
                asyncio.get_running_loop().call_later(STORE_SECONDS, self._once_more, news)
            except Exception:  # one lease that fails must not be the end of the others
                log.exception("a lease")
                asyncio.get_running_loop().call_later(STORE_SECONDS, self._once_more, news)

    def _once_more(self, news: News) -> None:
        """What a lease says must come to hold, that it is over above all; but for what came after it."""
        if self._latest.get(news[0].id) is news:
            self._news.put_nowait(news)

    async def _look(self, endpoint: Endpoint, news: News) -> None:
        """Before an address that is new to an endpoint is taken, ask whether somebody has it."""
        network = self._records.networks.get(endpoint.network)
        held = ""
        if network is not None and isinstance(news.frame, Leased):
            try:
                held = await self._answered(network, endpoint, lease_of(news.frame.terms, news.moment))
            except Exception:
                log.exception("asking for the address of a lease")
        if self._latest.get(endpoint.id) is news:  # nothing was heard since
            self._latest[endpoint.id] = asked = news._replace(held=held)
            self._news.put_nowait(asked)

    async def _granted(self, frame: Leased, moment: float | None = None, held: str = "") -> None:
        """`moment` is when it came, None for now; `held` says who answers for the address."""
        problem = checked(frame.terms)
        async with self._changes.lock:
            endpoint = self._records.endpoints.get(frame.id)
            if endpoint is None or endpoint.lease is None or problem:
                return
            before, lease = endpoint.lease, lease_of(frame.terms, time.time() if moment is None else moment)
            # What it has already is not looked at again: the server only lets it keep that.
            why = "" if endpoint.addresses == (lease.prefix,) else self._hindrance(
                self._records.networks[endpoint.network], endpoint.id, lease) or held
            if why:
                await self._declines(endpoint, lease, why)
                return
            if endpoint.addresses and endpoint.addresses != (lease.prefix,):  # with the old address go the routes that rest on it
                await self._set(endpoint, (), msgspec.structs.replace(before, lost=f"the server gives {lease.prefix} in its place"))
                endpoint = self._records.endpoints[frame.id]
            await self._set(endpoint, (lease.prefix,), lease)
        if before.lost:
            self._log(endpoint, "back", "notice", f"{lease.prefix} from {lease.server}{_noted(lease)}")
        elif before.prefix != lease.prefix or before.gateway != lease.gateway:
            self._log(endpoint, "changed", "warning", f"{before.prefix} -> {lease.prefix}, router {lease.gateway or 'none'}{_noted(lease)}")
        else:
            self._log(endpoint, "renewed", "info", f"{lease.prefix} by {lease.server}")

    async def _declines(self, endpoint: Endpoint, lease: Lease, why: str) -> None:
        """Take no such lease, and look for another in a while. The caller holds the lock of changes."""
        if endpoint.addresses and endpoint.lease is not None:  # which it had before, and has no more
            await self._set(endpoint, (), msgspec.structs.replace(endpoint.lease, lost=f"the server gives {lease.prefix} in its place"))
        self.drop(endpoint.id, declined=True)

        def again() -> None:
            del self._declined[endpoint.id]
            known_now = self._records.endpoints.get(endpoint.id)
            if known_now is not None and endpoint.id not in self._held:
                self._resume(known_now)

        self._declined[endpoint.id] = asyncio.get_running_loop().call_later(DECLINE_SECONDS, again)
        self._log_seldom(endpoint, "declined", "error", f"server {lease.server} gives it {lease_address(lease.prefix)}, which can't be: "
                                                        f"{why}. It is asked for another again and again")

    async def _over(self, frame: LeaseLost) -> None:
        async with self._changes.lock:
            endpoint = self._records.endpoints.get(frame.id)
            if endpoint is None or endpoint.lease is None or endpoint.lease.lost:
                return
            await self._set(endpoint, (), msgspec.structs.replace(endpoint.lease, lost=display_text(frame.why)))
        self._log(endpoint, *_BAD, f"{endpoint.lease.prefix} is taken away: {display_text(frame.why)}. It is asked for again and again")

    async def _set(self, endpoint: Endpoint, addresses: tuple[str, ...], lease: Lease) -> None:
        """The caller holds the lock of changes."""
        gone = tuple((endpoint.network, lease_address(prefix)) for prefix in endpoint.addresses if prefix not in addresses)
        fresh = msgspec.structs.replace(endpoint, addresses=addresses, lease=lease)
        await self._changes.carry_out(Change("dhcp.lease", 0, endpoints=(fresh,), drop_leases=gone))

    def _log_seldom(self, endpoint: Endpoint, action: str, level: str, text: str) -> None:
        """As `_log`, once a minute: others may bring it about as often as they like."""
        moment = time.monotonic()
        if moment - self._told.get((endpoint.id, action), -TOLD_SECONDS) >= TOLD_SECONDS:
            self._told[endpoint.id, action] = moment
            self._log(endpoint, action, level, text)

    def _log(self, endpoint: Endpoint, action: str, level: str, text: str) -> None:
        network = self._records.networks.get(endpoint.network)
        self._world.log("lease", action, network.name if network else endpoint.network[:12], where=self._records.owner(endpoint.id),
                        text=text, level=level)


def _cannot_be(lease: Lease, container: Container, network: Network, why: str) -> Conflict:
    address = lease_address(lease.prefix)
    return Conflict(f"server {lease.server} gives {address} for {container.ref} on network {network.name}, which can't be: {why}",
                    with_=address)


def _noted(lease: Lease) -> str:
    return f"; {display_text(lease.note)}" if lease.note else ""


def name_servers(endpoints: Iterable[Endpoint]) -> tuple[str, ...]:
    """The name servers that the leases of one container's endpoints name."""
    found = (server for item in endpoints if item.lease is not None and not item.lease.lost for server in item.lease.dns)
    return tuple(dict.fromkeys(found))[:3]
