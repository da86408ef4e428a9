"""Beside Docker, firewalld, ufw: which rule of theirs stops packets of our networks, and, by the operator's word only, rules of ours
in the chain that Docker keeps for its users."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence

import msgspec

from drivers.objects import HOST, MARK_VERSION, Sysctl
from helperd.bridge_chains import frame_stops
from helperd.changes import CallContext, Changes
from helperd.forward_chains import ForeignBase, Probe, Stop, owners, stops
from helperd.host_facts import HostFacts
from helperd.kernel import sysctl
from helperd.kernel.ruleset import HOOK, Accept, Ruleset
from helperd.plan import Step
from helperd.relay_chains import relay_stops
from helperd.store import Change
from helperd.world import Change as WorldChange
from helperd.world import World
from protocol.errors import NetdeckError
from protocol.model import Endpoint, Network, Port
from protocol.names import display_text

log = logging.getLogger("netdeck.neighbours")
_NOTE = "docker-user"  # in the store: the families for which the operator allowed rules in Docker's chain
_PAUSE = 0.5  # seconds between two readings; a long reading makes it longer
_SHARE = 20  # of the time, one part in so many may be spent reading
_LEGACY = 5.0  # seconds between two looks at tables of iptables-legacy
_FRESH = 2.0  # seconds for which a reading is good enough to warn by
_UPLINKS = 4  # that are looked at

OUT, BACK, WITHIN = "to the outside", "answers from the outside", "between its containers"
PUBLISHED = "to its published ports"


class Hindrance(msgspec.Struct, frozen=True):
    """Packets of a network, which way, and what stops them."""

    network: str
    way: str
    family: int
    stop: Stop
    ports: tuple[Port, ...] = ()  # of the host, where it is about those that the relay carries


def bridge_filter(family: int) -> bool:
    """Whether frames that cross a bridge are shown to iptables and nftables as if they were routed (br_netfilter)."""
    name = "net.bridge.bridge-nf-call-" + ("iptables" if family == 4 else "ip6tables")
    return sysctl.read(Sysctl(HOST, name, "")) == "1"


def probes(network: Network, uplinks: dict[int, tuple[str, ...]], within: dict[int, bool],
           published: frozenset[int] = frozenset(), *, linked: bool = False) -> Iterator[tuple[str, Probe]]:
    """The packets that a network must be able to send and get: (which way, packet). `published` are the families of its published
    ports. `linked`: containers on it are linked, which may talk where the others are kept apart by us. Pure."""
    for family in (4, 6):
        subnet = next((item.subnet for item in network.subnets if (":" in item.subnet) == (family == 6)), "")
        if not subnet:
            continue
        if not network.internal and not network.uplink:  # by an uplink of its own nothing is routed
            for uplink in uplinks.get(family, ())[:_UPLINKS]:
                yield f"{OUT} by {display_text(uplink)}", Probe(family, network.link, uplink, source=subnet)
                yield f"{BACK} by {display_text(uplink)}", Probe(family, uplink, network.link, destination=subnet, state="established")
                if family in published:
                    yield (f"{PUBLISHED} by {display_text(uplink)}",
                           Probe(family, uplink, network.link, destination=subnet, published=True))
        if within.get(family) and (network.options.get("icc") != "false" or linked):
            yield WITHIN, Probe(family, network.link, network.link, source=subnet, destination=subnet)


class Neighbours:
    """Keeps a reading of the chains of others, and reads again when they change."""

    def __init__(self, changes: Changes, facts: HostFacts, ruleset: Ruleset, world: World) -> None:
        self._changes, self._facts, self._ruleset, self._world = changes, facts, ruleset, world
        self.bases: tuple[ForeignBase, ...] = ()
        self.unread: tuple[str, ...] = ()  # families whose table of iptables-legacy is there and can't be read
        self._uplinks: dict[int, tuple[str, ...]] = {}
        self._within: dict[int, bool] = {}
        self._wake = asyncio.Event()
        self._read_at = 0.0
        self._found: dict[str, tuple[object, list[Hindrance]]] = {}  # by the network's id, since the last reading: of what, and what
        self._bridged = False  # there are chains that frames on bridges meet: who is on a network counts then
        self._told: dict[str, str] = {}  # network → what was told of it
        self._lock = asyncio.Lock()
        changes.listeners.append(self)
        facts.hindrances, facts.look_again = self.warnings, self.look_again
        world.subscribe(self._routes_changed)

    def changed(self, change: Change, steps: tuple[Step, ...], call: CallContext) -> None:
        """A change was committed: another bridge, perhaps, or another port."""
        if change.networks or change.drop_networks or self._bridged or any(item.ports for item in change.endpoints):
            self._wake.set()
        for item in change.endpoints:
            if item.ports:
                self._found.pop(item.network, None)

    def heard(self) -> None:
        """Somebody else changed the firewall."""
        self._wake.set()

    def _routes_changed(self, changes: list[WorldChange]) -> None:
        start = f"{self._world.host}/"
        if any(topic == "routes" and key.startswith(start) for topic, _, key, _ in changes):
            self._wake.set()

    async def begin(self) -> None:
        """The first reading."""
        try:
            await self.refresh()
            self._tell()
        except NetdeckError as error:
            log.warning("reading the firewall of others: %s", error.message)

    async def run(self) -> None:
        """Read when something changed, tell what is new."""
        loop = asyncio.get_running_loop()
        while True:
            if not await self._woken() and not await self._ruleset.legacy():
                continue
            await asyncio.sleep(_PAUSE)
            self._wake.clear()
            begun = loop.time()
            try:
                await self.begin()
            except Exception:  # one bad reading must not be the last
                log.exception("reading the firewall of others")
            await asyncio.sleep(_SHARE * (loop.time() - begun))

    async def _woken(self) -> bool:
        """Wait until something changed, True, or long enough that tables of iptables-legacy may have: nobody tells of those."""
        try:
            await asyncio.wait_for(self._wake.wait(), _LEGACY)
        except TimeoutError:
            return False
        return True

    async def look_again(self) -> None:
        """Read now, if something was heard since the last reading, or that is too long ago to tell somebody of what it saw."""
        loop = asyncio.get_running_loop()
        if self._wake.is_set() or loop.time() - self._read_at > _FRESH:
            try:
                await self.refresh()
            except NetdeckError as error:
                log.warning("reading the firewall of others: %s", error.message)
            except Exception:  # whoever asks has made a change, which stands whatever is read here
                log.exception("reading the firewall of others")

    async def refresh(self) -> None:
        """Read now, and keep our rules in Docker's chain in step where they were allowed."""
        async with self._lock:
            if self.allowed() and await self._ruleset.keep_accepts(self.accepts(), self._mark):
                self._world.log("helper", "changed", f"chain {HOOK} of Docker", text="rules of our networks, as it was allowed",
                                level="notice")
            self._read_at = asyncio.get_running_loop().time()
            self.bases, self.unread = await self._ruleset.chains()
            self._uplinks = {family: self._facts.uplinks(family) for family in (4, 6)}
            self._within = {family: bridge_filter(family) for family in (4, 6)}
            self._bridged = any(base.family == "bridge" for base in self.bases)
            self._found = {}

    def _tell(self) -> None:
        now: dict[str, str] = {}
        for network in self._changes.records.networks.values():
            found = [item for item in self.hindrances(network) if item.stop.certain]
            if found:
                now[network.name] = _words(network, found[0])
        for name, words in now.items():
            if self._told.get(name) != words:
                self._world.log("helper", "blocked", f"network {name}", text=words, level="warning")
        for name in self._told.keys() - now.keys():
            self._world.log("helper", "unblocked", f"network {name}", text="nothing of others drops its packets any more", level="notice")
        self._told = now

    def hindrances(self, network: Network) -> list[Hindrance]:
        """What stops packets of a network, by the last reading."""
        if network.driver != "bridge" or not self.bases:
            return []
        known = self._found.get(network.id)
        endpoints = self._changes.records.endpoints_of(network=network.id) if self._bridged or known is None or known[0] != network else ()
        of = (network, tuple(endpoints)) if self._bridged else network
        if known is None or known[0] != of:  # every attach asks
            published = frozenset(6 if ":" in port.host else 4 for endpoint in endpoints for port in endpoint.ports)
            found = [Hindrance(network.name, way, probe.family, stop)
                     for way, probe in probes(network, self._uplinks, self._within, published, linked=self._linked(endpoints))
                     for stop in stops(self.bases, probe)]
            found += [Hindrance(network.name, *stopped) for stopped in frame_stops(self.bases, network, endpoints)]
            found += [Hindrance(network.name, *stopped) for stopped in relay_stops(self.bases, network, endpoints, self._uplinks)]
            self._found[network.id] = known = (of, found)
        return known[1]

    def _linked(self, endpoints: Sequence[Endpoint]) -> bool:
        linking = self._changes.records.linking
        return any(item.container in linking for item in endpoints)

    def warnings(self, network: Network) -> list[str]:
        """The same in words, one for each rule, for whoever makes or joins the network."""
        told = {item.stop.words: _words(network, item) for item in reversed(self.hindrances(network)) if item.stop.certain}
        return list(reversed(told.values()))

    def owners(self, stop: Stop) -> tuple[str, ...]:
        """Who likely made a rule."""
        wanted = (stop.family, stop.table, stop.base, stop.legacy)
        base = next((item for item in self.bases if (item.family, item.table, item.chain, item.legacy) == wanted), None)
        return () if base is None else owners(base)

    def has_hook(self, family: str) -> bool:
        """Whether Docker's chain for rules of its users is there and asked."""
        return any(base.family == family and base.table == "filter" and not base.legacy and HOOK in base.chains for base in self.bases)

    # Rules in Docker's chain

    @property
    def _mark(self) -> str:
        return f"{MARK_VERSION}:{self._changes.store.instance}:"

    def allowed(self) -> tuple[str, ...]:
        """The families (ip, ip6) for which the operator allowed them."""
        return tuple(filter(None, self._changes.store.note(_NOTE).split(",")))

    async def allow(self, families: Sequence[str]) -> None:
        """Keep them for these families from now on, over restarts of all; () takes them away."""
        gone = set(self.allowed()) - set(families)
        self._changes.store.keep_note(_NOTE, ",".join(families))
        async with self._lock:
            if gone or not families:
                await self._ruleset.keep_accepts(self.accepts(), self._mark)
        await self.refresh()
        self._tell()

    def accepts(self, families: Sequence[str] | None = None) -> tuple[Accept, ...]:
        """The rules for all bridges of ours. What comes towards one is let through, since our own table says what may; what leaves
        one only towards the outside, so that Docker's networks stay closed to ours."""
        found: list[Accept] = []
        for name in self.allowed() if families is None else families:
            family = 4 if name == "ip" else 6
            for network in self._changes.records.networks.values():
                if network.driver != "bridge" or not (network.ipv4 if family == 4 else network.ipv6):
                    continue
                link = network.link
                ways = [(link, link)] if network.internal or network.uplink else \
                    [("", link), *((link, uplink) for uplink in self._facts.uplinks(family)[:_UPLINKS])]
                found += [Accept(name, iif, oif, f"{self._mark}accept:{iif or 'any'}:{oif}") for iif, oif in ways]
        return tuple(found)


def _words(network: Network, item: Hindrance) -> str:
    return (f"packets of {network.name} {item.way} are dropped by {display_text(item.stop.words)}, which is not netdeck's. See and mend it "
            f"with: netdeck doctor --fix {finding_id(item.stop)}")


def finding_id(stop: Stop) -> str:
    """The id of the finding about a rule of others."""
    parts = ["foreign-drop", stop.family + "-legacy" * stop.legacy, stop.table, stop.chain, *([str(stop.handle)] if stop.handle else [])]
    return ".".join("".join(char if char.isascii() and (char.isalnum() or char in "_-") else "_" for char in part) for part in parts)
