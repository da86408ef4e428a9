"""Steps of a plan as commands for a shell, and objects as lines for people. Pure.

The commands (`ip`, `bridge`, `sysctl`, `nft`) leave the kernel in the state that netdeck itself makes, marks included; all but
one: `ip` can't give an address its protocol number before iproute2 6.4, so that is left out.
"""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import msgspec

from drivers import nft_ports
from drivers.name_commands import name_words
from drivers.nft_text import FAMILY, chain_name, element_name, element_text, map_name, rule_text, skeleton
from drivers.objects import (
    HOST,
    LINK_GROUP,
    NAME_ADDRESS,
    PROTOCOL,
    TABLE,
    Address,
    AnyObject,
    Bridge,
    Chain,
    Dummy,
    Ipvlan,
    Jump,
    Linked,
    Macvlan,
    Masked,
    NameServer,
    PortSocket,
    PortVlans,
    Published,
    Relayed,
    Route,
    Sysctl,
    Up,
    Uplink,
    Veth,
    Vlan,
)
from drivers.port_commands import uplink_words, vlan_text, vlan_words
from protocol.model import Plan, PlannedStep
from protocol.names import display_text

_quoted = functools.lru_cache(4096)(shlex.quote)  # most words are the same in every plan
_TABLE = f"{FAMILY} {TABLE}"


class StepLike(Protocol):
    """A step of a plan: `helperd.plan.Step`."""

    @property
    def action(self) -> str: ...
    @property
    def object(self) -> AnyObject: ...
    @property
    def before(self) -> AnyObject | None: ...


class _Places:
    """How commands reach the places: ``netns:NAME`` or ``pid:N`` by place; what isn't named is the host."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names

    def name(self, place: str) -> str:
        return self._names.get(place, "" if place == HOST else place)

    def ip(self, place: str) -> list[str]:
        """The beginning of an `ip` command."""
        kind, _, name = self.name(place).partition(":")
        if kind == "netns":
            return ["ip", "-n", name]
        return [*self.inside(place), "ip"]

    def inside(self, place: str) -> list[str]:
        """What goes before any other command."""
        kind, _, name = self.name(place).partition(":")
        match kind:
            case "":
                return []
            case "netns":
                return ["ip", "netns", "exec", name]
            case "pid":
                return ["nsenter", "-t", name, "-n"]
            case _:  # a container without a process now: shown by its own name, for the reader to fill in
                return ["nsenter", f"--net=/run/netns/{kind}"]

    def target(self, place: str) -> str:
        """What goes behind `netns` in an `ip link` command that is run on the host; "" for the host itself."""
        kind, _, name = self.name(place).partition(":")
        return name if kind in ("netns", "pid") else kind


Words = list[list[str]]


def _joined(words: Iterable[str]) -> str:
    """`shlex.join`."""
    return " ".join(map(_quoted, words))


def commands(steps: Iterable[StepLike], places: Mapping[str, str]) -> tuple[str, ...]:
    """The commands of `steps`, each one line that a shell takes as it is.

    `places` maps container ids to ``netns:NAME`` or ``pid:N``. The nft ones need the table: see `skeleton_commands`.
    """
    known = _Places(places)
    found: list[str] = []
    for step in steps:
        writer = _WRITERS[type(step.object)]
        found += [_joined(words) for words in writer(step.action, step.object, step.before, known)]
    return tuple(found)


def skeleton_commands() -> tuple[str, ...]:
    """The commands that make the empty table `inet netdeck`: run once, on the host."""
    return tuple(_joined(["nft", command]) for command in skeleton())


def describe(item: AnyObject, names: Mapping[str, str] | None = None) -> str:
    """The object in one line for people; `names` says what they call the places (else their ids)."""
    known = names or {}

    def where(place: str) -> str:
        return "on the host" if place == HOST else f"in {known.get(place, f'container {place[:12]}')}"

    text = _SAY[type(item)](item, where)
    return display_text(text)


def planned(steps: Iterable[StepLike], places: Mapping[str, str], names: Mapping[str, str] | None = None) -> Plan:
    """The plan as clients see it. `places` is how commands reach containers, `names` what people call them (else the same)."""
    called = places if names is None else names
    listed = list(steps)
    return Plan(
        steps=tuple(
            PlannedStep(step.action, msgspec.to_builtins(step.object), describe(step.object, called)) for step in listed
        ),
        commands=commands(listed, places),
    )


_Where = Callable[[str], str]


def _say_veth(item: Veth, where: _Where) -> str:
    port = f", port of {item.master}" if item.master else ""
    alone = (", isolated" if item.isolated else "") + (", hairpin" if item.hairpin else "")
    other = f"{item.peer_name} {where(item.peer_place)}" if item.peer_place else "an unknown place"
    return f"veth {item.name} {where(item.place)}{port}{alone}, mtu {item.mtu}, to {other}"


def _sysctl_name(item: Sysctl) -> str:
    return ".".join(item.link if part == "*" else part for part in item.name.split("."))


def _say_route(item: Route, where: _Where) -> str:
    way = f" via {item.gateway}" if item.gateway else ""
    metric = f", metric {item.metric}" if item.metric else ""
    return f"route {item.destination}{way} by {item.link} {where(item.place)}{metric}"


def _at(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


_SAY: dict[type[Any], Callable[[Any, _Where], str]] = {
    PortSocket: lambda item, where: (
        f"port {_at(item.address, item.port)}/{item.protocol} kept from others {where(item.place)}"
        + (f", {'relayed' if item.crosses else 'its own loopback relayed'} to {_at(item.target, item.target_port)}" if item.target else "")
    ),
    Bridge: lambda item, where: f"bridge {item.name} {where(item.place)}, mtu {item.mtu}",
    Veth: _say_veth,
    Dummy: lambda item, where: f"dummy {item.name} {where(item.place)}, mtu {item.mtu}",
    Vlan: lambda item, where: f"VLAN {item.vid} of {item.parent} as {item.name} {where(item.place)}",
    Macvlan: lambda item, where: f"macvlan {item.name} {where(item.place)}, mode {item.mode}, mtu {item.mtu}, on the host's {item.parent}",
    Ipvlan: lambda item, where: f"ipvlan {item.name} {where(item.place)}, mode {item.mode} {item.flag}, mtu {item.mtu}, "
                                f"on the host's {item.parent}",
    PortVlans: lambda item, where: f"VLANs of {item.link} {where(item.place)}: {vlan_text(item)}",
    Uplink: lambda item, where: f"{item.link} {where(item.place)} as a port of {item.master}, up",
    Sysctl: lambda item, where: f"setting {_sysctl_name(item)} = {item.value} {where(item.place)}",
    Address: lambda item, where: f"address {item.prefix} on {item.link} {where(item.place)}",
    Up: lambda item, where: f"{item.link} up {where(item.place)}",
    Route: _say_route,
    Chain: lambda item, where: f"firewall chain {item.name}, {len(item.rules)} rule{'s' * (len(item.rules) != 1)}",
    Jump: lambda item, where: f"firewall: {item.map} of {item.link} to chain {item.chain}",
    Linked: lambda item, where: f"firewall: {item.source} may reach {_at(item.target, item.port)}/{item.protocol}, by a link",
    Masked: lambda item, where: f"firewall: published packets to {item.address} come from the host's address",
    Published: lambda item, where: (
        f"firewall: port {_at(item.address, item.host_port)}/{item.protocol} to {_at(item.target, item.port)}"
    ),
    Relayed: lambda item, where: f"firewall: internal networks don't reach the relay at "
                                f"{_at(item.address, item.port)}/{item.protocol}",
    NameServer: lambda item, where: f"names at {NAME_ADDRESS} {where(item.place)}",
}


def _bridge(action: str, item: Bridge, before: AnyObject | None, places: _Places) -> Words:
    ip = places.ip(item.place)
    if action == "delete":
        return [[*ip, "link", "delete", "dev", item.name]]
    if action == "change":
        return [[*ip, "link", "set", "dev", item.name, "mtu", str(item.mtu), "alias", item.alias]]
    mac = ["address", item.mac] if item.mac else []
    filtering = ["vlan_filtering", "1"] if item.vlan_filtering else []
    return [
        [*ip, "link", "add", "name", item.name, *mac, "mtu", str(item.first_mtu), "group", str(LINK_GROUP), "type", "bridge", *filtering],
        [*ip, "link", "set", "dev", item.name, "mtu", str(item.mtu), "alias", item.alias],
    ]


def _veth(action: str, item: Veth, before: AnyObject | None, places: _Places) -> Words:
    ip, bridge = places.ip(item.place), [*places.inside(item.place), "bridge"]
    if action == "delete":
        return [[*ip, "link", "delete", "dev", item.name]]
    peer = [*places.ip(item.peer_place), "link", "set", "dev", item.peer_name]
    master = ["master", item.master] if item.master else []
    if action == "change":
        old = before if isinstance(before, Veth) else item
        port = master if item.master != old.master else []
        words = [
            [
                *ip,
                "link",
                "set",
                "dev",
                item.name,
                "mtu",
                str(item.mtu),
                *(port or ([] if item.master else ["nomaster"])),
                "alias",
                item.alias,
            ],
            [*peer, "mtu", str(item.mtu), "alias", item.alias],
        ]
        if item.master and (item.isolated != old.isolated or port):
            words.append([*bridge, "link", "set", "dev", item.name, "isolated", "on" if item.isolated else "off"])
        if item.master and (item.hairpin != old.hairpin or port):
            words.append([*bridge, "link", "set", "dev", item.name, "hairpin", "on" if item.hairpin else "off"])
        return words
    mac = ["address", item.peer_mac] if item.peer_mac else []
    there = (
        ["netns", places.target(item.peer_place)]
        if item.peer_place != item.place and places.target(item.peer_place)
        else []
    )
    words = [
        [
            *ip,
            "link",
            "add",
            "name",
            item.name,
            "mtu",
            str(item.mtu),
            "group",
            str(LINK_GROUP),
            "up",
            *master,
            "type",
            "veth",
            "peer",
            "name",
            item.peer_name,
            *mac,
            "mtu",
            str(item.mtu),
            "group",
            str(LINK_GROUP),
            *there,
        ],
        [*ip, "link", "set", "dev", item.name, "alias", item.alias],
        [*peer, "alias", item.alias],
    ]
    if item.isolated:
        words.append([*bridge, "link", "set", "dev", item.name, "isolated", "on"])
    if item.hairpin:
        words.append([*bridge, "link", "set", "dev", item.name, "hairpin", "on"])
    return words


def _dummy(action: str, item: Dummy, before: AnyObject | None, places: _Places) -> Words:
    ip = places.ip(item.place)
    if action == "delete":
        return [[*ip, "link", "delete", "dev", item.name]]
    settings = [*ip, "link", "set", "dev", item.name, "mtu", str(item.mtu), "alias", item.alias]
    if action == "change":
        return [settings]
    return [[*ip, "link", "add", "name", item.name, "group", str(LINK_GROUP), "type", "dummy"], settings]


def _vlan(action: str, item: Vlan, before: AnyObject | None, places: _Places) -> Words:
    ip = places.ip(item.place)
    if action == "delete":
        return [[*ip, "link", "delete", "dev", item.name]]
    settings = [*ip, "link", "set", "dev", item.name, "alias", item.alias]
    if action == "change":
        return [settings]
    kind = ["type", "vlan", "id", str(item.vid)]
    return [[*ip, "link", "add", "link", item.parent, "name", item.name, "group", str(LINK_GROUP), *kind], settings]


def _child(action: str, item: Macvlan | Ipvlan, before: AnyObject | None, places: _Places) -> Words:
    inside, mac = places.ip(item.place), ["address", item.mac] if isinstance(item, Macvlan) and item.mac else []
    if action == "delete":
        return [[*inside, "link", "delete", "dev", item.name]]
    if action == "change":
        return [[*inside, "link", "set", "dev", item.name, "mtu", str(item.mtu), *mac, "alias", item.alias]]
    there = ["netns", places.target(item.place)] if item.place != HOST else []
    kind = ["type", "ipvlan", "mode", item.mode, item.flag] if isinstance(item, Ipvlan) else ["type", "macvlan", "mode", item.mode]
    first = ["ip", "link", "add", "link", item.parent, "name", item.first_name, *mac, "mtu", str(item.mtu), "group", str(LINK_GROUP)]
    return [[*first, *there, *kind], [*inside, "link", "set", "dev", item.first_name, "name", item.name, "alias", item.alias]]


def _sysctl(action: str, item: Sysctl, before: AnyObject | None, places: _Places) -> Words:
    if action == "delete":
        return []
    # With a slash first, sysctl(8) takes dots as they are: names of links hold some.
    name = "/".join(item.link if part == "*" else part for part in item.name.split("."))
    return [[*places.inside(item.place), "sysctl", "-w", f"{name}={item.value}"]]


def _address(action: str, item: Address, before: AnyObject | None, places: _Places) -> Words:
    nodad = ["nodad"] if ":" in item.prefix and action != "delete" else []
    verb = "delete" if action == "delete" else "add"
    return [[*places.ip(item.place), "address", verb, item.prefix, "dev", item.link, *nodad]]


def _up(action: str, item: Up, before: AnyObject | None, places: _Places) -> Words:
    return [[*places.ip(item.place), "link", "set", "dev", item.link, "down" if action == "delete" else "up"]]


def _route(action: str, item: Route, before: AnyObject | None, places: _Places) -> Words:
    verb = {"create": "add", "change": "replace", "delete": "delete"}[action]
    via = ["via", item.gateway] if item.gateway else []
    metric = ["metric", str(item.metric)] if item.metric else []
    way = [*via, "dev", item.link, "proto", str(PROTOCOL), *metric]
    return [[*places.ip(item.place), "route", verb, item.destination, *way]]


def _nft(places: _Places, place: str, command: str) -> list[str]:
    return [*places.inside(place), "nft", command]


def _chain(action: str, item: Chain, before: AnyObject | None, places: _Places) -> Words:
    name = chain_name(item.name)
    rules = [f"add rule {_TABLE} {name} {rule_text(rule)}" for rule in item.rules]
    match action:
        case "delete":
            return [_nft(places, item.place, f"delete chain {_TABLE} {name}")]
        case "change":
            return [_nft(places, item.place, "; ".join([f"flush chain {_TABLE} {name}", *rules]))]
        case _:
            return [_nft(places, item.place, line) for line in (f"add chain {_TABLE} {name}", *rules)]


def _jump(action: str, item: Jump, before: AnyObject | None, places: _Places) -> Words:
    gone = f'delete element {_TABLE} {map_name(item.map)} {{ "{element_name(item.link)}" }}'
    there = f"add element {_TABLE} {map_name(item.map)} {element_text(item)}"
    line = {"create": there, "change": f"{gone}; {there}", "delete": gone}[action]
    return [_nft(places, item.place, line)]


def _element(action: str, item: Masked | Linked | Published | Relayed, before: AnyObject | None, places: _Places) -> Words:
    found = nft_ports.element(item)
    there = f"add element {_TABLE} {found.map} {nft_ports.element_text(found)}"
    gone = f"delete element {_TABLE} {found.map} {nft_ports.key_text(found)}"
    line = {"create": there, "change": f"{gone}; {there}", "delete": gone}[action]
    return [_nft(places, item.place, line)]


def _socket(action: str, item: PortSocket, before: AnyObject | None, places: _Places) -> Words:
    """No command holds a socket: a port that nothing listens on is only published a little less safely without."""
    return []


_WRITERS: dict[type[Any], Callable[[str, Any, AnyObject | None, _Places], Words]] = {
    Bridge: _bridge,
    Veth: _veth,
    Dummy: _dummy,
    Vlan: _vlan,
    Macvlan: _child,
    Ipvlan: _child,
    Uplink: lambda action, item, before, places: uplink_words(action, item, places.ip(item.place)),
    PortVlans: lambda action, item, before, places: vlan_words(action, item, before, [*places.inside(item.place), "bridge"]),
    Sysctl: _sysctl,
    Address: _address,
    Up: _up,
    Route: _route,
    Chain: _chain,
    Jump: _jump,
    Masked: _element,
    Linked: _element,
    Published: _element,
    Relayed: _element,
    PortSocket: _socket,
    NameServer: lambda action, item, before, places: name_words(action, item, lambda line: _nft(places, item.place, line)),
}
