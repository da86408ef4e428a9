"""What was typed into the form of a network that exists: only what differs, as a request and as a command line. Pure.

Places are those of `network_entry`, and "subnets", "gateways", "ranges", "aux" for what goes to the subnet that contains it.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from protocol.errors import InvalidValue, NetdeckError
from protocol.model import DriverInfo, Network
from protocol.names import aux_name
from tui.screens.forms.network_entry import check_option, label_pairs, words_of

T = TypeVar("T")
_PLACES: Final = {"subnet": "subnets", "subnets": "subnets", "gateway": "gateways", "ip_range": "ranges", "aux": "aux", "labels": "labels",
                  "internal": "internal"}


@dataclass(frozen=True, slots=True)
class ChangeEntry:
    """The whole form as typed. `subnets`, `gateways` and `ranges` are words with blanks between, `aux` and `labels` pairs."""

    options: Mapping[str, str] = field(default_factory=dict)
    labels: str = ""
    internal: bool = False
    subnets: str = ""
    gateways: str = ""
    ranges: str = ""
    aux: str = ""


def entry_of(network: Network) -> ChangeEntry:
    """The form as it is before anything is typed."""
    return ChangeEntry(
        dict(network.options), _pairs(network.labels), network.internal, "", "",
        " ".join(item.ip_range for item in network.subnets if item.ip_range),
        _pairs({name: value for item in network.subnets for name, value in item.aux.items()}))


def without(entry: ChangeEntry, places: Collection[str], network: Network) -> ChangeEntry:
    """`entry` as if nothing had been changed at `places`."""
    before = entry_of(network)
    kept = {name: value if f"option:{name}" not in places else before.options.get(name, "") for name, value in entry.options.items()}
    reset = {name: getattr(before, name) for name in ("labels", "internal", "subnets", "gateways", "ranges", "aux") if name in places}
    return replace(entry, options=kept, **reset)


def _pairs(values: Mapping[str, str]) -> str:
    return " ".join(f"{name}={shlex.quote(value)}" for name, value in values.items())


def changes(entry: ChangeEntry, network: Network, info: DriverInfo) -> tuple[dict[str, Any], dict[str, str]]:
    """The arguments of ``network.update`` that make `network` what the form says, without `name`; {} where nothing differs. And, by
    place, what is wrong."""
    wrong: dict[str, str] = {}

    def tried(place: str, value: Callable[[], T], default: T) -> T:
        try:
            return value()
        except InvalidValue as error:
            wrong.setdefault(place, error.message)
            return default

    def known_aux() -> dict[str, str]:
        return {aux_name(name): value for name, value in words_of(entry.aux, "reserved address")}

    options = {}
    for option in info.options:
        before_it = network.options.get(option.name, option.default)
        value = entry.options.get(option.name, before_it)  # where there is no field, it stays
        if value != before_it:
            options[option.name] = tried(f"option:{option.name}", lambda option=option, value=value: check_option(option, value)  # type: ignore[misc]
                                         if value else "", "")
    labels = tried("labels", lambda: label_pairs(entry.labels), dict(network.labels))
    before = {name: value for item in network.subnets for name, value in item.aux.items()}
    aux = tried("aux", known_aux, before)
    ranges = entry.ranges.split()
    limits = {item.ip_range: item.subnet for item in network.subnets if item.ip_range}
    replaced = [subnet for part, subnet in limits.items() if part not in ranges]
    found: dict[str, Any] = {
        "options": options, "labels": {name: value for name, value in labels.items() if network.labels.get(name) != value},
        "remove_labels": [name for name in network.labels if name not in labels],
        "subnets": entry.subnets.split(), "gateways": entry.gateways.split(),
        # A limit that was taken out is lifted first: what stands in its place then counts.
        "ip_ranges": replaced + [part for part in ranges if part not in limits],
        "aux": {name: value for name, value in aux.items() if before.get(name) != value},
        "remove_aux": [name for name in before if name not in aux],
    }
    request = {name: value for name, value in found.items() if value}
    if entry.internal != network.internal:
        request["internal"] = entry.internal
    return request, wrong


def place_of(error: NetdeckError, info: DriverInfo) -> str:
    """Which field of the form an answer of the helper is about; "" for none."""
    name = str(error.details.get("field", ""))
    if any(option.name == name for option in info.options):
        return f"option:{name}"
    return _PLACES.get(name, "")


def command_line(network: str, request: Mapping[str, Any]) -> str:
    """The same change as a command: ``netdeck network update …``."""
    words = ["netdeck", "network", "update"]
    for name, value in request.get("options", {}).items():
        words += ["-o", f"{name}={value}"]
    for name, value in request.get("labels", {}).items():
        words += ["--label", f"{name}={value}"]
    for flag, key in (("--label-rm", "remove_labels"), ("--subnet", "subnets"), ("--gateway", "gateways"), ("--ip-range", "ip_ranges")):
        for value in request.get(key, ()):
            words += [flag, value]
    for name, value in request.get("aux", {}).items():
        words += ["--aux-address", f"{name}={value}"]
    for name in request.get("remove_aux", ()):
        words += ["--aux-address-rm", name]
    if "internal" in request:
        words.append("--internal" if request["internal"] else "--no-internal")
    return shlex.join([*words, network])
