"""Detaching containers: done at once, since `u` takes it back. Where it isn't clear which is meant, they are picked from a list."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec
from textual import on
from textual.app import ComposeResult

from protocol.errors import InvalidValue, NetdeckError, NotFound
from protocol.model import Container, Endpoint, Link, Network, Port
from protocol.names import display_text
from protocol.ports import exact_ranges
from tui.feed import Feed
from tui.screens.forms.attach import connect_line
from tui.screens.forms.form_dialog import FormDialog, Placed
from tui.screens.forms.outcomes import Outcome, done_words, tell_outcomes
from tui.screens.forms.picker import Picker
from tui.screens.forms.undo import BY_U, Call, connect_again, remember
from tui.selection import Model
from tui.widgets.glyphs import Glyphs
from tui.widgets.table_columns import Column

if TYPE_CHECKING:
    from tui.workstation import Workstation


async def open_form(app: Workstation, arguments: str = "") -> None:
    """Detach what is chosen. `arguments`: the name of a network, container or interface in its place."""
    name = arguments.strip()
    if name:
        found = app.find(name)
        if found is None:
            raise NotFound(f"nothing is called {display_text(name)!r}", name=display_text(name))
        models = [found.model]
    else:
        models = [item.model for item in app.chosen()]
    endpoints = list(dict.fromkeys(endpoint for model in models for endpoint in endpoints_of(app.feed, model)))
    if not endpoints:
        raise InvalidValue("nothing is attached there")
    if needs_pick(models, endpoints):
        keys = await app.push_screen_wait(Detach(endpoints, app.glyphs))
        endpoints = [endpoint for endpoint in endpoints if endpoint.id in (keys or ())]
    app.keys_go_on()
    if endpoints:
        await detach(app, endpoints)


def endpoints_of(feed: Feed, model: Model) -> tuple[Endpoint, ...]:
    """The attachments that an object is about: those of a network or container, that of either end of a veth pair."""
    match model:
        case Network():
            return tuple(feed.endpoints_of(network=model.id))
        case Container():
            return tuple(feed.endpoints_of(container=model.id))
        case Link():
            return tuple(item for item in feed.endpoints.values() if _is_end(feed, item, model))
        case _:
            return ()


def _is_end(feed: Feed, endpoint: Endpoint, link: Link) -> bool:
    if link.inode == feed.host_inode:
        return endpoint.host_link == link.name
    container = feed.containers.get(endpoint.container)
    return container is not None and container.inode == link.inode and endpoint.ifname == link.name


def needs_pick(models: Sequence[Model], endpoints: Sequence[Endpoint]) -> bool:
    """Whether it must be asked which attachments are meant: those of a network, and a container's several."""
    containers = [endpoint.container for endpoint in endpoints]
    return any(isinstance(model, Network) for model in models) or len(set(containers)) < len(containers)


def names_of(feed: Feed, endpoint: Endpoint) -> tuple[str, str]:
    """Container and network of an attachment, as people call them."""
    container, network = feed.containers.get(endpoint.container), feed.networks.get(endpoint.network)
    return (container.ref if container else endpoint.container, network.name if network else endpoint.network)


async def detach(app: Workstation, endpoints: Sequence[Endpoint]) -> None:
    """Detach, say how each went, and remember how to take it back."""
    outcomes: list[Outcome] = []
    back = []
    networks = set()
    for endpoint in endpoints:
        container, network = names_of(app.feed, endpoint)
        try:
            answer = await app.client.call("network.disconnect", {"network": network, "container": container})
        except NetdeckError as error:
            outcomes.append((container, error))
        else:
            outcomes.append((container, None))
            networks.add(network)
            again = connect_again(endpoint, network, container)
            back.append(Call(container, "network.connect", again, connect_line(again)))
            come_back = msgspec.convert(answer["waiting"], tuple[Port, ...])
            ports = exact_ranges(port for port in msgspec.convert(answer["withdrawn"], tuple[Port, ...]) if port not in come_back)
            if ports:
                back.append(Call(container, "port.publish", {"container": container, "ports": ports},
                                 shlex.join(["netdeck", "port", "publish", container, *ports])))
    words = f"detached from {', '.join(sorted(networks))}"
    if back:
        remember(app, done_words(words, outcomes), "attached again as before", back)
    tell_outcomes(app, words, outcomes, BY_U)


class Detach(FormDialog[tuple[str, ...]]):
    """Gives the ids of the attachments to end, or None."""

    words = "Detach"

    def __init__(self, endpoints: Sequence[Endpoint], glyphs: Glyphs) -> None:
        super().__init__("Detach containers")
        self._endpoints = {endpoint.id: endpoint for endpoint in endpoints}
        self._picker = Picker(columns(), place="target", glyphs=glyphs, sort="name")

    def compose_fields(self) -> ComposeResult:
        yield self._picker

    def on_mount(self) -> None:
        feed = self.workstation.feed
        rows: dict[str, dict[str, object]] = {}
        for key, endpoint in self._endpoints.items():
            container, network = names_of(feed, endpoint)
            rows[key] = {"name": container, "network": network, "addresses": " ".join(endpoint.addresses), "interface": endpoint.ifname}
        self._picker.show_rows(rows)
        self._picker.focus_control()

    @on(Picker.Picked)
    def _picked(self) -> None:
        self.changed()

    def placed(self) -> Iterable[Placed]:
        return (self._picker,)

    def check(self) -> dict[str, str]:
        if self._picker.keys:
            return {}
        self.plan.show_words(self._picker.nothing)
        return {"target": ""}

    def place_of(self, error: NetdeckError) -> str:
        return "target"

    async def dry_run(self) -> None:
        keys = self._picker.keys
        if not keys:
            return
        container, network = names_of(self.workstation.feed, self._endpoints[keys[0]])
        answer = await self.workstation.client.call("network.disconnect", {"network": network, "container": container, "dry_run": True})
        more = [f"shown for the first of {len(keys)}"] if len(keys) > 1 else []
        self.plan.show_plan(answer["plan"], shlex.join(["netdeck", "network", "disconnect", network, container]), more)
        self.show_status("can be taken back with u")

    async def carry_out(self) -> tuple[str, ...] | None:
        return self._picker.keys


def columns() -> tuple[Column, ...]:
    return (
        Column("name", "CONTAINER", 16, stretch=True),
        Column("network", "NETWORK", 12),
        Column("addresses", "ADDRESSES", 20, priority=1),
        Column("interface", "INTERFACE", 10, priority=2),
    )
