"""Removing networks: the plan is shown first; one with containers on it is refused with their names."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from protocol.errors import NetdeckError, NotFound
from protocol.model import Network
from protocol.names import display_text
from tui.documents import Line, Page, Span
from tui.screens.forms.confirm import Confirm
from tui.screens.forms.outcomes import Outcome, done_words, tell_outcomes
from tui.screens.forms.plan_pages import plan_lines
from tui.screens.forms.undo import forget

if TYPE_CHECKING:
    from tui.workstation import Workstation

Checked = tuple[str, Mapping[str, Any] | NetdeckError]  # a network's name with what its removal would be, or why it stays


async def open_form(app: Workstation, arguments: str = "") -> None:
    """Remove the chosen networks. `arguments`: the name of one in their place."""
    checked: list[Checked] = []
    for network in _networks(app, arguments.strip()):
        try:
            answer = await app.client.call("network.remove", {"name": network.name, "dry_run": True})
            checked.append((network.name, answer))
        except NetdeckError as error:
            checked.append((network.name, error))
    going = [name for name, found in checked if not isinstance(found, NetdeckError)]
    words = "" if not going else "Remove" if len(going) == 1 else f"Remove {len(going)}"
    title = f"Remove network {checked[0][0]}" if len(checked) == 1 else f"Remove {len(checked)} networks"
    if not await app.push_screen_wait(Confirm(title, lambda width: removal_lines(checked, width), words)):
        return
    outcomes: list[Outcome] = []
    for name in going:
        try:
            await app.client.call("network.remove", {"name": name})
            outcomes.append((name, None))
        except NetdeckError as error:
            outcomes.append((name, error))
    if done := done_words("removed", outcomes):
        forget(app, done)
    tell_outcomes(app, "removed", outcomes)


def _networks(app: Workstation, name: str) -> list[Network]:
    if name:
        network = app.feed.network_named(name)
        if network is None:
            raise NotFound(f"no network is called {display_text(name)!r}", name=display_text(name))
        return [network]
    return [item.model for item in app.chosen() if isinstance(item.model, Network)]


def removal_lines(checked: Sequence[Checked], width: int) -> list[Line]:
    """What goes, and what stays and why."""
    page = Page(width)
    for name, found in checked:
        if isinstance(found, NetdeckError):
            page.blank()
            if len(checked) > 1:
                page.raw(Span(display_text(name), "heading"), Span("  stays", "warn"))
            page.text(f"! {found.message}", "bad")
            users = found.details.get("users")
            for user in users if isinstance(users, list) else ():
                page.raw(Span("  "), Span(display_text(str(user)), "accent"))
            if users:
                page.text("x detaches them, where the network is selected", "muted")
        else:
            page.blank()
            page.lines += plan_lines(found["plan"], shlex.join(["netdeck", "network", "rm", name]), width, found["warnings"])
    return page.lines
