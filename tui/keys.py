"""The one registry of keys. Bindings, the footer, the help screen and docs/KEYS.md are made from it. No Textual here.

`python -m tui.keys` prints docs/KEYS.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from tui.actions import ACTIONS

VIEWS: Final = ("networks", "containers", "interfaces", "events", "vlans")
EVERYWHERE: Final = "Everywhere"
LISTS: Final = "Lists"
CHANGES: Final = "Changes"
DETAILS: Final = "Details"
PROMPTS: Final = "Filter and command line"
DOCTOR: Final = "Doctor"


@dataclass(frozen=True, slots=True)
class Key:
    """`keys` are Textual's key names, separated by commas. `words` is for the footer, `help` for the help screen and the docs.

    `action` is the application's action, "" where the widget itself binds the key. `hint` is the place in the footer (0: not
    there; the largest goes first where there is no room). `views`: where it works, () for everywhere.
    """

    id: str
    keys: str
    words: str
    help: str
    where: str
    action: str = ""
    hint: int = 0
    views: tuple[str, ...] = ()


_SIGNS: Final = {
    "slash": "/", "colon": ":", "question_mark": "?", "greater_than_sign": ">", "less_than_sign": "<", "left_square_bracket": "[",
    "right_square_bracket": "]", "escape": "esc", "pageup": "page up", "pagedown": "page down", "up": "↑", "down": "↓", "left": "←",
    "exclamation_mark": "!", "right": "→", "delete": "del",
}

KEYS: Final[tuple[Key, ...]] = (
    Key("view.networks", "1", "Networks", "Networks: what connects containers", EVERYWHERE, "view('networks')"),
    Key("view.containers", "2", "Containers", "Containers of every runtime on this host", EVERYWHERE, "view('containers')"),
    Key("view.interfaces", "3", "Interfaces", "Interfaces of every namespace, with their rates", EVERYWHERE, "view('interfaces')"),
    Key("view.events", "4", "Events", "Events: what happened, newest last", EVERYWHERE, "view('events')"),
    Key("view.vlans", "5", "VLANs", "VLANs, and the links that others hang on", EVERYWHERE, "view('vlans')"),
    Key("app.filter", "slash", "filter", "Filter the list as you type: text, /regex/, rx>1M, state!=up, ns:web, "
        "level:/warn|error/, !term, a | b", EVERYWHERE, "filter", 3),
    Key("app.command", "colon", "command", "Command line, with completion (tab) and history (up)", EVERYWHERE, "command_line", 6),
    Key("app.palette", "ctrl+p", "palette", "The same commands as a palette", EVERYWHERE),
    Key("app.details", "d", "details", "Show or hide the details of the selected object", EVERYWHERE, "details", 2),
    Key("app.back", "escape", "back", "Back: close the field, the details, the filter", EVERYWHERE, "leave"),
    Key("app.pane", "tab", "other pane", "Between list and details", EVERYWHERE, "other_pane"),
    Key("app.copy", "y", "copy", "Copy the name of the selected object, or the page that the details show", EVERYWHERE, "copy", 8),
    Key("app.export", "e", "export", "Write the list as shown to a file: CSV, JSON or Markdown, by its suffix", EVERYWHERE, "export", 9),
    Key("app.refresh", "ctrl+l", "repaint", "Paint the whole screen again", EVERYWHERE),
    Key("app.suspend", "ctrl+z", "suspend", "Back to the shell for a while; fg goes on", EVERYWHERE),
    Key("app.theme", "t", "theme", "Next theme: dark, light, the terminal's own colours", EVERYWHERE, "next_theme"),
    Key("app.help", "question_mark", "help", "This page", EVERYWHERE, "help", 4),
    Key("app.quit", "q,ctrl+q", "quit", "Leave the workstation; the networks stay", EVERYWHERE, "quit", 7),
    Key("table.up", "up,k", "up", "Up", LISTS),
    Key("table.down", "down,j", "down", "Down", LISTS),
    Key("table.page_up", "pageup", "page up", "A page up", LISTS),
    Key("table.page_down", "pagedown", "page down", "A page down", LISTS),
    Key("table.first", "home", "first", "First row", LISTS),
    Key("table.last", "end", "last", "Last row; in Events: follow again", LISTS),
    Key("table.open", "enter", "open", "Open the details and go there", LISTS, hint=1),
    Key("table.freeze", "space", "freeze", "Freeze the list; collecting goes on", LISTS, hint=5),
    Key("table.mark", "m", "mark", "Mark a row: copy and changes are about all marked rows", LISTS),
    Key("table.clear_marks", "M", "clear marks", "Clear all marks", LISTS),
    Key("table.sort", "s,greater_than_sign", "sort", "Sort by the next column", LISTS, hint=10),
    Key("table.sort_back", "less_than_sign", "sort back", "Sort by the previous column", LISTS),
    Key("table.reverse", "S", "reverse", "Reverse the order", LISTS),
    Key("details.next", "right,l,right_square_bracket", "next page", "Next page of the details", DETAILS, "details_page(1)"),
    Key("details.previous", "left,h,left_square_bracket", "previous page", "Previous page of the details", DETAILS, "details_page(-1)"),
    Key("prompt.accept", "enter", "accept", "Keep the filter; carry out the command", PROMPTS),
    Key("prompt.leave", "escape", "leave", "Take the filter back; leave the command line", PROMPTS),
    Key("prompt.complete", "tab", "complete", "Complete the word", PROMPTS),
    Key("prompt.history", "up,down", "history", "Earlier lines", PROMPTS),
    Key("doctor.refresh", "r", "look again", "Look again", DOCTOR, "in_doctor"),
    Key("doctor.fix", "f", "mend", "Mend the finding, after showing how; take back what netdeck keeps up", DOCTOR, "in_doctor"),
)


def action_keys() -> tuple[Key, ...]:
    """The keys of the changes, from their own table."""
    return tuple(
        Key(action.id, action.key, action.words, action.help, CHANGES, f"act('{action.id}')", action.hint, action.views)
        for action in ACTIONS
    )


def all_keys() -> tuple[Key, ...]:
    return (*KEYS, *action_keys())


def shown(keys: str) -> str:
    """Key names as people write them: `s >`."""
    return " ".join(_SIGNS.get(key, key) for key in keys.split(","))


#: The application's actions, without their arguments.
ACTION_NAMES: Final = frozenset(key.action.partition("(")[0] for key in KEYS if key.action) | {"act"}

_OF_DETAILS: Final = ("app.back", "details.next", "app.pane", "app.copy", "app.help", "app.command", "app.quit")


def hints(view: str, place: str = LISTS) -> list[Key]:
    """What the footer shows in a view: at its list, its details, or while a line is typed."""
    if place == PROMPTS:
        return [key for key in KEYS if key.where == PROMPTS]
    if place == DETAILS:
        return [key for id in _OF_DETAILS for key in KEYS if key.id == id]
    wanted = [key for key in all_keys() if key.hint and (not key.views or view in key.views)]
    return sorted(wanted, key=lambda key: key.hint)


def fitting(keys: Sequence[Key], width: int) -> list[Key]:
    """As many hints as fit into `width` cells: the last ones go first."""
    kept = list(keys)
    while kept and sum(len(shown(key.keys.split(",")[0])) + len(key.words) + 3 for key in kept) > width:
        kept.pop()
    return kept


def sections() -> list[tuple[str, list[Key]]]:
    """All keys under their headings."""
    found = all_keys()
    order = (EVERYWHERE, LISTS, CHANGES, DETAILS, PROMPTS, DOCTOR)
    return [(where, [key for key in found if key.where == where]) for where in order if any(key.where == where for key in found)]


def help_text(key: Key) -> str:
    """The help of a key, with where it works."""
    return f"{key.help} ({', '.join(key.views)})" if key.views else key.help


def page(commands: Iterable[tuple[str, str]]) -> str:
    """docs/KEYS.md. `commands`: usage and help of each command of the `:` line."""
    lines = ["# Keys", "", "Made from the registry in `tui/keys.py` by `python -m tui.keys > docs/KEYS.md`; a test compares them.", ""]
    for where, keys in sections():
        lines += [f"## {where}", "", "| key | what |", "| --- | --- |"]
        lines += [f"| {_code(key.keys)} | {_cell(help_text(key))} |" for key in keys]
        lines.append("")
    lines += ["## Commands", "", "`:` opens the command line; `ctrl+p` offers the same.", "", "| command | what |", "| --- | --- |"]
    lines += [f"| `:{_cell(usage)}` | {_cell(text)} |" for usage, text in commands]
    return "\n".join(lines) + "\n"


def _code(keys: str) -> str:
    return " ".join(f"`{_SIGNS.get(name, name)}`" for name in keys.split(","))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    import sys

    from tui.colon_commands import usages

    sys.stdout.write(page(usages()))
