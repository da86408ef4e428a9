"""The form that attaches containers to a network: pick what is missing, then say how, or leave that to the network."""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical

from protocol.errors import InvalidValue, NetdeckError, NotFound
from protocol.model import DHCP, SHARES, Container, Network
from protocol.names import alias_name, display_text, mac_address
from tui.feed import Batch, Feed
from tui.screens.forms.fields import Field, TextField
from tui.screens.forms.form_dialog import FormDialog, Placed, heading
from tui.screens.forms.form_words import ATTACH_FIELDS
from tui.screens.forms.outcomes import Outcome, done_words, names, tell_outcomes
from tui.screens.forms.picker import Picker
from tui.screens.forms.undo import BY_U, Call, remember
from tui.widgets.glyphs import Glyphs
from tui.widgets.table_columns import Column, Kind

if TYPE_CHECKING:
    from tui.workstation import Workstation

_TARGET = "target"
_VLAN_PLACES = ("vlan", "untagged")
# What may be said of the attachment: the field's place, the argument's name, and the argument where nothing is said.
_DETAILS: tuple[tuple[str, str, tuple[str, ...] | None], ...] = (
    ("ip", "ip", None), ("ip6", "ip6", None), ("mac_address", "mac_address", None), ("aliases", "aliases", ()), ("vlan", "vlans", ()),
    ("untagged", "untagged", None))
_SINGLE = "only for a single container"


async def open_form(app: Workstation, arguments: str = "") -> None:
    """Attach to the selected network, or the chosen containers. `arguments`: the name of a network or of a container."""
    network, containers = _subject(app, arguments.strip())
    if network is not None and network.driver in ("host", "none"):
        raise InvalidValue(f"network {network.name} is chosen when a container starts: nothing is attached to it later")
    ended = [item.ref for item in containers if item.status != "running"]
    if ended:
        raise InvalidValue(f"{names(ended)} has ended: only what runs can be attached" if len(ended) == 1 else
                           f"{names(ended)} have ended: only what runs can be attached")
    form = Attach(network, containers, app.glyphs)
    await app.push_screen_wait(form)
    done = form.done
    if done:
        places = ", ".join(address for _, _, addresses in done[:1] for address in addresses)
        words = f"attached to {done[0][1]}" + (f" with {places}" if len(done) == 1 and places else "")
        outcomes: list[Outcome] = [(container, None) for container, _, _ in done]
        remember(app, done_words(words, outcomes), "detached again", [
            Call(container, "network.disconnect", {"network": network_name, "container": container},
                 shlex.join(["netdeck", "network", "disconnect", network_name, container])) for container, network_name, _ in done
        ])
        tell_outcomes(app, words, outcomes, BY_U)


def _subject(app: Workstation, name: str) -> tuple[Network | None, tuple[Container, ...]]:
    if name:
        found = app.find(name)
        if found is None:
            raise NotFound(f"no network or container is called {display_text(name)!r}", name=display_text(name))
        models = [found.model]
    else:
        models = [item.model for item in app.chosen()]
    networks = [model for model in models if isinstance(model, Network)]
    selected = app.selected()
    if len(networks) > 1:
        raise InvalidValue("several networks are marked: mark containers, or take one network")
    if networks:
        return networks[0], ()
    found_containers = tuple(model for model in models if isinstance(model, Container))
    if not found_containers:
        raise InvalidValue("select a network or a container first" if selected is None else "that is no network and no container")
    return None, found_containers


Done = list[tuple[str, str, tuple[str, ...]]]  # container, network, addresses


class Attach(FormDialog[Done]):
    """`done` is what was attached when it closes, also where some were refused and it was left then."""

    words = "Attach"
    fields = ATTACH_FIELDS
    DEFAULT_CSS = """
    Attach .attach-fields { height: auto; }
    Attach.-narrow .form-left { height: 3fr; }
    Attach.-narrow Picker.-short { height: 6; min-height: 6; }
    Attach.-narrow .form-plan { height: 1fr; min-height: 4; }
    """

    def __init__(self, network: Network | None, containers: Sequence[Container], glyphs: Glyphs) -> None:
        title = f"Attach containers to {network.name}" if network else f"Attach {names([item.ref for item in containers])} to a network"
        super().__init__(title)
        self._network, self._containers = network, tuple(containers)
        columns = container_columns() if network else network_columns()
        self._picker = Picker(columns, place=_TARGET, glyphs=glyphs, sort="name")
        self._ip = TextField(placeholder="the next free one", id="ip")
        self._ip6 = TextField(placeholder="the next free one", id="ip6")
        self._mac = TextField(placeholder="a random one", id="mac")
        self._vlan = TextField(placeholder="1, as the bridge has it", id="vlan")
        self._untagged = TextField(placeholder="the VLAN above, where it is one alone", id="untagged")
        self._aliases = TextField(placeholder="NAME NAME", id="aliases")
        self.done: Done = []
        self._attempted: set[tuple[str, str]] = set()  # how these went is shown, until something else is picked or typed
        self._single = (self._ip, self._ip6, self._mac)
        self._detail_fields = (
            Field("IPv4", self._ip, place="ip", help="an address of the network's IPv4 subnet that is free"),
            Field("IPv6", self._ip6, place="ip6", help="an address of the network's IPv6 subnet that is free"),
            Field("MAC", self._mac, place="mac_address", help="six bytes, like 02:42:ac:11:00:02"),
            Field("VLANs", self._vlan, place="vlan", help="of its port, as 10 or 20,30-40; one alone comes untagged, more tagged"),
            Field("untagged", self._untagged, place="untagged", help="the VLAN that frames without a tag belong to"),
            Field("aliases", self._aliases, place="aliases", help="further names in this network, with blanks between"),
        )

    def compose_fields(self) -> ComposeResult:
        yield self._picker
        with Vertical(classes="attach-fields"):
            yield heading("How")
            yield from self._detail_fields

    def on_mount(self) -> None:
        self._fill()
        self._adapt()
        self._stop_rows = self.workstation.feed.subscribe(self._changed_rows)
        self._picker.focus_control()

    def on_unmount(self) -> None:
        self._stop_rows()

    def _changed_rows(self, batch: Batch) -> None:
        if batch.touches("containers", "networks", "endpoints"):
            self.workstation.paint_data(self._fill, key=("attach", id(self)))

    def _fill(self) -> None:
        feed = self.workstation.feed
        self._picker.show_rows(
            container_rows(feed, self._network) if self._network else network_rows(feed, self._containers)
        )

    @on(Picker.Picked)
    def _picked(self) -> None:
        several = len(self.pairs()) > 1
        for field in self._single:
            field.disabled = several
        self._adapt()
        for shown, usual in zip(self._single, ("the next free one", "the next free one", "a random one"), strict=True):
            shown.placeholder = _SINGLE if several else usual
        if not (self._attempted and self._attempted.issuperset(self.pairs())):
            self.changed()

    @property
    def _in_vlans(self) -> bool:
        """Whether all networks that are picked keep VLANs apart."""
        found = [self.workstation.feed.network_named(name) for _, name in self.pairs()] or [self._network]
        return all(network is not None and network.options.get("vlan_filtering") == "true" for network in found)

    def _adapt(self) -> None:
        self._picker.set_class(self._in_vlans, "-short")  # the list leaves room for the fields that come then
        for field in self._detail_fields:
            if field.place in _VLAN_PLACES:
                field.display = self._in_vlans

    def changed(self) -> None:
        self._attempted = set()
        super().changed()

    def pairs(self) -> list[tuple[str, str]]:
        """Which container to which network, by the names that people use."""
        feed = self.workstation.feed
        keys = self._picker.keys
        if self._network is not None:
            return [(feed.containers[key].ref, self._network.name) for key in keys if key in feed.containers]
        return [(item.ref, feed.networks[key].name) for item in self._containers for key in keys[:1] if key in feed.networks]

    def request(self, container: str, network: str) -> dict[str, Any]:
        """The arguments of ``network.connect``."""
        single = len(self.pairs()) == 1
        vlans = self._in_vlans
        return {
            "vlans": tuple(self._vlan.text.replace(",", " ").split()) if vlans else (),
            "untagged": int(self._untagged.text) if vlans and is_vlan(self._untagged.text) else None,
            "network": network, "container": container, "aliases": tuple(self._aliases.text.replace(",", " ").split()),
            "ip": (self._ip.text or None) if single else None, "ip6": (self._ip6.text or None) if single else None,
            "mac_address": (self._mac.text or None) if single else None,
        }

    def placed(self) -> Iterable[Placed]:
        return (self._picker, *self._detail_fields)

    def check(self) -> dict[str, str]:
        wrong: dict[str, str] = {}
        checks: tuple[tuple[str, str, Callable[[str], object]], ...] = (
            ("ip", self._ip.text, lambda text: address(text, 4)),
            ("ip6", self._ip6.text, lambda text: address(text, 6)),
            ("mac_address", self._mac.text, mac_address),
            *(("aliases", word, alias_name) for word in self._aliases.text.replace(",", " ").split()),
        )
        if self._in_vlans and self._untagged.text and not is_vlan(self._untagged.text):
            wrong["untagged"] = f"{display_text(self._untagged.text)!r} is no VLAN id: expected a number from 1 to 4094"
        for place, text, check in checks:
            try:
                if text:
                    check(text)
            except InvalidValue as error:
                wrong.setdefault(place, error.message)
        if not self.pairs():
            wrong[_TARGET] = ""
            self.plan.show_words(self.needed(_TARGET))
        return wrong

    def needed(self, place: str) -> str:
        """Why nothing is picked; of a container that is there and can't be, why it is not in the list."""
        feed, name = self.workstation.feed, self._picker.field.text
        container = feed.container_named(name) if self._network is not None and name else None
        reason = why_not(feed, self._network, container) if self._network is not None and container is not None else ""
        return " ".join(filter(None, (self._picker.nothing, reason)))

    def place_of(self, error: NetdeckError) -> str:
        field = str(error.details.get("field", ""))
        if field == "alias":
            return "aliases"
        return field if field in [place for place, _, _ in _DETAILS] else _TARGET

    async def dry_run(self) -> None:
        pairs = self.pairs()
        if not pairs:
            return
        request = self.request(*pairs[0])
        answer = await self.workstation.client.call("network.connect", {**request, "dry_run": True})
        warnings = list(answer["warnings"])
        if len(pairs) > 1:
            warnings.append(f"shown for the first of {len(pairs)}; the same follows for {names([ref for ref, _ in pairs[1:]])}, "
                            "each with an address of its own")
        addresses = [str(prefix) for prefix in answer["endpoint"]["addresses"]]
        self.plan.show_plan(answer["plan"], connect_line(request), warnings)
        if len(pairs) == 1:
            self._show_free(addresses)
        self.show_status("nothing is made yet")

    async def dry_run_without(self, places: Collection[str]) -> None:
        pairs = self.pairs()
        if pairs and _TARGET not in places:
            left_out = {key: nothing for place, key, nothing in _DETAILS if place in places}
            await self.workstation.client.call("network.connect", {**self.request(*pairs[0]), **left_out, "dry_run": True})

    def _show_free(self, addresses: Sequence[str]) -> None:
        leased = any((network := self.workstation.feed.network_named(name)) is not None and network.ipam == DHCP
                     for _, name in self.pairs())
        for field, six in ((self._ip, False), (self._ip6, True)):
            if leased:
                field.placeholder = "none: only IPv4 is leased" if six else "what the site's DHCP server gives"
                continue
            found = next((item for item in addresses if (":" in item) == six), "")
            field.placeholder = f"the next free one: {found.partition('/')[0]}" if found else ("none: the network has no such subnet")

    async def carry_out(self) -> Done | None:
        pairs = self.pairs()
        outcomes: list[Outcome] = []
        self._attempted = set(pairs)  # before the first of them leaves the list
        for container, network in pairs:
            try:
                answer = await self.workstation.client.call("network.connect", self.request(container, network))
            except NetdeckError as error:
                if len(pairs) == 1:
                    raise
                outcomes.append((container, error))
            else:
                self.done.append((container, network, tuple(answer["endpoint"]["addresses"])))
                outcomes.append((container, None))
        if all(error is None for _, error in outcomes):
            return self.done
        self.plan.show_results([result_line(name, error, self.done) for name, error in outcomes])
        self.show_status(f"{sum(1 for _, error in outcomes if error is None)} of {len(outcomes)} attached")
        return None


def result_line(name: str, error: NetdeckError | None, done: Done) -> tuple[str, str]:
    """How one of several went, with its tone."""
    if error is not None:
        return f"! {name}: {error.message}", "bad"
    return f"+ {name}: attached with {' '.join(next(addresses for ref, _, addresses in done if ref == name))}", "good"


def address(text: str, family: int) -> str:
    """`text` if it is an address of that family. Raises InvalidValue."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        found = None
    if found is None or found.version != family:
        raise InvalidValue(f"{display_text(text)!r} is not an IPv{family} address", field="ip" if family == 4 else "ip6",
                           value=display_text(text))
    return str(found)


def is_vlan(text: str) -> bool:
    """Whether it is an 802.1Q VLAN id."""
    return text.isascii() and text.isdecimal() and len(text) <= 4 and 1 <= int(text) <= 4094


def connect_line(request: Mapping[str, Any]) -> str:
    """The same change as a command: ``netdeck network connect …``."""
    words = ["netdeck", "network", "connect"]
    for flag, key in (("--ip", "ip"), ("--ip6", "ip6"), ("--mac-address", "mac_address")):
        if request[key]:
            words += [flag, str(request[key])]
    if request.get("vlans"):
        words += ["--vlan", ",".join(request["vlans"])]
    if request.get("untagged") is not None:
        words += ["--untagged", str(request["untagged"])]
    for alias in request["aliases"]:
        words += ["--alias", alias]
    return shlex.join([*words, request["network"], request["container"]])


def container_columns() -> tuple[Column, ...]:
    return (
        Column("name", "CONTAINER", 16, stretch=True),
        Column("status", "STATUS", 10, Kind.STATE),
        Column("runtime", "RUNTIME", 10, priority=2),
        Column("networks", "NETWORKS", 14, priority=1),
    )


def container_rows(feed: Feed, network: Network) -> dict[str, dict[str, object]]:
    """What can be attached: it runs, has a network of its own and is not there yet."""
    present = {endpoint.container for endpoint in feed.endpoints_of(network=network.id)}
    return {
        key: {"name": item.ref, "status": item.status, "runtime": item.runtime, "networks": " ".join(item.networks)}
        for key, item in feed.containers.items()
        if key not in present and item.status == "running" and item.inode not in (0, feed.host_inode) and item.mode == "private"
    }


def why_not(feed: Feed, network: Network, container: Container) -> str:
    """Why a container is not in the list of those that can be attached; "" where it is."""
    if container.id in container_rows(feed, network):
        return ""
    if any(endpoint.container == container.id for endpoint in feed.endpoints_of(network=network.id)):
        return f"{container.ref} is on {network.name} already."
    if container.status != "running":
        return f"{container.ref} has ended: only what runs can be attached."
    if container.mode.startswith(SHARES):
        return f"{container.ref} shares another container's network: attach that one."
    if container.mode != "private":
        return f"{container.ref} was started with --network {container.mode}, which goes with no other network."
    return f"{container.ref} has no network namespace of its own."


def network_columns() -> tuple[Column, ...]:
    return (
        Column("name", "NETWORK", 16, stretch=True),
        Column("driver", "DRIVER", 10),
        Column("subnets", "SUBNETS", 30, priority=1),
        Column("containers", "CTRS", 4, Kind.NUMBER, priority=2),
    )


def network_rows(feed: Feed, containers: Sequence[Container]) -> dict[str, dict[str, object]]:
    """Networks on which one of `containers` is missing."""
    rows: dict[str, dict[str, object]] = {}
    for key, network in feed.networks.items():
        present = feed.endpoints_of(network=key)
        if network.driver in ("host", "none") or all(any(item.container == one.id for item in present) for one in containers):
            continue
        rows[key] = {"name": network.name, "driver": network.driver, "containers": len(present),
                     "subnets": " ".join(subnet.subnet for subnet in network.subnets)}
    return rows
