"""Removing containers of our own: those that ended go at once, those that run are named and asked about first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from protocol.errors import InvalidValue, NetdeckError, NotFound
from protocol.model import Container
from protocol.names import display_text
from tui.documents import Line, Page, Span
from tui.screens.forms.confirm import Confirm
from tui.screens.forms.outcomes import Outcome, done_words, names, tell_outcomes
from tui.screens.forms.undo import forget

if TYPE_CHECKING:
    from tui.workstation import Workstation


async def open_form(app: Workstation, arguments: str = "") -> None:
    """Remove the chosen containers. `arguments`: the name of one in their place."""
    chosen = _containers(app, arguments.strip())
    foreign = [item.ref for item in chosen if item.runtime != "netdeck"]
    ours = [item for item in chosen if item.runtime == "netdeck"]
    if not ours:
        raise InvalidValue(f"{names(foreign)}: not a container of netdeck's own; x detaches it from a network")
    running = [item for item in ours if item.status == "running"]
    if running or foreign:
        title = f"Remove container {ours[0].ref}" if len(ours) == 1 else f"Remove {len(ours)} containers"
        words = "Kill and remove" if running else "Remove"
        if not await app.push_screen_wait(Confirm(title, lambda width: removal_lines(ours, foreign, width), words)):
            return
    outcomes: list[Outcome] = []
    for item in ours:
        try:
            await app.client.call("container.remove", {"name": item.name, "force": item.status == "running"})
            outcomes.append((item.ref, None))
        except NetdeckError as error:
            outcomes.append((item.ref, error))
    if done := done_words("removed", outcomes):
        forget(app, done)
    tell_outcomes(app, "removed", outcomes)


def _containers(app: Workstation, name: str) -> list[Container]:
    if name:
        container = app.feed.container_named(name)
        if container is None:
            raise NotFound(f"no container is called {display_text(name)!r}", name=display_text(name))
        return [container]
    return [item.model for item in app.chosen() if isinstance(item.model, Container)]


def removal_lines(ours: Sequence[Container], foreign: Sequence[str], width: int) -> list[Line]:
    """Which run and will be killed, which have ended, and which are not ours."""
    page = Page(width)
    running = [item for item in ours if item.status == "running"]
    if running:
        page.text("These run. They will be killed and cut off from their networks:" if len(running) > 1 else
                  "It runs. It will be killed and cut off from its networks:", "warn")
        for item in running:
            page.raw(Span("  "), Span(display_text(item.ref), "accent"), Span(f"  {display_text(' '.join(item.networks))}", "muted"))
            page.raw(Span("    "), Span(display_text(" ".join(item.command))[: max(1, width - 4)], "muted"))
    ended = [item.ref for item in ours if item.status != "running"]
    if ended:
        page.blank()
        page.text(f"Ended already: {', '.join(ended)}")
    if foreign:
        page.blank()
        page.text(f"Not netdeck's own, they stay: {', '.join(foreign)}", "muted")
    return page.lines
