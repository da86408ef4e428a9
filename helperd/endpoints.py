"""Endpoints: a container attached to a network and detached again."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shlex
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from drivers.driver import find
from drivers.name_server import has_names
from drivers.unusable import require_usable
from drivers.vlans import unchosen, with_vlans
from helperd.changes import CallContext, Changes
from helperd.containers_known import Inside, KnownContainers
from helperd.cut_off import wire_of
from helperd.dhcp.leases import Leases
from helperd.host_facts import HostFacts
from helperd.ipam import allocate, check_address, pool_of
from helperd.names.advice import names_advice
from helperd.networks import Networks
from helperd.ports import Ports
from helperd.records import Records
from helperd.site_addresses import NAME_SERVER, known, reserved, taken
from helperd.site_probes import OPTION, SiteProbes, asks
from helperd.store import Change
from helperd.streams import Stream
from protocol.errors import Conflict, InvalidValue, NotFound
from protocol.model import DHCP, SHARES, Container, Endpoint, Lease, Network, Port
from protocol.names import alias_name, display_text, mac_address
from protocol.ports import exact_ranges, summary
from protocol.requests import NetworkConnect, NetworkDisconnect

Last = dict[tuple[str, str], str]
_TRIES = 16  # times that other addresses are taken, each with eight that are asked for, until it is enough
_ROUNDS = 64  # of eight addresses, for which a container may come after others that came with it
_ETHERNET, _BESIDE_ENGINES = "eth", "nd"
_ENGINES = frozenset({"docker", "podman", "containerd", "kubernetes"})


class Wish(msgspec.Struct, frozen=True):
    """What is asked of one attachment."""

    network: Network
    ip: str | None = None
    ip6: str | None = None
    aliases: tuple[str, ...] = ()
    mac: str | None = None
    vlans: tuple[str, ...] = ()
    untagged: int | None = None
    ident: str = ""  # of the endpoint, where that has been settled
    lease: Lease | None = None  # what the site's DHCP server gave it


def random_mac() -> str:
    """A random unicast address of the locally administered space (IEEE 802, 8.2)."""
    first = (secrets.randbits(8) & 0xFC) | 0x02
    return ":".join(f"{byte:02x}" for byte in (first, *secrets.token_bytes(5)))


def chosen_addresses(records: Records, wish: Wish, elsewhere: Mapping[str, str] | None = None,
                     held: Mapping[str, str] | None = None) -> tuple[tuple[str, ...], Last]:
    """The prefixes that the endpoint gets, one a family, and what was handed out last. `elsewhere` says of addresses what they are: not
    those of this endpoint. `held` says who on the network's wire has them, in words. Raises InvalidValue, Conflict, Exhausted."""
    network, held = wish.network, held or {}
    elsewhere = {**{address: f"not free: {who}" for address, who in held.items()}, **(elsewhere or {})}
    if network.ipam == DHCP:
        if wish.ip or wish.ip6:
            unwanted = display_text(str(wish.ip or wish.ip6))
            raise InvalidValue(f"addresses on network {network.name} come from the site's DHCP server: leave {unwanted} out, and have the "
                               "server give it to this MAC address", field="ip", value=unwanted)
        return (wish.lease.prefix,) if wish.lease is not None else (), {}
    leases = records.leases(network.id)
    pools = [pool_of(item, leases.keys()) for item in network.subnets]
    handed_out = records.handed_out(network.id)
    prefixes: list[str] = []
    last: Last = {}
    for family, asked in ((4, wish.ip), (6, wish.ip6)):
        if asked is not None:
            pool, address = check_address(network.name, pools, asked, family, lambda text: records.owner(leases[text]))
            if address in held:
                link = wire_of(network)
                raise Conflict(f"address {address} can't be used on network {network.name}: {held[address]} on {link}, and "
                               "would be cut off. Choose another, or have that one changed first. Where a router answers for addresses "
                               f"that are free: netdeck network update -o {OPTION}=false {network.name}",
                               field="ip" if family == 4 else "ip6", value=address, with_=held[address].partition(" ")[0])
            if elsewhere.get(address, NAME_SERVER) != NAME_SERVER:  # that may well be a container, which the host is to reach
                access = ", to which the host has access" if network.host_addresses else ""
                raise Conflict(f"address {address} can't be used on network {network.name}{access}: it is {elsewhere[address]}",
                               field="ip" if family == 4 else "ip6", value=address, with_=elsewhere[address])
        elif any(pool.subnet.version == family for pool in pools):
            free = [msgspec.structs.replace(pool, reserved={**dict(reserved(elsewhere, family)), **pool.reserved}) for pool in pools
                    ] if elsewhere else pools
            pool, address = allocate(network.name, free, family, handed_out)
            last[(network.id, str(pool.subnet))] = address
        else:
            continue
        prefixes.append(pool.prefix(address))
    return tuple(prefixes), last


def ifname_prefix(network: Network, container: Container) -> str:
    """What interfaces of `network` are called in `container`, before their number. Engines count their own and take the next number for
    granted: one of ours with that name would stop them from connecting their container to a network of theirs."""
    wanted = network.options.get("container_iface_prefix", _ETHERNET)
    return _BESIDE_ENGINES if wanted == _ETHERNET and container.runtime in _ENGINES else wanted


def free_ifname(prefix: str, taken: Iterable[str]) -> str:
    """`prefix` with the lowest number that is free."""
    names = set(taken)
    return next(name for number in range(len(names) + 1) if (name := f"{prefix}{number}") not in names)


def _kept(container: Container, network: Network, endpoint: Endpoint) -> list[str]:
    if not endpoint.kept_defaults or network.internal:
        return []
    families = " and ".join(f"IPv{family}" for family in endpoint.kept_defaults)
    return [f"{container.ref} has a default route for {families} that netdeck did not make, and keeps it: through {network.name} it "
            "reaches only that network's own addresses"]


def _of_lease(network: Network, endpoint: Endpoint, *, dry_run: bool) -> list[str]:
    if network.ipam == DHCP and dry_run:
        return ["its address and routes come from the site's DHCP server, which a dry run does not ask"]
    lease = endpoint.lease
    return [f"{lease.prefix} is leased by {lease.server}: {display_text(lease.note)}"] if lease is not None and lease.note else []


def needs_others(network: Network) -> bool:
    """Whether others on the network's site have a say in what a container gets: its DHCP server, or whoever has addresses there."""
    return network.ipam == DHCP or asks(network)


def _draft(wish: Wish) -> Endpoint:
    """As much of the endpoint as its VLANs. Raises InvalidValue."""
    return with_vlans(Endpoint(id="", network=wish.network.id, container=""), wish.network, wish.vlans, wish.untagged)


def _from_pools(wish: Wish) -> set[int]:
    """The families in which the endpoint gets addresses that netdeck chooses."""
    return {family for family, asked in ((4, wish.ip), (6, wish.ip6)) if not asked and wish.network.ipam != DHCP}


class Endpoints:
    """The operations on endpoints, and the planning of attachments that `run` shares with them."""

    def __init__(self, changes: Changes, networks: Networks, ports: Ports, known: KnownContainers, facts: HostFacts,
                 leases: Leases, probes: SiteProbes) -> None:
        self._changes, self._records, self._networks, self._ports = changes, changes.records, networks, ports
        self._known, self._facts, self._leases, self._probes = known, facts, leases, probes

    def wanted(self, container: Container, wishes: Sequence[Wish], inside: Inside, *, anew: bool = False
               ) -> tuple[tuple[Endpoint, ...], Last]:
        """The endpoints for `wishes`, checked and with addresses chosen. `anew`: they are asked for on their sites after this, whoever
        had them a moment ago."""
        records = self._records
        present = records.endpoints_of(container=container.id)
        order = max((item.order for item in present), default=-1) + 1
        names = {*inside.links, *(item.ifname for item in present)}
        served = any(has_names(records.networks[item.network]) for item in present)
        foreign = any(item.foreign_names for item in present) if served else inside.name_server
        endpoints: list[Endpoint] = []
        last: Last = {}
        for wish in wishes:
            network = wish.network
            driver = find(records.drivers, network.driver)
            if any(item.network == network.id for item in (*present, *endpoints)):
                raise Conflict(f"container {container.ref} is connected to network {network.name} already: disconnect it there "
                               "first to connect it in another way",
                               name=container.ref, with_=network.name)
            if wish.lease is not None:
                self._leases.require_free(records.networks.get(network.id, network), wish.ident, container, wish.lease)
            # On the wire a container that had an address of the parent's would answer for the host, which is not asked by its own link.
            elsewhere = self._facts.own_on(network.link) if driver.info.parents and network.ipam != DHCP else {}
            if network.host_addresses and network.ipam != DHCP:
                elsewhere |= taken(network, known(records, self._facts))
            held = {} if anew and (wish.ip or wish.ip6) else self._probes.held(network, _draft(wish))
            prefixes, moved = chosen_addresses(records, wish, elsewhere, held)
            ifname = free_ifname(ifname_prefix(network, container), names)
            names.add(ifname)
            # A link on a parent may have no address of its own to choose.
            mac = mac_address(wish.mac) if wish.mac else "" if driver.info.parents else random_mac()
            neighbours = records.endpoints_of(network=network.id) if wish.mac else ()
            for other in neighbours:
                if other.mac == mac:
                    raise Conflict(f"MAC address {mac} is used on network {network.name} by "
                                   f"{records.owner(other.id)}: choose another", field="mac_address", value=mac)
            endpoint = Endpoint(id=wish.ident or secrets.token_hex(32), network=network.id, container=container.id, ifname=ifname, mac=mac,
                                addresses=prefixes, aliases=tuple(alias_name(item) for item in wish.aliases),
                                order=order + len(endpoints), kept_defaults=inside.foreign_defaults,
                                foreign_names=foreign, lease=wish.lease)
            endpoint = with_vlans(endpoint, network, wish.vlans, wish.untagged)
            rivals = records.endpoints_of(network=network.id) if driver.info.parents else ()
            try:
                endpoints.append(driver.check_endpoint(network, endpoint, rivals))
            except Conflict as error:  # a driver knows containers by their ids only
                rival = records.containers.get(str(error.details.get("with_", "")))
                if rival is None:
                    raise
                raise Conflict(error.message.replace(rival.id[:12], rival.ref), **{**error.details, "with_": rival.ref}) from None
            last.update(moved)
        return tuple(endpoints), last

    @contextlib.asynccontextmanager
    async def ready(self, container: Container, wishes: Sequence[Wish], inside: Inside) -> AsyncIterator[list[Wish]]:
        """`wishes` with what DHCP servers give for those that need it, once nobody on a site was found to have their addresses. What has
        become no endpoint by the end of the block is given back.

        Not under the lock of changes: others may take their time. Raises Unavailable where no server answers, Conflict for an address
        that somebody has."""
        if not any(needs_others(wish.network) for wish in wishes):
            yield list(wishes)
            return
        drafts = await self._free_drafts(container, wishes, inside)
        found: list[Wish] = []
        try:
            for wish, draft in zip(wishes, drafts, strict=True):
                if wish.network.ipam == DHCP:
                    lease = await self._leases.acquire(wish.network, draft, container)
                    wish = msgspec.structs.replace(wish, ident=draft.id, mac=draft.mac or None, lease=lease)
                found.append(wish)
            yield found
        finally:
            for draft in drafts:
                self._leases.settle(draft.id)

    async def _free_drafts(self, container: Container, wishes: Sequence[Wish], inside: Inside) -> tuple[Endpoint, ...]:
        """The endpoints that `wishes` would be, with addresses that nobody on their sites answered for."""
        async with self._changes.lock:
            drafts, _ = self.wanted(container, wishes, inside, anew=True)
        another: list[bool] = []
        for _ in range(_TRIES):
            pairs = list(zip(wishes, drafts, strict=True))
            another = await asyncio.gather(*(self._held_by_others(wish, draft) for wish, draft in pairs))
            if not any(another):
                return drafts
            async with self._changes.lock:  # which gives others, or says who has the one that was named
                drafts, _ = self.wanted(container, wishes, inside)
        names = ", ".join(wish.network.name for wish, taken in zip(wishes, another, strict=True) if taken)
        raise Conflict(f"others answer for all of {_TRIES * 8} addresses that {container.ref} could get on {names}: give the network a "
                       "part of the subnet for itself, with --ip-range, or name a free address with --ip", with_=names)

    async def _held_by_others(self, wish: Wish, draft: Endpoint) -> bool:
        named = [prefix.partition("/")[0] for prefix in draft.addresses if (wish.ip6 if ":" in prefix else wish.ip)]
        found, another = await asyncio.gather(
            self._probes.named(wish.network, draft, named), self._probes.of_pool(wish.network, draft, _from_pools(wish)))
        return bool(found) or another

    @contextlib.asynccontextmanager
    async def once_asked(self, container: Container, wishes: Sequence[Wish], inside: Inside) -> AsyncIterator[None]:
        """The lock of changes, once all addresses that `wishes` get now were asked for on their sites: others may have got those that
        `ready` asked for. Raises Conflict."""
        for _ in range(_ROUNDS):
            async with self._changes.lock:
                if not self._unasked(container, wishes, inside):
                    yield
                    return
            await self._free_drafts(container, wishes, inside)
        names = ", ".join(wish.network.name for wish in wishes)
        raise Conflict(f"others took or answered for the addresses that {container.ref} could get on {names}, {_ROUNDS} times in a row, "
                       "while they were asked for: try again, or name a free address with --ip", with_=names)

    def _unasked(self, container: Container, wishes: Sequence[Wish], inside: Inside) -> bool:
        if not any(asks(wish.network) for wish in wishes):
            return False
        endpoints, _ = self.wanted(container, wishes, inside)
        return any(self._probes.unasked(wish.network, item, _from_pools(wish)) for wish, item in zip(wishes, endpoints, strict=True))

    async def connect(self, request: NetworkConnect, call: CallContext, stream: Stream) -> Any:
        network = self._records.network(request.network)
        wish = Wish(network, request.ip, request.ip6, request.aliases, request.mac_address, request.vlans, request.untagged)
        if request.dry_run or not needs_others(network):
            return await self._connect(request, call, wish, self._changes.lock)
        container, inside = await self._able(request.container)
        async with self.ready(container, (wish,), inside) as wishes:
            return await self._connect(request, call, wishes[0], self.once_asked(container, wishes, inside))

    async def _able(self, name: str) -> tuple[Container, Inside]:
        """A container that can be on networks, and what it has."""
        container = await self._known.running(name)
        if container.mode.startswith(SHARES):
            other = container.networks[0].removeprefix(SHARES)
            raise InvalidValue(f"container {container.ref} shares the network of container {other}: connect {other}", field="container",
                               value=container.ref)
        if container.mode in ("host", "none"):
            raise InvalidValue(f"container {container.ref} runs on the network {container.mode!r}, which goes with no other: "
                               "start it without --network " + container.mode, field="container", value=container.ref)
        return container, await self._known.inside(container)

    async def _connect(self, request: NetworkConnect, call: CallContext, wish: Wish,
                       lock: contextlib.AbstractAsyncContextManager[None]) -> Any:
        async with lock:
            network = self._records.network(request.network)
            if wish.lease is not None and network.id != wish.network.id:
                raise Conflict(f"network {network.name} became another one meanwhile", name=network.name, with_=network.name)
            wish = msgspec.structs.replace(wish, network=network)
            self._refuse_fixed(network)
            mended = await self._networks.health.ready(network, dry_run=request.dry_run)
            container, inside = await self._able(request.container)
            endpoints, last = self.wanted(container, (wish,), inside, anew=request.dry_run)
            names = (*container.networks, network.name)
            change = Change("network.connect", call.uid, endpoints=endpoints,
                            containers=(msgspec.structs.replace(container, networks=names, attached=True),))
            taken = self._ports.taken(container)
            change, _ = self._ports.moved(change, container, taken)
            steps = self._changes.steps(change)
            plan = self._networks.plan(change, steps)
            if not request.dry_run:
                await self._changes.carry_out(change, last, steps)
        warnings = [*mended, *await self._facts.warnings_now(network), *_kept(container, network, endpoints[0]),
                    *await names_advice(container, network, endpoints[0], self._facts.resolv_conf),
                    *_of_lease(network, endpoints[0], dry_run=request.dry_run),
                    *unchosen(network, endpoints[0], container.ref), *_still_taken(container, taken)]
        return {"endpoint": endpoints[0], "container": container.ref, "network": network.name, "warnings": warnings, "plan": plan,
                "dry_run": request.dry_run}

    def vlans_unchosen(self, container: Container) -> list[str]:
        """That nobody chose the VLANs of a container, in words."""
        return [text for item in self._records.endpoints_of(container=container.id)
                for text in unchosen(self._records.networks[item.network], item, container.ref)]

    def detachment(self, endpoints: Sequence[Endpoint], uid: int, kind: str = "network.disconnect") -> Change:
        """The change that takes `endpoints` (all of one container) away; a foreign container with none left is forgotten."""
        records = self._records
        container = records.containers[endpoints[0].container]
        gone = {item.id for item in endpoints}
        left = [item for item in records.endpoints_of(container=container.id) if item.id not in gone]
        if not left and container.runtime != "netdeck":
            return Change(kind, uid, drop_endpoints=tuple(gone), drop_containers=(container.id,))
        names = tuple(records.networks[item.network].name for item in left)
        change = Change(kind, uid, drop_endpoints=tuple(gone),
                        containers=(msgspec.structs.replace(container, networks=names, attached=bool(left)),))
        return self._ports.moved(change, container)[0]

    def _not_connected(self, name: str, container: Container | None, network: Network) -> str:
        if container is None:
            members = sorted(self._records.containers[item.container].ref for item in self._records.endpoints_of(network=network.id))
            return (f"no container {display_text(name)!r} is connected to network {network.name}: "
                    + (f"its containers are {', '.join(members)}" if members else "it has none"))
        others = [self._records.networks[item.network].name for item in self._records.endpoints_of(container=container.id)]
        return (f"container {container.ref} is not connected to network {network.name}: "
                + (f"it is connected to {', '.join(others)}" if others else "it is connected to no network of netdeck's"))

    async def disconnect(self, request: NetworkDisconnect, call: CallContext, stream: Stream) -> Any:
        async with self._changes.lock:
            network = self._records.network(request.network)
            self._refuse_fixed(network)
            container = self._records.container(request.container)
            if container is None and not request.force:
                container = await self._known.stored(request.container)
            found = self._records.endpoints_of(network=network.id, container=container.id) if container else []
            if container is None or not found:
                raise NotFound(self._not_connected(request.container, container, network), name=display_text(request.container))
            require_usable(find(self._records.drivers, network.driver))
            change = self.detachment(found, call.uid)
            left = {port for item in change.endpoints for port in item.ports}
            lost = [port for port in found[0].ports if port not in left]
            steps = self._changes.steps(change)
            plan = self._networks.plan(change, steps)
            if not request.dry_run:
                await self._changes.carry_out(change, steps=steps)
        waiting = lost if container.runtime == "netdeck" else []
        return {"endpoint": found[0], "container": container.ref, "network": network.name, "warnings": _withdrawn(container, lost),
                "withdrawn": lost, "waiting": waiting, "plan": plan, "dry_run": request.dry_run}

    @staticmethod
    def _refuse_fixed(network: Network) -> None:
        if network.driver in ("host", "none"):
            raise InvalidValue(f"network {network.name} is chosen when a container starts (--network {network.name}): nothing is "
                               "connected to it or disconnected from it later", field="network", value=network.name)


def _withdrawn(container: Container, lost: Sequence[Port]) -> list[str]:
    """What becomes of published ports that no network leads to any more."""
    if not lost:
        return []
    said = f"published ports are withdrawn, no other network of {container.ref} leads to them: {summary(lost)}"
    if container.runtime == "netdeck":
        return [f"{said}. They come back with the next that does"]
    return [f"{said}. To publish them again once one does: {_publish_again(container, lost)}"]


def _publish_again(container: Container, ports: Iterable[Port]) -> str:
    return shlex.join(["netdeck", "port", "publish", container.ref, *exact_ranges(ports)])


def _still_taken(container: Container, taken: Mapping[Port, str]) -> list[str]:
    """Ports that should have come back with a network and can't."""
    return [f"{why}. To publish it for {container.ref} once it is free: {_publish_again(container, (port,))}"
            for port, why in taken.items()]
