"""Docker's daemon.json, taken for netdeck's file: which of its keys there are here too, and how they are written. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from helperd.configuration_keys import POOLS, ROLES, TOP
from protocol.names import display_text, suggestion

SAME: Final = tuple(name for name in TOP if name != ROLES)
IN_TOML: Final = ("is JSON, as docker's daemon.json is: netdeck's file is TOML, with docker's names for what both have "
                  f"({', '.join(SAME)}), written NAME = VALUE, a line each")
_PER_CONTAINER: Final = "is chosen for each container: netdeck run --dns-search, --dns-option"
_BY_ITSELF: Final = "has no key here: netdeck has a table of its own, and netdeck doctor says what else stands in the way"
_ELSEWHERE: Final[Mapping[str, str]] = {
    "dns-search": _PER_CONTAINER, "dns-opts": _PER_CONTAINER,
    "iptables": _BY_ITSELF, "ip6tables": _BY_ITSELF, "ip-forward": _BY_ITSELF, "firewall-backend": _BY_ITSELF,
    "ip": "is chosen for each network: -o host_binding_ipv4=ADDRESS",
    "default-network-opts": "is chosen for each network: netdeck network create -o KEY=VALUE",
    "bridge": "has no key here: the network bridge has the link netdeck0",
    "userland-proxy": "has no key here: what the kernel can't lead to a container is always carried by a process without privilege",
    "hosts": "has no key here: netdeck --socket PATH helper chooses the socket",
    "group": 'is written under [roles]: groups = { GROUP = "admin" }',
}


def as_docker(text: str) -> dict[str, Any] | None:
    """The keys of a file that is JSON, as docker's is; None where it is none."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def lines_of(text: str) -> dict[tuple[str, ...], int]:
    """The line of the first place where each key stands."""
    found: dict[tuple[str, ...], int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        for name in re.findall(r'"((?:[^"\\]|\\.)*)"\s*:', line):
            found.setdefault((name,), number)
    return found


def words(data: Mapping[str, Any], wrong: Collection[str]) -> Iterator[tuple[str, str]]:
    """(key, what is said of it) of each key; "" is the whole file. Of what is `wrong` it is said elsewhere, and nothing to copy."""
    yield "", IN_TOML
    for name, value in data.items():
        if name in wrong:
            continue
        if name in SAME:
            yield name, f"is a key here too, written: {toml(name, value)}"
        else:
            near = suggestion(name, SAME)
            unknown = f"is not known{near}" if near else "has no key here: it is about what docker alone has. Leave it out"
            yield name, _ELSEWHERE.get(name, unknown)


def toml(name: str, value: Any) -> str:
    """A key of ours with a value out of JSON, as it is written in TOML."""
    if name == POOLS and isinstance(value, list):
        tables = [[f"{key} = {_value(item)}" for key, item in pool.items()] for pool in value if isinstance(pool, dict)]
        return f"{POOLS} = [{', '.join('{ ' + ', '.join(table) + ' }' for table in tables)}]"
    return f"{name} = {_value(value)}"


def _value(value: Any) -> str:
    return display_text(json.dumps(value))  # numbers, texts, lists of them and true are written the same
