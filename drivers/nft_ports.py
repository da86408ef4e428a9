"""Ports in the table `inet netdeck`, published and opened by links: maps and sets, the chains that look them up, and their elements.
Pure.

Publishing adds an element and no rule. A packet to one of the host's own addresses is looked up by address, protocol and port,
then by protocol and port alone. Sources: nft(8); moby, libnetwork/drivers/bridge/internal/nftabler.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

from drivers.objects import LINKED, LINKED_CHAIN, MASKED, RELAYED_CHAIN, TABLE, Linked, Masked, Published, Relayed
from protocol.errors import InvalidValue
from protocol.names import display_text

_TABLE = f"inet {TABLE}"
_WILD = {4: "0.0.0.0", 6: "::"}
_FAMILY = {4: "ip", 6: "ip6"}
_TYPE = {4: "ipv4_addr", 6: "ipv6_addr"}
_PROTOCOL = re.compile(r"\A(tcp|udp|sctp)\Z")
CHAIN = "published"
HOOKS = (("prerouting", "prerouting"), ("output", "output"))  # chain, hook; both of type nat at dstnat
LOOK = "packets to this host go to its published ports"
REMOTE_LOOPBACK = "nothing but this host itself reaches ports of its loopback"
OWN_LOOPBACK = "the relay carries what this host sends to ::1"
NO_WAY_BACK = "a link-local sender could not be answered from a container"
AT = "ports published on one address"
ANY = "ports published on all addresses"
OPENED = "from a container to the ports of one that it is linked to"
NOT_BY_RELAY = "internal networks don't get out through the relay of published ports"


class Element(NamedTuple):
    """An element of a map, or of a set where `value` is empty."""

    map: str
    key: tuple[str, ...]
    value: tuple[str, ...] = ()


class _Map(NamedTuple):
    name: str
    version: int
    at: bool  # the host's address is part of the key


MAPS = tuple(_Map(f"published{'-at' if at else ''}-{version}", version, at) for at in (True, False) for version in (4, 6))
RELAYED = tuple(_Map(f"relayed{'-at' if at else ''}-{version}", version, at) for at in (True, False) for version in (4, 6))
NAMES = frozenset((*(item.name for item in (*MAPS, *RELAYED)), *MASKED.values(), *LINKED.values()))


def element(item: Published | Masked | Linked | Relayed) -> Element:
    """The element that `item` is. Raises InvalidValue where a part of it can't be written into the table."""
    if isinstance(item, Masked):
        return Element(MASKED[_version(item.address)], (_address(item.address),))
    if not _PROTOCOL.match(item.protocol):
        raise InvalidValue(f"protocol {display_text(item.protocol)!r} can't be published", field="protocol",
                           value=display_text(item.protocol))
    if isinstance(item, Relayed):
        name, key = _place_of("relayed", item.protocol, item.address, item.port)
        return Element(name, key)
    source = item.source if isinstance(item, Linked) else item.address
    version = _version(source)
    if _version(item.target) != version:
        raise InvalidValue(f"port {item.port if isinstance(item, Linked) else item.host_port} of {source} can't lead to {item.target}: "
                           "they are of two families", field="target", value=item.target)
    if isinstance(item, Linked):
        return Element(LINKED[version], (_address(source), _address(item.target), item.protocol, _port(item.port)))
    name, key = _place_of("published", item.protocol, item.address, item.host_port)
    return Element(name, key, (_address(item.target), _port(item.port)))


def _place_of(kind: str, protocol: str, address: str, port: int) -> tuple[str, tuple[str, ...]]:
    """The map or set for a port of the host, and the key in it."""
    version = _version(address)
    wild = address == _WILD[version]
    key = (protocol, _port(port))
    return (f"{kind}-{version}", key) if wild else (f"{kind}-at-{version}", (_address(address), *key))


def element_text(item: Element) -> str:
    """The element in braces, as nft takes it."""
    value = f" : {' . '.join(item.value)}" if item.value else ""
    return f"{{ {' . '.join(item.key)}{value} }}"


def key_text(item: Element) -> str:
    """Its key in braces, by which it is deleted."""
    return f"{{ {' . '.join(item.key)} }}"


def maps() -> list[str]:
    """The commands that make the maps and sets."""
    made = [f"add set {_TABLE} {name} {{ type {_TYPE[version]}; }}" for version, name in MASKED.items()]
    made += [f"add set {_TABLE} {name} {{ type {_TYPE[version]} . {_TYPE[version]} . inet_proto . inet_service; }}"
             for version, name in LINKED.items()]
    for item in RELAYED:
        at = f"{_TYPE[item.version]} . " if item.at else ""
        made.append(f"add set {_TABLE} {item.name} {{ type {at}inet_proto . inet_service; }}")
    for item in MAPS:
        at = f"{_TYPE[item.version]} . " if item.at else ""
        made.append(f"add map {_TABLE} {item.name} {{ type {at}inet_proto . inet_service : {_TYPE[item.version]} . inet_service; }}")
    return made


def chains() -> list[str]:
    """The commands that make the chains that look the maps and sets up, and the base chains that lead to published ports."""
    made = [f"add chain {_TABLE} {name}" for name in (LINKED_CHAIN, RELAYED_CHAIN, CHAIN)]
    made += [f"add rule {_TABLE} {LINKED_CHAIN} {_FAMILY[version]} saddr . {_FAMILY[version]} daddr . meta l4proto . th dport "
             f'@{name} counter accept comment "{OPENED}"' for version, name in LINKED.items()]
    for item in RELAYED:
        match = f"{_FAMILY[item.version]} daddr . " if item.at else f"meta nfproto ipv{item.version} "
        made.append(f"add rule {_TABLE} {RELAYED_CHAIN} {match}meta l4proto . th dport @{item.name} counter drop "
                    f'comment "{NOT_BY_RELAY}"')
    made += [f"add chain {_TABLE} {chain} {{ type nat hook {hook} priority -100; policy accept; }}" for chain, hook in HOOKS]
    made.append(f'add rule {_TABLE} {CHAIN} ip6 saddr fe80::/10 counter return comment "{NO_WAY_BACK}"')
    for item in MAPS:
        family = _FAMILY[item.version]
        at = f"{family} daddr . " if item.at else ""
        made.append(f"add rule {_TABLE} {CHAIN} counter dnat {family} to {at}meta l4proto . th dport map @{item.name} "
                    f'comment "{AT if item.at else ANY}"')
    # Destination addresses are changed before the kernel looks whether an address of the loopback came from elsewhere.
    made.append(f'add rule {_TABLE} prerouting ip daddr 127.0.0.0/8 counter return comment "{REMOTE_LOOPBACK}"')
    # What this host sends to ::1 can't leave it: the relay takes it to the container.
    made.append(f'add rule {_TABLE} output ip6 daddr ::1 counter return comment "{OWN_LOOPBACK}"')
    made += [f'add rule {_TABLE} {chain} fib daddr type local counter jump {CHAIN} comment "{LOOK}"' for chain, _ in HOOKS]
    return made


def comments() -> dict[str, list[str]]:
    """The comments of the rules that `chains` makes, by chain: what is compared when the table is read back."""
    return {
        LINKED_CHAIN: [OPENED] * len(LINKED),
        RELAYED_CHAIN: [NOT_BY_RELAY] * len(RELAYED),
        CHAIN: [NO_WAY_BACK, *(AT if item.at else ANY for item in MAPS)],
        "prerouting": [REMOTE_LOOPBACK, LOOK],
        "output": [OWN_LOOPBACK, LOOK],
    }


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text if "%" not in text else ""))
    except ValueError:
        raise InvalidValue(f"{display_text(text)!r} is not an address", field="address", value=display_text(text)) from None


def _version(text: str) -> int:
    return 6 if ":" in text else 4


def _port(number: int) -> str:
    if not 1 <= number <= 65535:
        raise InvalidValue(f"port {number} does not exist", field="port", value=str(number))
    return str(number)
