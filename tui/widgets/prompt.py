"""The line at the bottom for the filter (`/`) and for commands (`:`), with what is wrong or found under it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import Key
from textual.message import Message
from textual.widgets import Input, Static

from protocol.names import display_text
from tui.text import drawn
from tui.widgets.glyphs import UNICODE, Glyphs
from tui.widgets.own_keys import run_own_binding

_HISTORY_KEPT = 100

#: Text so far → what could stand in the place of its last word.
Completer = Callable[[str], Sequence[str]]


class PromptInput(Input):
    """The field itself."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "complete", "Complete", id="prompt.complete", show=False),
        Binding("up", "history(-1)", "Earlier", id="prompt.history", show=False),
        Binding("down", "history(1)", "Later", show=False),
        Binding("escape", "leave", "Leave", id="prompt.leave", show=False),
    ]

    def __init__(self, bar: PromptBar) -> None:
        super().__init__(compact=True, select_on_focus=False)
        self.cursor_blink = False
        self._bar = bar

    async def on_key(self, event: Key) -> None:
        await run_own_binding(self, event)

    def action_complete(self) -> None:
        self._bar.complete()

    def action_history(self, steps: int) -> None:
        self._bar.step_history(steps)

    def action_leave(self) -> None:
        self._bar.leave()


class PromptBar(Vertical):
    """Hidden until `open`. Posts `Changed` with each letter, `Accepted` on enter, `Left` on escape."""

    DEFAULT_CSS = """
    PromptBar { height: auto; display: none; background: $panel; }
    PromptBar.-open { display: block; }
    PromptBar Horizontal { height: 1; }
    PromptBar #prompt-sign { width: 3; color: $text-accent; text-style: bold; padding: 0 1; }
    PromptBar PromptInput { width: 1fr; background: $panel; }
    PromptBar #prompt-note { height: auto; max-height: 3; min-height: 1; padding: 0 1; color: $text-muted; }
    PromptBar #prompt-note.-error { color: $text-error; }
    """

    class PromptMessage(Message):
        """About a prompt: which sign it has, and its text."""

        def __init__(self, sign: str, text: str) -> None:
            super().__init__()
            self.sign = sign
            self.text = text

    class Changed(PromptMessage):
        """A letter was typed."""

    class Accepted(PromptMessage):
        """Enter."""

    class Left(PromptMessage):
        """Escape; the text is what stood there when it was opened."""

    class Moved(Message):
        """It takes another number of lines now; 0 while it is closed."""

        def __init__(self, lines: int) -> None:
            super().__init__()
            self.lines = lines

    def __init__(self, glyphs: Glyphs = UNICODE) -> None:
        super().__init__(id="prompt")
        self._glyphs = glyphs
        self.sign = ""
        self._before = ""
        self._completer: Completer | None = None
        self._histories: dict[str, list[str]] = {}
        self._place = 0
        self._sign = Static("", id="prompt-sign", markup=False)
        self.input = PromptInput(self)
        self._note = Static("", id="prompt-note", markup=False)
        self._note_text = ""

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield self._sign
            yield self.input
        yield self._note

    @property
    def is_open(self) -> bool:
        return self.has_class("-open")

    def open(self, sign: str, text: str = "", completer: Completer | None = None, wrong: str = "") -> None:
        """Show the field with `text` in it, and what is wrong with that, and put the cursor at its end."""
        self.sign, self._before, self._completer = sign, text, completer
        self._place = len(self._histories.setdefault(sign, []))
        self._sign.update(sign)
        self.say(wrong, error=bool(wrong))
        self.add_class("-open")
        with self.input.prevent(Input.Changed):
            self.input.value = text
        self.input.cursor_position = len(text)
        self.input.focus()
        if not wrong:
            self.post_message(self.Changed(sign, text))
        self.call_after_refresh(self.on_resize)  # one that is closed and opened at once has not changed its size

    def close(self) -> None:
        if self.is_open:
            self.remove_class("-open")
            self.post_message(self.Moved(0))

    def on_resize(self) -> None:
        if self.is_open:
            self.post_message(self.Moved(self.outer_size.height))

    def say(self, text: str, error: bool = False) -> None:
        """What stands under the field."""
        text = drawn(("✗ " if error else "") + display_text(text), self._glyphs)
        if text != self._note_text:
            self._note_text = text
            self._note.update(Content(text))
            self._note.set_class(error, "-error")

    @property
    def note(self) -> str:
        """What stands under the field now."""
        return self._note_text

    def leave(self) -> None:
        """Give up."""
        self.post_message(self.Left(self.sign, self._before))

    def complete(self) -> None:
        """Complete the last word as far as all candidates agree."""
        if self._completer is None:
            return
        text = self.input.value
        found = list(self._completer(text))
        head, _, word = text.rpartition(" ")
        if not found:
            return
        common = _common_prefix(found)
        done = common + (" " if len(found) == 1 else "")
        if len(common) >= len(word):
            self.input.value = f"{head} {done}" if head else done
            self.input.cursor_position = len(self.input.value)
        if len(found) > 1:
            self.say("  ".join(found))

    def step_history(self, steps: int) -> None:
        """Show an earlier or later line."""
        lines = self._histories.get(self.sign, [])
        self._place = max(0, min(len(lines), self._place + steps))
        self.input.value = lines[self._place] if self._place < len(lines) else ""
        self.input.cursor_position = len(self.input.value)

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if self.is_open:
            self.post_message(self.Changed(self.sign, event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        lines = self._histories.setdefault(self.sign, [])
        if event.value.strip() and lines[-1:] != [event.value]:
            lines.append(event.value)
            del lines[:-_HISTORY_KEPT]
        self.post_message(self.Accepted(self.sign, event.value))


def _common_prefix(words: Sequence[str]) -> str:
    first, last = min(words), max(words)
    size = next((index for index, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:size]
