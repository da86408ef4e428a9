"""The operations on addresses: whose each is, and giving free what leaked."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from drivers.objects import HOST, PROTOCOL, Address, AnyObject, Veth, parse_mark
from helperd.address_book import Answer, Facts, Leak, Seen, book, leaks
from helperd.address_conflicts import AddressConflicts
from helperd.changes import CallContext, Changes, Strays, place_of
from helperd.containers_known import KnownContainers
from helperd.endpoints import Endpoints
from helperd.kernel.namespaces import NamespaceRef
from helperd.live import Live
from helperd.networks import Networks
from helperd.prefixes import parse_address
from helperd.store import Change
from helperd.streams import Stream
from protocol.addresses import AddressUse
from protocol.errors import InvalidValue
from protocol.model import Address as SeenAddress
from protocol.model import Endpoint, Link, Namespace, Neighbour, Network
from protocol.requests import AddressList, AddressRelease

_LinkId = tuple[int, int]
_HEARD = frozenset({"reachable", "delay", "probe", "permanent"})  # states of a neighbour that was heard of lately (rtnetlink(7))


class Addresses:
    """Reads the book of each network's addresses from the store and from what is seen."""

    def __init__(self, changes: Changes, networks: Networks, endpoints: Endpoints, known: KnownContainers, live: Live,
                 conflicts: AddressConflicts) -> None:
        self._changes, self._records, self._networks, self._endpoints = changes, changes.records, networks, endpoints
        self._known, self._live, self._world, self._conflicts = known, live, live.world, conflicts

    async def listing(self, request: AddressList, call: CallContext, stream: Stream) -> Any:
        """Operation `address.list`."""
        networks = [self._records.network(request.network)] if request.network else self._in_order()
        facts = await self._facts(networks)
        return [pool for network in networks for pool in book(network, facts[network.id])]

    def _in_order(self) -> list[Network]:
        return sorted(self._records.networks.values(), key=lambda item: (not item.predefined, item.created))

    # What there is

    async def _alive(self) -> frozenset[str]:
        """Ids of containers that live. One whose namespace nobody has seen yet may be new: it is tried."""
        spaces = {row.inode for row in self._world.rows("namespaces") if isinstance(row, Namespace)} | set(self._known.seen)
        found = set()
        for item in list(self._records.containers.values()):
            if item.status == "running" and item.inode and (item.inode in spaces or await self._known.lives(item)):
                found.add(item.id)
        return frozenset(found)

    async def _facts(self, networks: Iterable[Network]) -> dict[str, Facts]:
        alive = await self._alive()
        world, records = self._world, self._records
        stored = self._changes.store.leases()
        hanging = self._hanging()
        by_mac = {item.mac: self._records.owner(item.id) for item in records.endpoints.values()}
        links = list(world.links())
        seen = self._seen(hanging)
        return {network.id: Facts(
            endpoints=[self._conflicts.of(item) for item in records.endpoints_of(network=network.id)], containers=records.containers,
            leases=stored.get(network.id, {}), alive=alive, seen=seen.get(network.id, ()), host=world.host,
            answers=self._answers(network, links, hanging, by_mac),
        ) for network in networks}

    def _hanging(self) -> dict[_LinkId, str]:
        """Links that hang on a bridge of a network: the bridge, its ports, their other ends; → network id."""
        bridges = {item.link: item.id for item in self._records.networks.values() if item.link}
        on_host = {link.ifindex: link for link in self._world.links(self._world.host)}
        found: dict[_LinkId, str] = {}
        for link in on_host.values():
            bridge = link if link.kind == "bridge" else on_host.get(link.master)
            network = bridges.get(bridge.name) if bridge is not None and bridge.kind == "bridge" else None
            if network is not None:
                found[link.inode, link.ifindex] = network
                if link.peer_inode:
                    found[link.peer_inode, link.peer_ifindex] = network
        return found

    def _seen(self, hanging: Mapping[_LinkId, str]) -> dict[str, list[Seen]]:
        """Addresses by network: on what hangs on its bridge, in its subnets on the host, and what a lost endpoint left behind."""
        nets = [(ipaddress.ip_network(subnet.subnet), item.id) for item in self._records.networks.values() for subnet in item.subnets]
        found: dict[str, list[Seen]] = {}
        for row in self._world.rows("addresses"):
            link = self._world.link(row.inode, row.ifindex) if isinstance(row, SeenAddress) and row.scope == "global" else None
            if link is None or not isinstance(row, SeenAddress):
                continue
            left = self._left_behind(link)
            if not left and row.inode != self._world.host and (row.inode, row.ifindex) not in hanging:
                continue
            address = ipaddress.ip_interface(row.address)
            network = next((ident for net, ident in nets if net.version == address.version and address.ip in net), None)
            if network is not None:
                where = f"{link.name} on the host" if row.inode == self._world.host else f"{link.name} of {self._world.place(row.inode)}"
                found.setdefault(network, []).append(
                    Seen(row.inode, link.name, row.address, where, left or (row.protocol == PROTOCOL and self._marked(link))))
        return found

    def _marked(self, link: Link) -> bool:
        mark = parse_mark(link.alias)
        return mark is not None and mark[0] == self._records.instance

    def _left_behind(self, link: Link) -> bool:
        """Whether this helper made the link for an endpoint that it no longer knows."""
        mark = parse_mark(link.alias)
        return mark is not None and mark[:2] == (self._records.instance, "endpoint") and mark[2] not in self._records.endpoints

    def _answers(self, network: Network, links: list[Link], hanging: Mapping[_LinkId, str], by_mac: Mapping[str, str]) -> list[Answer]:
        """Who the bridge was answered by, of those whose MAC address is still on one of its ports."""
        host = self._world.host
        bridge = next((link.ifindex for link in links if link.inode == host and link.name == network.link and link.kind == "bridge"), 0)
        if not bridge:
            return []
        rows = [row for row in self._world.rows("neighbours", host) if isinstance(row, Neighbour)]
        ports = {ifindex for (inode, ifindex), ident in hanging.items() if inode == host and ident == network.id and ifindex != bridge}
        on_port = {row.mac for row in rows if row.family == 7 and row.ifindex in ports and row.state != "permanent"}
        owners = {link.mac: f"{link.name} of {link.container}" for link in links
                  if link.container and hanging.get((link.inode, link.ifindex)) == network.id}
        return [Answer(row.address, row.mac, by_mac.get(row.mac) or owners.get(row.mac, "")) for row in rows
                if row.family in (4, 6) and row.ifindex == bridge and row.mac in on_port and not row.address.startswith("fe80:")
                and (row.state in _HEARD or (row.state == "stale" and row.mac not in by_mac))]

    # Giving free

    async def release(self, request: AddressRelease, call: CallContext, stream: Stream) -> Any:
        """Operation `address.release`."""
        if not request.addresses and not request.leaked:
            raise InvalidValue("no address is named: name those to give free, or ask for all that leaked", field="addresses", value="")
        async with self._changes.lock:
            chosen = await self._chosen(request)
            strays = await self._strays([seen for _, leak in chosen for seen in leak.seen])
            change = self._change(chosen, call.uid)
            steps = self._changes.steps(change, strays)
            plan = self._networks.plan(change, steps, strays)
            if chosen and not request.dry_run:
                await self._changes.carry_out(change, steps=steps, strays=strays)
        released = [{"network": network.name, "address": leak.address, "owner": leak.owner, "text": leak.text} for network, leak in chosen]
        if not request.dry_run:
            for row in released:
                self._world.log("network", "released", row["network"], text=f"{row['address']}: {row['text']}", level="notice",
                                actor=call.user)
        return {"released": released, "plan": plan, "dry_run": request.dry_run}

    async def _chosen(self, request: AddressRelease) -> list[tuple[Network, Leak]]:
        networks = self._in_order()
        facts = await self._facts(networks)
        lost = [(network, leak) for network in networks for leak in leaks(network, facts[network.id]).values()]
        if request.leaked:
            return lost
        found: list[tuple[Network, Leak]] = []
        for text in dict.fromkeys(request.addresses):
            address = str(parse_address(text, "ip"))
            leaked = [item for item in lost if item[1].address == address]
            if not leaked:
                raise self._not_leaked(address, networks, facts)
            found += leaked
        return found

    @staticmethod
    def _not_leaked(address: str, networks: Iterable[Network], facts: Mapping[str, Facts]) -> InvalidValue:
        for network in networks:
            for pool in book(network, facts[network.id]):
                if ipaddress.ip_address(address).version == ipaddress.ip_network(pool.subnet).version and (
                        ipaddress.ip_address(address) in ipaddress.ip_network(pool.subnet)):
                    use = next((item for item in pool.addresses if item.address == address), None)
                    return InvalidValue(f"address {address} of network {network.name} is not leaked: {_why(use)}", field="addresses",
                                        value=address)
        return InvalidValue(f"address {address} is in no subnet of any network", field="addresses", value=address)

    async def _strays(self, wanted: list[Seen]) -> Strays:
        """The objects that carry the addresses `wanted`: the link, where its endpoint is unknown, else the address."""
        if not wanted:
            return Strays()
        records = self._records
        places = {ident: place_of(records.containers[ident]) for ident in {item.container for item in records.endpoints.values()}
                  if records.containers[ident].inode}
        known = {ref.inode for ref in places.values()} | {self._world.host}
        places |= {f"namespace {inode}": ref for inode in {seen.inode for seen in wanted} - known if (ref := self._way(inode)) is not None}
        inodes = {HOST: self._world.host, **{place: ref.inode for place, ref in places.items()}}
        desired = self._records.desired()
        keys = {item.key for item in desired}
        observed = await self._changes.observer.observe(places, desired)
        fresh = [item for item in observed if item.key not in keys]
        marks = {(seen.inode, link.name) for seen in wanted for link in self._world.links(seen.inode)
                 if link.name == seen.link and self._left_behind(link)}
        spots = {(seen.inode, seen.link, seen.prefix) for seen in wanted}

        def stray(item: AnyObject) -> bool:
            match item:
                case Veth():
                    ends = ((item.place, item.name), (item.peer_place, item.peer_name))
                    return any((inodes.get(place, 0), name) in marks for place, name in ends)
                case Address():
                    return (inodes.get(item.place, 0), item.link, item.prefix) in spots
                case _:
                    return False

        objects = tuple(item for item in fresh if stray(item))
        used = {place for item in objects for place in (item.place, getattr(item, "peer_place", HOST))}
        return Strays(objects, {place: ref for place, ref in places.items() if place in used})

    def _way(self, inode: int) -> NamespaceRef | None:
        return next(iter(self._live.monitor.ways(inode)), None)

    def _change(self, chosen: list[tuple[Network, Leak]], uid: int) -> Change:
        """The stored side: leases of nobody, and endpoints of containers that are gone."""
        change = Change("address.release", uid,
                        drop_leases=tuple((network.id, leak.address) for network, leak in chosen if leak.lease))
        dead: dict[str, dict[str, Endpoint]] = {}
        for _, leak in chosen:
            endpoint = self._records.endpoints.get(leak.endpoint)
            if endpoint is not None:
                dead.setdefault(endpoint.container, {})[endpoint.id] = endpoint
        for endpoints in dead.values():
            one = self._endpoints.detachment(tuple(endpoints.values()), uid)
            change = msgspec.structs.replace(
                change, drop_endpoints=(*change.drop_endpoints, *one.drop_endpoints), containers=(*change.containers, *one.containers),
                drop_containers=(*change.drop_containers, *one.drop_containers))
        return change


def _why(use: AddressUse | None) -> str:
    if use is None:
        return "nobody has it"
    match use.use:
        case "container":
            return f"container {use.owner} has it: disconnect that"
        case "conflict":
            return f"{use.owner} has it, {use.text}: whoever set it must take it away"
        case "aux":
            return f"it is aux-address {use.owner}: take it away with `netdeck network update --aux-address-rm {use.owner}`"
        case _:
            return f"it is {use.owner}"
