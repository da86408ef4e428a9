"""``run --network`` in docker's long form: ``name=web,ip=10.20.0.50,alias=db`` (docker run(1), ``--network``). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from protocol.errors import InvalidValue
from protocol.names import display_text, suggestion

_KNOWN: Final = ("name", "ip", "ip6", "mac-address", "alias")
ROUTE_CHOICE: Final = "the default route is by a network that leads outside: one with both families before others, then by name"
_NOT_OURS: Final[Mapping[str, str]] = {
    "driver-opt": "options belong to the network: netdeck network create -o",
    "gw-priority": ROUTE_CHOICE,
    "link-local-ip": "ip and ip6 choose addresses of the network",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for of networks: their names, and the addresses on the first of them."""

    networks: tuple[str, ...]
    ip: str | None
    ip6: str | None
    mac_address: str | None
    aliases: tuple[str, ...]


def spelled_out(asked: Asked) -> Asked:
    """`asked` with each network in the long form taken apart. Raises InvalidValue for what can't be, or is chosen twice."""
    return _merged(asked, [_parts(word) if "=" in word else [("name", word)] for word in asked.networks])


def _parts(word: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    shown = display_text(word)
    for part in word.split(","):
        key, _, value = part.partition("=")
        if key in _NOT_OURS:
            raise InvalidValue(f"--network {shown}: there is no {key}: {_NOT_OURS[key]}", field="networks", value=shown)
        if key not in _KNOWN or not value:
            hint = "" if key in _KNOWN else suggestion(key, _KNOWN)
            raise InvalidValue(f"--network {shown}: {display_text(part)!r} is not understood{hint}: expected KEY=VALUE,… with "
                               f"{', '.join(_KNOWN)}", field="networks", value=shown)
        if key != "alias" and key in dict(found):
            raise InvalidValue(f"--network {shown}: {key} is given twice", field="networks", value=shown)
        found.append((key, value))
    if "name" not in dict(found):
        raise InvalidValue(f"--network {shown} names no network: expected name=NET", field="networks", value=shown)
    return found


def _merged(asked: Asked, networks: Sequence[Sequence[tuple[str, str]]]) -> Asked:
    done = replace(asked, networks=tuple(dict(parts)["name"] for parts in networks))
    for index, parts in enumerate(networks):
        for key, value in parts:
            name = display_text(dict(parts)["name"])
            if key != "name" and (index > 0 or (key == "alias" and len(networks) > 1)):
                raise InvalidValue(f"--network name={name},{key}=…: with several networks "
                                   + ("an alias holds in all of them (--network-alias)" if key == "alias" else
                                      "only the first can be given addresses")
                                   + f". Leave {name} out, and connect it afterwards: netdeck network connect --{key} "
                                   f"{display_text(value)} {name} CONTAINER", field="networks", value=name)
            if key == "alias":
                done = replace(done, aliases=(*done.aliases, value))
            elif key != "name":
                done = _with_address(done, key, value)
    return done


def _with_address(asked: Asked, key: str, value: str) -> Asked:
    given = {"ip": asked.ip, "ip6": asked.ip6, "mac-address": asked.mac_address}
    if given[key] is not None:
        raise InvalidValue(f"{key} is given by --{key} and by --network name=…,{key}=…: give it once", field="networks",
                           value=display_text(value))
    given[key] = value
    return replace(asked, ip=given["ip"], ip6=given["ip6"], mac_address=given["mac-address"])
