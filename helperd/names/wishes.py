"""What is asked for with `--dns`, `--dns-search`, `--dns-option` and `--add-host`: checked, and as a container's record holds it. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Any

from protocol.errors import InvalidValue
from protocol.model import Network
from protocol.names import display_text
from protocol.requests import ContainerRun

_DOMAIN = re.compile(r"\A[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?\.?\Z")
_OPTION = re.compile(r"\A[A-Za-z][A-Za-z0-9-]{0,31}(:[0-9]{1,4})?\Z")
HOST_GATEWAY = "host-gateway"
_CALLED = {"dns": "name server", "dns_search": "search domain", "dns_options": "resolver option", "extra_hosts": "host entry"}


def name_fields(request: ContainerRun, networks: Iterable[Network]) -> dict[str, Any]:
    """The fields of the container. `networks` are all there are, for ``host-gateway``. Raises InvalidValue."""
    option = "an option of resolv.conf(5), like ndots:2"
    return {
        "dns": tuple(_address(item, "dns") for item in request.dns),
        "dns_search": tuple(item if item == "." else _word(_DOMAIN, item, "dns_search", "a domain") for item in request.dns_search),
        "dns_options": tuple(_word(_OPTION, item, "dns_options", option) for item in request.dns_options),
        "extra_hosts": tuple(line for item in request.extra_hosts for line in _host(item, networks)),
    }


def _address(value: str, field: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        shown = display_text(value)
        raise InvalidValue(f"{_CALLED[field]} {shown!r} is not allowed: expected an IPv4 or IPv6 address", field=field, value=shown,
                           expected="an IPv4 or IPv6 address") from None


def _word(pattern: re.Pattern[str], value: str, field: str, expected: str) -> str:
    if pattern.match(value):
        return value
    shown = display_text(value)
    raise InvalidValue(f"{_CALLED[field]} {shown!r} is not allowed: expected {expected}", field=field, value=shown, expected=expected)


def _host(item: str, networks: Iterable[Network]) -> list[str]:
    """``NAME:ADDRESS``, ``NAME=ADDRESS``; an IPv6 address may stand in brackets, as docker has it."""
    cut = min((place for place in (item.find("="), item.find(":")) if place >= 0), default=-1)
    name, address = (item[:cut], item[cut + 1:]) if cut > 0 else (item, "")
    _word(_DOMAIN, name if address else item, "extra_hosts", "NAME:ADDRESS or NAME=ADDRESS")
    if not address:
        raise InvalidValue(f"host entry {display_text(item)!r} has no address: expected NAME:ADDRESS or NAME=ADDRESS", field="extra_hosts",
                           value=display_text(item), expected="NAME:ADDRESS or NAME=ADDRESS")
    if address == HOST_GATEWAY:
        bridge = next((network for network in networks if network.predefined and network.driver == "bridge"), None)
        found = [subnet.gateway for subnet in bridge.subnets if subnet.gateway is not None] if bridge is not None else []
        if not found:
            raise InvalidValue(f"host entry {display_text(item)!r}: the default bridge has no address that could be the host's",
                               field="extra_hosts", value=display_text(item))
        return [f"{name}:{gateway}" for gateway in found]
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    return [f"{name}:{_address(address, 'extra_hosts')}"]
