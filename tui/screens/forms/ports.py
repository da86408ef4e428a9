"""The forms of published ports: publish some of a running container, withdraw some again. Either is taken back with `u`."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.widgets import Static

from protocol.errors import InvalidValue, NetdeckError, NotFound
from protocol.model import Container, Port
from protocol.names import display_text
from protocol.ports import exact, exact_ranges, host_text, parse_all, parse_publish, summary
from tui.feed import Batch, Feed
from tui.rows.ports import published
from tui.screens.forms.fields import Field, TextField
from tui.screens.forms.form_dialog import FormDialog, Placed, heading
from tui.screens.forms.outcomes import tell_outcomes
from tui.screens.forms.picker import Picker
from tui.screens.forms.undo import BY_U, Call, remember
from tui.text import plain
from tui.widgets.glyphs import Glyphs
from tui.widgets.table_columns import Column, Kind

if TYPE_CHECKING:
    from tui.workstation import Workstation

_PLACE = "ports"


async def open_publish(app: Workstation, arguments: str = "") -> None:
    """Publish ports of the selected container. `arguments`: the name of one in its place, then ports to begin with."""
    container, ports = _subject(app, arguments)
    if container.status != "running":
        raise InvalidValue(f"{container.ref} has ended: only what runs can have ports published")
    done = await app.push_screen_wait(Publish(container, ports))
    if done:
        _tell(app, container, f"publishes {summary(done)}", f"no longer publishes {summary(done)}", "withdraw", exact_ranges(done))


async def open_withdraw(app: Workstation, arguments: str = "") -> None:
    """Withdraw ports of the selected container. `arguments`: the name of one in its place."""
    container, _ = _subject(app, arguments)
    if not published(app.feed, container):
        raise InvalidValue(f"no port of {container.ref} is published: p publishes some")
    done = await app.push_screen_wait(Withdraw(container, app.glyphs))
    if done:
        _tell(app, container, f"no longer publishes {summary(done)}", f"publishes {summary(done)} again", "publish", exact_ranges(done))


def _tell(app: Workstation, container: Container, done: str, back: str, verb: str, specs: Sequence[str]) -> None:
    """Say what was done, and remember the `verb` that takes it back."""
    remember(app, f"{container.ref} {done}", back, [
        Call(container.ref, f"port.{verb}", {"container": container.ref, "ports": tuple(specs)}, command_line(verb, container.ref, specs))])
    tell_outcomes(app, done, [(container.ref, None)], BY_U)


def _subject(app: Workstation, arguments: str) -> tuple[Container, str]:
    """Which container is meant, and what else was said."""
    name, _, rest = arguments.strip().partition(" ")
    if name:
        container = app.feed.container_named(name)
        if container is None:
            raise NotFound(f"no container is called {display_text(name)!r}", name=display_text(name))
        return container, rest.strip()
    found = [item.model for item in app.chosen() if isinstance(item.model, Container)]
    if len(found) != 1:
        raise InvalidValue("several containers are marked: ports are one container's, so mark no more than one" if found else
                           "select a container first")
    return found[0], ""


def specs_of(text: str) -> tuple[str, ...]:
    """The ports as they were typed, one by one."""
    return tuple(text.replace(", ", " ").split())


def wrong_ports(specs: Sequence[str]) -> str:
    """What is wrong with each, a line for each; "" where nothing is."""
    found = []
    for spec in specs:
        try:
            parse_publish(spec)
        except InvalidValue as error:
            found.append(error.message)
    if not found:
        try:
            parse_all(specs)
        except InvalidValue as error:
            found.append(error.message)
    return "\n".join(found)


def command_line(verb: str, container: str, specs: Sequence[str]) -> str:
    """The same change as a command: ``netdeck port publish …``."""
    return shlex.join(["netdeck", "port", verb, container, *specs])


def ports_of(answer: Mapping[str, Any]) -> tuple[Port, ...]:
    """The ports that an answer of the helper is about."""
    return tuple(msgspec.convert(answer["ports"], list[Port]))


class Publish(FormDialog[tuple[Port, ...]]):
    """Gives the ports that were published, or None."""

    words = "Publish"
    DEFAULT_CSS = """
    Publish .ports-now, Publish .ports-then { width: 1fr; height: auto; padding: 0 1; color: $text-muted; }
    Publish .ports-then { color: $foreground; }
    """

    def __init__(self, container: Container, ports: str = "") -> None:
        super().__init__(f"Publish ports of {container.ref}")
        self._container = container
        self._ports = TextField(ports, placeholder="HOST-PORT:PORT, or PORT alone", id="ports")
        self._field = Field("ports", self._ports, place=_PLACE, help=(
            "as after run -p: 8080:80 127.0.0.1:53:53/udp [::1]:8080:80 8000-8010:80-90, or 80 for any free port of the host"))
        self._then = Static(plain("what is typed above"), classes="ports-then")
        self._now = Static(plain(""), classes="ports-now")

    def compose_fields(self) -> ComposeResult:
        yield self._field
        yield heading("Would be published")
        yield self._then
        yield heading("Published already")
        yield self._now

    def on_mount(self) -> None:
        self._show_now()
        self._ports.focus()

    def _heard(self, batch: Batch) -> None:
        super()._heard(batch)
        if batch.touches("endpoints"):
            self._show_now()

    def _show_now(self) -> None:
        container = self._container
        lines = summary(published(self.workstation.feed, container)) or "none"
        if container.exposed:
            lines += f"; exposed when it was started: {', '.join(container.exposed)}"
        self._now.update(plain(lines))

    def placed(self) -> Iterable[Placed]:
        return (self._field,)

    def check(self) -> dict[str, str]:
        specs = specs_of(self._ports.text)
        wrong = wrong_ports(specs)
        if wrong or not specs:
            self._then.update(plain("nothing yet"))
        if not specs:
            self.plan.show_words("Type a port: what will be made is shown here before it is.")
            self.show_status("")
            return {_PLACE: ""}
        return {_PLACE: wrong} if wrong else {}

    def place_of(self, error: NetdeckError) -> str:
        return _PLACE

    def refuse(self, error: NetdeckError) -> None:
        self._then.update(plain("nothing"))
        super().refuse(error)

    async def dry_run(self) -> None:
        specs = specs_of(self._ports.text)
        answer = await self._ask_helper(specs, dry_run=True)
        self._then.update(plain(summary(ports_of(answer))))
        warnings = list(answer["warnings"])
        if any(not wish.host_ports for wish in parse_all(specs)):
            warnings.append("a port of the host that was not named is chosen anew when it is published")
        self.plan.show_plan(answer["plan"], command_line("publish", self._container.ref, specs), warnings)
        self.show_status("nothing is published yet")

    async def carry_out(self) -> tuple[Port, ...] | None:
        return ports_of(await self._ask_helper(specs_of(self._ports.text), dry_run=False))

    async def _ask_helper(self, specs: Sequence[str], *, dry_run: bool) -> Mapping[str, Any]:
        answer: Mapping[str, Any] = await self.workstation.client.call(
            "port.publish", {"container": self._container.ref, "ports": tuple(specs), "dry_run": dry_run})
        return answer


class Withdraw(FormDialog[tuple[Port, ...]]):
    """Gives the ports that were withdrawn, or None."""

    words = "Withdraw"

    def __init__(self, container: Container, glyphs: Glyphs) -> None:
        super().__init__(f"Withdraw ports of {container.ref}")
        self._container = container
        self._picker = Picker(columns(), place=_PLACE, glyphs=glyphs, sort="order")

    def compose_fields(self) -> ComposeResult:
        yield self._picker

    def on_mount(self) -> None:
        self._picker.show_rows(rows(self.workstation.feed, self._container))
        self._picker.focus_control()

    def _heard(self, batch: Batch) -> None:
        super()._heard(batch)
        if batch.touches("endpoints") and not self._busy:
            self._picker.show_rows(rows(self.workstation.feed, self._container))

    @on(Picker.Picked)
    def _picked(self) -> None:
        self.changed()

    def placed(self) -> Iterable[Placed]:
        return (self._picker,)

    def check(self) -> dict[str, str]:
        if self._picker.keys:
            return {}
        self.plan.show_words(self._picker.nothing)
        return {_PLACE: ""}

    def place_of(self, error: NetdeckError) -> str:
        return _PLACE

    async def dry_run(self) -> None:
        specs = self._picker.keys
        if not specs:
            return
        answer = await self._ask_helper(specs, dry_run=True)
        self.plan.show_plan(answer["plan"], command_line("withdraw", self._container.ref, specs))
        self.show_status("can be taken back with u")

    async def carry_out(self) -> tuple[Port, ...] | None:
        return ports_of(await self._ask_helper(self._picker.keys, dry_run=False))

    async def _ask_helper(self, specs: Sequence[str], *, dry_run: bool) -> Mapping[str, Any]:
        answer: Mapping[str, Any] = await self.workstation.client.call(
            "port.withdraw", {"container": self._container.ref, "ports": tuple(specs), "dry_run": dry_run})
        return answer


def columns() -> tuple[Column, ...]:
    return (
        Column("host", "HOST", 20, stretch=True),
        Column("port", "PORT", 12),
        Column("network", "NETWORK", 12, priority=1),
        Column("order", "ORDER", 1000, Kind.NUMBER, priority=1000),
    )


def rows(feed: Feed, container: Container) -> dict[str, dict[str, object]]:
    """A row for each published port, by what names it exactly."""
    networks = {port: endpoint.network for endpoint in feed.endpoints_of(container=container.id) for port in endpoint.ports}
    found: dict[str, dict[str, object]] = {}
    for number, port in enumerate(published(feed, container)):
        network = feed.networks.get(networks[port])
        found[exact(port)] = {"host": host_text(port), "port": f"{port.port}/{port.protocol}", "order": number,
                              "network": network.name if network else ""}
    return found
