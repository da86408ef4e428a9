"""Published ports as people write and read them: docker's ``-p`` in both forms, and the ports column. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from protocol.errors import InvalidValue
from protocol.model import Port
from protocol.names import display_text, suggestion

PROTOCOLS = ("tcp", "udp", "sctp")
EVERYWHERE: dict[int, str] = {4: "0.0.0.0", 6: "::"}
MOST = 4096  # ports that one container can have published
_RANGE = re.compile(r"\A([0-9]{1,9})(?:-([0-9]{1,9}))?\Z")
_SHORT = "[HOST-ADDRESS:][HOST-PORT:]PORT[/PROTOCOL]"
_LONG = ("published", "target", "protocol", "host_ip", "mode")
_BROADCAST = ipaddress.ip_address("255.255.255.255")


class PortWish(msgspec.Struct, frozen=True):
    """One port of a container that shall be published.

    `host` is an address of the host, "" for the network's default. `host_ports` is the first and the last of the host's ports to
    choose from, None for any that is free.
    """

    protocol: str
    port: int
    host: str = ""
    host_ports: tuple[int, int] | None = None


def parse_publish(spec: str) -> tuple[PortWish, ...]:
    """What a ``-p`` asks for: ``8080:80/udp``, ``[::1]:8080:80``, ``8000-8010:80-90``, ``80``, or the long form
    ``published=8080,target=80,protocol=udp,host_ip=192.0.2.1``. Raises InvalidValue."""
    host, outer, inner, protocol = _long(spec) if "=" in spec else _short(spec)
    first, last = _range(inner, spec, "container")
    count = last - first + 1
    address = _address(host, spec)
    if not outer:
        wishes = [PortWish(protocol, first + step, address) for step in range(min(count, MOST + 1))]
    else:
        low, high = _range(outer, spec, "host")
        if count == 1:
            wishes = [PortWish(protocol, first, address, (low, high))]
        elif high - low + 1 != count:
            raise _wrong(spec, f"the host's range {outer} has {high - low + 1} ports and the container's {inner} has {count}: "
                               "give both the same number")
        else:
            wishes = [PortWish(protocol, first + step, address, (low + step, low + step))
                      for step in range(min(count, MOST + 1))]
    if len(wishes) > MOST:
        raise _wrong(spec, f"{count} ports are too many: at most {MOST} can be published for a container")
    return tuple(wishes)


def parse_all(specs: Iterable[str]) -> tuple[PortWish, ...]:
    """All that several ``-p`` ask for. Raises InvalidValue."""
    wishes: list[PortWish] = []
    for spec in specs:
        wishes += parse_publish(spec)
        if len(wishes) > MOST:
            raise _wrong(spec, f"with the others it makes more than {MOST} ports, which is the most for a container")
    return tuple(wishes)


def parse_expose(spec: str) -> tuple[PortWish, ...]:
    """What an ``--expose`` names, each port for any port of the host: ``80``, ``53/udp``, ``8000-8010``. Raises InvalidValue."""
    if any(char in spec for char in ":=["):
        raise InvalidValue(f"exposed port {display_text(spec)!r}: expected PORT[/PROTOCOL]", field="expose", value=display_text(spec))
    return parse_publish(spec)


def private_port(spec: str) -> tuple[int, str]:
    """(port, protocol) of the ``80/tcp`` that ``netdeck port`` takes. Raises InvalidValue."""
    wishes = parse_expose(spec)
    if len(wishes) != 1:
        raise _wrong(spec, "expected one port")
    return wishes[0].port, wishes[0].protocol


def _wrong(spec: str, why: str) -> InvalidValue:
    shown = display_text(spec[:200])
    return InvalidValue(f"port {shown!r}: {why}", field="publish", value=shown)


def _short(spec: str) -> tuple[str, str, str, str]:
    body, slash, protocol = spec.rpartition("/")
    if not slash:
        body, protocol = spec, "tcp"
    host = ""
    if body.startswith("["):
        host, bracket, body = body[1:].partition("]")
        if not bracket or not body.startswith(":"):
            raise _wrong(spec, f"expected {_SHORT} with a v6 address in [ ]")
        parts = ["", *body[1:].split(":")]
        if len(parts) != 3:
            raise _wrong(spec, "expected [HOST-ADDRESS]:HOST-PORT:PORT, or [HOST-ADDRESS]::PORT for any port of the host")
        return host, parts[1], parts[2], _protocol(protocol, spec)
    parts = body.split(":")
    if len(parts) > 3:
        raise _wrong(spec, f"expected {_SHORT}, a v6 address in [ ]")
    if len(parts) == 3:
        host = parts.pop(0)
        if not host:
            raise _wrong(spec, f"expected {_SHORT}")
    return host, parts[0] if len(parts) == 2 else "", parts[-1], _protocol(protocol, spec)


def _long(spec: str) -> tuple[str, str, str, str]:
    found: dict[str, str] = {}
    for field in spec.split(","):
        name, _, value = field.partition("=")
        if name not in _LONG:
            raise _wrong(spec, f"no field {display_text(name)!r}{suggestion(name, _LONG)}: known are {', '.join(_LONG)}")
        if name in found:
            raise _wrong(spec, f"the field {name} is given twice")
        if not value:
            raise _wrong(spec, f"the field {name} has no value")
        found[name] = value
    if found.get("mode", "host") not in ("host", "ingress"):
        raise _wrong(spec, f"mode {display_text(found['mode'])!r} is not known: expected host or ingress")
    if "target" not in found:
        raise _wrong(spec, "the field target is missing: it is the container's port")
    host = found.get("host_ip", "")
    return host.removeprefix("[").removesuffix("]"), found.get("published", ""), found["target"], _protocol(
        found.get("protocol", "tcp"), spec)


def _protocol(word: str, spec: str) -> str:
    name = word.lower()
    if name not in PROTOCOLS:
        raise _wrong(spec, f"protocol {display_text(word)!r} is not known{suggestion(name, PROTOCOLS)}: "
                           f"expected {', '.join(PROTOCOLS[:-1])} or {PROTOCOLS[-1]}")
    return name


def _range(text: str, spec: str, whose: str) -> tuple[int, int]:
    found = _RANGE.match(text)
    if found is None:
        raise _wrong(spec, f"the {whose}'s port {display_text(text)!r} is not a number or a range: expected {_SHORT}")
    first, last = int(found[1]), int(found[2] or found[1])
    for number in (first, last):
        if not 1 <= number <= 65535:
            raise _wrong(spec, f"the {whose}'s port {number} does not exist: expected 1 to 65535")
    if last < first:
        raise _wrong(spec, f"the {whose}'s range {display_text(text)} ends before it begins")
    return first, last


def _address(text: str, spec: str) -> str:
    if not text:
        return ""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise _wrong(spec, f"{display_text(text)!r} is not an IP address of this host") from None
    if getattr(address, "scope_id", None) or address.is_link_local:
        raise _wrong(spec, f"{address} is a link-local address, which means nothing without its link: give another, or none")
    if address.is_multicast or address == _BROADCAST or getattr(address, "ipv4_mapped", None):
        raise _wrong(spec, f"{address} is not an address that a port can be published on")
    return str(address)


# Reading


def host_text(port: Port) -> str:
    """The host's side: ``0.0.0.0:8080``, ``[::]:8080``."""
    return f"[{port.host}]:{port.host_port}" if ":" in port.host else f"{port.host}:{port.host_port}"


def port_text(port: Port) -> str:
    """One published port: ``0.0.0.0:8080->80/tcp``."""
    return f"{host_text(port)}->{port.port}/{port.protocol}"


def exact(port: Port) -> str:
    """What names this port and no other, as after ``-p``: ``0.0.0.0:8080:80/tcp``."""
    return f"{host_text(port)}:{port.port}/{port.protocol}"


def order(port: Port) -> tuple[int, str, bool, str, int]:
    """By container port and protocol, then v4 before v6: the order in which ports are listed."""
    return port.port, port.protocol, ":" in port.host, port.host, port.host_port


def summary(ports: Iterable[Port], exposed: Sequence[str] = ()) -> str:
    """The ports column, neighbours drawn together: ``0.0.0.0:8000-8002->80-82/tcp, [::]:53->53/udp, 9/tcp``."""
    listed = list(ports)
    words = [f"{host_text(first)}{more[0]}->{first.port}{more[1]}/{first.protocol}" for first, more in _runs(listed)]
    published = {f"{item.port}/{item.protocol}" for item in listed}
    return ", ".join((*words, *(item for item in exposed if item not in published)))


def exact_ranges(ports: Iterable[Port]) -> tuple[str, ...]:
    """What names these ports and no others, as after ``-p``, neighbours drawn together."""
    return tuple(f"{host_text(first)}{more[0]}:{first.port}{more[1]}/{first.protocol}" for first, more in _runs(ports))


def _runs(ports: Iterable[Port]) -> Iterator[tuple[Port, tuple[str, str]]]:
    """Neighbours together: the first, and what ends the range of the host's ports and of the container's, "" where it is alone."""
    listed = sorted(ports, key=lambda item: (":" in item.host, item.host, item.protocol, item.port, item.host_port))
    number = 0
    while number < len(listed):
        first = last = listed[number]
        number += 1
        while number < len(listed) and _follows(last, listed[number]):
            last = listed[number]
            number += 1
        yield first, ((f"-{last.host_port}", f"-{last.port}") if last != first else ("", ""))


def _follows(one: Port, other: Port) -> bool:
    return (other.host, other.protocol, other.port, other.host_port) == (one.host, one.protocol, one.port + 1, one.host_port + 1)
