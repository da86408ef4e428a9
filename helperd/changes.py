"""The one way for every change: plan → journal → apply → verify → commit → event, and the way back when a step fails.

Nothing else writes to the kernel. A change runs to its end or is taken back whole, also when its caller goes away or cancels
while it runs: up to the commit it is undone then, after it the result stands.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import Literal, Protocol

import msgspec

from drivers.driver import Hung
from drivers.objects import HOST, AnyObject, Bridge, Dummy, Veth, Vlan
from helperd.kernel.namespaces import NamespaceRef
from helperd.kernel.observer import Observer
from helperd.kernel.open_places import OpenPlaces
from helperd.kernel.verification import missing
from helperd.kernel.writer import StepFailed, Writer
from helperd.link_openings import openings
from helperd.plan import Step, first_routes, plan, undo
from helperd.records import Records
from helperd.store import Change, Store
from protocol.errors import Cancelled, Conflict, Internal, KernelRefused, NetdeckError
from protocol.model import Container, Network

log = logging.getLogger("netdeck.changes")
FEW = 20  # steps; up to so many, progress is not told
Found = tuple[AnyObject, ...] | Exception  # what is missing of that which was made, or why that could not be seen


class CallContext(msgspec.Struct):
    """Who asked, and how to tell them. `cancelled` is set when the caller gives up. `behind`, where there is such a list, is called
    when the answer has been sent."""

    uid: int = 0
    gid: int = 0
    pid: int = 0
    user: str = ""
    op: str = ""
    key: str | None = None
    progress: Callable[[str, int, int], None] = lambda text, step, steps: None
    cancelled: str = ""
    behind: list[Callable[[], None]] | None = None


CALL: ContextVar[CallContext] = ContextVar("netdeck_call", default=CallContext())  # noqa: B039 - never written to


class Strays(msgspec.Struct, frozen=True):
    """What bears this helper's mark and is not stored, to be taken away by a change; and the namespaces that it is in, by place."""

    objects: tuple[AnyObject, ...] = ()
    places: dict[str, NamespaceRef] = {}


NO_STRAYS = Strays()


class Listener(Protocol):
    """What is told of every committed change."""

    def changed(self, change: Change, steps: tuple[Step, ...], call: CallContext) -> None: ...


def place_of(container: Container, sharers: Iterable[Container] = ()) -> NamespaceRef:
    """How to enter a container's network namespace: by itself, and when it has ended by those that share it."""
    path = container.path or f"/proc/{container.pid}/ns/net"
    return NamespaceRef(path=path, inode=container.inode, pid=None if container.path else container.pid,
                        others=tuple(item.pid for item in sharers))


def way_into(ref: NamespaceRef) -> str:
    """The same for commands that are shown: ``netns:NAME`` or ``pid:N`` (`drivers.commands.commands`)."""
    return f"netns:{ref.path.rsplit('/', 1)[1]}" if ref.path.startswith("/run/netns/") else f"pid:{ref.pid or 0}"


class _Turn(asyncio.Lock):
    """One change at a time; all are told of the one before when the next has its turn."""

    def __init__(self, tell: Callable[[], None]) -> None:
        super().__init__()
        self._tell = tell

    async def acquire(self) -> Literal[True]:
        await super().acquire()
        self._tell()
        return True


class Changes:
    """Carries changes out, one at a time."""

    def __init__(self, store: Store, records: Records, writer: Writer, observer: Observer) -> None:
        self.store, self.records, self.writer, self.observer = store, records, writer, observer
        self.lock = _Turn(self.tell)
        self.listeners: list[Listener] = []
        self._untold: deque[tuple[Change, tuple[Step, ...], CallContext]] = deque()
        self.fault: Callable[[str], None] = lambda stage: None
        self.hung: Callable[[str], Sequence[Hung]] = lambda link: ()  # what others hung on a link of the host
        self.needs_repair = asyncio.Event()
        # Namespaces where a change that failed may have left links that nothing on the host shows.
        self.suspects: dict[str, NamespaceRef] = {}
        self._unfinished: list[int] = []  # journal entries that the store could not take back; done before the next change

    def places(self, change: Change) -> dict[str, NamespaceRef]:
        """The namespaces that the objects of `change` may live in."""
        ids = {*self._touched(change), *openings(self.records, change).places()}
        fresh = {item.id: item for item in change.containers if item.inode}  # of one that ends, what is stored tells where it was
        found = {ident: fresh.get(ident) or self.records.containers.get(ident) for ident in ids}
        return {ident: place_of(item, self.records.sharers(ident)) for ident, item in found.items() if item is not None and item.inode}

    def steps(self, change: Change, strays: Strays = NO_STRAYS) -> tuple[Step, ...]:
        """The plan of `change`, from the stored state and what was found beside it. Pure."""
        records = self.records
        fresh = {item.id: item for item in change.networks}
        networks = {**records.networks, **fresh}
        before: list[AnyObject] = [*strays.objects]
        after: list[AnyObject] = []
        for ident in (*change.drop_networks, *fresh):
            if ident in records.networks:
                before.extend(records.network_objects(records.networks[ident]))
            if ident in fresh:
                after.extend(records.network_objects(fresh[ident]))
        # What they share with others (a VLAN that several networks hang on) stays as it is, so it is in both.
        for sharer in self._sharers(change):
            objects = records.network_objects(sharer)
            before.extend(objects)
            after.extend(objects)
        # So does a link that others hung theirs on, which would go with it: also when it is left by its last network, or taken again.
        for network in (*fresh.values(), *(networks[ident] for ident in change.drop_networks if ident in networks)):
            kept = self._needed_by_others(records.network_objects(network))
            before.extend(kept)
            after.extend(kept)
        for container in self._touched(change):
            old = {item.id: item for item in records.endpoints_of(container=container)}
            new = {ident: item for ident, item in old.items() if ident not in change.drop_endpoints}
            new |= {item.id: item for item in change.endpoints if item.container == container}
            before.extend(records.container_objects(old.values(), records.networks))
            after.extend(records.container_objects(sorted(new.values(), key=lambda item: item.order), networks))
        links = openings(records, change)
        return plan(first_routes((*after, *links.after))[0], first_routes((*before, *links.before))[0])

    def _needed_by_others(self, objects: Iterable[AnyObject]) -> list[AnyObject]:
        """Of the objects of a network the link that others hung theirs on, with what makes it work."""
        found = [*objects]
        links = {(HOST, item.name) for item in found if isinstance(item, Dummy | Vlan) and self.hung(item.name)}
        return [item for item in found if ((item.place, item.key[2]) if item.key[0] == "link" else item.on) in links]

    def _sharers(self, change: Change) -> list[Network]:
        """The other networks on the links of the networks of `change`."""
        stored = self.records.networks
        touched = {item.id for item in change.networks} | set(change.drop_networks)
        links = {item.link for item in (*change.networks, *(stored[ident] for ident in change.drop_networks if ident in stored))}
        return [item for item in stored.values() if item.link and item.link in links and item.id not in touched] if links else []

    def _touched(self, change: Change) -> list[str]:
        touched = dict.fromkeys(item.container for item in change.endpoints)
        for network in change.networks:
            old = self.records.networks.get(network.id)
            if old is not None and msgspec.structs.replace(old, labels=network.labels) != network:
                touched |= dict.fromkeys(item.container for item in self.records.endpoints_of(network=network.id))
        for ident in change.drop_endpoints:
            if ident in self.records.endpoints:
                touched[self.records.endpoints[ident].container] = None
        return list(touched)

    async def carry_out(self, change: Change, last: Mapping[tuple[str, str], str] | None = None,
                        steps: tuple[Step, ...] | None = None, strays: Strays = NO_STRAYS) -> tuple[Step, ...]:
        """Do `change`; the caller holds `lock`. `steps` are its plan, where the caller has made it, under the same hold of the lock.

        Returns the steps. Raises what a step raised, with everything as before."""
        task = asyncio.ensure_future(self._carry_out(change, dict(last or {}), CALL.get(), steps, strays))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            CALL.get().cancelled = CALL.get().cancelled or "the caller went away"
            while not task.done():  # also when it is cancelled once more: the lock is held until the change has ended
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([task])
            if task.exception() is None:
                return task.result()
            raise

    async def _carry_out(self, change: Change, last: dict[tuple[str, str], str], call: CallContext,
                         planned: tuple[Step, ...] | None, strays: Strays) -> tuple[Step, ...]:
        while self._unfinished:
            self.store.abort(self._unfinished[-1])
            self._unfinished.pop()
        steps = self.steps(change, strays) if planned is None else planned
        places = {**strays.places, **self.places(change)}
        entry = self.store.begin(change)
        done: tuple[Step, ...] = ()
        try:
            self.fault("apply")
            carriers = self._carriers(change)
            found = await self._apply(steps, places, carriers, call)
            done = steps
            _require_whole(found, carriers, change.kind)
            self.fault("finish")
            if call.cancelled:
                raise Cancelled(f"{change.kind} was cancelled ({call.cancelled}) and taken back")
            self.store.finish(entry, change, last, (call.uid, call.key, call.op) if call.key else None)
        except BaseException as error:
            if isinstance(error, StepFailed):
                done = steps[:error.index]
            await self._take_back(entry, done, places)
            if isinstance(error, StepFailed):
                raise _told(error) from error
            if isinstance(error, NetdeckError) or not isinstance(error, Exception):
                raise
            log.exception("%s failed", change.kind)
            raise Internal(f"{change.kind} failed inside netdeck ({type(error).__name__}: {error}) and was taken back") from error
        self.records.apply(change, last)
        self._untold.append((change, steps, call))
        if call.behind is None:
            self.tell()
        else:
            call.behind.append(self.tell)
        return steps

    def tell(self) -> None:
        """Tell all listeners of the changes that they were not told of yet."""
        while self._untold:
            change, steps, call = self._untold.popleft()
            for listener in self.listeners:
                try:
                    listener.changed(change, steps, call)
                except Exception:  # the change is done, whatever became of those who are told of it
                    log.exception("telling of %s", change.kind)

    async def _apply(self, steps: tuple[Step, ...], places: dict[str, NamespaceRef], carriers: Sequence[Bridge | Veth],
                     call: CallContext) -> Found:
        """Carry out the steps, and read back what they made while its places are still open."""

        def told(done: int, total: int) -> None:
            call.progress("applying", done, total)

        def look(opened: OpenPlaces) -> Found:
            try:
                self.fault("verify")
                wanted = [step.object for step in steps if step.action != "delete"]
                return missing(opened, wanted, carriers, self.writer.names) if wanted else ()
            except Exception as error:
                return error

        if not steps:
            return ()
        # A few steps are done before anybody could read of them, and to tell of each costs more than to carry it out.
        return await self.writer.apply_then(steps, places, look, told if len(steps) > FEW else None)

    def _carriers(self, change: Change) -> list[Bridge | Veth]:
        """The links that new endpoints of `change` hang on."""
        joined = {item.network for item in change.endpoints if item.network in self.records.networks}
        return [item for ident in joined if (item := self.records.carrier(self.records.networks[ident])) is not None]

    async def _take_back(self, entry: int, done: tuple[Step, ...], places: dict[str, NamespaceRef]) -> None:
        try:
            if done:
                await self.writer.apply(undo(done), places, None)
        except Exception:
            log.exception("a change could not be taken back in one go: repairing")
            self.suspects |= places
            self.needs_repair.set()
        try:
            self.store.abort(entry)
        except NetdeckError as error:
            log.error("a change was taken back in the kernel, not in the store: %s", error.message)
            self._unfinished.append(entry)


def _require_whole(found: Found, carriers: Sequence[AnyObject], kind: str) -> None:
    """Raise where the look at what was made went wrong or missed something."""
    if isinstance(found, Exception):
        raise found
    if found and found[0] in carriers:
        raise Conflict(f"{found[0].key[2]} on this host is gone, or is not the link that netdeck made: {kind} was taken back",
                       with_=found[0].key[2])
    if found:
        raise KernelRefused(f"the kernel took the change but does not show it: {found[0]}", object=str(found[0]))


def _told(failed: StepFailed) -> NetdeckError:
    """The error of a failed step as the user gets it: the class of its cause, the words of both."""
    cause = failed.cause
    told = type(cause)(failed.message, **cause.details)
    return told
