"""Keys that come in one piece: each goes to what the keys before it have opened.

Textual sends a key to the widget that has the focus when it comes, and runs a binding only when the key has come up again through all
the parents. A paste, a link that gathers keys, or a screen that stood still brings many at once: of `/nginx` all would be at the list
before the filter opens, and each letter would be a command. So a key waits here until those before it have done all they do, and
until the line, form or screen that they open has the focus. Keys with a pause between them never wait.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from textual.app import ReturnType
from textual.events import Event, Key, Paste
from textual.message import Message
from textual.screen import Screen
from textual.widget import Widget

from tui.speaking_app import SpeakingApp

#: Seconds that keys wait for something to open, and between two looks whether it has.
PATIENCE: Final = 5.0
_PERIOD: Final = 0.01
#: Keys that wait at most; more are passed over.
MOST_HELD: Final = 4096
#: A key may make a widget post a message, and that its parent another, up to the application (enter in a field: submitted, accepted).
_ROUNDS: Final = 3


class KeysInOrder(SpeakingApp[ReturnType]):
    """`expect` says that something opens; `drop_keys` that it does not, `keys_go_on` that nothing is to open."""

    class Passed(Message):
        """Sent behind a key on its way up: when it arrives, the key has been dealt with."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._held: deque[Key | Paste] = deque()
        self._behind: KeysInOrder.Passed | None = None
        self._sent_to: Widget | None = None
        self._rounds = 0
        self._opened: Callable[[], bool] | None = None
        self._patient_until = self._deaf_until = 0.0
        self._at_home: Screen[Any] | None = None
        self._looking = False
        self._looks = 0
        super().__init__(*arguments, **options)

    def expect(self, opened: Callable[[], bool]) -> None:
        """Something opens: keys wait until `opened()`, for some seconds at most. Then they go to what has the focus."""
        self._opened = opened
        self._patient_until = time.monotonic() + PATIENCE

    def keys_go_on(self) -> None:
        """Nothing is to open: no key need wait."""
        self._opened = None

    def drop_keys(self) -> None:
        """What should open does not: keys that were typed for it, before this could be seen, are none for what is there."""
        self._opened = None
        self._held.clear()
        self._deaf_until = time.monotonic()

    async def on_event(self, event: Event) -> None:
        if not isinstance(event, Key | Paste) or event.is_forwarded or not self.screen_stack:
            await super().on_event(event)
        elif event.time <= self._deaf_until or len(self._held) >= MOST_HELD:
            return
        else:
            if not self._held and event.time > self._patient_until:
                self._opened = None
            self._held.append(event)
            await self._go_on()

    async def _go_on(self) -> None:
        if not self.screen_stack:
            self._held.clear()  # the program ends
        while self._held and self._is_free():
            self._looks = 0
            await self._pass_on(self._held.popleft())
        if self._held and not self._looking:
            self._looking = True
            self.set_timer(_PERIOD, self._look_again)

    async def _look_again(self) -> None:
        self._looking = False
        self._looks += 1
        # Looks are counted and not seconds: a program that stood still has looked at nothing meanwhile.
        if self._held and self._looks > PATIENCE / _PERIOD:
            self.show_error(f"{len(self._held)} keys were passed over: what they were typed for did not open")
            self._looks, self._behind, self._at_home = 0, None, self.screen
            self.drop_keys()
        await self._go_on()

    def _is_free(self) -> bool:
        """Whether the next key can go its way."""
        if self._behind is not None and self._sent_to is not None and self._sent_to.is_attached:
            return False
        self._behind = None
        if self._opened is not None and not self._opened():
            return False
        screen = self.screen
        if screen is self._at_home and self._opened is None:
            return True
        settled = screen.is_mounted and (screen.focused is not None or not self.app_focus or not screen.focus_chain)
        if screen is not self._at_home and not settled:
            return False
        self._opened, self._at_home = None, screen
        self._send_behind()  # what opens may move the focus once more
        return False

    async def _pass_on(self, event: Key | Paste) -> None:
        focused = self.focused
        # Letters change nothing but the field: they keep their order there.
        letter = focused is not None and isinstance(event, Key) and focused.check_consume_key(event.key, event.character)
        await super().on_event(event)
        # What was not sent on was a binding of priority: it has been run.
        if event.is_forwarded and not letter and self.screen_stack:
            self._send_behind()

    def _send_behind(self) -> None:
        self._rounds = _ROUNDS
        self._sent_to = self.focused or self.screen
        self._next_round()

    def _next_round(self) -> None:
        self._behind = self.Passed()
        if self._sent_to is None or not self._sent_to.post_message(self._behind):
            self._behind = None

    async def on_keys_in_order_passed(self, message: KeysInOrder.Passed) -> None:
        message.stop()
        if message is self._behind:
            self._rounds -= 1
            if self._rounds:
                self._next_round()
            else:
                self.call_later(self._arrived, message)  # behind a focus that was asked for

    async def _arrived(self, message: KeysInOrder.Passed) -> None:
        if message is self._behind:
            self._behind = None
            await self._go_on()
