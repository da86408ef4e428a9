"""The table `inet netdeck` as commands of libnftables-json(5). Pure.

The grammar of `Match` and `Rule` is that of `drivers.nft_text`, which writes the same as text.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Any

from drivers.nft_text import (
    FAMILY,
    chain_name,
    checked,
    comment,
    element_name,
    is_mask,
    is_name,
    lookup_comment,
    map_name,
    parse_left,
    port_range,
    snat_address,
)
from drivers.objects import TABLE, VERDICT_MAPS, Chain, Jump, Match, Rule

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


def list_chains() -> Command:
    """List the chains of all inet tables, without their rules."""
    return {"list": {"chains": {"family": FAMILY}}}


def skeleton() -> list[Command]:
    """Make the empty table: maps, base chains and the rules that look the maps up."""
    made = [add_table()]
    made += [
        {"add": {"map": {**_IN_TABLE, "name": item.name, "type": "ifname", "map": "verdict"}}} for item in VERDICT_MAPS
    ]
    for item in {item.chain: item for item in VERDICT_MAPS}.values():
        made.append(
            {
                "add": {
                    "chain": {
                        **_IN_TABLE,
                        "name": item.chain,
                        "type": item.type,
                        "hook": item.hook,
                        "prio": item.priority,
                        "policy": "accept",
                    }
                }
            }
        )
    for item in VERDICT_MAPS:
        lookup = {"vmap": {"key": {"meta": {"key": item.left}}, "data": f"@{item.name}"}}
        made.append(
            {
                "add": {
                    "rule": {
                        **_IN_TABLE,
                        "chain": item.chain,
                        "expr": [_COUNTER, lookup],
                        "comment": lookup_comment(item),
                    }
                }
            }
        )
    return made


def whole_table(objects: Iterable[Chain | Jump]) -> list[Command]:
    """Replace the table, whether or not it is there, by one that holds `objects`."""
    items = sorted(objects, key=lambda item: (item.rank, item.key))
    made = [add_table(), delete_table(), *skeleton()]
    for item in items:
        made += add_chain(item) if isinstance(item, Chain) else []
    made += [add_jump(item) for item in items if isinstance(item, Jump)]
    return made


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


def rule(chain: str, item: Rule) -> Command:
    """Append a rule to a chain. Raises InvalidValue."""
    expr = [*map(_match, item.matches), _COUNTER, _verdict(item.verdict)]
    return {"add": {"rule": {**_IN_TABLE, "chain": chain_name(chain), "expr": expr, "comment": comment(item.comment)}}}


def _verdict(verdict: str) -> Command:
    address = snat_address(verdict)
    if address is None:
        return {verdict: None}
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
