"""One registry of keys: bindings, footer, help screen and docs say the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.binding import Binding

from tests.tui.opened_workstation import opened
from tui import keys
from tui.actions import ACTIONS, answering, elsewhere, works_in
from tui.colon_commands import commands, usages
from tui.documents import plain_text
from tui.screens.help import help_lines
from tui.widgets.live_table import LiveTable
from tui.widgets.prompt import PromptInput
from tui.workstation import Workstation

pytestmark = pytest.mark.req("W1")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "KEYS.md"


def by_id() -> dict[str, keys.Key]:
    return {key.id: key for key in keys.all_keys()}


def test_ids_are_unique() -> None:
    assert len(by_id()) == len(keys.all_keys())


@pytest.mark.parametrize("owner", [LiveTable, PromptInput, Workstation])
def test_what_widgets_bind_is_what_the_registry_says(owner: type[LiveTable | PromptInput | Workstation]) -> None:
    known = by_id()
    bound = [binding for binding in owner.BINDINGS if isinstance(binding, Binding) and binding.id]
    assert bound
    for binding in bound:
        assert binding.id in known, f"{binding.id} is bound and not in the registry"
        names = known[binding.id].keys.split(",")
        assert set(binding.key.split(",")) <= set(names)


def test_no_key_means_two_things_in_one_place() -> None:
    seen: dict[tuple[str, str], str] = {}
    for key in keys.all_keys():
        if key.where in (keys.PROMPTS, keys.DOCTOR):
            continue
        for name in key.keys.split(","):
            for view in key.views or keys.VIEWS:
                other = seen.setdefault((view, name), key.id)
                assert other == key.id, f"{name} in {view}: {other} and {key.id}"


def test_the_page_is_the_registry() -> None:
    assert PAGE.read_text() == keys.page(usages()), "run: python -m tui.keys > docs/KEYS.md"


def test_the_help_screen_has_every_key_and_command() -> None:
    text = " ".join(plain_text(help_lines(200)).split())
    for key in keys.all_keys():
        assert f"{keys.shown(key.keys)} {key.help}" in text
    for command in commands():
        assert f":{command.word}" in text


def test_hints_fit_and_the_first_stay() -> None:
    for view in keys.VIEWS:
        hints = keys.hints(view)
        assert [key.id for key in keys.fitting(hints, 30)] == [key.id for key in hints][: len(keys.fitting(hints, 30))]
        assert keys.fitting(hints, 5) == []


def test_every_key_of_a_change_is_answered_once_in_every_view() -> None:
    for view in keys.VIEWS:
        for pressed in {action.key for action in ACTIONS}:
            answers = [action for action in ACTIONS if action.key == pressed and answering(action, view)]
            assert len(answers) == 1, f"{pressed} in {view}"
            assert works_in(answers[0], view) or answers[0].views[0] in elsewhere(answers[0])


async def test_a_key_that_does_nothing_here_says_why() -> None:
    wanted = {
        "c": "Create a network: works in networks and vlans", "D": "Remove containers", "l": "no details are open",
        "r": "keys of the doctor", "tab": "no details are open", "M": "no row is marked", "m": "nothing to mark",
        "enter": "nothing to open", "d": "the list is empty", "y": "nothing is selected",
    }
    async with opened() as (app, _, pilot):
        heard: list[str] = []
        app.tell = lambda text: heard.append(text)  # type: ignore[method-assign]
        app.show_view("events", "nothing-is-called-so")
        for pressed, said in wanted.items():
            await pilot.press(pressed)
            await pilot.pause()
            assert heard and said in heard[-1], (pressed, heard)
        assert len(app.screen_stack) == 1


def test_every_change_can_be_loaded() -> None:
    for action in ACTIONS:
        assert callable(action.load()), action.id
        assert len(action.words) <= 10 and set(action.views) <= set(keys.VIEWS)
