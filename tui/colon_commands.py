"""The commands of the `:` line and of the palette, in one table with their completion. No Textual here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from protocol.errors import InvalidValue
from protocol.names import display_text, suggestion
from tui.actions import ACTIONS, Action
from tui.export import FORMATS
from tui.keys import VIEWS

if TYPE_CHECKING:
    from tui.workstation import Workstation

Run = Callable[["Workstation", str], None]
Complete = Callable[["Workstation"], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Command:
    """`usage` is what follows the word. `complete` gives what its argument could be. `plain`: makes sense without an argument."""

    word: str
    usage: str
    help: str
    run: Run
    complete: Complete = lambda app: ()
    plain: bool = True


def _view(name: str) -> Run:
    def run(app: Workstation, text: str) -> None:
        app.show_view(name, filter_text=text or None)

    return run


def _filter(app: Workstation, text: str) -> None:
    app.view.set_filter(text)


def _sort(app: Workstation, text: str) -> None:
    words = text.split()
    sortable = app.view.model.sortable
    if not words or words[0] not in sortable or words[1:] not in ([], ["asc"], ["desc"]):
        raise InvalidValue(f"can't sort by {display_text(text)!r}: expected a column ({', '.join(sortable)}), then asc or desc"
                           f"{suggestion(text, sortable)}")
    app.view.sort_by(words[0], words[1:] == ["desc"])


def _theme(app: Workstation, text: str) -> None:
    if text not in app.available_themes:
        raise InvalidValue(f"theme {display_text(text)!r} is unknown{suggestion(text, app.available_themes)}: expected one of "
                           f"{', '.join(sorted(app.available_themes))}")
    app.theme = text


def _export(app: Workstation, text: str) -> None:
    app.export(text or app.export_name())


def _mouse(app: Workstation, text: str) -> None:
    if text not in ("on", "off"):
        raise InvalidValue(f"mouse {display_text(text)!r}: expected on or off")
    app.set_mouse(text == "on")


def _go(app: Workstation, text: str) -> None:
    found = app.find(text)
    if found is None:
        raise InvalidValue(f"nothing is called {display_text(text)!r}{suggestion(text, app.names())}")
    app.go_to(found.kind, found.key)


def _freeze(app: Workstation, text: str) -> None:
    app.view.table.action_freeze()


def _details(app: Workstation, text: str) -> None:
    app.action_details()


def _columns(app: Workstation) -> Sequence[str]:
    return app.view.model.sortable


def _fields(app: Workstation) -> Sequence[str]:
    return [f"{name}:" for name in app.view.model.fields]


COMMANDS: Final[tuple[Command, ...]] = (
    *(Command(name, "[FILTER]", f"Show {name}, filtered where a filter is given", _view(name), _fields) for name in VIEWS),
    Command("go", "NAME", "Go to the network, container or interface of that name", _go, lambda app: app.names(), plain=False),
    Command("filter", "[FILTER]", "Filter the list; without a filter show all", _filter, _fields),
    Command("sort", "COLUMN [asc|desc]", "Sort the list", _sort, _columns, plain=False),
    Command("details", "", "Show or hide the details", _details),
    Command("copy", "", "Copy the selected name, or the page that the details show", lambda app, text: app.action_copy()),
    Command("export", "[FILE]", "Write the list to a file: " + ", ".join(FORMATS), _export),
    Command("freeze", "", "Freeze the list, or let it go on", _freeze),
    Command("mouse", "on|off", "Have the mouse, or leave it to the terminal", _mouse, lambda app: ("on", "off"), plain=False),
    Command("theme", "NAME", "Change the colours", _theme, lambda app: sorted(app.available_themes), plain=False),
    Command("help", "", "Show every key and command", lambda app, text: app.action_help()),
    Command("quit", "", "Leave the workstation; the networks stay", lambda app, text: app.exit(0)),
)


def _act(action: Action) -> Run:
    return lambda app, text: app.start_action(action, text)


def commands() -> tuple[Command, ...]:
    """All commands, those of the changes too."""
    return (*COMMANDS, *(Command(action.command, "", action.help, _act(action)) for action in ACTIONS if action.command))


def usages() -> list[tuple[str, str]]:
    """Usage and help of each, for the help screen and the docs."""
    return [(f"{command.word} {command.usage}".strip(), command.help) for command in commands()]


def find(word: str) -> Command | None:
    """The command of that word, or of which it is the only beginning."""
    found = commands()
    exact = [command for command in found if command.word == word]
    begun = [command for command in found if command.word.startswith(word)]
    return exact[0] if exact else begun[0] if word and len(begun) == 1 else None


#: What the shell's command line calls otherwise: the words behind ``network`` or ``port``, and commands of their own.
_SHELL: Final = {
    "create": "create", "connect": "attach", "disconnect": "detach", "update": "change", "rm": "go", "inspect": "details", "ls": "networks",
    "host-access": "host-access", "publish": "publish", "withdraw": "withdraw",
}
_SHELL_ALONE: Final = {"ps": "containers", "inspect": "details", "rm": "go"}
_NOUNS: Final = ("network", "port")


def _of_the_shell(line: str) -> str:
    """What to do in the place of a command line of the shell's that was typed here, "" where it is none."""
    words = line.split()
    named = words[0] in ("netdeck", "docker")
    words = words[1:] if named else words
    verb = words[1] if len(words) > 1 and words[0] in _NOUNS else ""
    here = _SHELL.get(verb, "") if verb else _SHELL_ALONE.get(words[0], "") if words else ""
    if not here and not named:
        return ""
    what = f":{here} does it here" + (", then D removes" if here == "go" else "") + "; " if here else ""
    return f"netdeck {display_text(' '.join(words[:1 + bool(verb)]))} is a command of the shell: {what}ctrl+z goes there, fg comes back"


def run(app: Workstation, line: str) -> None:
    """Carry out a line. Raises InvalidValue, FilterError, and what the command raises."""
    word, _, rest = line.strip().partition(" ")
    if not word:
        return
    if said := _of_the_shell(line):
        raise InvalidValue(said)
    command = find(word)
    if command is None:
        words = [command.word for command in commands()]
        raise InvalidValue(f"no command {display_text(word)!r}{suggestion(word, words)}")
    command.run(app, rest.strip())


def complete(app: Workstation, line: str) -> list[str]:
    """What could stand in the place of the last word of `line`."""
    head, space, last = line.rpartition(" ")
    if not space:
        return sorted(command.word for command in commands() if command.word.startswith(last))
    command = find(head.split()[0]) if head.split() else None
    candidates = command.complete(app) if command is not None else ()
    return sorted(display_text(word) for word in candidates if word.startswith(last) and " " not in word)


def explain(line: str) -> str:
    """What is said under the field while a command is typed."""
    word = line.strip().partition(" ")[0]
    if not word:
        return "tab completes · up: earlier lines · " + " ".join(command.word for command in commands())
    command = find(word)
    if command is not None:
        return f"{command.word} {command.usage}".strip() + f": {command.help}"
    begun = [command.word for command in commands() if command.word.startswith(word)]
    return " ".join(begun)
