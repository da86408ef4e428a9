"""Whose every address is: a list to look through, and leaked ones to give free."""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from textual import on, work
from textual.app import ComposeResult

from protocol.addresses import AddressUse, PoolUse
from protocol.errors import NetdeckError
from protocol.model import Network
from protocol.names import display_text
from tui.feed import Batch
from tui.screens.forms.form_dialog import FormDialog, Placed
from tui.screens.forms.picker import Picker
from tui.screens.forms.undo import forget
from tui.widgets.glyphs import Glyphs
from tui.widgets.table_columns import Column

if TYPE_CHECKING:
    from tui.workstation import Workstation

_AGAIN = 2.0  # seconds between two looks, while something changes


async def open_form(app: Workstation, arguments: str = "") -> None:
    """Show the addresses of all networks. `arguments`, or a selected network: what the list is filtered by at first."""
    selected = app.selected()
    name = arguments.strip() or (selected.model.name if selected is not None and isinstance(selected.model, Network) else "")
    pools = msgspec.convert(await app.client.call("address.list", {}), list[PoolUse])
    given = await app.push_screen_wait(Addresses(pools, app.glyphs, name))
    if given:
        words = f"{' '.join(given)} given free"
        forget(app, words)
        app.tell(words)


def columns() -> tuple[Column, ...]:
    return (
        Column("address", "ADDRESS", 16, stretch=True),
        Column("network", "NETWORK", 10, priority=1),
        Column("use", "USE", 9),
        Column("owner", "OWNER", 18),
        Column("note", "NOTE", 24, priority=3),
        Column("order", "ORDER", 1000, priority=1000),
    )


def rows(pools: Sequence[PoolUse]) -> dict[str, dict[str, object]]:
    """A row for each address, in order of networks and addresses; the key is network and address."""
    found: dict[str, dict[str, object]] = {}
    for number, pool in enumerate(pools):
        for use in pool.addresses:
            order = f"{number:06} {int(ipaddress.ip_address(use.address)):040}"
            found[f"{pool.network} {use.address}"] = {
                "address": use.address, "network": pool.network, "use": use.use, "owner": use.owner,
                "note": " ".join(word for word in (use.text, use.mac) if word), "order": order}
    return found


def pool_words(pool: PoolUse) -> str:
    """A pool in a line."""
    parts = [f"{pool.used} of {pool.size} used", f"{pool.free} free" if pool.free else "the site's server gives them"]
    parts += [f"{count} {word}" for count, word in ((pool.leaked, "leaked"), (pool.conflicts, "in conflict")) if count]
    return f"{pool.network} {pool.subnet}: " + ", ".join(parts)


class Addresses(FormDialog[tuple[str, ...]]):
    """Gives the addresses that were given free, or None."""

    words = "Release"

    def __init__(self, pools: Sequence[PoolUse], glyphs: Glyphs, only: str = "") -> None:
        super().__init__("Addresses")
        self._pools = list(pools)
        self._picker = Picker(columns(), place="target", glyphs=glyphs, sort="order")
        self._only = only
        self._key = secrets.token_hex(16)

    def compose_fields(self) -> ComposeResult:
        yield self._picker

    def on_mount(self) -> None:
        if self._only in {pool.network for pool in self._pools}:
            self._picker.field.value = f"network:{self._only}"
        self._picker.show_rows(rows(self._pools))
        self._picker.focus_control()

    @on(Picker.Picked)
    def _picked(self) -> None:
        self.changed()

    def _heard(self, batch: Batch) -> None:
        super()._heard(batch)
        if batch.connection or batch.touches("networks", "endpoints", "containers", "addresses"):
            self._look_again()

    @work(group="look", exclusive=True, exit_on_error=False)
    async def _look_again(self) -> None:
        await asyncio.sleep(_AGAIN)
        try:
            answer = await self.workstation.client.call("address.list", {})
        except NetdeckError:
            return
        self._pools = msgspec.convert(answer, list[PoolUse])
        self._picker.show_rows(rows(self._pools))
        self.changed()

    def _found(self) -> list[tuple[PoolUse, AddressUse]]:
        """What is picked."""
        keys = set(self._picker.keys)
        return [(pool, use) for pool in self._pools for use in pool.addresses if f"{pool.network} {use.address}" in keys]

    def _leaked(self) -> list[str]:
        return [use.address for _, use in self._found() if use.use == "leaked"]

    def placed(self) -> Iterable[Placed]:
        return (self._picker,)

    def check(self) -> dict[str, str]:
        found = self._found()
        if found and all(use.use == "leaked" for _, use in found):
            return {}
        told: list[tuple[str, str]] = [(pool_words(pool), "") for pool in dict.fromkeys(pool for pool, _ in found)]
        told += [(f"{use.address}: {display_text(use.owner)}, {display_text(use.text)}", "bad" if use.use == "conflict" else "muted")
                 for _, use in found]
        self.plan.show_results(told or [("No address is picked.", "muted")])
        self.show_status(f"{sum(pool.leaked for pool in self._pools)} leaked, {sum(pool.conflicts for pool in self._pools)} in conflict")
        return {"target": ""}

    def action_submit(self) -> None:
        if self._leaked() == [use.address for _, use in self._found()]:
            super().action_submit()
        else:
            self.show_status("only what leaked can be given free: type leaked to see that alone")

    def place_of(self, error: NetdeckError) -> str:
        return "target"

    async def dry_run(self) -> None:
        names = self._leaked()
        answer: Mapping[str, Any] = await self.workstation.client.call("address.release", {"addresses": names, "dry_run": True})
        words = ["netdeck", "addresses", *(word for name in names for word in ("--release", name))]
        self.plan.show_plan(answer["plan"], shlex.join(words), [f"{row['address']}: {row['text']}" for row in answer["released"]])
        self.show_status("nothing is given free yet")

    async def carry_out(self) -> tuple[str, ...] | None:
        names = self._leaked()
        await self.workstation.client.call("address.release", {"addresses": names}, key=self._key)
        return tuple(names)

    def refuse(self, error: NetdeckError) -> None:
        self._key = secrets.token_hex(16)
        super().refuse(error)
