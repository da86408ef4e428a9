"""A plan as pages of text: what the kernel will hold, and the commands that do the same. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from protocol.names import display_text
from tui.documents import Line, Page, Span, wrap
from tui.tables import cell_width

_SIGNS: Final = {"create": ("+", "good"), "change": ("~", "warn"), "delete": ("-", "bad")}


def plan_lines(plan: Mapping[str, Any], command: str, width: int, warnings: Sequence[str] = ()) -> list[Line]:
    """The command line, the warnings and the steps, laid out for `width` cells."""
    page = Page(width)
    if command:
        page.heading("As a command")
        _command(page, command)
    for warning in warnings:
        page.blank()
        page.text(f"! {warning}", "warn")
    steps = plan["steps"]
    page.heading("In the kernel", "1 object" if len(steps) == 1 else f"{len(steps)} objects" if steps else "")
    if not steps:
        page.text("nothing to do", "muted")
    for step in steps:
        sign, tone = _SIGNS.get(str(step["action"]), ("?", "muted"))
        for index, part in enumerate(wrap(display_text(_without_sign(step["text"])), page.width - 2)):
            page.raw(Span(f"{sign} " if index == 0 else "  ", tone), Span(part))
    return page.lines


def command_lines(plan: Mapping[str, Any], width: int) -> list[Line]:
    """The `ip`, `bridge`, `nft` and `sysctl` commands, laid out for `width` cells."""
    page = Page(width)
    for command in plan["commands"]:
        _command(page, command)
    if not plan["commands"]:
        page.text("no commands", "muted")
    return page.lines


def _without_sign(text: str) -> str:
    return text[2:] if text[:2] in ("+ ", "~ ", "- ") else text


def _command(page: Page, command: str) -> None:
    """A command: its first word apart, what does not fit further in on the next line."""
    for line in str(command).split("\n"):
        text = display_text(line)
        indent = " " * (len(text) - len(text.lstrip(" ")))
        head, _, rest = text.lstrip(" ").partition(" ")
        room = page.width - len(indent)
        parts = wrap(f"{head} {rest}" if rest else head, max(8, room if cell_width(text) <= page.width else room - 2))
        for index, part in enumerate(parts):
            if index == 0 and part.startswith(head):
                page.raw(Span(indent), Span(head, "accent"), Span(part[len(head):]))
            else:
                page.raw(Span(f"{indent}  {part}"))
