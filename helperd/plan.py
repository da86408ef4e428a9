"""plan(desired, observed) → steps, each with its inverse. Pure.

The same function makes the plan of a change, of its undo, of recovery and of a repair: only what is put in as observed
differs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from drivers.objects import HOST, AnyObject, Jump, Key, Object, PortVlans, Route, Uplink, Veth

Action = Literal["create", "change", "delete"]


class Step(msgspec.Struct, frozen=True):
    """One change of one kernel object. `before` is what a `change` replaces; for the others it is None. `along` is what
    the `delete` of a link takes with it, in order of making."""

    action: Action
    object: AnyObject
    before: AnyObject | None = None
    along: tuple[AnyObject, ...] = ()


def inverse(step: Step) -> tuple[Step, ...]:
    """The steps that take `step` back: one, but for a link that took other things along."""
    match step.action:
        case "create":
            return (Step("delete", step.object),)
        case "delete":
            return tuple(Step("create", item) for item in (step.object, *step.along))
        case "change":
            if step.before is None:
                raise ValueError("a change without what it replaces has no inverse")
            return (Step("change", step.before, step.object),)


def undo(done: Sequence[Step]) -> tuple[Step, ...]:
    """The steps that take `done` back, last first."""
    return tuple(back for step in reversed(done) for back in inverse(step))


def index(objects: Iterable[AnyObject]) -> dict[Key, AnyObject]:
    """Objects by key. Two different objects with one key are a fault of a driver: ValueError."""
    found: dict[Key, AnyObject] = {}
    for item in objects:
        known = found.setdefault(item.key, item)
        if known != item:
            raise ValueError(f"two objects claim {item.key}: {known} and {item}")
    return found


def first_routes(objects: Iterable[AnyObject]) -> tuple[list[AnyObject], list[Route]]:
    """`objects` with one route for each destination of the host, the first, and those that go without: two networks may have come to
    hold one address, and to refuse all would help neither."""
    kept: list[AnyObject] = []
    doubled: list[Route] = []
    known: dict[Key, Route] = {}
    for item in objects:
        if isinstance(item, Route) and item.place == HOST and known.setdefault(item.key, item) != item:
            doubled.append(item)
        else:
            kept.append(item)
    return kept, doubled


def plan(desired: Iterable[AnyObject], observed: Iterable[AnyObject]) -> tuple[Step, ...]:
    """The steps that lead from `observed` to `desired`.

    What goes is taken away first, in reverse order of making; then what differs is changed and what is missing made, in
    order of making. An object on a link that goes in the same plan is not taken away by itself: it goes with its link.
    A link that has to be made anew takes what is on it along, so that is made again too. Ports of a bridge that goes
    are let go before. A port that leaves its bridge, be it for another, loses its VLANs: they are taken away before all else.
    """
    want, have = index(desired), index(observed)
    remade = {key for key, item in want.items()
              if key in have and have[key] != item and not _changeable(have[key], item)}
    going = {key: item for key, item in have.items() if key not in want or key in remade}
    # A link that goes with another takes along in its turn what is on it.
    taker: dict[tuple[str, str], Key] = {}
    for key, item in sorted(going.items(), key=lambda pair: _order(pair[1])):
        if _is_link(item):
            taken_by = taker.get(item.on, key) if item.on is not None else key
            taker |= dict.fromkeys((_link_id(item), *_other_ends(item)), taken_by)
    for item in sorted(have.values(), key=_order):
        if _is_link(item) and item.on in taker:
            taker |= dict.fromkeys((_link_id(item), *_other_ends(item)), taker[item.on])
    going |= {key: item for key, item in have.items() if isinstance(item, Uplink) and (item.place, item.master) in taker}
    along: dict[Key, list[AnyObject]] = {}
    lost: set[Key] = set()
    for key, item in have.items():
        if item.on is not None and item.on in taker:
            along.setdefault(taker[item.on], []).append(item)
            lost.add(key)
    let_go = {key: msgspec.structs.replace(item, master="") for key, item in have.items()
              if isinstance(item, Veth) and key not in going and (item.place, item.master) in taker}
    leaving = {(item.place, item.name) for key, item in have.items() if isinstance(item, Veth) and key not in going
               and (key in let_go or getattr(want[key], "master", "") != item.master)}
    leaving |= {(item.place, item.link) for item in going.values() if isinstance(item, Uplink)}
    bare = {key: item for key, item in have.items() if isinstance(item, PortVlans) and item.on in leaving and key not in lost}
    now = {key: item for key, item in {**have, **let_go}.items() if not (key in going or key in lost or key in bare)}

    steps = [Step("delete", item) for _, item in sorted(bare.items())]
    steps += [Step("change", item, have[key]) for key, item in sorted(let_go.items())]
    for item in sorted((item for key, item in going.items() if not (key in lost or key in bare)), key=_order, reverse=True):
        steps.append(Step("delete", item, along=tuple(sorted(along.get(item.key, ()), key=_order))))
    for item in sorted(want.values(), key=_order):
        if item.key not in now:
            steps.append(Step("create", item))
        elif now[item.key] != item:
            steps.append(Step("change", item, now[item.key]))
    return tuple(steps)


def _order(item: AnyObject) -> tuple[int, Key]:
    return item.rank, item.key


def _is_link(item: Object) -> bool:
    return item.key[0] == "link"


def _link_id(item: AnyObject) -> tuple[str, str]:
    return item.place, item.key[2]


def _other_ends(item: AnyObject) -> tuple[tuple[str, str], ...]:
    peer_place, peer_name = getattr(item, "peer_place", None), getattr(item, "peer_name", None)
    return ((peer_place, peer_name),) if peer_place and peer_name else ()


# Fields of a link that the kernel lets us change while it carries traffic; any other difference means a new link.
_CHANGEABLE: dict[str, frozenset[str]] = {
    "bridge": frozenset({"mtu", "alias"}),
    "veth": frozenset({"mtu", "alias", "isolated", "hairpin", "master"}),
    "dummy": frozenset({"mtu", "alias"}),
    "vlan": frozenset({"alias"}),
    "macvlan": frozenset({"mtu", "alias", "mac"}),
    "ipvlan": frozenset({"mtu", "alias"}),
}


def _changeable(old: AnyObject, new: AnyObject) -> bool:
    if type(old) is not type(new):
        return False
    if not _is_link(new):
        # A jump holds its old chain, which may go in the same plan; a port of another bridge is let go first.
        return not isinstance(new, Jump) and getattr(old, "master", "") == getattr(new, "master", "")
    allowed = _CHANGEABLE.get(str(type(new).__struct_config__.tag), frozenset())
    return all(getattr(old, name) == getattr(new, name) for name in new.__struct_fields__ if name not in allowed)
