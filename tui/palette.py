"""The palette (ctrl+p): the commands of the `:` line, and every object by its name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content

from protocol.names import display_text
from tui.colon_commands import Command, commands

if TYPE_CHECKING:
    from tui.workstation import Workstation

_OBJECTS_SHOWN = 50


class CommandProvider(Provider):
    """Commands first; objects of that name after them."""

    @property
    def _workstation(self) -> Workstation:
        from tui.workstation import Workstation

        app = self.app
        assert isinstance(app, Workstation)
        return app

    def _runner(self, command: Command) -> Callable[[], None]:
        station = self._workstation
        line = command.word
        # What needs an argument is put into the command line, ready to be completed.
        return partial(station.run_line, line) if command.plain else partial(station.open_command_line, f"{line} ")

    async def discover(self) -> Hits:
        for command in commands():
            yield DiscoveryHit(command.word, self._runner(command), text=command.word, help=command.help)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for command in commands():
            text = f"{command.word}: {command.help}"
            score = matcher.match(text)
            if score > 0:
                yield Hit(score, matcher.highlight(text), self._runner(command), text=command.word)
        station = self._workstation
        found = 0
        for name in station.names():
            score = matcher.match(name)
            if score > 0 and found < _OBJECTS_SHOWN:
                found += 1
                shown = Content(f"go {display_text(name)}")
                yield Hit(score / 2, shown, partial(station.run_line, f"go {name}"), text=f"go {display_text(name)}")
