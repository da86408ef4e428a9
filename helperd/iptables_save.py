"""The filter table of iptables-legacy, as `iptables-save` writes it, read as chains of others. Pure.

The kernel asks the tables of iptables-legacy beside nftables, which neither lists them nor tells of their changes. A rule is given
the same expressions as one of nftables; what is not understood here becomes one whose answer can't be said.
Source: iptables-save(8), iptables(8), iptables-extensions(8).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from helperd.forward_chains import ForeignBase, ForeignRule

_TARGETS = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "drop", "RETURN": "return", "QUEUE": "queue", "NFQUEUE": "queue"}
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|\S+')  # what is in quotes is a value, whatever it begins with
_UNSAID: dict[str, Any] = {"unsaid": None}
_LINKS = {"-i": "iifname", "-o": "oifname"}
_SIDES = {"-s": "saddr", "-d": "daddr"}
_STATES = ("--ctstate", "--state")
_PORTS = ("--dport", "--destination-port", "--dports", "--destination-ports")
_TYPES = {"--dst-type": "daddr", "--src-type": "saddr"}


def read(text: str, family: str, chain: str = "FORWARD") -> ForeignBase | None:
    """A base chain with all chains of its table; `family` is ip or ip6. None where the text has no such chain."""
    policies: dict[str, str] = {}
    lines: dict[str, list[str]] = {}
    for line in text.splitlines():
        words = line.split(maxsplit=2)
        if line.startswith(":") and len(words) > 1:
            policies[words[0][1:]] = words[1]
            lines[words[0][1:]] = []
        elif line.startswith("-A ") and len(words) > 1:
            lines.setdefault(words[1], []).append(line)
    if chain not in policies:
        return None
    chains = {name: tuple(ForeignRule(number, line, _expressions(line, family, policies)) for number, line in enumerate(found, 1))
              for name, found in lines.items()}
    return ForeignBase(family, "filter", chain, 0, policies[chain].lower(), chains, legacy=True, hook=chain.lower())


def _expressions(line: str, family: str, chains: dict[str, str]) -> tuple[dict[str, Any], ...]:
    words = _WORD.findall(line)[2:]
    found: list[dict[str, Any]] = []
    position = 0
    while position < len(words):
        negated = words[position] == "!"
        word, value = (*words[position + negated:position + negated + 2], "", "")[:2]
        value = value.strip('"')
        position += negated
        if word in ("-j", "-g"):
            return (*found, *_target(word, value, chains))
        position += 1 + _values(words[position + 1:])
        found += _match(word, value, "!=" if negated else "==", family)
    return tuple(found)


def _values(rest: Sequence[str]) -> int:
    """How many words behind an option are its values."""
    return next((number for number, word in enumerate(rest) if word == "!" or word.startswith("-")), len(rest))


def _target(word: str, name: str, chains: dict[str, str]) -> list[dict[str, Any]]:
    if name in chains:
        return [{"goto" if word == "-g" else "jump": {"target": name}}]
    return [{_TARGETS[name]: None}] if name in _TARGETS else []  # others change or log a packet, and it goes on


def _match(word: str, value: str, op: str, family: str) -> list[dict[str, Any]]:
    if word in _LINKS:
        name = value[:-1] + "*" if value.endswith("+") else value
        return [_compare({"meta": {"key": _LINKS[word]}}, op, name)]
    if word in _SIDES:
        return [_compare({"payload": {"protocol": family, "field": _SIDES[word]}}, op, value)]
    if word in _STATES:
        return [_compare({"ct": {"key": "state"}}, op, [item.lower() for item in value.split(",")])]
    if word in _TYPES:
        return [_compare({"fib": {"result": "type", "flags": [_TYPES[word]]}}, op, value.lower())] if word == "--dst-type" else [_UNSAID]
    if word == "-p":
        return [_compare({"meta": {"key": "l4proto"}}, op, value)]
    if word in _PORTS:
        return [_compare({"payload": {"protocol": "th", "field": "dport"}}, op, [_port(item) for item in value.split(",")])]
    if word == "--comment" or (word == "-m" and value in ("comment", "conntrack", "state", "addrtype", "tcp", "udp", "multiport")):
        return []
    return [_UNSAID]


def _port(text: str) -> Any:
    low, _, high = text.partition(":")
    numbers = [int(item) for item in (low, high or low) if item.isascii() and item.isdecimal()]
    return {"range": numbers} if len(numbers) == 2 else text


def _compare(left: dict[str, Any], op: str, right: Any) -> dict[str, Any]:
    return {"match": {"left": left, "op": op, "right": right}}
