"""A pilot that waits for the program's own queues.

Textual's waits, several times a key, for a process that takes no processor time: a tenth of a second where nothing else happens, and on a
busy machine, or beside a stream that never rests, up to a second, after which it goes on although the key may not have been answered.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from textual.app import App
from textual.dom import DOMNode
from textual.events import Key
from textual.pilot import Pilot

from tests.waiting import LONGEST_SECONDS

Result = TypeVar("Result")

NAMES = {
    " ": "space", "/": "slash", ":": "colon", ".": "full_stop", "=": "equals_sign", "-": "minus", "_": "underscore", ",": "comma",
    "'": "apostrophe", '"': "quotation_mark", "[": "left_square_bracket", "]": "right_square_bracket", "?": "question_mark",
    "!": "exclamation_mark", ">": "greater_than_sign", "<": "less_than_sign", "{": "left_curly_bracket", "}": "right_curly_bracket",
}
CHARACTERS = {name: char for char, name in NAMES.items()} | {"tab": "\t", "enter": "\r"}


class SettledPilot(Pilot[Result]):
    """The keyboard of a program, each key of which is answered and painted before the next."""

    async def press(self, *keys: str) -> None:
        for key in keys:
            self.send(key)
            await self.settled()

    async def pause(self, delay: float | None = None) -> None:
        if delay is not None:
            await asyncio.sleep(delay)
        await self.settled()

    def send(self, key: str) -> None:
        """A key, without waiting for anything."""
        named = NAMES.get(key, key)
        event = Key(named, CHARACTERS.get(named, named if len(named) == 1 else None))
        event.set_sender(self.app)
        driver = self.app._driver
        assert driver is not None
        driver.send_message(event)

    async def settled(self) -> None:
        """Until no widget has a message to answer and nothing is to be laid out or painted."""
        end = time.monotonic() + LONGEST_SECONDS
        while True:
            while self.app._running and not self._rests():
                assert time.monotonic() < end, "the program does not come to rest"
                self.app.screen._on_timer_update()
                await asyncio.sleep(0)
            await self._wait_for_screen()  # some may still be at what they have taken
            await self.app.animator.wait_until_complete()
            if not self.app._running or self._rests():
                return

    def _rests(self) -> bool:
        screen = self.app.screen
        due = (screen._dirty_widgets, screen._layout_required, screen._scroll_required, screen._repaint_required,
               screen._recompose_required, screen._callbacks)
        return not any(due) and not any(_at_work(node) for node in (self.app, *screen.walk_children(with_self=True)))


def _at_work(node: DOMNode) -> bool:
    return node.message_queue_size > 0 or bool(node._next_callbacks)


@asynccontextmanager
async def under_pilot(
    app: App[Result], size: tuple[int, int] = (80, 24), notifications: bool = False
) -> AsyncIterator[SettledPilot[Result]]:
    """The program, running, of so many columns and lines."""
    async with app.run_test(size=size, notifications=notifications):
        pilot = SettledPilot(app)
        await pilot.settled()
        yield pilot
