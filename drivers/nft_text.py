"""The table `inet netdeck` as text of the `nft` command, and the grammar of `Match` and `Rule`. Pure.

Source: nft(8). The same `Rule` is written as JSON for libnftables by `helperd.kernel.nft_json`; tests hold the two together.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import NamedTuple

from drivers import nft_ports
from drivers.objects import (
    HOST,
    LINKED_CHAIN,
    MASKED,
    RELAYED_CHAIN,
    TABLE,
    VERDICT_MAPS,
    Chain,
    Jump,
    Linked,
    Masked,
    Match,
    Published,
    Relayed,
    Rule,
    TableItem,
    VerdictMap,
)
from protocol.errors import InvalidValue
from protocol.names import display_text

FAMILY = "inet"
_CHAIN = re.compile(r"\A[A-Za-z_][A-Za-z0-9_.-]{0,126}\Z")
_LINK = re.compile(r"\A[A-Za-z0-9_.@+=,~^%&-]{1,15}\Z")  # no quote, no backslash, no * (which nft takes for any ending)
_WORD = re.compile(r"\A[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}\Z")
_ADDRESS = re.compile(r"\A[0-9a-fA-F.:]{2,45}(/[0-9]{1,3})?\Z")  # no zone: ipaddress takes any text behind a %
_RANGE = re.compile(r"\A([0-9]{1,5})-([0-9]{1,5})\Z")
_SETS = frozenset(f"@{name}" for name in MASKED.values())
_VERDICTS = frozenset({"accept", "drop", "return", "masquerade", f"jump {LINKED_CHAIN}", f"jump {RELAYED_CHAIN}"})
_COMMENT_LIMIT = 127  # NFTNL_UDATA_COMMENT_MAXLEN, bytes
_META_BARE = frozenset({"iifname", "oifname"})
_META = frozenset({"nfproto", "l4proto", "mark"})
_CT = frozenset({"state", "status", "mark", "direction"})
_FLAGS = frozenset({"ct state", "ct status"})  # bit masks: several values are one mask, not a set
_FIELDS = {
    "ip": frozenset({"saddr", "daddr", "protocol"}),
    "ip6": frozenset({"saddr", "daddr", "nexthdr"}),
    "tcp": frozenset({"sport", "dport"}),
    "udp": frozenset({"sport", "dport"}),
    "sctp": frozenset({"sport", "dport"}),
    "th": frozenset({"sport", "dport"}),
    "icmp": frozenset({"type"}),
    "icmpv6": frozenset({"type"}),
    "ether": frozenset({"saddr", "daddr"}),
}


class Left(NamedTuple):
    """The left side of a match taken apart: `kind` is meta, ct, fib or payload; `base` and `field` as nft names them."""

    kind: str
    base: str
    field: str


def parse_left(left: str) -> Left:
    """Take the left side of a match apart. Raises InvalidValue for one that is not known here."""
    match left.split(" "):
        case [word] if word in _META_BARE:
            return Left("meta", "meta", word)
        case ["meta", word] if word in _META or word in _META_BARE:
            return Left("meta", "meta", word)
        case ["ct", word] if word in _CT:
            return Left("ct", "ct", word)
        case ["fib", "saddr" | "daddr" as side, "type"]:
            return Left("fib", side, "type")
        case [base, field] if field in _FIELDS.get(base, ()):
            return Left("payload", base, field)
    raise InvalidValue(f"firewall match {display_text(left)!r} is not known", field="match", value=display_text(left))


def is_mask(match: Match) -> bool:
    """True where the values of `match` are bits of one mask."""
    return match.left in _FLAGS


def is_name(match: Match) -> bool:
    """True where the values of `match` are names of links."""
    return parse_left(match.left).field in _META_BARE


def checked(match: Match) -> Match:
    """`match` if all its parts are well formed. Raises InvalidValue."""
    parse_left(match.left)
    if match.op not in ("==", "!="):
        raise InvalidValue(
            f"firewall operator {display_text(match.op)!r} is not known: expected == or !=",
            field="match",
            value=display_text(match.op),
        )
    if not match.right:
        raise InvalidValue(f"firewall match {match.left} has no value", field="match", value=match.left)
    pattern = _LINK if is_name(match) else _WORD
    for value in match.right:
        if not pattern.match(value) and not _address(value) and value not in _SETS:
            raise InvalidValue(
                f"firewall match {match.left}: {display_text(value)!r} is not allowed",
                field="match",
                value=display_text(value),
            )
    return match


def chain_name(name: str) -> str:
    """`name` if it may name a chain. Raises InvalidValue."""
    if not _CHAIN.match(name):
        raise InvalidValue(f"chain name {display_text(name)!r} is not allowed", field="chain", value=display_text(name))
    return name


def element_name(link: str) -> str:
    """`link` if it may be the key of a verdict map. Raises InvalidValue."""
    if not _LINK.match(link):
        raise InvalidValue(
            f"link name {display_text(link)!r} can't be used in a firewall rule: expected letters, digits, . _ -",
            field="link",
            value=display_text(link),
        )
    return link


def map_name(name: str) -> str:
    """`name` if the table has a verdict map of that name. Raises InvalidValue."""
    if all(item.name != name for item in VERDICT_MAPS):
        known = ", ".join(item.name for item in VERDICT_MAPS)
        raise InvalidValue(
            f"verdict map {display_text(name)!r} is not known: expected one of {known}",
            field="map",
            value=display_text(name),
            expected=known,
        )
    return name


def comment(text: str) -> str:
    """A comment as the table can hold it: printable, no quotes, at most 127 bytes."""
    plain = display_text(text).replace('"', "'").replace("\\", "/")
    return plain.encode()[:_COMMENT_LIMIT].decode("utf-8", "ignore")


def port_range(value: str) -> tuple[int, int] | None:
    """(first, last) of ``8000-8010``, else None."""
    found = _RANGE.match(value)
    return (int(found[1]), int(found[2])) if found else None


def snat_address(verdict: str) -> str | None:
    """The address of a verdict ``snat to A``, None for the plain verdicts. Raises InvalidValue for anything else."""
    if verdict in _VERDICTS:
        return None
    address = verdict.removeprefix("snat to ")
    if address != verdict and _address(address) and "/" not in address:
        return str(ipaddress.ip_address(address))
    raise InvalidValue(
        f"firewall verdict {display_text(verdict)!r} is not known", field="verdict", value=display_text(verdict)
    )


def rule_text(rule: Rule) -> str:
    """The rule as it stands behind ``add rule TABLE CHAIN``. Raises InvalidValue."""
    address = snat_address(rule.verdict)
    verdict = rule.verdict if address is None else f"snat {'ip6' if ':' in address else 'ip'} to {address}"
    parts = [*map(_match_text, rule.matches), "counter", verdict, f'comment "{comment(rule.comment)}"']
    return " ".join(parts)


def _match_text(match: Match) -> str:
    checked(match)
    values = [f'"{value}"' if is_name(match) else value for value in match.right]
    together = ",".join(values) if is_mask(match) else "{ " + ", ".join(values) + " }"
    right = values[0] if len(values) == 1 else together
    return f"{match.left} {'!= ' if match.op == '!=' else ''}{right}"


def _address(value: str) -> bool:
    if not _ADDRESS.match(value):
        return False
    try:
        ipaddress.ip_interface(value)
    except ValueError:
        return False
    return True


def map_text(item: VerdictMap) -> str:
    """The declaration of a verdict map, in braces."""
    return "{ type ifname : verdict; }"


def base_chain_text(item: VerdictMap) -> str:
    """The declaration of the base chain that looks a map up, in braces."""
    return f"{{ type {item.type} hook {item.hook} priority {item.priority}; policy accept; }}"


def lookup_comment(item: VerdictMap) -> str:
    """The comment of the rule that looks a map up."""
    way = "to" if item.left == "oifname" else "from"
    return f"packets {way} a network go to its chain"


def lookup_text(item: VerdictMap) -> str:
    """The rule of a base chain that looks a map up."""
    return f'counter {item.left} vmap @{item.name} comment "{lookup_comment(item)}"'


def element_text(item: Jump) -> str:
    """An element of a verdict map, in braces."""
    return f'{{ "{element_name(item.link)}" : jump {chain_name(item.chain)} }}'


def skeleton() -> tuple[str, ...]:
    """The nft commands that make the table without networks: maps, sets, base chains and their rules."""
    table = f"{FAMILY} {TABLE}"
    made: list[str] = [f"add table {table}"]
    made += [f"add map {table} {item.name} {map_text(item)}" for item in VERDICT_MAPS]
    made += nft_ports.maps()
    made += [
        f"add chain {table} {chain} {text}"
        for chain, text in {item.chain: base_chain_text(item) for item in VERDICT_MAPS}.items()
    ]
    made += [f"add rule {table} {item.chain} {lookup_text(item)}" for item in VERDICT_MAPS]
    return (*made, *nft_ports.chains())


def table_text(objects: Iterable[TableItem]) -> str:
    """The whole table as a file for ``nft -f``: one transaction that replaces what was there, with no gap."""
    table = f"{FAMILY} {TABLE}"
    items = sorted((item for item in objects if item.place == HOST), key=lambda item: (item.rank, item.key))
    lines = [f"add table {table}", f"delete table {table}", *skeleton()]
    for item in items:
        if isinstance(item, Chain):
            lines.append(f"add chain {table} {chain_name(item.name)}")
            lines += [f"add rule {table} {item.name} {rule_text(rule)}" for rule in item.rules]
    lines += [
        f"add element {table} {map_name(item.map)} {element_text(item)}" for item in items if isinstance(item, Jump)
    ]
    for found in (nft_ports.element(item) for item in items if isinstance(item, Masked | Linked | Published | Relayed)):
        lines.append(f"add element {table} {found.map} {nft_ports.element_text(found)}")
    return "\n".join(lines) + "\n"
