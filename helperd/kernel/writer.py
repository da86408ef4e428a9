"""The writer: carries out the steps of a plan, in one thread, in order.

A netlink send does its work under the kernel's RTNL lock before it returns, up to tens of ms: never in the event loop.

Steps that belong together go to the kernel together. The kernel goes on behind a message that it refuses, so only such
creations share a sendmsg as can be taken back without a trace; when one is refused, what was made behind it is deleted again.
Deletions and changes go one by one, save those of links: they are deleted as a group that goes wholly or not at all, and
changed in the order that loses the fewest packets.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from drivers.objects import (
    Address,
    AnyObject,
    Bridge,
    Chain,
    Dummy,
    Ipvlan,
    Jump,
    Linked,
    Macvlan,
    Masked,
    NameServer,
    PortSocket,
    PortVlans,
    Published,
    Relayed,
    Route,
    Sysctl,
    Up,
    Uplink,
    Veth,
    Vlan,
)
from helperd.kernel import conntrack, port_vlans, sysctl
from helperd.kernel.child_steps import change_child, create_child, delete_child
from helperd.kernel.firewall import Firewall
from helperd.kernel.ip_steps import change_route, create_ip, delete_ip
from helperd.kernel.link_steps import change_links, create_links, delete_links
from helperd.kernel.name_sockets import NameSockets
from helperd.kernel.namespaces import NamespaceRef, NamespaceThread
from helperd.kernel.netlink_batch import LIMIT, Refusal
from helperd.kernel.open_places import OpenPlaces
from helperd.kernel.port_sockets import PortSockets
from helperd.kernel.port_steps import give_back_uplink, take_uplink
from helperd.kernel.step_errors import RunFailed, StepFailed, doing, refused
from helperd.plan import Step
from protocol.errors import Cancelled, Internal, NetdeckError, Unavailable

__all__ = ["StepFailed", "Writer"]

T = TypeVar("T")
Fault = Callable[[int, Step], None]
Progress = Callable[[int, int], None]
_SUBJECTS: dict[type[AnyObject], str] = {
    Bridge: "link",
    Veth: "link",
    Dummy: "link",
    Vlan: "link",
    Macvlan: "child",
    Ipvlan: "child",
    Uplink: "uplink",
    PortVlans: "port_vlans",
    Sysctl: "sysctl",
    Address: "ip",
    Up: "ip",
    Route: "ip",
    Chain: "firewall",
    Jump: "firewall",
    Masked: "firewall",
    Linked: "firewall",
    Published: "firewall",
    Relayed: "firewall",
    PortSocket: "socket",
    NameServer: "names",
}
_Run = Callable[["Writer", OpenPlaces, Sequence[Step]], None]


class Writer:
    """Carries out steps. `fault`, for tests, is called just before each step; what it raises is that step's failure.

    `firewall` takes the steps on the table, `names` those on name servers; without one they fail with Unavailable. `sockets`
    holds ports.
    """

    def __init__(
        self,
        firewall: Firewall | None = None,
        sockets: PortSockets | None = None,
        names: NameSockets | None = None,
        *,
        fault: Fault | None = None,
    ) -> None:
        self.firewall = firewall
        self.sockets = sockets or PortSockets()
        self.names = names
        self.fault = fault
        self._thread = NamespaceThread("writer")

    async def apply(
        self, steps: Sequence[Step], places: Mapping[str, NamespaceRef], on_step: Progress | None = None
    ) -> None:
        """`apply_then` with nothing after it, for what is no change of the stored state: nobody else tells of new sockets."""
        try:
            await self.apply_then(steps, places, lambda places: None, on_step)
        finally:
            if self.names is not None:
                self.names.tell()

    async def apply_then(
        self,
        steps: Sequence[Step],
        places: Mapping[str, NamespaceRef],
        then: Callable[[OpenPlaces], T],
        on_step: Progress | None = None,
    ) -> T:
        """Carry out `steps`; `places` says where containers are (and `HOST`, if it is not the process's own namespace).

        `on_step(done, total)` is called in the event loop. Creating what exists with our mark, and deleting what is gone,
        counts as done. When all is done, `then` is called in the thread with the places that are open, to look at what was
        made; what it returns is returned. It must not raise. Raises `StepFailed`. If the caller is cancelled, no further step
        is begun, and StepFailed with `cancelled` is raised when those under way have ended, so that the caller can take them
        back.
        """
        loop = asyncio.get_running_loop()
        stop = threading.Event()

        def report(done: int, total: int) -> None:
            if on_step is not None:
                loop.call_soon_threadsafe(on_step, done, total)

        given, refs = tuple(steps), dict(places)
        work = self._thread.begin(None, lambda: self._carry_out(given, refs, report, stop, then))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            stop.set()
            done = await _outcome(work, len(steps))
            if not steps:
                raise
            cause = Cancelled(f"cancelled after {done} of {len(steps)} steps")
            raise StepFailed(done, steps[min(done, len(steps) - 1)], cause, cancelled=True) from None

    async def close(self) -> None:
        """End the thread, when what it does has ended."""
        await self._thread.run_async(None, lambda: None)
        self._thread.close()

    def _carry_out(
        self,
        steps: Sequence[Step],
        refs: Mapping[str, NamespaceRef],
        report: Progress,
        stop: threading.Event,
        then: Callable[[OpenPlaces], T],
    ) -> T:
        done = 0
        with OpenPlaces(refs) as places:
            while done < len(steps):
                if stop.is_set():
                    raise StepFailed(done, steps[done], Cancelled(f"cancelled after {done} of {len(steps)} steps"))
                run = _together(steps, done)
                run, fault = self._until_fault(run, done)
                try:
                    if run:
                        _RUNS[_SUBJECTS[type(run[0].object)], run[0].action](self, places, run)
                except RunFailed as failed:
                    done += failed.done
                    raise StepFailed(done, steps[done], failed.cause) from failed
                except Exception as error:
                    raise StepFailed(done, steps[done], _cause(steps[done], error)) from error
                done += len(run)
                report(done, len(steps))
                if fault is not None:
                    raise StepFailed(done, steps[done], _cause(steps[done], fault)) from fault
            return then(places)

    def _until_fault(self, run: Sequence[Step], start: int) -> tuple[Sequence[Step], Exception | None]:
        if self.fault is not None:
            for number, step in enumerate(run):
                try:
                    self.fault(start + number, step)
                except Exception as error:
                    return run[:number], error
        return run, None


async def _outcome(work: asyncio.Future[T], total: int) -> int:
    """How many steps were done when `work` has ended, however often the caller is cancelled meanwhile."""
    while not work.done():
        try:
            await asyncio.wait({work})
        except asyncio.CancelledError:
            continue
    error = work.exception()
    if error is None:
        return total
    if isinstance(error, StepFailed):
        return error.index
    raise error


def _cause(step: Step, error: Exception) -> NetdeckError:
    if isinstance(error, NetdeckError):
        return error
    if isinstance(error, OSError | Refusal):
        return refused(step, error)
    return Internal(f"{doing(step)}: {error!r}")


def _kind(step: Step) -> tuple[str, ...]:
    """Consecutive steps with the same kind go to the kernel together."""
    subject = _SUBJECTS[type(step.object)]
    if subject == "firewall":
        return (subject,)
    action = "set" if subject == "sysctl" and step.action != "delete" else step.action
    return subject, action, step.object.place


def _together(steps: Sequence[Step], start: int) -> Sequence[Step]:
    first = steps[start]
    kind = _kind(first)
    if kind[:2] in (("ip", "delete"), ("ip", "change")) or kind[0] in ("names", "child", "uplink", "port_vlans"):
        return steps[start : start + 1]
    end = start + 1
    names = {first.object.key[-1]}
    # What can't fail in its middle may be of any length.
    whole = kind[0] == "firewall" or kind[:2] in (("link", "delete"), ("link", "change"))
    limit = len(steps) if whole else min(len(steps), start + LIMIT)
    while end < limit and _kind(steps[end]) == kind:
        item = steps[end].object
        if kind[:2] == ("link", "change") and item.key[-1] in names:
            break
        if kind[:2] == ("ip", "create") and isinstance(item, Up):
            break
        if kind[:2] == ("link", "create") and isinstance(item, Veth) and item.master in names:
            break
        if kind[:2] == ("link", "create") and isinstance(item, Vlan) and item.parent in names:
            break
        names.add(item.key[-1])
        end += 1
    return steps[start:end]


def _each(function: Callable[[OpenPlaces, Step], None]) -> _Run:
    def carry_out(writer: Writer, places: OpenPlaces, run: Sequence[Step]) -> None:
        for step in run:
            function(places, step)

    return carry_out


def _all(function: Callable[[OpenPlaces, Sequence[Step]], None]) -> _Run:
    def carry_out(writer: Writer, places: OpenPlaces, run: Sequence[Step]) -> None:
        function(places, run)

    return carry_out


def _set_sysctls(places: OpenPlaces, run: Sequence[Step]) -> None:
    done = 0

    def inside() -> None:
        nonlocal done
        for step in run:
            assert isinstance(step.object, Sysctl)
            sysctl.write(step.object)
            done += 1

    try:
        places.inside(run[0].object.place, inside)
    except Exception as error:
        raise RunFailed(done, _cause(run[done], error)) from error


def _leave_sysctls(places: OpenPlaces, run: Sequence[Step]) -> None:
    """A setting of a link goes with the link; of any other, nobody can say what it should be then, so it stays."""


def _change_firewall(writer: Writer, places: OpenPlaces, run: Sequence[Step]) -> None:
    if writer.firewall is None:
        raise Unavailable("the firewall is not available: libnftables was not loaded")
    writer.firewall.apply_now(run)
    conntrack.forget(places, (step.object for step in run if isinstance(step.object, Published)))


def _hold_ports(writer: Writer, places: OpenPlaces, run: Sequence[Step]) -> None:
    for number, step in enumerate(run):
        assert isinstance(step.object, PortSocket)
        try:
            writer.sockets.hold(step.object)
        except NetdeckError as error:
            raise RunFailed(number, error) from error


def _release_ports(writer: Writer, places: OpenPlaces, run: Sequence[Step]) -> None:
    for step in run:
        assert isinstance(step.object, PortSocket)
        writer.sockets.release(step.object)


def _names(writer: Writer) -> NameSockets:
    if writer.names is None:
        raise Unavailable("names are not served here: there is nobody to hold their sockets")
    return writer.names


def _serve_names(writer: Writer, places: OpenPlaces, run: Sequence[Step]) -> None:
    for step in run:
        _names(writer).make(places, step)


def _end_names(writer: Writer, places: OpenPlaces, run: Sequence[Step]) -> None:
    for step in run:
        _names(writer).remove(places, step)


_RUNS: dict[tuple[str, str], _Run] = {
    ("link", "create"): _all(create_links),
    ("link", "change"): _all(change_links),
    ("link", "delete"): _all(delete_links),
    ("child", "create"): _each(create_child),
    ("child", "change"): _each(change_child),
    ("child", "delete"): _each(delete_child),
    ("uplink", "create"): _each(take_uplink),
    ("uplink", "change"): _each(take_uplink),
    ("uplink", "delete"): _each(give_back_uplink),
    ("port_vlans", "create"): _each(port_vlans.bring),
    ("port_vlans", "change"): _each(port_vlans.bring),
    ("port_vlans", "delete"): _each(port_vlans.give_back),
    ("sysctl", "create"): _all(_set_sysctls),
    ("sysctl", "change"): _all(_set_sysctls),
    ("sysctl", "delete"): _all(_leave_sysctls),
    ("ip", "create"): _all(create_ip),
    ("ip", "change"): _each(change_route),
    ("ip", "delete"): _each(delete_ip),
    ("socket", "create"): _hold_ports,
    ("socket", "change"): _hold_ports,
    ("socket", "delete"): _release_ports,
    ("firewall", "create"): _change_firewall,
    ("firewall", "change"): _change_firewall,
    ("firewall", "delete"): _change_firewall,
    ("names", "create"): _serve_names,
    ("names", "change"): _serve_names,
    ("names", "delete"): _end_names,
}
