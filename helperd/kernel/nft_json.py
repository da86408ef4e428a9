"""Changes of the table `inet netdeck` as commands of libnftables-json(5). Pure. The whole table is loaded as text: libnftables
1.0.6 falls over the JSON of rules that look up addresses and ports together.

The grammar of `Match` and `Rule` is that of `drivers.nft_text`, which writes the same as text.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from drivers.nft_ports import Element
from drivers.nft_text import (
    FAMILY,
    chain_name,
    checked,
    comment,
    element_name,
    is_mask,
    is_name,
    map_name,
    parse_left,
    port_range,
    snat_address,
)
from drivers.objects import TABLE, Chain, Jump, Match, Rule

Command = dict[str, Any]
_IN_TABLE = {"family": FAMILY, "table": TABLE}
_HEX = re.compile(r"\A0x[0-9a-fA-F]+\Z")
_COUNTER: Command = {"counter": None}


def add_table() -> Command:
    """Make the table, if it isn't there."""
    return {"add": {"table": {"family": FAMILY, "name": TABLE}}}


def delete_table() -> Command:
    """Delete the table with all it holds."""
    return {"delete": {"table": {"family": FAMILY, "name": TABLE}}}


def list_table() -> Command:
    """List the table."""
    return {"list": {"table": {"family": FAMILY, "name": TABLE}}}


def add_chain(item: Chain) -> list[Command]:
    """Make a chain with its rules."""
    chain = {"add": {"chain": {**_IN_TABLE, "name": chain_name(item.name)}}}
    return [chain, *(rule(item.name, each) for each in item.rules)]


def change_chain(item: Chain) -> list[Command]:
    """Give a chain other rules."""
    flush = {"flush": {"chain": {**_IN_TABLE, "name": chain_name(item.name)}}}
    return [flush, *(rule(item.name, each) for each in item.rules)]


def delete_chain(name: str) -> Command:
    """Delete a chain with its rules."""
    return {"delete": {"chain": {**_IN_TABLE, "name": chain_name(name)}}}


def add_jump(item: Jump) -> Command:
    """Add an element to a verdict map."""
    pair = [element_name(item.link), {"jump": {"target": chain_name(item.chain)}}]
    return {"add": {"element": {**_IN_TABLE, "name": map_name(item.map), "elem": [pair]}}}


def delete_jump(item: Jump) -> Command:
    """Delete an element of a verdict map."""
    return {"delete": {"element": {**_IN_TABLE, "name": map_name(item.map), "elem": [element_name(item.link)]}}}


def add_element(item: Element) -> Command:
    """Add an element to a map or set of published ports."""
    pair = [_joined(item.key), _joined(item.value)] if item.value else _joined(item.key)
    return {"add": {"element": {**_IN_TABLE, "name": item.map, "elem": [pair]}}}


def delete_element(item: Element) -> Command:
    """Delete an element of a map or set of published ports."""
    return {"delete": {"element": {**_IN_TABLE, "name": item.map, "elem": [_joined(item.key)]}}}


def elements(listed: Command) -> set[Element]:
    """The elements of a map or set of published ports, as it was listed."""
    found: set[Element] = set()
    for entry in listed.get("elem", ()):
        key, value = entry if isinstance(entry, list) else (entry, ())
        found.add(Element(listed["name"], _parts(key), _parts(value) if value else ()))
    return found


def _joined(parts: tuple[str, ...]) -> Any:
    values = [int(part) if part.isdecimal() else part for part in parts]
    return values[0] if len(values) == 1 else {"concat": values}


def _parts(listed: Any) -> tuple[str, ...]:
    return tuple(map(str, listed["concat"])) if isinstance(listed, dict) else (str(listed),)


def rule(chain: str, item: Rule) -> Command:
    """Append a rule to a chain. Raises InvalidValue."""
    expr = [*map(_match, item.matches), _COUNTER, _verdict(item.verdict)]
    return {"add": {"rule": {**_IN_TABLE, "chain": chain_name(chain), "expr": expr, "comment": comment(item.comment)}}}


def _verdict(verdict: str) -> Command:
    address = snat_address(verdict)
    if address is None:
        kind, _, chain = verdict.partition(" ")
        return {kind: {"target": chain} if chain else None}
    return {"snat": {"family": "ip6" if ":" in address else "ip", "addr": address}}


def _match(match: Match) -> Command:
    checked(match)
    values = [value if is_name(match) else _value(value) for value in match.right]
    op = match.op
    right: Any = values[0]
    if is_mask(match):
        op = "in" if op == "==" else op
        right = values if len(values) > 1 else values[0]
    elif len(values) > 1:
        right = {"set": values}
    return {"match": {"op": op, "left": _left(match.left), "right": right}}


def _left(text: str) -> Command:
    left = parse_left(text)
    match left.kind:
        case "meta" | "ct":
            return {left.kind: {"key": left.field}}
        case "fib":
            return {"fib": {"result": left.field, "flags": [left.base]}}
        case _:
            return {"payload": {"protocol": left.base, "field": left.field}}


def _value(value: str) -> Any:
    if value.isdecimal():
        return int(value)
    ports = port_range(value)
    if ports is not None:
        return {"range": list(ports)}
    if _HEX.match(value):
        return int(value, 16)
    address, slash, _ = value.partition("/")
    if slash:
        network = ipaddress.ip_network(value, strict=False)
        return {"prefix": {"addr": str(network.network_address), "len": network.prefixlen}}
    return address
