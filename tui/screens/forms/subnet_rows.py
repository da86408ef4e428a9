"""The rows of subnets in the form of a new network. There is always an empty one to type into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Static

from tui.screens.forms.fields import TextField, told_errors
from tui.screens.forms.network_entry import SubnetEntry
from tui.text import plain

_MOST: Final = 32  # what a request may hold


class SubnetRow(Vertical):
    """One subnet; `place` is ``subnet:N``."""

    DEFAULT_CSS = """
    SubnetRow { height: auto; }
    SubnetRow Horizontal { height: 1; }
    SubnetRow TextField { margin-right: 1; padding: 0 0 0 1; }
    SubnetRow TextField.-long { width: 5fr; }
    SubnetRow TextField.-short { width: 4fr; }
    SubnetRow > .field-error { display: none; }
    SubnetRow.-wrong > .field-error { display: block; }
    """

    def __init__(self, index: int) -> None:
        super().__init__()
        self.index = index
        self.subnet = TextField(placeholder="automatic" if index == 0 else "one more", id=f"subnet-{index}")
        self.gateway = TextField(placeholder="automatic" if index == 0 else "", id=f"gateway-{index}")
        self.ip_range = TextField(placeholder="all of it" if index == 0 else "", id=f"range-{index}")
        self.aux = TextField(placeholder="NAME=IP" if index == 0 else "", id=f"aux-{index}")
        for field, size in ((self.subnet, "-long"), (self.gateway, "-short"), (self.ip_range, "-short"), (self.aux, "-short")):
            field.add_class(size)
        self._error = Static(plain(""), classes="field-error")

    @property
    def place(self) -> str:
        return f"subnet:{self.index}"

    @property
    def label(self) -> str:
        return "subnet"

    @property
    def help(self) -> str:
        """What the field with the focus takes."""
        helps = (
            (self.subnet, "an address and a prefix length, v4 or v6: 10.20.0.0/16, fd00:20::/64; 0.0.0.0/24 for any of that size"),
            (self.gateway, "the address of this host in the subnet"),
            (self.ip_range, "hand out only addresses of this part of the subnet"),
            (self.aux, "addresses that something else has, never handed out: printer=10.20.0.9 nas=10.20.0.10"),
        )
        return next((text for field, text in helps if field.has_focus), "")

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield from (self.subnet, self.gateway, self.ip_range, self.aux)
        yield self._error

    @property
    def entry(self) -> SubnetEntry:
        return SubnetEntry(self.subnet.text, self.gateway.text, self.ip_range.text, self.aux.text)

    def on_resize(self) -> None:
        if self.has_class("-wrong") and self.has_pseudo_class("focus-within"):
            self.scroll_visible(animate=False)  # only now is the message laid out

    def show_error(self, text: str) -> None:
        self.set_class(bool(text), "-wrong")
        self._error.update(told_errors(text))

    def focus_control(self) -> None:
        self.subnet.focus()


class SubnetRows(Vertical):
    """All subnets of the network."""

    DEFAULT_CSS = """
    SubnetRows { height: auto; }
    SubnetRows > .subnet-chosen { height: auto; padding: 0 0 0 1; color: $text-muted; text-style: italic; }
    SubnetRows > .subnet-titles { height: 1; }
    SubnetRows > .subnet-titles Static { margin-right: 1; padding: 0 0 0 1; color: $text-muted; }
    SubnetRows > .subnet-titles .-long { width: 5fr; }
    SubnetRows > .subnet-titles .-short { width: 4fr; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[SubnetRow] = [SubnetRow(0)]
        self._chosen = Static(plain(""), classes="subnet-chosen")
        self._chosen.display = False

    def compose(self) -> ComposeResult:
        with Horizontal(classes="subnet-titles"):
            for title, size in (("subnet", "-long"), ("gateway", "-short"), ("ip range", "-short"), ("reserved", "-short")):
                yield Static(title, markup=False, classes=size)
        yield from self.rows
        yield self._chosen

    def entries(self) -> tuple[SubnetEntry, ...]:
        """All rows, the empty ones too, so that their places stay."""
        return tuple(row.entry for row in self.rows)

    def grow(self) -> None:
        """Have an empty row at the end."""
        if not self.rows[-1].entry.empty and len(self.rows) < _MOST:
            row = SubnetRow(len(self.rows))
            self.rows.append(row)
            self.mount(row, before=self._chosen)

    def show_chosen(self, subnets: Sequence[Mapping[str, Any]]) -> None:
        """Which subnets and gateways the helper would choose for what is left empty: in the order of the request, the automatic ones
        last. They stand below the fields, which hold only what was typed."""
        typed = [row.entry for row in self.rows if not row.entry.empty]
        words = []
        for number, subnet in enumerate(subnets):
            entry = typed[number] if number < len(typed) else SubnetEntry()
            if not entry.subnet:
                words.append(f"{subnet['subnet']}, gateway {subnet['gateway'] or 'none'}")
            elif not entry.gateway:
                words.append(f"gateway {subnet['gateway'] or 'none'}")
        self._chosen.update(plain(f"automatic: {'; '.join(words)}" if words else ""))
        self._chosen.display = bool(words)
