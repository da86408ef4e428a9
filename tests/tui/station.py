"""The workstation under Textual's pilot, on the helper of a lab: keys go in, and what is waited for is the program's own state."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from textual.widgets import Static

from tests.tui.settled_pilot import SettledPilot, under_pilot
from tui.screens.forms.confirm import Confirm
from tui.workstation import Workstation

NAMED = frozenset(("tab", "enter", "space", "backspace", "delete", "left", "right", "up", "down", "home", "end", "escape"))


class Station:
    """The program and the keyboard."""

    def __init__(self, app: Workstation, pilot: SettledPilot[Any]) -> None:
        self.app, self.pilot = app, pilot
        self.said: list[str] = []
        tell, show_error = app.tell, app.show_error

        def note(text: str) -> None:
            self.said.append(text)
            tell(text)

        def note_error(error: BaseException | str) -> None:
            self.said.append(str(error))
            show_error(error)

        app.tell, app.show_error = note, note_error  # type: ignore[method-assign]

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def type(self, text: str) -> None:
        """Into the field that has the cursor, as fast as a terminal sends it."""
        await self.keys(text)

    async def keys(self, *parts: str) -> None:
        """Named keys and texts in one go, as typed ahead: nothing is waited for between them."""
        for part in parts:
            for key in (part,) if part in NAMED or "+" in part else part:
                self.pilot.send(key)
        await self.pilot.pause()

    async def tab(self) -> None:
        """To the next field."""
        await self.press("tab")

    async def take_back(self, shown: str) -> None:
        """Press u, see what it covers, and agree."""
        await self.press("u")
        await self.until(lambda: isinstance(self.app.screen, Confirm) and self.shows("Take back the last change") and self.shows(shown),
                         "what will be taken back is shown")
        await self.press("ctrl+s")

    async def until(self, condition: Callable[[], object], what: str = "", seconds: float = 60) -> None:
        """Wait for the program to get there."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"still not so after {seconds} s: {what}\nsaid: {self.said}\n{self.text()}"
            await asyncio.sleep(0.01)
        await self.pilot.settled()

    def text(self) -> str:
        """What is on the screen."""
        width, height = self.app.size
        strips = self.app.screen._compositor.render_strips()[:height]
        return "\n".join("".join(segment.text for segment in strip).ljust(width) for strip in strips)

    def shows(self, text: str) -> bool:
        return text in self.text()

    def errors(self) -> dict[str, str]:
        """What is wrong, by the place it is shown at."""
        found = {}
        for widget in self.app.screen.query(".-wrong"):
            line = widget.query(".field-error")
            place = getattr(widget, "place", None)
            if place is not None and line:
                found[place] = str(line.first(Static).visual)
        return found


@asynccontextmanager
async def station(socket: str, size: tuple[int, int] = (120, 40)) -> AsyncIterator[Station]:
    """The workstation, connected and filled."""
    app = Workstation(socket)
    async with under_pilot(app, size) as pilot:
        found = Station(app, pilot)
        await found.until(lambda: app.feed.loaded and len(app.view.model.order) >= 3, "the networks are shown")
        await found.press("down", "up")  # until somebody has moved, the cursor is kept at the top for some seconds
        yield found
