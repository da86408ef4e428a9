"""The form that changes a network in place. What can't be changed stands there too, with the reason."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

import msgspec
from textual.app import ComposeResult
from textual.widget import Widget
from textual.widgets import Static

from protocol.errors import InvalidValue, NetdeckError, NotFound
from protocol.model import DHCP, DriverInfo, Network, OptionInfo
from protocol.names import display_text
from tui.screens.forms.fields import Choice, Field, TextField, Toggle
from tui.screens.forms.form_dialog import FormDialog, Placed, heading
from tui.screens.forms.form_words import NETWORK_FIELDS
from tui.screens.forms.network_changes import ChangeEntry, changes, command_line, entry_of, place_of, without
from tui.screens.forms.undo import forget
from tui.text import plain

if TYPE_CHECKING:
    from tui.workstation import Workstation
_BY_ADDRESS = "the addresses and routes of containers were made from it"


async def open_form(app: Workstation, arguments: str = "") -> None:
    """Change the selected network. `arguments`: the name of one in its place."""
    name = arguments.strip()
    selected = app.selected()
    network = app.feed.network_named(name) if name else selected.model if selected is not None else None
    if name and network is None:
        raise NotFound(f"no network is called {display_text(name)!r}", name=display_text(name))
    if not isinstance(network, Network):
        raise InvalidValue("no network is selected")
    answer = msgspec.convert(await app.client.call("driver.list", {}), list[DriverInfo])
    info = next((item for item in answer if item.name == network.driver), DriverInfo(network.driver, ""))
    done = await app.push_screen_wait(UpdateNetwork(network, info))
    if done is not None:
        words = f"network {network.name} was changed"
        forget(app, words)
        app.tell(words)


def control_of(option: OptionInfo, value: str) -> Widget:
    """What an option is typed into, with the value that it has; words where it can't be changed."""
    ident = f"option-{option.name}"
    if not option.changeable:
        return _fixed(f"{value or 'not set'}  (can't be changed{': ' + option.fixed if option.fixed else ''})")
    if option.kind == "bool":
        return Toggle(on=value == "true", id=ident)
    if option.kind == "choice":
        return Choice(option.choices, value, id=ident)
    return TextField(value, placeholder=f"default: {option.default}" if option.default else "not set", id=ident)


def unchangeable(network: Network, info: DriverInfo) -> list[tuple[str, str]]:
    """What of every network stays as it was made, each with its value and the reason."""
    families = " and ".join(word for word, on in (("IPv4", network.ipv4), ("IPv6", network.ipv6)) if on) or "none"
    found = [
        ("name", f"{network.name}  (can't be changed: containers, scripts and files know the network by it)"),
        ("driver", f"{network.driver}  (can't be changed: it decides what the network is made of)"),
    ]
    if info.subnets:
        giver = "DHCP" if network.ipam == DHCP else "netdeck"
        found += [("addresses", f"{families}  ({'leases are of IPv4' if network.ipam == DHCP else 'follow the subnets'})"),
                  ("given by", f"{giver}  (can't be changed: the addresses that containers have come from there)")]
    if "internal" not in info.changeable:
        why = "its links lead out or not since it was made" if info.internal else "this driver has no such networks"
        found.append(("internal", f"{'yes' if network.internal else 'no'}  (can't be changed: {why})"))
    return found


def _fixed(text: str) -> Static:
    return Static(plain(display_text(text)), classes="hint")


class UpdateNetwork(FormDialog[dict[str, Any]]):
    """Gives the changed network as a map of `protocol.model.Network`, or None."""

    words = "Change"
    fields = NETWORK_FIELDS
    DEFAULT_CSS = """
    UpdateNetwork .hint { width: 1fr; padding: 0 1; }
    """

    def __init__(self, network: Network, info: DriverInfo) -> None:
        super().__init__(f"Change network {network.name}")
        self._network, self._info = network, info
        before = entry_of(network)
        self._internal = Toggle("internal", on=network.internal, id="internal")
        self._labels = TextField(before.labels, placeholder="NAME=VALUE NAME=VALUE", id="labels")
        self._subnets = TextField(placeholder="ADDRESS/LENGTH, like 10.30.0.0/24", id="subnets")
        self._gateways = TextField(placeholder="first address of each", id="gateways")
        self._ranges = TextField(before.ranges, placeholder="all of each", id="ranges")
        self._aux = TextField(before.aux, placeholder="NAME=ADDRESS", id="aux")
        self._shown = (
            Field("labels", self._labels, place="labels", help="NAME=VALUE, with blanks between; what is taken out is removed"),
            *((Field("reach", self._internal, place="internal", help="internal: no way to the outside"),)
              if "internal" in info.changeable else ()),
        )
        self._added = (
            Field("add", self._subnets, place="subnets", help="new subnets, with blanks between; those that exist stay"),
            Field("gateways", self._gateways, place="gateways", help="a gateway goes to the subnet that contains it"),
        ) if "subnets" in info.changeable else ()
        self._pools = (
            Field("ip ranges", self._ranges, place="ranges", help="hand out only addresses of these parts; taken out: of the whole subnet"),
            Field("reserved", self._aux, place="aux", help="NAME=ADDRESS that something else has, never handed out; taken out: free again"),
        ) if info.subnets and network.ipam != DHCP else ()
        self._meant = tuple(option for option in info.options if not option.needs or network.options.get(option.needs))
        self._options = tuple(
            Field(option.name, control_of(option, network.options.get(option.name, option.default)), place=f"option:{option.name}",
                  help=option.help, option=True) for option in self._meant)
        self._request: dict[str, Any] = {}
        self._key = secrets.token_hex(16)

    def compose_fields(self) -> ComposeResult:
        for label, text in unchangeable(self._network, self._info):
            yield Field(label, _fixed(text), place=f"fixed:{label}")
        yield from self._shown
        if self._info.subnets and (self._pools or self._network.subnets):
            yield heading("Subnets")
            for subnet in self._network.subnets:
                yield _fixed(f"{subnet.subnet}  gateway {subnet.gateway or 'none'}  ({self._subnet_words()})")
            yield from (*self._added, *self._pools)
        if self._options:
            yield heading(f"Options of {self._info.name}")
            yield from self._options

    def _subnet_words(self) -> str:
        return ("one without containers goes by netdeck network update --subnet-rm" if self._added else
                f"can't be changed: {_BY_ADDRESS}")

    def on_mount(self) -> None:
        self._labels.focus()

    @property
    def entry(self) -> ChangeEntry:
        """The form as it stands."""
        values = {}
        for option, field in zip(self._meant, self._options, strict=True):
            match field.controls[0]:
                case Toggle() as control:
                    values[option.name] = "true" if control.on else "false"
                case Choice() as control:
                    values[option.name] = control.value
                case TextField() as control:
                    values[option.name] = control.text
                case _:
                    values[option.name] = self._network.options.get(option.name, "")
        return ChangeEntry(values, self._labels.text, self._internal.on, self._subnets.text, self._gateways.text, self._ranges.text,
                           self._aux.text)

    def placed(self) -> Iterable[Placed]:
        return (*self._shown, *self._added, *self._pools, *self._options)

    def check(self) -> dict[str, str]:
        self._request, wrong = changes(self.entry, self._network, self._info)
        if not wrong and not self._request:
            self.plan.show_words("Nothing differs yet: what a change does to the network and each of its containers is shown here first.")
            self.show_status("nothing differs")
            return {"": ""}
        return wrong

    def action_submit(self) -> None:
        if self.check() != {"": ""}:
            super().action_submit()

    def place_of(self, error: NetdeckError) -> str:
        return place_of(error, self._info)

    async def dry_run(self) -> None:
        request = {"name": self._network.id, **self._request}
        answer = await self.workstation.client.call("network.update", {**request, "dry_run": True})
        self.plan.show_plan(answer["plan"], command_line(self._network.name, self._request), answer["warnings"])
        count = len(answer["changes"])
        self.show_status(f"{count} setting{'s' * (count != 1)} will differ · nothing is changed yet")

    async def dry_run_without(self, places: Collection[str]) -> None:
        request, wrong = changes(without(self.entry, places, self._network), self._network, self._info)
        if request and not wrong:
            await self.workstation.client.call("network.update", {"name": self._network.id, **request, "dry_run": True})

    async def carry_out(self) -> dict[str, Any] | None:
        answer = await self.workstation.client.call("network.update", {"name": self._network.id, **self._request}, key=self._key)
        network: dict[str, Any] = answer["network"]
        return network

    def refuse(self, error: NetdeckError) -> None:
        self._key = secrets.token_hex(16)
        super().refuse(error)
