"""What was typed into the form of a new network: checked, made a request, and written as a command line. Pure.

A place is the key of a field of the form: "name", "driver", "families", "ipam", "labels", ``subnet:N``, ``option:NAME``, or "" for
what belongs to none of them.
"""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from protocol.errors import Conflict, InvalidValue, NetdeckError
from protocol.model import DriverInfo, OptionInfo
from protocol.names import aux_name, display_text, label_key, link_name, network_name

T = TypeVar("T")
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
_FAMILIES: Final = ("ipv4", "ipv6", "internal")
_SUBNET_FIELDS: Final = ("subnet", "subnets", "gateway", "ip_range", "aux")


@dataclass(frozen=True, slots=True)
class SubnetEntry:
    """One row of subnets as typed; `aux` is ``NAME=IP NAME=IP …``."""

    subnet: str = ""
    gateway: str = ""
    ip_range: str = ""
    aux: str = ""

    @property
    def empty(self) -> bool:
        return not (self.subnet or self.gateway or self.ip_range or self.aux)


@dataclass(frozen=True, slots=True)
class NetworkEntry:
    """The whole form as typed. `options` holds only what differs from the driver's default."""

    name: str = ""
    driver: str = "bridge"
    subnets: tuple[SubnetEntry, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    labels: str = ""
    ipv4: bool = True
    ipv6: bool = False
    internal: bool = False
    ipam: str = "default"


def check(entry: NetworkEntry, info: DriverInfo, taken: Sequence[str] = ()) -> tuple[dict[str, Any], dict[str, str]]:
    """The arguments of ``network.create`` and, by place, what is wrong with what was typed. `taken` are names in use."""
    wrong: dict[str, str] = {}

    def tried(place: str, value: Any) -> Any:
        try:
            return value()
        except InvalidValue as error:
            wrong.setdefault(place, error.message)
            return None

    if entry.name in taken:
        wrong["name"] = f"a network with the name {entry.name} exists already: choose another name"
    tried("name", lambda: network_name(entry.name) if entry.name else "")
    subnets: list[dict[str, Any]] = []
    for index, row in enumerate(entry.subnets):
        if not row.empty:
            request = tried(f"subnet:{index}", lambda row=row: subnet_request(row))
            subnets.append(request or {})
    if info.subnets and not (entry.ipv4 or entry.ipv6):
        wrong["families"] = "neither IPv4 nor IPv6: switch on one of them"
    options = {option.name: option for option in info.options}
    for name, value in entry.options.items():
        tried(f"option:{name}", lambda name=name, value=value: check_option(options[name], value))
    labels = tried("labels", lambda: label_pairs(entry.labels))
    return {
        "name": entry.name, "driver": entry.driver, "subnets": subnets, "options": dict(entry.options), "labels": labels or {},
        "ipv4": entry.ipv4, "ipv6": entry.ipv6, "internal": entry.internal, "ipam": entry.ipam,
    }, wrong


def without(entry: NetworkEntry, places: Collection[str], taken: Sequence[str] = ()) -> NetworkEntry:
    """`entry` as if nothing were typed at `places`. In the place of the name, which none can do without, stands one that is free."""
    free = next(name for name in ("new" + "-new" * number for number in range(len(taken) + 1)) if name not in taken)
    subnets = tuple(SubnetEntry() if f"subnet:{index}" in places else row for index, row in enumerate(entry.subnets))
    options = {name: value for name, value in entry.options.items() if f"option:{name}" not in places}
    left = replace(entry, subnets=subnets, options=options, name=free if "name" in places else entry.name,
                   labels="" if "labels" in places else entry.labels, ipam="default" if "ipam" in places else entry.ipam)
    return replace(left, ipv4=True, ipv6=False, internal=False) if "families" in places else left


def subnet_request(row: SubnetEntry) -> dict[str, Any]:
    """A row as the wire has it. Raises InvalidValue, a line for each thing that is no subnet or address, or outside the subnet."""
    if not row.subnet:
        raise InvalidValue("a gateway, ip range or reserved address needs a subnet that holds it", field="subnet", value="")
    wrong: list[str] = []

    def tried(value: Callable[[], T], default: T) -> T:
        try:
            return value()
        except InvalidValue as error:
            wrong.append(error.message)
            return default

    def reserved() -> dict[str, IPAddress]:
        return {aux_name(name): _address(value, "reserved address") for name, value in words_of(row.aux, "reserved address")}

    subnet: IPNetwork | None = tried(lambda: _prefix(row.subnet, "subnet"), None)
    gateway: IPAddress | None = tried(lambda: _address(row.gateway, "gateway") if row.gateway else None, None)
    ip_range: IPNetwork | None = tried(lambda: _prefix(row.ip_range, "ip range") if row.ip_range else None, None)
    aux: dict[str, IPAddress] = tried(reserved, {})
    if subnet is not None and int(subnet.network_address):
        for what, address in (("gateway", gateway), *((f"reserved address {name}", value) for name, value in aux.items())):
            if address is not None and address not in subnet:
                wrong.append(f"{what} {address} is outside the subnet {subnet}")
        if ip_range is not None and not (ip_range.version == subnet.version and ip_range.network_address in subnet
                                         and ip_range.broadcast_address in subnet):
            wrong.append(f"ip range {ip_range} is outside the subnet {subnet}")
    if wrong:
        raise InvalidValue("\n".join(wrong), field="subnet", value=display_text(row.subnet))
    return {
        "subnet": str(subnet), "gateway": None if gateway is None else str(gateway),
        "ip_range": None if ip_range is None else str(ip_range),
        "aux": {name: str(value) for name, value in aux.items()},
    }


def _prefix(text: str, what: str) -> IPNetwork:
    try:
        if "/" not in text:
            raise ValueError(text)
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise InvalidValue(f"{what} {display_text(text)!r} is not one: expected an address and a prefix length, like 10.20.0.0/16 or "
                           "fd00:20::/64", field="subnet", value=display_text(text)) from None


def _address(text: str, what: str) -> IPAddress:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise InvalidValue(f"{what} {display_text(text)!r} is not an address: expected one like 10.20.0.1 or fd00:20::1",
                           field="subnet", value=display_text(text)) from None


def words_of(text: str, what: str, *, valued: bool = True) -> list[tuple[str, str]]:
    """``NAME=VALUE NAME=VALUE``, with blanks or commas between and quotes as in a shell; ``NAME`` alone only where it need not be
    `valued`. Raises InvalidValue."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
    lexer.whitespace += ","
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        words = list(lexer)
    except ValueError:
        raise InvalidValue(f"{what}: a quote is not closed", field=what, value=display_text(text)) from None
    pairs = [word.partition("=") for word in words]
    for name, equals, _ in pairs:
        if not name or (valued and not equals):
            raise InvalidValue(f"{what} {display_text(name or equals)!r} is not of the form NAME=VALUE", field=what,
                               value=display_text(name))
    return [(name, value) for name, _, value in pairs]


def label_pairs(text: str) -> dict[str, str]:
    """Labels as typed; one without a value has the empty one, as docker's. Raises InvalidValue."""
    return {label_key(name): value for name, value in words_of(text, "label", valued=False)}


def check_option(option: OptionInfo, value: str) -> str:
    """`value` if the option may have it, as far as can be told here. Raises InvalidValue."""
    wrong = ""
    if option.kind == "int":
        low, high = option.minimum, option.maximum
        if not (value.isascii() and value.isdecimal() and len(value) <= 12):
            wrong = "expected a whole number"
        elif (low is not None and int(value) < low) or (high is not None and int(value) > high):
            wrong = f"expected a whole number from {low} to {high}"
    elif option.kind == "address":
        _address(value, option.name)
    elif option.kind == "link":
        link_name(value, option.name)
    elif option.kind == "choice" and value not in option.choices:
        wrong = f"expected one of {', '.join(option.choices)}"
    if wrong:
        raise InvalidValue(f"{option.name} {display_text(value)!r}: {wrong}", field=option.name, value=display_text(value))
    return value


def place_of(error: NetdeckError, entry: NetworkEntry, info: DriverInfo) -> str:
    """Which field of the form an answer of the helper is about."""
    name = str(error.details.get("field", ""))
    value = str(error.details.get("value", error.details.get("name", "")))
    if name == "network name" or (not name and isinstance(error, Conflict) and value == entry.name):
        return "name"
    if any(option.name == name for option in info.options) and (name != "name" or entry.options.get("name") or value != entry.name):
        return f"option:{name}"
    if name in ("name", "driver", "ipam"):
        return name
    if name in _FAMILIES:
        return "families"
    if name.startswith("label"):
        return "labels"
    if name in _SUBNET_FIELDS or name.startswith("aux"):
        return f"subnet:{_row_of(value, entry.subnets)}"
    return ""


def _row_of(value: str, rows: Sequence[SubnetEntry]) -> int:
    """The row that holds `value`, which the helper may have written in another way; else the first that is filled in."""
    for index, row in enumerate(rows):
        words = {word for text in (row.subnet, row.gateway, row.ip_range, row.aux) for word in text.replace("=", " ").split()}
        if value in words or _usual(value) in {_usual(word) for word in words}:
            return index
    return next((index for index, row in enumerate(rows) if not row.empty), 0)


def _usual(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return text


def command_line(request: Mapping[str, Any]) -> str:
    """The same change as a command: ``netdeck network create …``."""
    words = ["netdeck", "network", "create"]
    if request["driver"] != "bridge":
        words += ["-d", request["driver"]]
    for subnet in request["subnets"]:
        words += ["--subnet", subnet["subnet"]]
        if subnet.get("gateway"):
            words += ["--gateway", subnet["gateway"]]
        if subnet.get("ip_range"):
            words += ["--ip-range", subnet["ip_range"]]
        for name, address in subnet.get("aux", {}).items():
            words += ["--aux-address", f"{name}={address}"]
    if not request["ipv4"]:
        words.append("--no-ipv4")
    if request["ipv6"] and not any(":" in subnet["subnet"] for subnet in request["subnets"]):
        words.append("--ipv6")
    if request["internal"]:
        words.append("--internal")
    if request["ipam"] != "default":
        words += ["--ipam-driver", request["ipam"]]
    for name, value in request["options"].items():
        words += ["-o", f"{name}={value}"]
    for name, value in request["labels"].items():
        words += ["--label", f"{name}={value}"]
    return shlex.join([*words, request["name"]])
