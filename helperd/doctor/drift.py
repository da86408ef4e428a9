"""What is not as it was made: objects of ours that the store does not know, and objects that others changed or took. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence

from drivers.beside import told_all
from drivers.driver import Hung
from drivers.objects import Route
from protocol.findings import Finding
from protocol.model import Plan, PlannedStep
from protocol.names import display_text

LEFT_BEHIND = "left-behind"
_SHOWN = 20
_FIX = "Put it right: netdeck plans from what is stored to what is there, as after a crash, and carries that out."
_NO_WAY_BACK = "There is nothing to take back then:"


def drift(orphans: Plan, changed: Plan, table_intact: bool) -> Iterator[Finding]:
    """Findings from the plans that lead from what the kernel holds to what it should hold: what takes away, and the rest."""
    if orphans.steps:
        yield Finding(
            "orphans", "warning", f"{_count(orphans.steps)} with netdeck's mark that no network or container of it has",
            "They were left behind, or a copy of the store was put back: they may hold names, addresses and routes that are needed.",
            f"Delete them, just as they are listed. {_NO_WAY_BACK} they belong to nothing.", details=_lines(orphans.steps),
            commands=orphans.commands, automatic=True)
    if changed.steps:
        yield Finding(
            "changed", "error", f"{_count(changed.steps)} of netdeck's networks missing or changed by somebody else",
            "Containers lose their way, or what keeps networks apart does not hold.", f"{_FIX} {_NO_WAY_BACK} all is as it was made.",
            details=_lines(changed.steps), commands=changed.commands, automatic=True)
    if not table_intact:
        yield Finding(
            "firewall-table", "error", "the firewall table inet netdeck is missing or is not as netdeck made it",
            "What keeps networks apart, and masquerade to the outside, may not hold.",
            "Load the whole table again, in one transaction; what its rules have counted is kept. "
            f"{_NO_WAY_BACK} all is as it was made.",
            commands=("nft list table inet netdeck  # what is there now",), automatic=True)


def left_behind(hung: Mapping[str, Sequence[Hung]]) -> Iterator[Finding]:
    """A finding from links that were left because others hung theirs on them: `hung` by the link's name."""
    if hung:
        yield Finding(
            LEFT_BEHIND, "warning", f"made for networks that are removed, and left because others hung links there: {', '.join(hung)}",
            "To delete what netdeck made would delete what hangs there too, which is not netdeck's.",
            "Delete the links of others: then netdeck takes its own away at once. Or delete all of it together, as listed. What others "
            "made, only they can make again.",
            details=tuple(f"on {link}: {told_all(others)}" for link, others in hung.items()),
            # Names are of others' choice, and not every shell knows comments on its command line: so that is quoted too.
            commands=tuple(f"ip link delete {shlex.quote(link)}  # and with it {shlex.quote(told_all(others))}"
                           for link, others in hung.items()), automatic=True)


def doubled(routes: Sequence[Route]) -> Iterator[Finding]:
    """Findings from routes of the host that can't be beside others to the same address."""
    for route in routes:
        address = route.destination.partition("/")[0]
        yield Finding(
            f"twice-{address}", "error", f"{address} is a container's on two networks that the host has access to",
            f"The host reaches one of the two, and not the one by {display_text(route.link)}.",
            "Disconnect one of the two containers, or switch host access off for one of the networks.",
            commands=(f"ip route get {address}",))


def _count(steps: Sequence[PlannedStep]) -> str:
    return "1 object" if len(steps) == 1 else f"{len(steps)} objects"


def _lines(steps: Sequence[PlannedStep]) -> tuple[str, ...]:
    lines = [f"{step.action} {step.text}" for step in steps[:_SHOWN]]
    return (*lines, f"and {len(steps) - _SHOWN} more") if len(steps) > _SHOWN else tuple(lines)
