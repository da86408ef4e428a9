"""Taking back what can be taken back: the calls that undo the last change of a workstation, shown with their plan before they are made.

There is one such change, the last of all: one that can't be taken back makes an end of what was remembered before it, so that `u` never
reaches behind what its user remembers.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from protocol.errors import NetdeckError
from protocol.model import Endpoint
from protocol.names import display_text
from tui.documents import Line, Page, Span
from tui.screens.forms.confirm import Confirm
from tui.screens.forms.outcomes import tell_outcomes
from tui.screens.forms.plan_pages import plan_lines

if TYPE_CHECKING:
    from tui.workstation import Workstation

BY_U = " · u takes it back"
_SHOWN = 16  # calls whose plans are laid out


@dataclass(frozen=True, slots=True)
class Call:
    """`operation` with its arguments: what is done to `name`, and as a command."""

    name: str
    operation: str
    arguments: Mapping[str, Any]
    command: str


@dataclass(frozen=True, slots=True)
class Change:
    """The last change: `done` in words, when, how it is taken back (not at all where there are no `calls`), and what will be said then."""

    done: str
    moment: float
    calls: tuple[Call, ...] = ()
    words: str = ""


Planned = tuple[Call, Mapping[str, Any] | NetdeckError]

_LAST: WeakKeyDictionary[Workstation, Change] = WeakKeyDictionary()


def remember(app: Workstation, done: str, words: str, calls: Sequence[Call]) -> None:
    """Keep how the change that was just made is taken back. `done` says what it was, `words` what will be said of the names then."""
    _LAST[app] = Change(done, time.time(), tuple(calls), words)


def forget(app: Workstation, done: str) -> None:
    """The change that was just made can't be taken back."""
    _LAST[app] = Change(done, time.time())


def connect_again(endpoint: Endpoint, network: str, container: str) -> dict[str, Any]:
    """The arguments that make an endpoint as it was: addresses, MAC address, aliases and VLANs. Leased ones are the server's to give."""
    bare = [] if endpoint.lease is not None else [prefix.partition("/")[0] for prefix in endpoint.addresses]
    return {
        "network": network, "container": container, "aliases": endpoint.aliases, "mac_address": endpoint.mac or None,
        "ip": next((address for address in bare if ":" not in address), None),
        "ip6": next((address for address in bare if ":" in address), None), "vlans": endpoint.vlans, "untagged": endpoint.untagged or None,
    }


async def take_back(app: Workstation, arguments: str = "") -> None:
    """Undo the last change, if it can be, after showing what that does."""
    change = _LAST.get(app)
    if change is None:
        app.show_error("there is nothing to take back")
        return
    if not change.calls:
        app.show_error(f"the last change can't be taken back: {change.done}")
        return
    planned = [await _planned(app, call) for call in change.calls[:_SHOWN]]
    possible = not isinstance(planned[0][1], NetdeckError)
    if not await app.push_screen_wait(Confirm("Take back the last change", lambda width: undo_lines(change, planned, width),
                                              "Take it back" if possible else "")):
        return
    _LAST.pop(app, None)
    outcomes: list[tuple[str, NetdeckError | None]] = []
    for call in change.calls:
        try:
            await app.client.call(call.operation, call.arguments)
            outcomes.append((call.name, None))
        except NetdeckError as error:
            outcomes.append((call.name, error))
    tell_outcomes(app, change.words, outcomes)


async def _planned(app: Workstation, call: Call) -> Planned:
    try:
        return call, await app.client.call(call.operation, {**call.arguments, "dry_run": True})
    except NetdeckError as error:
        return call, error


def undo_lines(change: Change, planned: Sequence[Planned], width: int) -> list[Line]:
    """What the change was, and what taking it back does. Only the first call must be possible now: others may rest on it."""
    page = Page(width)
    page.field("done", f"{change.done}, at {time.strftime('%H:%M:%S', time.localtime(change.moment))}", labels=5)
    for number, (call, answer) in enumerate(planned):
        page.blank()
        if not isinstance(answer, NetdeckError):
            page.lines += plan_lines(answer["plan"], call.command, width, answer.get("warnings", ()))
        elif number == 0:
            page.text(f"! It can't be taken back now: {answer.message}", "bad")
        else:
            page.raw(Span("then  ", "label"), Span(display_text(call.command)))
    if len(change.calls) > len(planned):
        page.blank()
        page.text(f"and {len(change.calls) - len(planned)} more like these", "muted")
    return page.lines
