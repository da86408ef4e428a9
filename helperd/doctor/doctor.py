"""The operations `doctor.list` and `doctor.fix`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from drivers.commands import planned
from drivers.host_access import host_link
from drivers.objects import HOST, AnyObject, Sysctl
from helperd.changes import CallContext, Changes, way_into
from helperd.default_bridge import DefaultBridge
from helperd.doctor import conflicts, drift, foreign, forwarding, leases, parents, paths, ranges, sysctl_fix
from helperd.doctor.situation import Situation
from helperd.doctor.sysctl_fix import Setting
from helperd.host_facts import HostFacts
from helperd.kernel import sysctl
from helperd.kernel.adapters import adapter
from helperd.kernel.firewall import Firewall
from helperd.kernel.open_places import OpenPlaces
from helperd.kernel.ruleset import HOOK
from helperd.kernel.verification import missing
from helperd.neighbours import Neighbours, finding_id
from helperd.plan import Step, undo
from helperd.repair import Part, Repair
from helperd.site_probes import SiteProbes
from helperd.streams import Stream
from helperd.subnets import Cut
from helperd.world import World
from protocol.errors import Conflict, InvalidValue, KernelRefused, NetdeckError, NotFound
from protocol.findings import SEVERITIES, Finding
from protocol.model import Route
from protocol.names import display_text, suggestion
from protocol.requests import DoctorFix, DoctorList

DOCKER_USER = "docker-user"
_RA = 9  # RTPROT_RA: a route of a router advertisement


class Doctor:
    """Looks at the host as a whole, and mends one finding. `directory` is where settings are kept for the next boot, None in a lab."""

    def __init__(self, changes: Changes, facts: HostFacts, neighbours: Neighbours, repair: Repair, firewall: Firewall, world: World,
                 bridge: DefaultBridge, pools: Mapping[int, Sequence[Cut]], directory: Path | None, probes: SiteProbes) -> None:
        self._changes, self._facts, self._neighbours, self._repair = changes, facts, neighbours, repair
        self._firewall, self._world, self._bridge, self._pools, self._directory = firewall, world, bridge, pools, directory
        self._probes = probes

    async def listing(self, request: DoctorList, call: CallContext, stream: Stream) -> list[Finding]:
        found, _ = await self._look()
        return found

    async def fix(self, request: DoctorFix, call: CallContext, stream: Stream) -> dict[str, Any]:
        if request.undo:
            return await self._take_back(request)
        found, settings = await self._look()
        finding = next((item for item in found if item.id == request.id), None)
        if finding is None:
            ids = [item.id for item in found]
            raise NotFound(f"no finding {display_text(request.id)!r}{suggestion(request.id, ids)}: "
                           + (f"there are {', '.join(ids)}" if ids else "nothing is wrong now"), name=display_text(request.id))
        if request.commands is not None and request.commands != finding.commands:
            raise Conflict(f"finding {finding.id} has changed since it was shown: look at it again", name=finding.id)
        if not request.dry_run:
            if not finding.automatic:
                raise InvalidValue(f"{finding.id}{by_hand(finding)}", field="id", value=finding.id, commands=list(finding.commands))
            await self._mend(finding, settings.get(finding.id, ()))
            left, _ = await self._look()
            if any(item.id == finding.id and item.severity != "notice" for item in left):
                raise KernelRefused(f"{finding.id} was not mended: {finding.what} all the same. The events and the helper's log say why",
                                    object=finding.id, errno=0, kernel="")
            self._world.log("helper", "mended", f"finding {finding.id}", text=finding.what, level="notice", actor=call.user)
        return {"finding": finding, "dry_run": request.dry_run}

    # Looking

    async def _look(self) -> tuple[list[Finding], dict[str, tuple[Setting, ...]]]:
        """The findings, the worst first, and the settings that mend some of them."""
        await asyncio.gather(self._neighbours.refresh(), self._probes.look())
        situation = self._situation()
        settings: dict[str, tuple[Setting, ...]] = {}
        found: list[Finding] = []
        for finding, wanted in (*forwarding.forwarding(situation), *forwarding.reverse_path(situation)):
            settings[finding.id] = wanted
            found.append(msgspec.structs.replace(
                finding, commands=sysctl_fix.commands(wanted, self._directory), undo=sysctl_fix.undo_commands(wanted, self._directory)))
        for finding in foreign.foreign_drops(situation):
            found.append(self._with_accepts(finding) if finding.automatic else finding)
        for check in (foreign.unread, parents.parents, paths.mtu_mismatch, ranges.overlaps, ranges.pools):
            found += check(situation)
        records = self._changes.records
        found += leases.findings(records.endpoints.values(), records.networks, records.owner)
        found += conflicts.findings(self._probes.conflicts.all(), records.networks, records.owner)
        found += await self._drift()
        found += self._about_ourselves()
        return sorted(found, key=lambda item: SEVERITIES.index(item.severity)), settings

    def _situation(self) -> Situation:
        records, world = self._changes.records, self._world
        links = {link.name: link for link in world.links(world.host)}
        peers = {link.ifindex: (peer.container or world.place(peer.inode), peer) for link in links.values()
                 if (peer := world.link(link.peer_inode, link.peer_ifindex)) is not None}
        names = {link.ifindex: link.name for link in links.values()}
        advertised = {names.get(row.ifindex, "") for row in world.rows("routes", world.host)
                      if isinstance(row, Route) and row.family == 6 and row.destination == "default" and row.protocol == _RA}
        networks = list(records.networks.values())
        ours = frozenset({*(item.link for item in networks if item.made_link and item.link), *map(host_link, networks)})
        hindrances = tuple(item for network in networks for item in self._neighbours.hindrances(network))
        return Situation(
            networks=networks, endpoints={item.id: records.endpoints_of(network=item.id) for item in networks}, links=links, peers=peers,
            uplinks={family: self._facts.uplinks(family) for family in (4, 6)},
            sysctl=lambda name, link: sysctl.read(Sysctl(HOST, name, "", link)), ranges=self._facts.ranges(ours), leases=records.leases,
            pools=self._pools, hindrances=hindrances,
            owners={finding_id(item.stop): self._neighbours.owners(item.stop) for item in hindrances},
            unread=self._neighbours.unread, hooks=frozenset(family for family in ("ip", "ip6") if self._neighbours.has_hook(family)),
            router_advertised=tuple(sorted(advertised - {""})), adapter=adapter,
            parent_drivers={name: driver for name, driver in records.drivers.items() if driver.info.parents})

    async def _drift(self) -> list[Finding]:
        async with self._changes.lock:
            found = await self._repair.look()
            intact = await self._firewall.intact()
        containers = self._changes.records.containers
        ways = {ident: way_into(ref) for ident, ref in self._repair.places().items()}
        names = {ident: containers[ident].ref if ident in containers else way for ident, way in ways.items()}
        left = {step.object.key[2]: self._repair.hung(step.object.key[2]) for step in found.left}
        return [*drift.drift(planned(found.orphans, ways, names), planned(found.changed, ways, names), intact),
                *drift.left_behind(left),
                *drift.doubled(found.doubled)]

    def _about_ourselves(self) -> list[Finding]:
        found = []
        if self._bridge.hindrance:
            found.append(Finding(
                "default-bridge", "warning", f"the network bridge is not as the configuration file says: {self._bridge.hindrance}",
                "It stays as it was, and its containers go on.",
                "Take away what is in the way, or change the file; then restart the helper.",
                networks=("bridge",)))
        if self._neighbours.allowed():
            rules = [accept.text for accept in self._neighbours.accepts()]
            found.append(Finding(
                DOCKER_USER, "notice", f"netdeck keeps {len(rules)} rules in Docker's chain {HOOK}, as was allowed",
                "They let packets of netdeck's networks pass Docker's forward policy.",
                f"Nothing to do. `netdeck doctor --undo {DOCKER_USER}` takes them away.", details=tuple(rules),
                undo=(f"netdeck doctor --undo {DOCKER_USER}",)))
        return found

    def _with_accepts(self, finding: Finding) -> Finding:
        families = self._families(finding)
        return msgspec.structs.replace(
            finding, commands=tuple(accept.text for accept in self._neighbours.accepts(families)),
            undo=(f"netdeck doctor --undo {DOCKER_USER}",))

    def _families(self, finding: Finding) -> tuple[str, ...]:
        family = finding.id.split(".")[1]
        return tuple(sorted({*self._neighbours.allowed(), family}))

    # Mending

    async def _mend(self, finding: Finding, settings: Sequence[Setting]) -> None:
        if settings:
            await self._set(settings)
        elif finding.id in _BY_REPAIR:
            await _BY_REPAIR[finding.id](self)
        else:
            await self._allow(finding)

    async def _allow(self, finding: Finding) -> None:
        before = self._neighbours.allowed()
        await self._neighbours.allow(self._families(finding))
        networks = self._changes.records.networks.values()
        if any(finding_id(item.stop) == finding.id for network in networks for item in self._neighbours.hindrances(network)):
            await self._neighbours.allow(before)
            raise KernelRefused(f"rules in {HOOK} do not help: {finding.what} all the same. They were taken away again",
                                object=finding.id, errno=0, kernel="")

    async def _reconcile(self, part: Part) -> None:
        async with self._changes.lock:
            await self._repair.reconcile(part)

    async def _load_table(self) -> None:
        async with self._changes.lock:
            await self._repair.load_firewall()

    async def _set(self, settings: Sequence[Setting]) -> None:
        """Apply, read back, write the file; on failure everything is as it was."""
        steps = tuple(Step("change", setting.object, msgspec.structs.replace(setting.object, value=setting.before)) for setting in settings)

        def look(places: OpenPlaces) -> tuple[AnyObject, ...] | Exception:
            try:
                return missing(places, [step.object for step in steps], names=self._changes.writer.names)
            except Exception as error:
                return error

        async with self._changes.lock:
            try:
                found = await self._changes.writer.apply_then(steps, {}, look)
                if isinstance(found, Exception):
                    raise found
                if found:
                    raise KernelRefused(f"the kernel took the setting but does not show it: {found[0]}", object=str(found[0]))
                if self._directory is not None:
                    sysctl_fix.keep(settings, self._directory)
            except BaseException:
                with contextlib.suppress(NetdeckError):
                    await self._changes.writer.apply(undo(steps), {})
                raise

    async def _take_back(self, request: DoctorFix) -> dict[str, Any]:
        finding = next((item for item in self._about_ourselves() if item.id == request.id and item.id == DOCKER_USER), None)
        if finding is None:
            raise NotFound(f"nothing was done under {display_text(request.id)!r} that netdeck can take back: it keeps only {DOCKER_USER}; "
                           "for the rest the commands were shown when it was done", name=display_text(request.id))
        if not request.dry_run:
            await self._neighbours.allow(())
            self._world.log("helper", "taken back", f"rules in {HOOK}", level="notice")
        return {"finding": finding, "dry_run": request.dry_run}


_SHORT = 3  # commands that a line may repeat; of more it says where they are


def by_hand(finding: Finding) -> str:
    """Why a finding is not mended by netdeck, and who does what instead."""
    if finding.severity == "notice" and not finding.commands:
        return f": there is nothing to mend: {finding.why} {finding.remedy}"
    ways = "; ".join(finding.commands) or finding.remedy
    if len(finding.commands) > _SHORT:
        ways = f"the {len(finding.commands)} commands that netdeck doctor shows with it"
    return f" is about what is not netdeck's, which it does not change. Do it by hand: {ways}"


_BY_REPAIR: Mapping[str, Callable[[Doctor], Any]] = {
    "orphans": lambda doctor: doctor._reconcile("orphans"), "changed": lambda doctor: doctor._reconcile("changed"),
    "firewall-table": Doctor._load_table, drift.LEFT_BEHIND: lambda doctor: doctor._reconcile("left"),
}
