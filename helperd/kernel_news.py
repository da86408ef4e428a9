"""What a change in the kernel's objects means, in a line for people. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from protocol.model import Address, Link, Model, Neighbour, Route, Rule
from protocol.names import display_text

_IFF_UP, _IFF_LOWER_UP = 0x1, 0x10000  # linux/if.h
_TABLES: Mapping[int, str] = {253: "default", 254: "main", 255: "local"}

LinkName = Callable[[int], str]


class News(NamedTuple):
    """The parts of a log entry that the object itself gives."""

    kind: str
    action: str
    subject: str
    text: str = ""
    level: str = "info"


def link_is_up(link: Link) -> bool:
    """Whether a link is switched on and has a carrier."""
    return link.flags & (_IFF_UP | _IFF_LOWER_UP) == _IFF_UP | _IFF_LOWER_UP


def news(before: Model | None, after: Model | None, link_name: LinkName) -> list[News]:
    """Say what happened to an object that was `before` and is `after` (None: there was, or is, none).

    `link_name` gives the name of the link with an index in the same namespace. Empty where nobody wants to read of it.
    """
    subject = after if after is not None else before
    teller = _TELLERS.get(type(subject))
    return [] if teller is None else teller(before, after, link_name)


def _link(before: Model | None, after: Model | None, link_name: LinkName) -> list[News]:
    if not isinstance(after, Link):
        assert isinstance(before, Link)
        return [News("link", "gone", display_text(before.name), before.kind)]
    name = display_text(after.name)
    if not isinstance(before, Link):
        return [News("link", "new", name, " ".join(filter(None, (after.kind, f"mtu {after.mtu}"))))]
    told: list[News] = []
    changes = []
    if before.name != after.name:
        changes.append(f"was {display_text(before.name)}")
    for word, old, new in (("mtu", before.mtu, after.mtu), ("mac", before.mac, after.mac)):
        if old != new:
            changes.append(f"{word} {old} → {new}")
    if before.master != after.master:
        changes.append(f"master {link_name(after.master)}" if after.master else f"left {link_name(before.master)}")
    if changes:
        told.append(News("link", "changed", name, ", ".join(changes)))
    if link_is_up(before) != link_is_up(after):
        if link_is_up(after):
            told.append(News("link", "up", name))
        else:
            why = "no carrier" if after.flags & _IFF_UP else "switched off"
            told.append(News("link", "down", name, why, "notice"))
    return told


def _address(before: Model | None, after: Model | None, link_name: LinkName) -> list[News]:
    if before is not None and after is not None:
        return []
    subject = after if after is not None else before
    assert isinstance(subject, Address)
    action = "gone" if after is None else "new"
    return [News("address", action, subject.address, f"on {link_name(subject.ifindex)}")]


def _route(before: Model | None, after: Model | None, link_name: LinkName) -> list[News]:
    if before is not None and after is not None:
        return []
    subject = after if after is not None else before
    assert isinstance(subject, Route)
    words = [] if subject.kind == "unicast" else [subject.kind]
    if subject.gateway:
        words.append(f"via {subject.gateway}")
    if subject.ifindex:
        words.append(f"dev {link_name(subject.ifindex)}")
    if subject.table != 254:
        words.append(f"table {_TABLES.get(subject.table, subject.table)}")
    level = "notice" if after is None and subject.destination == "default" else "info"
    return [News("route", "gone" if after is None else "new", subject.destination, " ".join(words), level)]


def _neighbour(before: Model | None, after: Model | None, link_name: LinkName) -> list[News]:
    if not isinstance(after, Neighbour) or after.state != "failed":
        return []
    if isinstance(before, Neighbour) and before.state == "failed":
        return []
    return [News("neighbour", "failed", after.address, f"no answer on {link_name(after.ifindex)}", "warning")]


def _rule(before: Model | None, after: Model | None, link_name: LinkName) -> list[News]:
    if before is not None and after is not None:
        return []
    subject = after if after is not None else before
    assert isinstance(subject, Rule)
    text = subject.action
    if subject.action == "lookup":
        text = f"lookup {_TABLES.get(subject.table, subject.table)}"
    selector = display_text(subject.selector)
    return [News("rule", "gone" if after is None else "new", f"{subject.priority}: {selector}", text)]


_Teller = Callable[[Model | None, Model | None, LinkName], list[News]]
_TELLERS: Mapping[type[Model | None], _Teller] = {
    Link: _link, Address: _address, Route: _route, Neighbour: _neighbour, Rule: _rule,
}
