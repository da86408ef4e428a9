"""The interface of a driver, its options, and the registry.

A driver is pure: it says which kernel objects a network or an endpoint needs, as data, and checks what it is asked for. It
opens no socket, reads no clock and no file, and knows no store. One file makes a driver; packages of others register theirs
under the entry-point group ``netdeck.drivers`` (the entry is an object with this interface).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Protocol

import msgspec

from drivers.objects import AnyObject
from drivers.parsed import family_of
from protocol.errors import InvalidValue, NotFound
from protocol.model import DriverInfo, Endpoint, Network, OptionInfo
from protocol.names import display_text, link_name, suggestion

GROUP = "netdeck.drivers"


class Hung(msgspec.Struct, frozen=True):
    """A link that hangs on one of the host and that this helper did not make. `where` is its namespace in words, ``host`` for the host's;
    `name` as it may be shown."""

    name: str
    kind: str
    mode: str  # of a macvlan or ipvlan; with its flag, where that is not "bridge": ``l3 private``
    where: str
    vlan: int = 0  # 802.1Q id of a sub-interface


class HostLink(msgspec.Struct, frozen=True):
    """A link of the host as a driver may look at it while checking."""

    name: str
    kind: str = ""
    mtu: int = 1500
    ours: bool = False
    master: str = ""
    addresses: tuple[str, ...] = ()
    up: bool = True  # administratively
    loopback: bool = False
    mac: str = ""
    lower: str = ""  # name of the link that it is made on, in the same namespace
    routed: bool = False  # the host has routes by it
    vlan: int = 0  # 802.1Q id of a sub-interface
    filters: bool = False  # of a bridge: it keeps 802.1Q VLANs apart
    hung: tuple[Hung, ...] = ()  # links of others that hang on it, in every namespace that is seen


class HostView(msgspec.Struct, frozen=True):
    """What a driver may know of the host: its links by name, and this helper's mark."""

    instance: str
    links: Mapping[str, HostLink] = {}


class Driver(Protocol):
    """What the engine asks of a driver. All methods are pure; errors are `protocol.errors.NetdeckError`."""

    name: str
    info: DriverInfo

    def check(self, network: Network, host: HostView, others: Sequence[Network]) -> Network:
        """`network` completed (its `link`, effective options) or an error that says what can't be. `others` are the networks
        that exist. Options have been parsed by `parse_options` before."""
        ...

    def network_objects(self, network: Network, instance: str) -> tuple[AnyObject, ...]:
        """The objects of the network itself."""
        ...

    def check_endpoint(self, network: Network, endpoint: Endpoint, others: Sequence[Endpoint]) -> Endpoint:
        """`endpoint` completed (its `host_link`) or an error. `others` are the endpoints of the network, for a driver whose
        `info.parents` is set; else none: to look them up costs. Where it is set, an endpoint without a chosen `mac` has none yet."""
        ...

    def endpoint_objects(self, network: Network, endpoint: Endpoint, instance: str) -> tuple[AnyObject, ...]:
        """The objects of one attachment, without default routes."""
        ...

    def default_routes(self, network: Network, endpoint: Endpoint) -> tuple[AnyObject, ...]:
        """The default routes that the container gets if this endpoint is chosen to give them; () if it can't."""
        ...


def registry(extra: Mapping[str, Driver] | None = None) -> dict[str, Driver]:
    """All drivers by name: those built in, and those that packages register.

    One that can't be used (`drivers.unusable`) is there too and says why; where its name is another's, under its package's.
    """
    from drivers.unusable import load

    found: dict[str, Driver] = dict(builtin())
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        if entry.name in found and entry.value.partition(":")[0].startswith("drivers."):
            continue
        driver = load(entry, found)
        found[driver.name] = driver
    found.update(extra or {})
    return found


def builtin() -> dict[str, Driver]:
    """The drivers of this package."""
    from drivers.bridge import DRIVER as bridge
    from drivers.host import DRIVER as host
    from drivers.ipvlan import DRIVER as ipvlan
    from drivers.macvlan import DRIVER as macvlan
    from drivers.none import DRIVER as none

    return {"bridge": bridge, "host": host, "ipvlan": ipvlan, "macvlan": macvlan, "none": none}


def find(drivers: Mapping[str, Driver], name: str) -> Driver:
    """The driver `name`, or NotFound with the nearest known one."""
    if name in drivers:
        return drivers[name]
    known = ", ".join(sorted(drivers))
    if name == "overlay":
        raise NotFound("driver overlay (one network on several hosts) is not there yet: on this host a bridge does the same, and macvlan, "
                       "ipvlan or a bridge with -o uplink=LINK connect containers of several hosts by a link that they share",
                       name=name, known=sorted(drivers))
    raise NotFound(f"no driver {display_text(name)!r}{suggestion(name, drivers)}: known are {known}",
                   name=display_text(name), known=sorted(drivers))


def parse_options(info: DriverInfo, given: Mapping[str, str]) -> dict[str, str]:
    """The effective options of a driver: long names made short, values checked and written in one way, defaults filled in.

    A choice or a link that is empty (``-o parent=``) is one that was not given, as in docker. Raises InvalidValue for an unknown option
    (with the nearest known), the same option twice, or a wrong value.
    """
    by_name = {name: option for option in info.options for name in (option.name, *option.long_names)}
    result = {option.name: option.default for option in info.options if option.default != ""}
    seen: dict[str, str] = {}
    for name, value in given.items():
        option = by_name.get(name)
        if option is None:
            known = ", ".join(sorted(item.name for item in info.options)) or "none"
            raise InvalidValue(f"driver {info.name} has no option {display_text(name)!r}{suggestion(name, by_name)}: "
                               f"known are {known}", field="options", value=display_text(name))
        if option.name in seen:
            raise InvalidValue(f"option {option.name} is given twice, as {seen[option.name]} and as {name}",
                               field=option.name, value=name)
        seen[option.name] = name
        if value or option.kind not in ("choice", "link"):
            result[option.name] = _value(option, value)
    return result


_TRUE = frozenset({"1", "t", "true", "yes", "on"})
_FALSE = frozenset({"0", "f", "false", "no", "off"})


def _value(option: OptionInfo, value: str) -> str:
    shown = display_text(value)

    def wrong(expected: str) -> InvalidValue:
        return InvalidValue(f"option {option.name}={shown}: expected {expected}", field=option.name, value=shown,
                            expected=expected)

    match option.kind:
        case "bool":
            if value.lower() in _TRUE:
                return "true"
            if value.lower() in _FALSE:
                return "false"
            raise wrong("true or false")
        case "int":
            low, high = option.minimum, option.maximum
            expected = f"a whole number from {low} to {high}"
            if not value.isascii() or not value.isdecimal() or len(value) > 12:
                raise wrong(expected)
            number = int(value)
            if (low is not None and number < low) or (high is not None and number > high):
                raise wrong(expected)
            return str(number)
        case "choice":
            if value not in option.choices:
                raise wrong("one of " + ", ".join(option.choices) + suggestion(value, option.choices))
            return value
        case "address":
            try:
                return str(ipaddress.ip_address(value))
            except ValueError:
                raise wrong("an IPv4 or IPv6 address") from None
        case "link":
            return link_name(value, f"option {option.name}")
        case _:
            if len(value) > 256 or not value.isprintable():
                raise wrong("at most 256 printable characters")
            return value


def families(prefixes: Iterable[str]) -> frozenset[int]:
    """Which of 4 and 6 occur among `prefixes`."""
    return frozenset(family_of(prefix) for prefix in prefixes)
