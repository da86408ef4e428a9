"""Brings the kernel to what is stored: at start, after a change that could not be taken back, when the firewall table was taken."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from drivers.beside import ipvlan_mode, rival, told, told_all
from drivers.commands import describe
from drivers.driver import Hung
from drivers.objects import HOST, LINK_KINDS, AnyObject, Dummy, Ipvlan, Key, Macvlan, Route, TableItem, Uplink, Veth, Vlan
from drivers.unusable import problem
from helperd.changes import Changes, place_of
from helperd.hung import hung, strangers_on
from helperd.kernel.firewall import Firewall
from helperd.kernel.firewall_watch import FirewallChange
from helperd.kernel.namespaces import NamespaceRef
from helperd.kernel.writer import StepFailed
from helperd.plan import Step, first_routes, plan
from helperd.records import Records
from helperd.store import Journalled
from helperd.unusable_networks import without_theirs
from helperd.way_out import is_there
from helperd.world import Change as WorldChange
from helperd.world import World
from protocol.errors import NetdeckError, NotFound
from protocol.model import Container, Network

log = logging.getLogger("netdeck.repair")
RETRY_SECONDS = 1.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds between two restorations of the table
_TOLD = 4  # objects that an event names
CALM_SECONDS = 5.0  # without a change by others, until a restoration waits for nothing again


def _possible(steps: Sequence[Step], missing: set[tuple[str, str]], cause: NetdeckError) -> tuple[Step, ...]:
    """`steps` behind the first, which failed, without what needs a link that can't be made: one of that name is somebody else's, or
    its parent is gone. `missing` holds (place, name) of such links."""
    failed = steps[0]
    if failed.action == "create":
        missing |= _ends(failed.object)
        if isinstance(failed.object, Macvlan | Ipvlan | Vlan) and isinstance(cause, NotFound):
            missing.add((HOST, failed.object.parent))  # so that each of a hundred containers need not fail by itself
    found: list[Step] = []
    for step in steps[1:]:
        item = step.object
        needs = (item.place, item.master) if isinstance(item, Veth) else item.on
        if step.action != "delete" and isinstance(item, LINK_KINDS) and needs in missing:
            missing |= _ends(item)
        elif step.action == "delete" or item.on not in missing:
            found.append(step)
    return tuple(found)


def apart(steps: tuple[Step, ...], hung: Callable[[str], Sequence[Hung]]) -> tuple[tuple[Step, ...], list[str]]:
    """`steps` without what would change, or can't be beside, the links that others hung on a parent; and what was left out, in words, once
    for each parent."""
    held: dict[str, str] = {}
    links: set[tuple[str, str]] = set()
    for item in (step.object for step in steps if step.action != "delete"):
        if isinstance(item, Macvlan | Ipvlan):
            kind, mode = ("ipvlan", ipvlan_mode(item.mode, item.flag)) if isinstance(item, Ipvlan) else ("macvlan", item.mode)
            found = rival(kind, mode, hung(item.parent))
            if found is not None:
                held[item.parent] = (f"links on {item.parent} can't be made again: {told(found[0])}, hangs there, which netdeck did not "
                                     f"make, and {found[1]}")
                links.add((item.place, item.name))
    if not links:
        return steps, []

    def rests(step: Step) -> bool:
        return (isinstance(step.object, Macvlan | Ipvlan) and (step.object.place, step.object.name) in links) \
            or (step.action != "delete" and step.object.on in links)

    return tuple(step for step in steps if not rests(step)), list(held.values())


def without_replacement(steps: tuple[Step, ...], there: Callable[[str], bool],
                        hung: Callable[[str], Sequence[Hung]]) -> tuple[tuple[Step, ...], list[str]]:
    """`steps` without those that take a link away to make it anew, where that can't be, for what it is to hang on is gone (it may have
    another name now, and all on it works), or would take along what others hung on it. And what was left out, in words."""
    anew = {step.object.key: step.object for step in steps if step.action == "create"}
    held: dict[str, None] = {}
    rest: set[Key] = set()
    for step in steps:
        wanted = anew.get(step.object.key)
        if step.action != "delete" or not isinstance(wanted, Macvlan | Ipvlan | Vlan):
            continue
        if not there(wanted.parent):
            held[f"links on {wanted.parent} can't be made anew, for it is gone: what there is stays as it is until it is back"] = None
        elif isinstance(wanted, Vlan) and (others := hung(wanted.name)):
            held[f"{wanted.name} can't be made anew: what netdeck did not make would go with it, {told_all(others)}"] = None
        else:
            continue
        rest |= {step.object.key, *(item.key for item in step.along)}
    links = {(item.place, item.key[2]) for item in (step.object for step in steps) if item.key in rest and isinstance(item, LINK_KINDS)}
    return tuple(step for step in steps if step.object.key not in rest and step.object.on not in links), list(held)


def _ends(item: AnyObject) -> set[tuple[str, str]]:
    match item:
        case Veth():
            return {(item.place, item.name), (item.peer_place, item.peer_name)}
        case _:
            return {(item.place, item.key[2])} if isinstance(item, LINK_KINDS) else set()


class Differences(NamedTuple):
    """`steps` lead from what the kernel holds to what it should hold: they take `orphans` away, which bear our mark and are not stored,
    and put right what is `changed` or missing. `doubled` are routes of the host that can't be beside others to the same. `left` would take
    away links that are not stored either, and with them what others hung there: not among `steps`."""

    steps: tuple[Step, ...]
    orphans: tuple[Step, ...]
    changed: tuple[Step, ...]
    doubled: tuple[Route, ...] = ()
    left: tuple[Step, ...] = ()


Part = Literal["steps", "orphans", "changed", "left"]


def left_over(cut_off: Iterable[Journalled], containers: Mapping[str, Container]) -> dict[str, NamespaceRef]:
    """The namespaces that changes which were cut off worked in, some of them of containers that are stored no more."""
    found: dict[str, NamespaceRef] = {}
    for entry in cut_off:
        for container in (*entry.change.containers, *(containers[ident] for ident in entry.change.drop_containers if ident in containers)):
            if container.inode:
                found[container.id] = place_of(container)
    return found


def left_uplinks(cut_off: Iterable[Journalled], networks: Mapping[str, Network], records: Records) -> tuple[Uplink, ...]:
    """The links of the host that networks had as ports which changes that were cut off made or removed. They bear no mark, so nothing else
    would show that they are to be given back as they were. `networks` are those that were stored before."""
    gone = {item.id: item for entry in cut_off for item in (
        *entry.change.networks, *(networks[ident] for ident in entry.change.drop_networks if ident in networks))
        if item.id not in records.networks and not problem(records.drivers, item.driver)}
    return tuple(item for network in gone.values() for item in records.network_objects(network) if isinstance(item, Uplink))


class Repair:
    """Plans with the same function as every change, from what is stored to what is seen."""

    def __init__(self, changes: Changes, firewall: Firewall, world: World, left_over: Mapping[str, NamespaceRef] | None = None,
                 left_uplinks: Sequence[Uplink] = ()) -> None:
        self._changes, self._firewall, self._world = changes, firewall, world
        self._left_uplinks = tuple(left_uplinks)
        self._left_over = dict(left_over or {})  # looked at once, too: a change that was cut off may have left something there
        self._taken: FirewallChange | None = None  # what somebody else did to the table since it was loaded
        self._guard: asyncio.Task[None] | None = None
        self._restored, self._pause, self._failing = 0.0, 0.0, False
        self._holding: set[str] = set()  # keys of the links of others for which links of ours are left where they are
        changes.hung = self.hung
        world.subscribe(self._heard)

    def places(self) -> dict[str, NamespaceRef]:
        """The namespaces of all containers that have endpoints, and those where a change may have left something."""
        records = self._changes.records
        ids = {item.container for item in records.endpoints.values()}
        found = {ident: place_of(records.containers[ident], records.sharers(ident)) for ident in ids if records.containers[ident].inode}
        return {**self._changes.suspects, **found}

    async def load_firewall(self) -> None:
        """Load the whole table from what is stored, in one transaction: traffic meets the old table or the new one."""
        desired = self._changes.records.desired()
        self._firewall.seed(item for item in desired if isinstance(item, TableItem))
        await self._firewall.load()

    async def look(self) -> Differences:
        """What is not as it should be. The caller holds the lock of changes."""
        return await self._look(self.places())

    async def _look(self, places: Mapping[str, NamespaceRef]) -> Differences:
        desired, doubled = first_routes(self._changes.records.desired())
        wanted = {item.key for item in desired}
        left = [item for item in self._left_uplinks if item.key not in wanted]
        observed = await self._changes.observer.observe(places, [*desired, *left])
        planned = plan(desired, without_theirs(self._changes.records, observed, desired))

        def orphan(step: Step) -> bool:
            return step.action == "delete" and step.object.key not in wanted  # what goes to be made anew is wanted

        instance = self._changes.store.instance
        holding = {step: others for step in planned if isinstance(step.object, Dummy | Vlan) and orphan(step)
                   and (others := strangers_on(self._world, instance, step.object.name))}
        self._holding = {f"{link.inode}/{link.ifindex}" for others in holding.values() for link in others}
        steps = tuple(step for step in planned if step not in holding)
        return Differences(steps, tuple(step for step in steps if orphan(step)), tuple(step for step in steps if not orphan(step)),
                           tuple(doubled), tuple(holding))

    async def reconcile(self, part: Part = "steps") -> tuple[Step, ...]:
        """Make missing what is stored, delete what bears our mark and is not stored; or only one of the two. Steps that fail are told
        and passed over, with all that rests on them. Returns the steps that were tried. The caller holds the lock of changes."""
        places = {**self._left_over, **self.places()}
        self._left_over = {}
        tried: list[Step] = []
        missing: set[tuple[str, str]] = set()
        whole = part == "steps"
        found = await self._look(places)
        for route in found.doubled:
            self._world.log("helper", "left out", f"the host's route to {route.destination}", level="error",
                            text=f"it leads to another network than {route.link} already, where a container has the same address")
        steps: tuple[Step, ...] = getattr(found, part)
        steps, unmade = without_replacement(steps, is_there, self.hung)
        steps, held = apart(steps, self.hung)
        held += unmade
        whole &= not held
        for text in held:
            log.error("repair: %s", text)
            self._world.log("helper", "repair failed", "links on a parent", text=text, level="error")
        while steps:
            try:
                await self._changes.writer.apply(steps, places)
                tried.extend(steps)
                break
            except StepFailed as failed:
                log.error("repair: %s", failed.message)
                self._world.log("helper", "repair failed", self._said(failed.step.object), text=failed.message, level="error")
                tried.extend(steps[:failed.index + 1])
                whole = False
                steps = _possible(steps[failed.index:], missing, failed.cause)
        if whole:
            self._changes.suspects.clear()
            self._left_uplinks = ()
        return tuple(tried)

    def _said(self, item: AnyObject) -> str:
        return describe(item, {ident: container.ref for ident, container in self._changes.records.containers.items()})

    def tell(self, steps: Sequence[Step]) -> None:
        """Say what was put right."""
        done = [f"{step.action} {self._said(step.object)}" for step in steps[:_TOLD]]
        more = [f"and {len(steps) - _TOLD} more"] if len(steps) > _TOLD else []
        self._world.log("helper", "repaired", "1 object" if len(steps) == 1 else f"{len(steps)} objects", text="; ".join([*done, *more]),
                        level="notice")

    def hung(self, link: str) -> tuple[Hung, ...]:
        """What others hung on a link of the host."""
        return hung(self._world, strangers_on(self._world, self._changes.store.instance, link))

    def _heard(self, changes: list[WorldChange]) -> None:
        if self._holding and any(topic == "links" and action == "del" and key in self._holding for topic, action, key, _ in changes):
            self._changes.needs_repair.set()  # what waited for that may go now

    async def run(self) -> None:
        """Repair whenever a change asked for it."""
        while True:
            await self._changes.needs_repair.wait()
            self._changes.needs_repair.clear()
            async with self._changes.lock:
                try:
                    if steps := await self.reconcile():
                        self.tell(steps)
                    continue
                except NetdeckError as error:
                    log.error("repair: %s", error.message)
                except Exception:  # a repair that fails must not end the helper
                    log.exception("repair")
            await asyncio.sleep(RETRY_SECONDS)
            self._changes.needs_repair.set()

    def firewall_changed(self, change: FirewallChange) -> None:
        """Somebody else touched the table `inet netdeck`: load it again, and say who it was."""
        self._firewall.lost()
        self._taken = change
        if self._guard is None or self._guard.done():
            self._guard = asyncio.create_task(self._restore_all())

    async def _restore_all(self) -> None:
        """At once, but slower and slower while somebody takes the table again and again: another helper, say, that means to
        have it for itself."""
        loop = asyncio.get_running_loop()
        while (change := self._taken) is not None:
            self._taken = None
            if loop.time() - self._restored > self._pause + CALM_SECONDS:
                self._pause = 0.0
            await asyncio.sleep(self._restored + self._pause - loop.time())
            await self._restore(change)
            self._restored = loop.time()
            self._pause = min(max(2 * self._pause, FIRST_PAUSE), LONGEST_PAUSE)

    async def _restore(self, change: FirewallChange) -> None:
        who = f"{change.process} (pid {change.pid})" if change.pid else "another program"
        async with self._changes.lock:
            try:
                await self.load_firewall()
            except NetdeckError as error:
                if not self._failing:
                    self._world.log("helper", "failed", "firewall table inet netdeck", level="error",
                                    text=f"{who} removed it and it can't be loaded again: {error.message}")
                self._failing = True
                self._taken = self._taken or change
                return
        self._failing = False
        self._world.log("helper", "restored", "firewall table inet netdeck", level="warning",
                        text=f"{who} {'removed' if change.deleted else 'changed'} it; it was loaded again")
