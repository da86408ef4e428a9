"""/etc/netdeck/config.toml, read and checked as a whole. A missing file means the defaults; a wrong one stops the start.

Every value is checked by the function that checks the same value of a network. The keys: `helperd.configuration_keys`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from helperd.bridge_settings import BridgeSettings, check_bridge, rests_on
from helperd.configuration_keys import IN_POOL, IN_ROLES, KEYS, POOLS, ROLES, TOP
from helperd.docker_json import IN_TOML, SAME, as_docker, lines_of, words
from helperd.file_syntax import json_syntax, toml_syntax
from helperd.prefixes import parse_address, parse_prefix
from helperd.roles import Role, Roles
from helperd.subnets import Cut, check_usable
from helperd.toml_lines import key_lines
from protocol.errors import InvalidValue
from protocol.names import display_text, suggestion

LARGEST = 1 << 16  # bytes

_Path = tuple[str, ...]


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong in the file. `line` counts from 1, 0 where the whole file is meant; `key` is "" there too."""

    line: int
    key: str
    message: str

    def text(self, path: Path) -> str:
        """As compilers write it: ``FILE:LINE: key: message``."""
        where = f"{path}:{self.line}" if self.line else str(path)
        return ": ".join(filter(None, (where, self.key, self.message)))


class Configuration(msgspec.Struct, frozen=True):
    """What the file says. `dns` are the name servers for containers that have none of their own, () for the host's."""

    bridge: BridgeSettings = BridgeSettings()
    dns: tuple[str, ...] = ()
    pools: tuple[Cut, ...] = ()
    roles: dict[str, Any] = {}


class ConfigurationError(InvalidValue):
    """The file is wrong. `problems` has everything that is, in the order of the lines."""

    def __init__(self, path: Path, problems: list[Problem]) -> None:
        self.problems = problems
        count = "1 error" if len(problems) == 1 else f"{len(problems)} errors"
        super().__init__(f"{path} has {count}, so the helper does not start and nothing was changed: mend the file "
                         f"(netdeck config check {path})", field=str(path))
        self.lines = [problem.text(path) for problem in problems]


def read_configuration(path: Path) -> Configuration:
    """The configuration in the file, checked. Raises ConfigurationError."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return Configuration()
    except OSError as error:
        raise ConfigurationError(path, [Problem(0, "", f"can't be read: {error.strerror}")]) from error
    found, problems = parse_configuration(raw)
    if problems:
        raise ConfigurationError(path, problems)
    return found


def parse_configuration(raw: bytes) -> tuple[Configuration, list[Problem]]:
    """The configuration in `raw`, and everything that is wrong with it. Pure."""
    if len(raw) > LARGEST:
        return Configuration(), [Problem(0, "", f"has {len(raw)} bytes, expected at most {LARGEST}")]
    try:
        text = raw.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        return Configuration(), [Problem(raw.count(b"\n", 0, error.start) + 1, "", "is not UTF-8 text")]
    broken = json_syntax(text)
    if broken is not None:
        return Configuration(), [Problem(0, "", IN_TOML), Problem(broken[0], "", broken[1])]
    docker = as_docker(text)
    if docker is not None:
        reader = _Reader(lines_of(text))
        reader.read({name: value for name, value in docker.items() if name in SAME})
        wrong = {problem.key.partition(".")[0] for problem in reader.problems}
        for name, said in words(docker, wrong):
            reader.wrong((name,), said)
        return Configuration(), sorted(reader.problems, key=lambda problem: problem.line)
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        return Configuration(), [Problem(line, "", said) for line, said in [toml_syntax(str(error), text)]]
    reader = _Reader(key_lines(text))
    configuration = reader.read(data)
    return configuration, sorted(reader.problems, key=lambda problem: problem.line)


class _Reader:
    """Goes through the file once and notes what is wrong."""

    def __init__(self, lines: Mapping[_Path, int]) -> None:
        self._lines = lines
        self.problems: list[Problem] = []

    def wrong(self, path: _Path, message: str) -> None:
        at = path
        while at and at not in self._lines:
            at = at[:-1]
        key = display_text(".".join(part for part in path if not part.isdecimal()) if path[0] == POOLS else ".".join(path))
        for begin in (path[-1], f"option {path[-1]}", ".".join(path[:-1])):  # the line begins with the key already
            message = re.sub(rf"\A{re.escape(begin)}(?:: | (?='))", "", message) if begin else message
            message = re.sub(rf"\A{re.escape(begin)}=(?P<value>[^ :]+): ", r"is \g<value>, ", message)
        problem = Problem(self._lines.get(at, 0), key, message)
        if problem not in self.problems:
            self.problems.append(problem)

    def attempt(self, path: _Path, function: Callable[[], Any]) -> Any:
        """What `function` returns, or None and a problem at `path`."""
        try:
            return function()
        except InvalidValue as error:
            self.wrong(path, error.message)
            return None

    def read(self, data: Mapping[str, Any]) -> Configuration:
        for name in data:
            if name in ("default-bridge", "bridge") and isinstance(data[name], dict):
                self.wrong((name,), "is no table: the keys of the network bridge (bip, fixed-cidr, mtu …) stand at the top of the file")
            elif name not in TOP:
                self.wrong((name,), f"is not known{suggestion(name, TOP) or ': known are ' + ', '.join(TOP)}")
        values = {name: self._value((name,), kind, data[name]) for (name, *rest), kind in _kinds() if not rest and name in data}
        pools = self._pools(data.get(POOLS, []))
        dns = values.pop("dns", None) or ()
        settings = BridgeSettings(**{name.replace("-", "_"): value for name, value in values.items() if value is not None})
        bad = {name for name, value in values.items() if value is None}
        for key, message in check_bridge(settings):
            if not bad & set(rests_on(key)):
                self.wrong((key,), message)
        return Configuration(settings, tuple(dns), pools, self._roles(data.get(ROLES, {})))

    def _value(self, path: _Path, kind: str, value: Any) -> Any:
        """`value` if it is of `kind`, else None and a problem."""
        wanted, words = _TYPES[kind]
        if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is int):
            self.wrong(path, f"is {_shown(value)}, expected {words}")
            return None
        given: Any = value
        match kind:
            case "address":
                return self.attempt(path, lambda: str(parse_address(given, path[-1])))
            case "prefix":
                return self.attempt(path, lambda: str(parse_prefix(given, path[-1])))
            case "interface":
                return value if self.attempt(path, lambda: parse_interface(given, path[-1])) else None
            case "addresses":
                return self._addresses(path, given)
            case _:
                return value

    def _addresses(self, path: _Path, values: list[Any]) -> tuple[str, ...] | None:
        found = [self._value(path, "address", value) for value in values]
        for place, value in enumerate(found):
            if value is not None and value in found[:place]:
                self.wrong(path, f"has {value} twice")
        return None if None in found else tuple(found)

    def _pools(self, tables: Any) -> tuple[Cut, ...]:
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            self.wrong((POOLS,), f"is {_shown(tables)}, expected tables [[{POOLS}]], in two brackets, each with base and size")
            return ()
        found: list[Cut] = []
        for number, table in enumerate(tables):
            at = (POOLS, str(number))
            for name in table:
                if name not in IN_POOL:
                    self.wrong((*at, name), f"is not known{suggestion(name, IN_POOL)}")
            for name in IN_POOL:
                if name not in table:
                    self.wrong((*at, name), "is missing: a pool needs base and size")
            base = self._value((*at, "base"), "prefix", table["base"]) if "base" in table else None
            size = self._value((*at, "size"), "int", table["size"]) if "size" in table else None
            if base is not None and size is not None:
                cut = self.attempt((*at, "base"), partial(self._cut, at, base, size))
                other = next((item for item in found if cut is not None and item.base.overlaps(cut.base)), None)
                if other is not None:
                    self.wrong((*at, "base"), f"{base} overlaps the pool {other.base}")
                elif cut is not None:
                    found.append(cut)
        return tuple(found)

    def _cut(self, at: _Path, base: str, size: int) -> Cut | None:
        network = parse_prefix(base, "base")
        check_usable(network)
        if not network.prefixlen <= size < network.max_prefixlen:
            self.wrong((*at, "size"), f"is {size}, expected a prefix length from {network.prefixlen} (that of the base {base}) to "
                                      f"{network.max_prefixlen - 1}")
            return None
        return Cut(network, size)

    def _roles(self, roles: Any) -> dict[str, Any]:
        if not isinstance(roles, dict):
            self.wrong((ROLES,), f"is {_shown(roles)}, expected a table [roles]")
            return {}
        for name, value in roles.items():
            path = (ROLES, name)
            if name in TOP:
                self.wrong(path, f"is a key of the top level: move it above the line [{ROLES}]")
            elif name not in IN_ROLES:
                self.wrong(path, f"is not known{suggestion(name, IN_ROLES)}: [{ROLES}] has default = \"view\", "
                                 "uids = { 1000 = \"operate\" } and groups = { netops = \"admin\" }")
            elif name == "default":
                self.attempt(path, partial(Role.from_word, value))
            elif not isinstance(value, dict):
                self.wrong(path, f"is {_shown(value)}, expected a table like {{ {'1000' if name == 'uids' else 'netops'} = \"view\" }}")
            else:
                for who, word in value.items():
                    self.attempt((*path, who), partial(Roles.from_config, {name: {who: word}}))
        return dict(roles)


def parse_interface(text: str, field: str) -> str:
    """`text` as an address with its prefix length. Raises InvalidValue."""
    address, slash, length = text.partition("/")
    parsed = parse_address(address, field) if slash else None
    if parsed is None or not (length.isascii() and length.isdecimal() and int(length) <= parsed.max_prefixlen):
        raise InvalidValue(f"{field} {display_text(text)!r} is not an address with its prefix length: expected one like 10.1.0.1/24 or "
                           "fd00:1::1/64", field=field, value=display_text(text))
    return f"{parsed}/{int(length)}"


def _kinds() -> list[tuple[_Path, str]]:
    return [(key.path, key.kind) for key in KEYS]


_TYPES: dict[str, tuple[type, str]] = {
    "bool": (bool, "true or false, without quotes"),
    "int": (int, "a whole number, without quotes"),
    "text": (str, "a text in quotes"),
    "address": (str, 'an address in quotes, like "10.1.0.1"'),
    "prefix": (str, 'a prefix in quotes, like "10.1.0.0/24"'),
    "interface": (str, 'an address with its prefix length in quotes, like "10.1.0.1/24"'),
    "addresses": (list, 'a list of addresses, like ["192.0.2.53"]'),
    "table": (dict, "a table"),
}


def _shown(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case dict():
            return "a table"
        case list():
            return "a list"
        case None:
            return "null"
        case str():
            return f"the text {display_text(value)[:64]!r}"
        case _:
            return display_text(str(value))[:64]
