"""Paced frames: data is painted only when the terminal has answered that it has shown the last of it.

After each frame of data the terminal is asked something it answers at once and in order: whether it knows mode 2026
(`CSI ? 2026 $ p`, DECRQM), or, where it does not, where its cursor is (`CSI 6 n`, DSR). The answer has passed every
buffer on the way, so it tells both that the link is free and how long the way there and back is. Frames that answer
a key press never wait. A terminal that answers nothing is not paced.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from enum import Enum
from typing import Final

ASK_SYNCHRONIZED: Final = "\x1b[?2026$p"
ASK_CURSOR: Final = "\x1b[6n"

#: How long a terminal has for its first answer, in seconds, before it counts as one that answers nothing.
FIRST_ANSWER: Final = 1.5
#: How long it has for any later answer before one frame is painted without it.
LATER_ANSWER: Final = 5.0
#: So many answers missed one after the other, and the terminal counts as one that answers nothing.
MISSES: Final = 3
#: Shortest time between two frames of data, in seconds.
SHORTEST_INTERVAL: Final = 0.03
_SMOOTHING: Final = 0.3


class Answer(Enum):
    """What a terminal answered."""

    SYNCHRONIZED = "synchronized output is known"
    CURSOR = "cursor position"


class Question(Enum):
    """How the terminal is asked; NONE: it answers nothing."""

    UNKNOWN = ""
    SYNCHRONIZED = ASK_SYNCHRONIZED
    CURSOR = ASK_CURSOR
    NONE = "none"


class FramePacer:
    """Decides when data may be painted. All methods run in the event loop's thread.

    `write` sends to the terminal. `paint` gets the callbacks of one frame, runs them, and calls `painted` when
    their bytes are written.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        paint: Callable[[list[Callable[[], None]]], None],
        *,
        interval: float = SHORTEST_INTERVAL,
        first_answer: float = FIRST_ANSWER,
        later_answer: float = LATER_ANSWER,
    ) -> None:
        self._write = write
        self._paint = paint
        self.interval = interval
        self._first_answer = first_answer
        self._later_answer = later_answer
        self.question = Question.UNKNOWN
        self.round_trip: float | None = None
        self._pending: dict[Hashable, Callable[[], None]] = {}
        self._painting = False
        self._asked_at: float | None = None
        self._last_paint = float("-inf")
        self._misses = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._wake: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> bool:
        """Whether an answer is awaited."""
        return self._asked_at is not None

    def start(self) -> None:
        """Find out which question the terminal answers; at the start and after each resume."""
        self.question = Question.UNKNOWN
        self._misses = 0
        self._painting = False
        self._ask(ASK_SYNCHRONIZED + ASK_CURSOR, self._first_answer)

    def stop(self) -> None:
        """Drop what is pending and cancel all timers."""
        self._pending.clear()
        for timer in (self._deadline, self._wake):
            if timer is not None:
                timer.cancel()
        self._deadline = self._wake = None

    def offer(self, key: Hashable, callback: Callable[[], None]) -> None:
        """Have `callback` run when the terminal is ready; a later one with the same key replaces it."""
        self._pending[key] = callback
        self._pump()

    def painted(self, wrote: bool) -> None:
        """The frame begun by `paint` is complete; `wrote` tells whether it needed any bytes."""
        self._painting = False
        if wrote and self.question in (Question.SYNCHRONIZED, Question.CURSOR) and not self.waiting:
            self._ask(self.question.value, self._later_answer)
        self._pump()

    def answered(self, answer: Answer, when: float) -> None:
        """An answer arrived at the monotonic time `when`; answers to nothing are ignored."""
        if answer is Answer.SYNCHRONIZED:
            self.question = Question.SYNCHRONIZED
        elif self.question in (Question.UNKNOWN, Question.NONE):
            self.question = Question.CURSOR
        elif self.question is Question.SYNCHRONIZED:
            return  # the second half of the question at the start
        self._misses = 0
        if self._asked_at is None:
            return
        sample = max(0.0, when - self._asked_at)
        known = self.round_trip
        self.round_trip = sample if known is None else known + _SMOOTHING * (sample - known)
        self._release()

    def _ask(self, question: str, patience: float) -> None:
        self._asked_at = time.monotonic()
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = asyncio.get_running_loop().call_later(patience, self._missed)
        self._write(question)

    def _missed(self) -> None:
        self._misses += 1
        if self.question is Question.UNKNOWN or self._misses >= MISSES:
            self.question = Question.NONE
            self.round_trip = None
        self._release()

    def _release(self) -> None:
        self._asked_at = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._pump()

    def _pump(self) -> None:
        if not self._pending or self._painting or self.waiting or self._wake is not None:
            return
        now = time.monotonic()
        early = self._last_paint + self.interval - now
        if early > 0:
            self._wake = asyncio.get_running_loop().call_later(early, self._woken)
            return
        self._painting = True
        self._last_paint = now
        callbacks = list(self._pending.values())
        self._pending.clear()
        self._paint(callbacks)

    def _woken(self) -> None:
        self._wake = None
        self._pump()
