"""The parts of a form: a field with its label, help and error; a switch; a choice of one word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Input, Static

from tui.text import plain
from tui.widgets.own_keys import run_own_binding


def told_errors(text: str) -> Content:
    """What is wrong as it is shown: each line of `text` with the sign for it."""
    return Content("\n").join(plain(f"! {line}") for line in text.splitlines())


class TextField(Input):
    """One line of text, one cell high."""

    DEFAULT_CSS = """
    TextField, TextField.-textual-compact { background: $panel; padding: 0 1; width: 1fr; }
    TextField:focus { background-tint: $foreground 8%; }
    TextField > .input--placeholder, TextField:ansi > .input--placeholder { text-style: italic !important; }
    TextField.-wrong { background: $error 25%; }
    """
    #: Whether up and down go to the fields around it.
    steps: ClassVar[bool] = True

    def __init__(self, value: str = "", *, placeholder: str = "", id: str | None = None) -> None:
        super().__init__(value, placeholder=placeholder, id=id, compact=True, select_on_focus=False, max_length=1000)
        self.cursor_blink = False  # a blinking cursor is constant traffic

    async def on_key(self, event: events.Key) -> None:
        await run_own_binding(self, event)

    def on_blur(self) -> None:
        self.scroll_to(x=0, animate=False)

    @property
    def text(self) -> str:
        """What was typed, without blanks around it."""
        return self.value.strip()


class Toggle(Widget, can_focus=True):
    """On or off, shown by a sign and not by colour alone. Space changes it."""

    DEFAULT_CSS = """
    Toggle { width: auto; height: 1; padding: 0 1; margin-right: 1; }
    Toggle:focus { color: $primary; text-style: bold reverse; }
    Toggle:disabled { color: $text-disabled; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("space", "flip", "Switch", show=False)]
    on: reactive[bool] = reactive(False)

    class Changed(Message):
        """The user switched it."""

        def __init__(self, toggle: Toggle) -> None:
            super().__init__()
            self.toggle = toggle

        @property
        def control(self) -> Toggle:
            return self.toggle

    def __init__(self, words: str = "", *, on: bool = False, id: str | None = None) -> None:
        super().__init__(id=id)
        self.words = words
        self.touched = False
        self.set_reactive(Toggle.on, on)

    def render(self) -> Content:
        return Content(f"[{'x' if self.on else ' '}] {self.words or ('on' if self.on else 'off')}")

    def watch_on(self) -> None:
        self.refresh(layout=not self.words)

    async def on_key(self, event: events.Key) -> None:
        await run_own_binding(self, event)

    def action_flip(self) -> None:
        self.on, self.touched = not self.on, True
        self.post_message(self.Changed(self))

    def on_click(self, event: events.Click) -> None:
        event.stop()
        self.action_flip()


def choice_lines(words: Sequence[str], width: int) -> list[list[int]]:
    """Which of `words` stand in each line of `width` cells, by their places, as ``(o) WORD ``; at least one in a line."""
    lines: list[list[int]] = [[]]
    used = 0
    for index, word in enumerate(words):
        cells = len(word) + 5
        if lines[-1] and used + cells > width + 1:  # the last blank may be cut
            lines.append([])
            used = 0
        lines[-1].append(index)
        used += cells
    return lines


class Choice(Widget, can_focus=True):
    """One of a few words, all in sight: in as many lines as that takes. Left and right change it."""

    DEFAULT_CSS = """
    Choice { width: 1fr; height: auto; padding: 0 1; }
    Choice > .choice--chosen { background: $panel; text-style: bold; }
    Choice > .choice--other { color: $text-muted; }
    Choice:focus > .choice--chosen { color: $primary; text-style: bold reverse; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"choice--chosen", "choice--other"}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "step(-1)", "Previous", show=False),
        Binding("right,space", "step(1)", "Next", show=False),
    ]
    chosen: reactive[int] = reactive(0)

    class Changed(Message):
        """The user chose another word."""

        def __init__(self, choice: Choice) -> None:
            super().__init__()
            self.choice = choice

        @property
        def control(self) -> Choice:
            return self.choice

    def __init__(self, words: Sequence[str], chosen: str = "", *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.words = tuple(words)
        self.set_reactive(Choice.chosen, self.words.index(chosen) if chosen in self.words else 0)

    @property
    def value(self) -> str:
        return self.words[self.chosen] if self.words else ""

    def render(self) -> Content:
        chosen, other = self.get_visual_style("choice--chosen"), self.get_visual_style("choice--other")
        lines = []
        for line in choice_lines(self.words, self.size.width):
            parts = [plain(f"({'o' if index == self.chosen else ' '}) {self.words[index]} ").stylize(
                chosen if index == self.chosen else other) for index in line]
            lines.append(Content("").join(parts))
        return Content("\n").join(lines)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(choice_lines(self.words, width))

    async def on_key(self, event: events.Key) -> None:
        await run_own_binding(self, event)

    def action_step(self, steps: int) -> None:
        if len(self.words) > 1:
            self.chosen = (self.chosen + steps) % len(self.words)
            self.post_message(self.Changed(self))


class Field(Vertical):
    """A label, controls, and below them what is wrong. `help` stands beside an option where there is room, and in the form's hint."""

    DEFAULT_CSS = """
    Field { height: auto; }
    Field > .field-row { height: auto; }
    Field .field-label { width: 14; color: $text-muted; }
    Field.-option .field-label { width: 24; }
    Field .field-help { display: none; color: $text-muted; width: 1fr; height: 1; padding-left: 2;
                        text-overflow: ellipsis; text-wrap: nowrap; }
    Field.-focused .field-label { color: $foreground; text-style: bold; }
    Field > .field-error { display: none; padding-left: 14; }
    Field.-option > .field-error { padding-left: 24; }
    Field.-wrong > .field-error { display: block; }
    Field.-wrong .field-label { color: $text-error; }
    """

    def __init__(self, label: str, *controls: Widget, place: str, help: str = "", option: bool = False) -> None:
        super().__init__(classes="-option" if option else None)
        self.place = place
        self.controls = controls
        self.label, self.help = label, help
        self._beside = option and bool(help)
        self._error = Static(plain(""), classes="field-error")

    def compose(self) -> ComposeResult:
        with Horizontal(classes="field-row"):
            yield Static(plain(self.label), classes="field-label")
            yield from self.controls
            if self._beside:
                yield Static(plain(self.help), classes="field-help")
        yield self._error

    def on_descendant_focus(self) -> None:
        self.add_class("-focused")

    def on_descendant_blur(self) -> None:
        self.remove_class("-focused")

    def on_resize(self) -> None:
        if self.has_class("-wrong") and self.has_pseudo_class("focus-within"):
            self.scroll_visible(animate=False)  # only now is the message laid out

    def show_error(self, text: str) -> None:
        """Show what is wrong, a line for each; "" when nothing is."""
        self.set_class(bool(text), "-wrong")
        self._error.update(told_errors(text))

    def focus_control(self) -> None:
        self.controls[0].focus()
