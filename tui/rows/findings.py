"""Rows and pages of the Doctor screen. Pure."""

from __future__ import annotations

from typing import Final

from protocol.findings import SEVERITIES, Finding
from tui.documents import Line, Page, Span
from tui.screens.forms.plan_pages import command_lines
from tui.widgets.glyphs import ASCII, Glyphs
from tui.widgets.table_columns import Align, Cell, Column, Kind

_WORDS: Final = (("✗", "x", "ERROR", "bad"), ("!", "!", "WARN", "warn"), ("•", "*", "notice", "muted"))


def columns(glyphs: Glyphs) -> tuple[Column, ...]:
    def words(value: Cell) -> str:
        unicode, plain, word, _ = _WORDS[int(value)]
        return f"{plain if glyphs is ASCII else unicode} {word}"

    return (
        Column("severity", "HOW BAD", 8, Kind.NUMBER, align=Align.LEFT, formatter=words, tone=lambda value: _WORDS[int(value)][3]),
        Column("mended", "FIX", 5, tone=lambda value: "good" if value == "f" else "muted"),
        Column("id", "ID", 22, priority=1),
        Column("what", "WHAT", 30, stretch=True),
    )


def row(finding: Finding) -> dict[str, object]:
    return {"severity": float(SEVERITIES.index(finding.severity)), "id": finding.id, "what": finding.what,
            "mended": "f" if finding.automatic or taken_back(finding) else "hand" if finding.commands else "-"}


def taken_back(finding: Finding) -> bool:
    """Whether it is about what netdeck keeps up by an earlier word, which can be taken back."""
    return finding.undo[:1] == (f"netdeck doctor --undo {finding.id}",) and not finding.automatic


def asks_for_nothing(finding: Finding) -> bool:
    """Whether it only tells of something: there is no way to mend it, and none to take it back."""
    return finding.severity == "notice" and not (finding.automatic or finding.commands or taken_back(finding))


def next_step(finding: Finding) -> str:
    """What there is to do about it, in a line."""
    if finding.automatic:
        return f"{finding.id}: f mends it, after showing how"
    if taken_back(finding):
        return f"{finding.id}: f takes it back, after showing how"
    if finding.commands:
        return f"{finding.id}: f shows the commands for it, which are for you: netdeck changes only what is its own"
    if asks_for_nothing(finding):
        return f"{finding.id}: nothing is to be mended here. What it means stands below"
    return f"{finding.id}: this is for you to mend, as said below: netdeck changes only what is its own"


def page(finding: Finding, width: int) -> list[Line]:
    """Everything about a finding, for `width` cells."""
    found = Page(width)
    found.text(finding.what, "bad" if finding.severity == "error" else "warn" if finding.severity == "warning" else "")
    for detail in finding.details:
        found.field("", detail, labels=1)
    found.heading("Why it matters")
    found.text(finding.why)
    found.heading("What to do")
    found.text(finding.remedy)
    for heading, commands in (("Commands", finding.commands), ("To take it back", finding.undo)):
        if commands:
            found.heading(heading)
            found.lines += command_lines({"commands": commands}, width)
    if not finding.automatic and finding.commands:
        found.blank()
        found.raw(Span("netdeck does not change what is not its own: these are for you.", "muted"))
    return found.lines
