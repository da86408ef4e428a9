"""What the forms have in common: fields on the left, the plan on the right or below, checked while one types."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.screen import ScreenResultType
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Button, Input, Static

from protocol.errors import Conflict, InvalidValue, NetdeckError, NotFound
from tui.feed import Batch
from tui.screens.dialog import Dialog
from tui.screens.forms.fields import Choice, TextField, Toggle
from tui.screens.forms.form_words import in_form
from tui.screens.forms.plan_pane import PlanPane
from tui.text import plain

if TYPE_CHECKING:
    from tui.workstation import Workstation

DEBOUNCE: Final = 0.3  # seconds from the last key to the check
_MORE: Final = 8  # dry runs at most, to find what else is wrong
_BREADTHS: Final = ((0, "-narrow"), (116, "-normal"), (160, "-wide"))  # columns, and the class of the layout for them


class Placed(Protocol):
    """A field that shows what is wrong with it."""

    @property
    def place(self) -> str: ...

    @property
    def label(self) -> str:
        """What the user sees it called."""
        ...

    @property
    def help(self) -> str: ...

    def show_error(self, text: str) -> None: ...

    def focus_control(self) -> None: ...


class FormDialog(Dialog[ScreenResultType]):
    """A form. Subclasses say what its fields are, check them, ask for the dry run, and carry the change out.

    Errors go below the field they are about; what is about none is shown above the buttons.
    """

    DEFAULT_CSS = """
    FormDialog > .dialog { width: 100%; height: 100%; max-width: 190; max-height: 52; }
    FormDialog.-normal > .dialog, FormDialog.-wide > .dialog { width: 96%; height: 92%; padding: 1 2 0 2; }
    FormDialog.-wide .field-help { display: block; }
    FormDialog.-wide Field.-option .field-row > TextField { width: 28; }
    FormDialog.-wide Field.-option .field-row > Choice { width: 28; }
    FormDialog.-wide Field.-option .field-row > Toggle { width: 28; margin: 0; }
    FormDialog .form-body { layout: horizontal; height: 1fr; }
    FormDialog .form-left { width: 11fr; height: 1fr; padding-right: 1; }
    FormDialog .form-fields { height: 1fr; overflow-x: hidden; overflow-y: auto; scrollbar-size-vertical: 1; }
    FormDialog .form-hint { height: auto; max-height: 2; color: $text-muted; text-style: italic; }
    FormDialog .form-plan { width: 9fr; height: 1fr; border-left: solid $panel; padding-left: 1; }
    FormDialog.-narrow .form-body { layout: vertical; }
    FormDialog.-narrow .form-left { width: 1fr; height: 5fr; padding-right: 0; }
    FormDialog.-narrow .form-plan { width: 1fr; height: 3fr; border-left: none; border-top: solid $panel; padding-left: 0; }
    FormDialog .form-plan.-ascii { border-left: ascii $panel; }
    FormDialog.-narrow .form-plan.-ascii { border-left: none; border-top: ascii $panel; }
    FormDialog .form-section { color: $text-primary; text-style: bold; margin-top: 1; height: 1; }
    FormDialog .form-said { display: none; height: auto; max-height: 4; }
    FormDialog .form-said.-said { display: block; }
    FormDialog .form-bar { height: 1; margin-top: 1; }
    FormDialog.-narrow .form-bar { margin-top: 0; }
    FormDialog .form-status { width: 1fr; color: $text-muted; }
    FormDialog Button { margin-left: 2; min-width: 12; }
    FormDialog Button:focus { background: $foreground; color: $background; text-style: bold underline !important; }
    """
    HORIZONTAL_BREAKPOINTS = list(_BREADTHS)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+enter,ctrl+s", "submit", "Do it", show=False, priority=True),
        Binding("ctrl+t", "turn_plan", "Other page of the plan", show=False),
        # Of priority, so that keys that were typed ahead go to the field they were meant for.
        Binding("tab", "next_field", "Next field", show=False, priority=True),
        Binding("shift+tab", "previous_field", "Previous field", show=False, priority=True),
        Binding("down,enter", "leave_text(1)", "Next field", show=False, priority=True),
        Binding("up", "leave_text(-1)", "Previous field", show=False, priority=True),
        Binding("down,enter", "next_field", "Next field", show=False),
        Binding("up", "previous_field", "Previous field", show=False),
    ]
    words: ClassVar[str] = "Create"
    #: Flags of the command line that the helper's words may name, with the fields that stand for them (`form_words`).
    fields: ClassVar[Mapping[str, str]] = {}

    def __init__(self, title: str) -> None:
        super().__init__(title, f"ctrl+s {self.words.lower()} · ctrl+t plan or commands · esc leaves")
        self.plan = PlanPane(self.told)
        self.plan.add_class("form-plan")
        self._hint = Static(plain(""), classes="form-hint")
        self._said = Static(plain(""), classes="form-said field-error")
        self._status = Static(plain(""), classes="form-status")
        self._submit = Button(self.words, variant="primary", id="submit", compact=True)
        self._timer: Timer | None = None
        self._busy = False

    # For subclasses

    def compose_fields(self) -> ComposeResult:
        """The fields."""
        yield from ()

    def check(self) -> dict[str, str]:
        """By place, what can be seen to be wrong without asking; "" as a text marks a place that waits for input."""
        return {}

    def needed(self, place: str) -> str:
        """What is said of a place that waits for input, when the change is asked for without."""
        return "is needed"

    async def dry_run(self) -> None:
        """Ask what the change would do and show it with `plan.show_plan`. Errors of the helper are shown by `place_of`."""

    async def dry_run_without(self, places: Collection[str]) -> None:
        """Ask for the dry run as if nothing were typed at `places`, and show nothing: what else is wrong is raised."""

    async def carry_out(self) -> ScreenResultType | None:
        """Make the change; what is returned closes the form, unless it is None. Errors are shown and the form stays."""
        return None

    def place_of(self, error: NetdeckError) -> str:
        """Which place an answer of the helper is about; "" for none."""
        return ""

    def placed(self) -> Iterable[Placed]:
        """The fields that show errors."""
        return ()

    # The form

    def told(self, text: str) -> str:
        """Words of the helper, in which the form's fields have their own names."""
        return in_form(text, self.fields)

    @property
    def workstation(self) -> Workstation:
        from tui.workstation import Workstation

        app = self.app
        assert isinstance(app, Workstation)
        return app

    def compose_body(self) -> ComposeResult:
        # The first frame already has the right layout: Textual sets these classes only when the size is told.
        for _, name in _BREADTHS:
            self.set_class(name == self._breadth(), name)
        with Vertical(classes="form-body"):
            with Vertical(classes="form-left"):
                with Vertical(classes="form-fields"):
                    yield from self.compose_fields()
                yield self._hint
            yield self.plan
        yield self._said
        with Horizontal(classes="form-bar"):
            yield self._status
            yield Button("Cancel", id="cancel", compact=True)
            yield self._submit

    def _breadth(self) -> str:
        return next(name for least, name in reversed(_BREADTHS) if self.app.size.width >= least)

    def on_mount(self) -> None:
        self._unsubscribe = self.workstation.feed.subscribe(self._heard)
        self.plan.set_class(self.app.has_class("-ascii"), "-ascii")
        self.set_reachable()
        self.changed()

    def on_unmount(self) -> None:
        self._unsubscribe()

    def _heard(self, batch: Batch) -> None:
        if batch.connection:
            self.set_reachable()
            self.changed()

    def set_reachable(self) -> None:
        """Nothing can be done while the helper is lost."""
        connected = self.workstation.feed.connected
        self._submit.disabled = self._busy or not connected
        if not connected:
            self.show_status("the helper does not answer: waiting for it")

    def on_descendant_focus(self) -> None:
        focused = self.focused
        if focused is not None:
            owners = {id(node) for node in focused.ancestors_with_self}
            self._hint.update(plain(self.told(next((field.help for field in self.placed() if id(field) in owners), ""))))
            self._reveal_error()

    @on(Input.Changed)
    @on(Toggle.Changed)
    @on(Choice.Changed)
    def _typed(self, event: Message) -> None:
        event.stop()
        self.changed()

    def changed(self) -> None:
        """Something was typed: check it when the typing pauses."""
        self.stop_waiting()
        self._timer = self.set_timer(DEBOUNCE, self._check)

    def stop_waiting(self) -> None:
        """Don't check what was typed later: it is checked now, and what is said of it must stay."""
        if self._timer is not None:
            self._timer.stop()

    def _check(self) -> None:
        if self._busy:
            return
        wrong = self.check()
        self.show_errors(wrong)
        if not self.workstation.feed.connected:
            return
        if wrong:
            self._look_for_more(wrong)
        else:
            self._ask()

    @work(group="dry-run", exclusive=True, exit_on_error=False)
    async def _ask(self) -> None:
        try:
            await self.dry_run()
        except NetdeckError as error:
            self.refuse(error)
            await self._find_more({self.place_of(error): error.message})

    @work(group="dry-run", exclusive=True, exit_on_error=False)
    async def _look_for_more(self, wrong: Mapping[str, str]) -> None:
        await self._find_more(wrong)

    async def _find_more(self, wrong: Mapping[str, str]) -> None:
        """The helper names the first thing that is wrong: ask again without that, so that all of them are seen at once."""
        found = dict(wrong)
        for _ in range(_MORE):
            try:
                await self.dry_run_without(found)
                return
            except (InvalidValue, Conflict, NotFound) as error:
                place = self.place_of(error)
                if not place or place in found or _rests_on(error, found):
                    return  # it comes of what was left out
                found[place] = error.message
                self.show_errors(found)
            except NetdeckError:
                return

    def show_errors(self, wrong: Mapping[str, str]) -> None:
        """Each below its field. Where some text is not empty the plan says so."""
        known = set()
        for field in self.placed():
            known.add(field.place)
            field.show_error(self.told(wrong.get(field.place, "")))
        self._reveal_error()
        rest = " · ".join(self.told(text) for place, text in wrong.items() if text and place not in known)
        self._said.update(plain(f"! {rest}" if rest else ""))
        self._said.set_class(bool(rest), "-said")
        count = sum(1 for text in wrong.values() if text)
        if count:
            self.plan.show_words("Nothing can be done like this: mend what is marked with !", "warn")
            where = dict.fromkeys(field.label for field in self.placed() if field.label and wrong.get(field.place))
            self.show_status(": ".join(filter(None, ("one thing to mend" if count == 1 else f"{count} things to mend", ", ".join(where)))))

    def _reveal_error(self) -> None:
        """Scroll to what is wrong with the field that has the focus."""
        self.call_after_refresh(self._scroll_to_error)

    def _scroll_to_error(self) -> None:
        focused = self.focused
        if focused is not None:
            owner = next((node for node in focused.ancestors if isinstance(node, Widget) and node.has_class("-wrong")), None)
            if owner is not None:
                owner.scroll_visible(animate=False)

    def refuse(self, error: NetdeckError) -> None:
        """Show an error of the helper at its place."""
        self.show_errors({self.place_of(error): error.message})

    def show_status(self, text: str) -> None:
        self._status.update(plain(text))

    def action_turn_plan(self) -> None:
        self.plan.action_turn()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """In a list and on a button enter and the arrows have a meaning of their own."""
        return action != "leave_text" or (isinstance(self.focused, TextField) and self.focused.steps)

    def action_leave_text(self, steps: int) -> None:
        if steps > 0:
            self.focus_next()
        else:
            self.focus_previous()

    def action_next_field(self) -> None:
        self.focus_next()

    def action_previous_field(self) -> None:
        self.focus_previous()

    @on(Input.Submitted)
    def _next_field(self, event: Input.Submitted) -> None:
        event.stop()
        self.focus_next()

    @on(Button.Pressed, "#cancel")
    def _cancel(self) -> None:
        self.dismiss(None)

    @on(Button.Pressed, "#submit")
    def _pressed(self) -> None:
        self.action_submit()

    def action_submit(self) -> None:
        if self._busy or not self.workstation.feed.connected:
            return
        wrong = {place: text or self.needed(place) for place, text in self.check().items()}
        if wrong:
            self.show_errors(wrong)
            next((field for field in self.placed() if field.place in wrong), _NOWHERE).focus_control()
            return
        self._do()

    @work(group="change", exit_on_error=False)
    async def _do(self) -> None:
        self._busy = True
        self.stop_waiting()
        self.workers.cancel_group(self, "dry-run")
        self.set_reachable()
        self.show_status("working …")
        try:
            result = await self.carry_out()
        except NetdeckError as error:
            self.refuse(error)
            place = self.place_of(error)
            next((field for field in self.placed() if field.place == place), _NOWHERE).focus_control()
            self._look_for_more({place: error.message})
        else:
            if result is not None:
                self.dismiss(result)
        finally:
            self._busy = False
            if self.is_attached:
                self.set_reachable()


def _rests_on(error: NetdeckError, places: Collection[str]) -> bool:
    """Whether what is missing, by the words of the error, is at one of `places`."""
    needs = error.details.get("needs")
    return isinstance(needs, list) and any(place.rpartition(":")[2] in needs for place in places)


class _Nowhere:
    def focus_control(self) -> None:
        """Leave the focus where it is."""


_NOWHERE: Final = _Nowhere()


def heading(text: str) -> Static:
    """The heading of a part of the form."""
    return Static(Content(text), classes="form-section")


