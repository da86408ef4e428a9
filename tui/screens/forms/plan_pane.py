"""The plan of a change beside its form: what the kernel will hold, and on a second page the commands that do the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from tui.documents import Line, Page
from tui.screens.forms.plan_pages import command_lines, plan_lines
from tui.widgets.text_pane import TextPane


class PlanPane(Vertical):
    """Shows a plan (`shown`, `command`) or why there is none. left and right turn the page where it has the focus, ctrl+t does anywhere."""

    DEFAULT_CSS = """
    PlanPane { width: 1fr; height: 1fr; }
    PlanPane > .plan-tabs { height: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("left,right,h,l", "turn", "Other page", show=False)]

    def __init__(self, words: Callable[[str], str] = str) -> None:
        """`words` puts what the helper says into those of the form."""
        super().__init__()
        self._words = words
        self._tabs = Static("", classes="plan-tabs", markup=False)
        self.pane = TextPane()
        self._page = 0
        self.shown: Mapping[str, Any] | None = None
        self.command = ""
        self._warnings: Sequence[str] = ()
        self._told: list[tuple[str, str]] = []

    def compose(self) -> ComposeResult:
        yield self._tabs
        yield self.pane

    def on_mount(self) -> None:
        self._lay_out()

    def on_resize(self) -> None:
        self.call_after_refresh(self._lay_out)

    def show_plan(self, plan: Mapping[str, Any], command: str, warnings: Sequence[str] = ()) -> None:
        self.shown, self.command, self._warnings = plan, command, [self._words(text) for text in warnings]
        self._lay_out()

    def show_words(self, text: str, tone: str = "muted") -> None:
        """Why there is no plan."""
        self.show_results([(text, tone)])

    def show_results(self, results: Sequence[tuple[str, str]]) -> None:
        """Paragraphs with their tones in the place of a plan."""
        self.shown, self._told = None, [(self._words(text), tone) for text, tone in results]
        self._lay_out()

    def action_turn(self) -> None:
        self._page = 1 - self._page
        self.pane.scroll_to(y=0, animate=False)
        self._lay_out()

    def _lay_out(self) -> None:
        width = self.pane.scrollable_content_region.width or self.pane.size.width
        if width <= 0:
            return
        plan = self.shown
        counts = ("", "") if plan is None else (f" {len(plan['steps'])}", f" {len(plan['commands'])}")
        parts: list[tuple[str, str]] = []
        for index, name in enumerate(("Plan", "By hand: ip, bridge, nft")):
            style = "$text on $primary bold" if index == self._page else "$text-muted"
            parts += [(f" {name}{counts[index]} ", style), (" ", "")]
        self._tabs.update(Content.assemble(*parts, ("ctrl+t", "$text-muted")))
        self.pane.set_lines(self._lines(max(20, width - 1)))

    def _lines(self, width: int) -> list[Line]:
        if self.shown is None:
            page = Page(width)
            for text, tone in self._told:
                page.text(text, tone)
            return page.lines
        if self._page == 0:
            return plan_lines(self.shown, self.command, width, self._warnings)
        return command_lines(self.shown, width)
