"""What is not as it was made: objects of ours that the store does not know, and objects that others changed or took. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from drivers.commands import describe
from helperd.plan import Step
from protocol.findings import Finding
from protocol.model import Plan
from protocol.names import display_text

_SHOWN = 20
_FIX = "Put it right: netdeck plans from what is stored to what is there, as after a crash, and carries that out."


def drift(steps: Sequence[Step], plan: Plan, table_intact: bool) -> Iterator[Finding]:
    """Findings from the plan that leads from what the kernel holds to what it should hold; `plan` is the same for people."""
    orphans = [step for step in steps if step.action == "delete"]
    changed = [step for step in steps if step.action != "delete"]
    if orphans:
        yield Finding(
            "orphans", "warning", f"{_count(orphans)} with netdeck's mark that no network or container of it has",
            "They were left behind, or a copy of the store was put back: they may hold names, addresses and routes that are needed.",
            f"{_FIX} The orphans are deleted.", details=_lines(orphans), commands=plan.commands,
            undo=("none: they belong to nothing",), automatic=True)
    if changed:
        yield Finding(
            "changed", "error", f"{_count(changed)} of netdeck's networks missing or changed by somebody else",
            "Containers lose their way, or what keeps networks apart does not hold.", _FIX, details=_lines(changed),
            commands=plan.commands, undo=("none: it is as it was made then",), automatic=True)
    if not table_intact:
        yield Finding(
            "firewall-table", "error", "the firewall table inet netdeck is missing or is not as netdeck made it",
            "What keeps networks apart, and masquerade to the outside, may not hold.",
            "Load the whole table again, in one transaction; what its rules have counted is kept.",
            commands=("nft list table inet netdeck  # what is there now",), undo=("none: it is as it was made then",), automatic=True)


def _count(steps: Sequence[Step]) -> str:
    return "1 object" if len(steps) == 1 else f"{len(steps)} objects"


def _lines(steps: Sequence[Step]) -> tuple[str, ...]:
    lines = [f"{step.action} {display_text(describe(step.object))}" for step in steps[:_SHOWN]]
    return (*lines, f"and {len(steps) - _SHOWN} more") if len(steps) > _SHOWN else tuple(lines)
