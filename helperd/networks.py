"""Networks: create, remove, prune, list, inspect, and the three predefined ones."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from drivers.beside import told_all
from drivers.commands import planned
from drivers.driver import find, parse_options
from drivers.objects import HOST
from drivers.parents import parent_names, sharers
from drivers.unusable import problem, require_usable
from drivers.vlans import filters
from helperd.changes import NO_STRAYS, CallContext, Changes, Strays, place_of, way_into
from helperd.doctor.drift import LEFT_BEHIND
from helperd.host_facts import HostFacts
from helperd.inspect import network_document
from helperd.kernel.link_kinds import MAY_BE_MISSING, ON_A_PARENT, require_kind, require_vlan_filtering
from helperd.network_health import NetworkHealth
from helperd.plan import Step
from helperd.store import Change
from helperd.streams import Stream
from helperd.subnets import Cut, check_subnets
from protocol.errors import Conflict, InUse, InvalidValue, NetdeckError
from protocol.model import DHCP, DriverInfo, Endpoint, Network, Plan
from protocol.names import display_text, label_key, network_name, suggestion
from protocol.requests import (
    NetworkCreate,
    NetworkInspect,
    NetworkList,
    NetworkPrune,
    NetworkRemove,
)

log = logging.getLogger("netdeck.networks")
PREDEFINED = (("bridge", "bridge"), ("host", "host"), ("none", "none"))


IPAMS = ("default", DHCP)


def _leased(request: NetworkCreate, info: DriverInfo) -> bool:
    """Whether addresses come from the site's DHCP server. Raises InvalidValue for what does not go with that."""
    if request.ipam not in IPAMS:
        raise InvalidValue(f"no IPAM driver {display_text(request.ipam)!r}{suggestion(request.ipam, IPAMS)}: known are {', '.join(IPAMS)}",
                           field="ipam", value=display_text(request.ipam), expected=", ".join(IPAMS))
    if request.ipam != DHCP:
        return False
    hindrances = (("the networks of driver " + info.name, not info.leases, "it is for macvlan, ipvlan and bridges with an uplink"),
                  ("subnets of your own", bool(request.subnets), "leave --subnet out, the site's server says which it is"),
                  ("IPv6", request.ipv6, "leave --ipv6 out: leases are of IPv4 only, and router advertisements of the site (SLAAC) are not "
                   "followed. For IPv6, connect containers to a second network on the same link too, with an IPv6 --subnet of the site"),
                  ("a network without IPv4", not request.ipv4, "only IPv4 addresses are leased"),
                  ("an internal network", request.internal, "nobody answers there"))
    for words, there, why in hindrances:
        if there:
            raise InvalidValue(f"--ipam-driver dhcp does not go with {words}: {why}", field="ipam", value=DHCP)
    return True


def _on_the_site(network: Network) -> Network:
    """`network`; raises InvalidValue where it has its addresses from a server that it does not lead to."""
    if network.ipam == DHCP and (network.internal or not (network.options.get("parent") or network.uplink)):
        option = "uplink" if network.driver == "bridge" else "parent"
        raise InvalidValue(f"network {network.name} leads to no DHCP server: name the host's link that does with -o {option}=LINK",
                           field=option, value="")
    return network


class Networks:
    """The operations on networks."""

    def __init__(self, changes: Changes, facts: HostFacts, health: NetworkHealth, pools: Mapping[int, Sequence[Cut]],
                 bridge: NetworkCreate | None = None) -> None:
        self._changes, self._records, self._facts, self.health = changes, changes.records, facts, health
        self.pools = pools
        self._bridge = bridge or NetworkCreate(name="bridge")
        self.state: Callable[[str], str] = lambda network: "ready"  # of a network by its id
        self.shown_endpoint: Callable[[Endpoint], Endpoint] = lambda endpoint: endpoint

    async def ensure_predefined(self) -> set[str]:
        """Make `bridge`, `host` and `none` where they are missing; return which were. A `bridge` that can't be made is told in the log."""
        made = set()
        names = {item.name for item in self._records.networks.values()}
        for name, driver in PREDEFINED:
            if name in names:
                continue
            try:
                async with self._changes.lock:
                    request = self._bridge if name == "bridge" else NetworkCreate(name=name, driver=driver)
                    network = self._wanted(request, 0, predefined=True)
                    await self._changes.carry_out(Change("network.create", 0, networks=(network,)))
                made.add(name)
            except NetdeckError as error:
                log.error("the predefined network %s can't be made: %s", name, error.message)
        return made

    def _wanted(self, request: NetworkCreate, uid: int, *, predefined: bool = False) -> Network:
        """The network that `request` asks for, whole and checked. Raises what is wrong with it."""
        records = self._records
        name = network_name(request.name)
        driver = find(records.drivers, request.driver)
        others = list(records.networks.values())
        if any(item.name == name for item in others):
            ways = "choose another name" if name in dict(PREDEFINED) else "choose another name, or remove it first"
            raise Conflict(f"a network with the name {name} exists already: {ways}", name=name, with_=name)
        require_usable(driver)
        if not driver.info.creatable and not predefined:
            raise InvalidValue(f"driver {driver.name} has only its predefined network {driver.name!r}: use that one",
                               field="driver", value=driver.name)
        for key in request.labels:
            label_key(key)
        if request.internal and not driver.info.internal:
            raise InvalidValue(f"driver {driver.name} does not take --internal", field="internal", value="true")
        if request.subnets and not driver.info.subnets:
            raise InvalidValue(f"driver {driver.name} takes no subnets", field="subnets", value=request.subnets[0].subnet)
        ident = secrets.token_hex(32)
        options = parse_options(driver.info, request.options)
        ours = frozenset(item.link for item in others if item.made_link and item.link)
        parent = options.get("parent", options.get("uplink", ""))
        outside = driver.info.parents or bool(options.get("uplink"))
        leased = _leased(request, driver.info)
        subnets = () if leased else check_subnets(name, request.subnets, ipv4=request.ipv4, ipv6=request.ipv6, networks=others,
                                host=self._facts.ranges(ours), pools=self.pools,
                                own_link=self._adopted(options.get("name", "")), outside=outside,
                                automatic_gateway=driver.info.automatic_gateway and (bool(parent and not request.internal) or not outside)
                                ) if driver.info.subnets else ()
        families = {4} if leased else {6 if ":" in item.subnet else 4 for item in subnets}
        network = Network(id=ident, name=name, driver=driver.name, created=time.time(), subnets=subnets,
                          options=options, labels=dict(request.labels),
                          internal=request.internal, ipv4=4 in families, ipv6=6 in families, predefined=predefined, owner=uid,
                          ipam=request.ipam)
        named = (*(parent_names(parent) if outside else ()), *filter(None, (options.get("name"),)))
        return _on_the_site(driver.check(network, self._facts.view(records.instance, named), others))

    def _beside_the_site(self, network: Network) -> list[str]:
        """What a subnet that netdeck chose means on a link which is in another."""
        link = network.options.get("parent", "")
        if network.internal or not link or network.options.get("ipvlan_mode", "l2") != "l2":
            return []  # in l3 other hosts have routes to subnets of its own, which the driver's notes say
        known = self._facts.view(self._records.instance, (link,)).links.get(link)
        here = [ipaddress.ip_interface(text) for text in known.addresses if not text.startswith("fe80:")] if known else []
        found = []
        for subnet in network.subnets:
            chosen = ipaddress.ip_network(subnet.subnet)
            site = [item for item in here if item.version == chosen.version]
            if not subnet.chosen and site and not any(item.ip in chosen for item in site):
                found.append(
                    f"{chosen} was chosen for {network.name}, and {link} is in {site[0].network}: nobody there knows the way to {chosen}, "
                    "so its containers reach each other and nothing else. To be part of the site: "
                    f"--subnet {site[0].network}, the router's address as --gateway, and as --ip-range a part that nobody else gives out"
                    + (", or --ipam-driver dhcp" if chosen.version == 4 else ""))
        return found

    def _adopted(self, link: str) -> str:
        """`link` if it exists on the host and is not ours, else ""."""
        known = self._facts.view(self._records.instance, filter(None, (link,))).links.get(link)
        return link if known is not None and not known.ours else ""

    async def create(self, request: NetworkCreate, call: CallContext, stream: Stream) -> Any:
        async with self._changes.lock:
            network = self._wanted(request, call.uid)
            change = Change("network.create", call.uid, networks=(network,))
            steps = self._changes.steps(change)
            # Of the driver's own kind nothing is made yet, so the plan would not tell, and a dry run carries nothing out.
            kinds = {network.driver, *(str(step.object.__struct_config__.tag) for step in steps)} & MAY_BE_MISSING
            for kind in sorted(kinds, key=lambda kind: kind != network.driver):
                await asyncio.to_thread(require_kind, kind, f"network {network.name} can't be made")
            if filters(network):
                bridges = [item.link for item in self._records.networks.values() if item.driver == "bridge"]
                await asyncio.to_thread(require_vlan_filtering, bridges, f"network {network.name} can't be made")
            warnings = [*_without_effect(request, network), *self._beside_the_site(network),
                        *await self._facts.warnings_now(network, new=True)]
            plan = self.plan(change, steps)
            if not request.dry_run:
                await self._changes.carry_out(change, steps=steps)
        return {"network": network, "warnings": warnings, "plan": plan, "dry_run": request.dry_run}

    def plan(self, change: Change, steps: tuple[Step, ...] | None = None, strays: Strays = NO_STRAYS) -> Plan:
        """The plan of `change` as clients see it; `steps` where the caller has made them."""
        steps = self._changes.steps(change, strays) if steps is None else steps
        fresh = {item.id: item for item in change.containers}
        places = {place for step in steps for place in (step.object.place, getattr(step.object, "peer_place", HOST))}
        ways: dict[str, str] = {}
        names: dict[str, str] = {}
        first: list[str] = []
        for ident in places:
            item = fresh.get(ident) or self._records.containers.get(ident)
            if item is not None:
                names[ident] = item.ref
                if item.path or item.pid or ident not in fresh:
                    ways[ident] = way_into(place_of(item))
                else:  # it has not been started: by hand one would begin with a namespace
                    ways[ident] = f"netns:{item.name}"
                    first.append(f"ip netns add {item.name}")
            elif ident in strays.places:
                ways[ident] = names[ident] = way_into(strays.places[ident])
        plan = planned(steps, ways, names)
        return msgspec.structs.replace(plan, commands=(*first, *plan.commands)) if first else plan

    async def listing(self, request: NetworkList, call: CallContext, stream: Stream) -> Any:
        rows = sorted(self._records.networks.values(), key=lambda item: (not item.predefined, item.created))
        return [{**msgspec.to_builtins(self.health.shown(item)), "containers": self._records.endpoint_count(item.id),
                 "state": self.state(item.id)} for item in rows]

    async def inspect(self, request: NetworkInspect, call: CallContext, stream: Stream) -> Any:
        records = self._records
        found = [records.network(name) for name in request.names]
        return [network_document(self.health.shown(item), [*map(self.shown_endpoint, records.endpoints_of(network=item.id))],
                                 records.containers, find(records.drivers, item.driver).info.notes_of(item.options),
                                 self.state(item.id)) for item in found]

    def _members(self, network: Network) -> list[str]:
        endpoints = self._records.endpoints_of(network=network.id)
        names = [self._records.containers[item.container].ref for item in endpoints]
        if network.driver in ("host", "none"):
            names += [item.ref for item in self._records.containers.values()
                      if item.mode == network.driver and item.status == "running"]
        return names

    def _removal(self, network: Network, uid: int) -> Change:
        if network.predefined:
            raise InvalidValue(f"network {network.name} is predefined and can't be removed", field="name", value=network.name)
        require_usable(find(self._records.drivers, network.driver))
        members = self._members(network)
        if members:
            shown = ", ".join(members[:8]) + (f" and {len(members) - 8} more" if len(members) > 8 else "")
            raise InUse(f"network {network.name} has containers connected: {shown}. Disconnect them first",
                        name=network.name, users=members)
        return Change("network.remove", uid, drop_networks=(network.id,))

    def _left_behind(self, going: Sequence[Network]) -> list[str]:
        """The links made for the networks `going` that stay, for others hung theirs on them, and why, in words."""
        rest = [item for item in self._records.networks.values() if item not in going]
        links = dict.fromkeys(item.link for item in going if item.driver in ON_A_PARENT and item.made_link and not sharers(item, rest))
        return [f"{link} stays, for what netdeck did not make would go with it: {told_all(found)}. When that is gone, {link} goes by "
                f"itself. To delete both now: netdeck doctor --fix {LEFT_BEHIND}" for link in links if (found := self._changes.hung(link))]

    def _wait_for_others(self, left: Sequence[str]) -> None:
        if left:
            self._changes.needs_repair.set()  # a repair looks when what was left can go

    async def remove(self, request: NetworkRemove, call: CallContext, stream: Stream) -> Any:
        async with self._changes.lock:
            network = self._records.network(request.name)
            change = self._removal(network, call.uid)
            plan, left = self.plan(change), self._left_behind((network,))
            if not request.dry_run:
                await self._changes.carry_out(change)
                self._wait_for_others(left)
        return {"network": network, "warnings": left, "plan": plan, "dry_run": request.dry_run}

    async def prune(self, request: NetworkPrune, call: CallContext, stream: Stream) -> Any:
        async with self._changes.lock:
            unused = [item for item in self._records.networks.values() if not item.predefined and not self._members(item)
                      and not problem(self._records.drivers, item.driver)]
            change = Change("network.prune", call.uid, drop_networks=tuple(item.id for item in unused))
            plan, left = self.plan(change), self._left_behind(unused)
            if change.drop_networks and not request.dry_run:
                await self._changes.carry_out(change)
                self._wait_for_others(left)
        return {"removed": [item.name for item in unused], "warnings": left, "plan": plan, "dry_run": request.dry_run}


def _without_effect(request: NetworkCreate, network: Network) -> list[str]:
    """What was asked for and is not so, because the driver has no use for it."""
    return [f"gateway {asked.gateway} has no effect: containers on {network.name} have their default route by the link itself"
            for asked in request.subnets if asked.gateway and all(item.gateway is None for item in network.subnets)]
