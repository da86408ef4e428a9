"""The form of a new network. Its fields follow the driver."""

from __future__ import annotations

import asyncio
import secrets
import shlex
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from textual import on, work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Static

from protocol.errors import NetdeckError
from protocol.model import DHCP, DriverInfo, OptionInfo, ParentLink
from tui.feed import Batch
from tui.screens.forms.fields import Choice, Field, TextField, Toggle
from tui.screens.forms.form_dialog import FormDialog, Placed, heading
from tui.screens.forms.form_words import NETWORK_FIELDS
from tui.screens.forms.network_entry import NetworkEntry, check, command_line, place_of, without
from tui.screens.forms.parent_field import ParentField
from tui.screens.forms.subnet_rows import SubnetRows
from tui.screens.forms.undo import BY_U, Call, remember
from tui.text import plain

if TYPE_CHECKING:
    from tui.workstation import Workstation


_UPLINK = "uplink"
_GIVERS = ("netdeck", "DHCP")
_SOON = 0.2  # seconds from a change until it is asked what it means for the parents


async def open_form(app: Workstation, arguments: str = "") -> None:
    """Ask for a network, make it, and show it. `arguments`: a name to begin with."""
    answer = await app.client.call("driver.list", {})
    drivers = [info for info in msgspec.convert(answer, list[DriverInfo]) if info.creatable]
    made = await app.push_screen_wait(CreateNetwork(drivers, arguments.strip()))
    if made is not None:
        app.show_view("networks")
        app.go_to("network", made["id"])
        name = str(made["name"])
        done = f"network {name} was created"
        remember(app, done, "removed again", [
            Call(f"network {name}", "network.remove", {"name": made["id"]}, shlex.join(["netdeck", "network", "rm", name]))])
        app.tell(done + BY_U)


def control_of(option: OptionInfo) -> Widget:
    """What an option is typed into; its id is ``option-NAME``."""
    ident = f"option-{option.name}"
    if option.kind == "bool":
        return Toggle(on=option.default == "true", id=ident)
    if option.kind == "choice":
        return Choice(option.choices, option.default, id=ident)
    return TextField(placeholder=f"default: {option.default}" if option.default else "not set", id=ident)


def value_of(option: OptionInfo, control: Widget) -> str:
    """What is set, "" where it is the default."""
    match control:
        case Toggle():
            value = "true" if control.on else "false"
        case Choice():
            value = control.value
        case TextField():
            value = control.text
        case _:
            value = ""
    return "" if value == option.default else value


def option_fields(info: DriverInfo) -> tuple[Field, ...]:
    """One field an option of the driver, in its order."""
    return tuple(
        ParentField(option) if option.name == ("parent" if info.parents else _UPLINK) else
        Field(option.name, control_of(option), place=f"option:{option.name}", help=option.help, option=True) for option in info.options
    )


class CreateNetwork(FormDialog[dict[str, Any]]):
    """Gives the new network as a map of `protocol.model.Network`, or None."""

    words = "Create"
    fields = NETWORK_FIELDS

    def __init__(self, drivers: Sequence[DriverInfo], name: str = "") -> None:
        super().__init__("New network")
        self._drivers = {info.name: info for info in drivers}
        self._named = TextField(name, placeholder="letters, digits, _ . -", id="name")
        names = sorted(self._drivers, key=lambda driver: (driver != "bridge", driver))
        self._driver = Choice(names, id="driver")
        self._ipv4, self._ipv6 = Toggle("IPv4", on=True, id="ipv4"), Toggle("IPv6", id="ipv6")
        self._internal = Toggle("internal", id="internal")
        self._given_by = Choice(_GIVERS, id="ipam")
        self._labels = TextField(placeholder="NAME=VALUE NAME=VALUE", id="labels")
        self._subnets = SubnetRows()
        self._head = (
            Field("name", self._named, place="name", help="what the network is called; it can't be changed later"),
            Field("driver", self._driver, place="driver", help="left and right choose; the fields follow the driver"),
        )
        self._families = Field("addresses", self._ipv4, self._ipv6, self._internal, place="families",
                               help="space switches; internal: no way to the outside")
        self._ipam_field = Field("given by", self._given_by, place="ipam",
                                 help="who gives addresses: netdeck, from the subnets below, or the site's DHCP server")
        self._label_field = Field("labels", self._labels, place="labels", help="NAME=VALUE, with blanks between, quotes as in a shell")
        self._options_of, self._options = self.info, option_fields(self.info)
        self._notes_head, self._notes = heading("To know beforehand"), Static(plain(""), classes="form-note")
        self._option_box = Vertical(classes="form-options")
        self._subnet_box = Vertical(classes="form-subnets")
        self._request: dict[str, Any] = {}
        self._key = secrets.token_hex(16)

    DEFAULT_CSS = """
    CreateNetwork .form-options, CreateNetwork .form-subnets { height: auto; }
    CreateNetwork .form-note { color: $text-muted; height: auto; }
    """

    @property
    def info(self) -> DriverInfo:
        return self._drivers[self._driver.value]

    def compose_fields(self) -> ComposeResult:
        yield from self._head
        yield self._families
        yield self._ipam_field
        yield self._label_field
        with self._subnet_box:
            yield heading("Subnets")
            yield self._subnets
        with self._option_box:
            yield from self._option_widgets()
        yield self._notes_head
        yield self._notes

    def _option_widgets(self) -> tuple[Widget, ...]:
        return (heading(f"Options of {self.info.name}"), *self._options) if self._options else ()

    def on_mount(self) -> None:
        self._adapt()
        self._list_parents()
        self._named.focus()

    @on(Choice.Changed, "#driver")
    async def _follow_driver(self) -> None:
        """Other drivers have other options, and some no subnets."""
        self._options_of, self._options = self.info, option_fields(self.info)
        async with self.batch():
            await self._option_box.remove_children()
            await self._option_box.mount(*self._option_widgets())
        self._adapt()
        self.on_descendant_focus()  # the hint is another
        self._list_parents()

    @on(Choice.Changed)
    def _follow_choice(self, event: Choice.Changed) -> None:
        if event.choice is not self._driver:
            self._adapt()  # what to know beforehand differs by mode
        if event.choice not in (self._given_by, self._driver):
            self._list_parents()  # a mode may want a parent for itself

    def _heard(self, batch: Batch) -> None:
        super()._heard(batch)
        if batch.connection or batch.touches("networks", "links"):
            self._list_parents()

    @work(group="parents", exclusive=True, exit_on_error=False)
    async def _list_parents(self) -> None:
        """Ask which links can be the parent, where the driver wants one."""
        field = next((field for field in self._options if isinstance(field, ParentField)), None)
        if field is None:
            return
        await asyncio.sleep(_SOON)  # what changes seldom changes alone
        options = {name: value for name, value in self.entry.options.items() if name not in ("parent", _UPLINK, "uplink_vlans")}
        try:
            answer = await self.workstation.client.call("driver.parents", {"driver": self.info.name, "options": options})
        except NetdeckError:
            return  # an option is wrong, which is said at that
        field.show_links(msgspec.convert(answer, list[ParentLink]), "new", self.told)

    def _adapt(self) -> None:
        typed = {option.name: value for option, field in self._shown() if (value := value_of(option, field.controls[0]))}
        for option, field in self._shown():
            field.display = not option.needs or option.needs in typed
        notes = self.info.notes_of(typed)
        self._notes.update(Content("\n").join(plain(f"- {self.told(text)}") for text in notes))
        self._notes_head.display = bool(notes)
        outside = self.info.parents or not any(option.name == _UPLINK for option in self.info.options) or _UPLINK in typed
        self._ipam_field.display = self.info.leases and outside
        self._subnet_box.display = self.info.subnets and not self._leased
        self._internal.disabled = not self.info.internal
        self._head[1].help = self.info.help

    @on(Input.Changed)
    def _grow(self, event: Input.Changed) -> None:
        self._subnets.grow()
        ident = event.input.id or ""
        if any(ident == f"option-{option.needs}" for option in self.info.options if option.needs):
            self._adapt()
        if ident.startswith("subnet-") and not self._ipv6.touched:
            self._ipv6.on = any(":" in row.subnet for row in self._subnets.entries())

    @property
    def _leased(self) -> bool:
        """Whether addresses come from the site's DHCP server."""
        return bool(self._ipam_field.display) and self._given_by.value == _GIVERS[1]

    def _shown(self) -> Iterable[tuple[OptionInfo, Field]]:
        """Each option with its field; none while the fields are still those of the driver before."""
        return zip(self.info.options, self._options, strict=True) if self._options_of is self.info else ()

    @property
    def entry(self) -> NetworkEntry:
        """The form as it stands."""
        info = self.info
        return NetworkEntry(
            name=self._named.text, driver=info.name, subnets=self._subnets.entries() if info.subnets and not self._leased else (),
            options={option.name: value for option, field in self._shown()
                     if field.display and (value := value_of(option, field.controls[0]))},
            labels=self._labels.text, ipv4=self._ipv4.on, ipv6=self._ipv6.on, internal=self._internal.on and info.internal,
            ipam=DHCP if self._leased else "default",
        )

    def placed(self) -> Iterable[Placed]:
        return (*self._head, self._families, self._ipam_field, self._label_field, *self._subnets.rows, *self._options)

    def check(self) -> dict[str, str]:
        taken = [network.name for network in self.workstation.feed.networks.values()]
        self._request, wrong = check(self.entry, self.info, taken)
        if not self._named.text:
            wrong["name"] = ""
            if not any(wrong.values()):
                self.plan.show_words("Type a name: what will be made is shown here before it is.")
                self.show_status("")
        return wrong

    def place_of(self, error: NetdeckError) -> str:
        return place_of(error, self.entry, self.info)

    async def dry_run(self) -> None:
        request = self._request
        answer = await self.workstation.client.call("network.create", {**request, "dry_run": True})
        self.plan.show_plan(answer["plan"], command_line(request), answer["warnings"])
        self._subnets.show_chosen(answer["network"]["subnets"])
        self.show_status("nothing is made yet")

    async def dry_run_without(self, places: Collection[str]) -> None:
        taken = [network.name for network in self.workstation.feed.networks.values()]
        request, wrong = check(without(self.entry, places, taken), self.info, taken)
        if not wrong:
            await self.workstation.client.call("network.create", {**request, "dry_run": True})

    async def carry_out(self) -> dict[str, Any] | None:
        answer = await self.workstation.client.call("network.create", self._request, key=self._key)
        network: dict[str, Any] = answer["network"]
        return network

    def refuse(self, error: NetdeckError) -> None:
        self._key = secrets.token_hex(16)
        super().refuse(error)
