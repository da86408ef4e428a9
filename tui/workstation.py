"""The workstation: what surrounds the views. What changes anything is in `tui.actions`."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.command import Provider
from textual.scrollbar import ScrollBar, ScrollBarRender

from protocol.client import Client
from protocol.errors import NetdeckError
from tui import colon_commands, keys
from tui.actions import Action, action_named, answering, elsewhere, works_in
from tui.close_look import PERIOD, SCREEN_PERIOD, CloseLook, Watch
from tui.export import write
from tui.feed import Batch, Feed
from tui.filter import FilterError
from tui.keys import shown
from tui.keys_in_order import KeysInOrder
from tui.objects import find_object, names_of
from tui.screens.details import DetailsPanel
from tui.screens.shell import WIDE, Shell
from tui.screens.view import View
from tui.selection import VIEW_OF, Selected
from tui.status import pieces
from tui.styles.theme import DEFAULTS, NAMES, THEMES, first_theme
from tui.terminal.link_profile import PROFILES, LinkProfile
from tui.widgets.glyphs import ASCII, UNICODE
from tui.widgets.live_table import LiveTable
from tui.widgets.plain_scroll_bar import PlainScrollBar
from tui.widgets.prompt import Completer, PromptBar
from tui.widgets.status_bar import KeyHints, StatusBar

#: Round trip to the terminal, in seconds, up to which an interface is shown ten times a second.
FAR: Final = 0.1
_NO_DETAILS: Final = "no details are open: d shows those of the selected object"
_NOTHING_SELECTED: Final = "the list is empty: nothing is selected"


def _palette() -> type[Provider]:
    from tui.palette import CommandProvider

    return CommandProvider


class Workstation(KeysInOrder[int]):
    """The application, on the helper at `socket`. `source` stands in for its client where a test plays a stream of its own."""

    CSS_PATH = "styles/netdeck.tcss"
    TITLE = "netdeck"
    COMMANDS = {_palette}
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (WIDE, "-wide")]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(key.keys, key.action, key.words, id=key.id, show=False) for key in keys.all_keys() if key.action
    ]

    def __init__(
        self, socket: str | None = None, *, profile: LinkProfile = PROFILES["lan"], ascii: bool = False, source: Any = None
    ) -> None:
        # Told so at once, Textual takes colours out altogether where NO_COLOR is set; else it would turn them into greys.
        super().__init__(ansi_color=True if "NO_COLOR" in os.environ else None)
        self.feed = Feed()
        self.client: Client = source if source is not None else Client(socket, "netdeck-tui", self.feed.connection_changed)
        self.glyphs = ASCII if ascii else UNICODE
        self.profile = profile
        self.set_data_interval(profile.data_interval)
        self.look = CloseLook(self.client, lambda: self.paint_data(self.details.refresh_page, key="look"))
        self._on_screen = Watch(self.client, lambda message: None, SCREEN_PERIOD)  # they come with the stream's next counters too
        self.shell = Shell(self.feed, glyphs=self.glyphs, sparklines=profile.sparklines)
        self.status, self.hints, self.prompt = StatusBar(), KeyHints(self.glyphs), PromptBar(self.glyphs)
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = first_theme(self.console.color_system, self.no_color, os.environ)
        self.set_class(ascii, "-ascii")
        ScrollBar.renderer = PlainScrollBar if ascii else ScrollBarRender

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return DEFAULTS

    def compose(self) -> ComposeResult:
        yield self.status
        yield self.shell
        yield self.prompt
        yield self.hints

    def on_mount(self) -> None:
        self.feed.subscribe(self._feed_changed)
        self._ageing = self.set_interval(1.0, self._show_age, pause=True)
        self.show_view("networks")
        for following in (self.feed.run(self.client), self.look.run(), self._on_screen.run()):
            self.run_worker(following, group="feed")

    async def on_unmount(self) -> None:
        self.feed.close()
        await self.client.close()

    # What the feed says

    def _feed_changed(self, batch: Batch) -> None:
        self.shell.collect(batch)
        if batch.connection:
            # Only what is old grows older: while the helper is there no clock ticks.
            (self._ageing.pause if self.feed.connected else self._ageing.resume)()
        self.view.show_changes()
        self.paint_data(self._show_surroundings, key="surroundings")
        if self.details.is_open and (batch.counters or batch.connection or batch.changed or batch.removed):
            self.paint_data(lambda: self.details.follow(batch), key=("details", batch.tick))
        self.look_around()

    def look_around(self) -> None:
        """Have the helper read more often what is looked at: the interface of the details, the rows on the screen."""
        seen = len(self.screen_stack) == 1
        key = self.details.looked_at if seen and self._may_look() else None
        if key != self.look.key:
            self.look.at(key)
            self.set_data_interval(self.profile.data_interval if key is None else min(PERIOD, self.profile.data_interval))
        listed = seen and self.view_name == "interfaces" and not (self.details.is_open and not self.shell.wide)
        self._on_screen.ask(self.view.table.keys_on_screen if listed else ())

    def _may_look(self) -> bool:
        """Whether the terminal is near enough. One that answers nothing may be anywhere: then the profile decides."""
        known = self.round_trip
        if not self.profile.close_look or (known is None and self.paced and self.profile.name != "lan"):
            return False
        return known is None or known <= (FAR if self.look.key is None else 1.5 * FAR)

    def _show_age(self) -> None:
        self.view.refresh_titles()
        self._show_surroundings()

    def _show_surroundings(self) -> None:
        tabs = [(str(number), view.title, view is self.view) for number, view in enumerate(self.shell.views.values(), 1)]
        self.status.set_status(tabs, pieces(self.feed, self.round_trip, self.glyphs, frozen=self.view.model.frozen))
        place = keys.PROMPTS if self.prompt.is_open else keys.DETAILS if self.shell.reading_details else keys.LISTS
        hints = keys.hints(self.view_name, place)
        if self.prompt.is_open and self.prompt.sign == "/":
            hints = [key for key in hints if key.id != "prompt.complete"]  # a filter has no words to complete
        self.hints.set_hints(hints)

    @property
    def role(self) -> str:
        """What the operator may do: view, operate, admin; "" while nobody said."""
        return self.feed.welcome.role if self.feed.connected and self.feed.welcome is not None else ""

    # Objects and views

    @property
    def view(self) -> View:
        """The view that is shown."""
        return self.shell.view

    @property
    def view_name(self) -> str:
        return str(self.view.id)

    @property
    def details(self) -> DetailsPanel:
        return self.shell.details

    def selected(self) -> Selected | None:
        """The object with the cursor."""
        return self.view.selected()

    def chosen(self) -> tuple[Selected, ...]:
        """The marked objects, else the one with the cursor."""
        return self.view.chosen()

    def find(self, name: str) -> Selected | None:
        """The object of that name."""
        return find_object(self.feed, name)

    def names(self) -> list[str]:
        """Names that `find` finds."""
        return names_of(self.feed)

    def show_view(self, name: str, filter_text: str | None = None) -> None:
        """Switch to a view; with `filter_text`, filtered by it. Raises FilterError."""
        self.prompt.close()
        self.shell.show_view(name, filter_text)
        self._show_surroundings()

    def go_to(self, kind: str, key: str) -> None:
        """Switch to an object's view and put the cursor on it, now or when it arrives."""
        self.show_view(VIEW_OF[kind])
        self.view.go_to(key)

    def on_live_table_highlighted(self, message: LiveTable.Highlighted) -> None:
        if message.table is self.view.table:
            self.shell.cursor_moved()

    def on_live_table_selected(self, message: LiveTable.Selected) -> None:
        self.shell.open_details(go_there=True)

    def on_live_table_idle(self, message: LiveTable.Idle) -> None:
        self._say_no(message.why)

    def on_live_table_view_changed(self) -> None:
        self._show_surroundings()

    def on_descendant_focus(self) -> None:
        self._show_surroundings()

    # Filter and command line

    def on_prompt_bar_changed(self, message: PromptBar.Changed) -> None:
        if message.sign == ":":
            self.prompt.say(colon_commands.explain(message.text))
            return
        try:
            self.view.set_filter(message.text)
        except FilterError as error:
            self.prompt.say(str(error), error=True)
        else:
            model = self.view.model
            self.prompt.say(f"{len(model.order)} of {len(model.view.slots)} match · fields: {' '.join(model.fields)}")

    def on_prompt_bar_accepted(self, message: PromptBar.Accepted) -> None:
        if message.sign == ":":
            self.run_line(message.text)
        elif message.text.strip() == self.view.model.filter_text:
            self._close_prompt()
        # else it is no filter, and what is wrong with it stands under it

    def on_prompt_bar_left(self, message: PromptBar.Left) -> None:
        if message.sign == "/":
            self.view.set_filter("")
        self._close_prompt()

    def on_prompt_bar_moved(self, message: PromptBar.Moved) -> None:
        """Outcomes are told above the line that is typed, never on it."""
        for rack in self.screen_stack[0].query("#textual-toastrack"):
            rack.styles.margin = (0, 0, 1 + message.lines, 0)

    def _close_prompt(self) -> None:
        self.prompt.close()
        self.view.focus_table()

    def open_command_line(self, text: str = "", wrong: str = "") -> None:
        """Show the `:` line with `text` in it, and what is wrong with that."""
        self._open_prompt(":", text, lambda line: colon_commands.complete(self, line), wrong)

    def _open_prompt(self, sign: str, text: str, completer: Completer | None = None, wrong: str = "") -> None:
        self.prompt.open(sign, text, completer, wrong)
        self.expect(lambda: self.prompt.input.has_focus or not self.prompt.is_open)

    def run_line(self, line: str) -> None:
        """Carry out a command; what is wrong with it is said under the line, which then stays open."""
        self._close_prompt()
        try:
            colon_commands.run(self, line)
        except (NetdeckError, FilterError) as error:
            self.open_command_line(line, wrong=str(error))

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """One action answers to a key in each view, if only by saying where it works; nothing works behind a dialog."""
        if len(self.screen_stack) > 1 and action in keys.ACTION_NAMES and action != "quit":
            return False
        if action == "act":
            found = action_named(str(parameters[0]))
            return found is not None and answering(found, self.view_name)
        return True

    def action_view(self, name: str) -> None:
        self.show_view(name)

    def action_filter(self) -> None:
        if not self.shell.reading_details or self.shell.wide:
            self._open_prompt("/", self.view.model.filter_text)
        else:
            self.drop_keys()

    def action_command_line(self) -> None:
        self.open_command_line()

    def action_details(self) -> None:
        if not self.details.is_open and self.selected() is None:
            self._say_no(_NOTHING_SELECTED)
        self.shell.toggle_details()

    def action_details_page(self, steps: int) -> None:
        if self.details.is_open:
            self.details.turn(steps)
        else:
            self._say_no(_NO_DETAILS)

    def action_other_pane(self) -> None:
        self.shell.change_pane()

    def action_focus_next(self) -> None:
        """What tab does on every screen of Textual's."""
        if len(self.screen_stack) == 1 and not self.details.is_open and not self.prompt.is_open:
            self._say_no(_NO_DETAILS)
        super().action_focus_next()

    def action_in_doctor(self) -> None:
        self._say_no("r and f are keys of the doctor: ! opens it")

    def _say_no(self, why: str) -> None:
        """Say why a key does nothing here, once however often it is pressed."""
        self.clear_notifications()
        self.tell(why)

    def action_leave(self) -> None:
        if self.prompt.is_open:
            self._close_prompt()
        elif self.details.is_open:
            self.shell.close_details()
        elif self.view.model.filter_text:
            self.view.set_filter("")
        elif self.screen.query("Toast"):
            self.clear_notifications()
        else:
            self._say_no("nothing is open here: q leaves the workstation")

    def action_copy(self) -> None:
        names = [found.name for found in self.chosen()]
        if self.shell.reading_details:
            self.copy(self.details.text(), "the page")
        elif names:
            self.copy("\n".join(names), names[0] if len(names) == 1 else f"{len(names)} names")
        else:
            self._say_no(_NOTHING_SELECTED)

    def export_name(self) -> str:
        """A name for a file with the view in it."""
        return f"netdeck-{self.view_name}-{time.strftime('%Y%m%d-%H%M%S')}.csv"

    def action_export(self) -> None:
        self.open_command_line(f"export {self.export_name()}")

    def export(self, name: str) -> None:
        """Write the view to a file. Raises InvalidValue."""
        path = Path(name).expanduser()
        count = write(path, self.view.model)
        self.tell(f"{count} rows written to {path.resolve()}")

    def action_next_theme(self) -> None:
        place = NAMES.index(self.theme) if self.theme in NAMES else -1
        self.theme = NAMES[(place + 1) % len(NAMES)]

    def action_help(self) -> None:
        from tui.screens.help import HelpScreen

        self.push_screen(HelpScreen(self.glyphs))

    async def action_quit(self) -> None:
        self.exit(0)

    # Changes

    def action_act(self, id: str) -> None:
        action = action_named(id)
        if action is None:
            return
        if works_in(action, self.view_name):
            self.start_action(action)
        else:
            self.drop_keys()  # those behind it were for the form
            self._say_no(f"{shown(action.key)} here does nothing. {elsewhere(action)}")

    def start_action(self, action: Action, arguments: str = "") -> None:
        """Open the form of a change, or say why not."""
        if not action.allowed(self.role):
            self._refuse(f"{action.help}: needs the role {action.role}, you have {self.role or 'none while there is no helper'}")
        elif action.needs_selection and not arguments and self.selected() is None:
            self._refuse(f"{action.help}: nothing is selected")
        else:
            before = self.screen
            working = self.run_worker(self._act(action, arguments), group="action", exclusive=True, exit_on_error=False)
            self.expect(lambda: working.is_finished or self.screen is not before)

    def _refuse(self, error: BaseException | str) -> None:
        """Say why a form does not open; keys that were typed for it go nowhere."""
        self.drop_keys()
        self.show_error(error)

    async def _act(self, action: Action, arguments: str) -> None:
        try:
            await action.load()(self, arguments)
        except NetdeckError as error:
            self._refuse(error)
        except Exception as error:
            self._refuse(f"{action.help} failed inside netdeck: {type(error).__name__}: {error}")
