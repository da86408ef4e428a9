"""Steps that make, change and delete links.

A link is made without its alias (the kernel takes none at creation), so its mark is complete only after a second request:
a link of our group without an alias is one that a helper made when it was killed, and counts as ours.
"""

from __future__ import annotations

import contextlib
import errno
import random
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from drivers.objects import LINK_GROUP, Bridge, Dummy, Veth, Vlan
from helperd.kernel.link_messages import (
    delete_group,
    delete_link,
    new_bridge,
    new_dummy,
    new_veth,
    new_vlan,
    set_link,
    set_port,
)
from helperd.kernel.link_state import LinkState, all_links, index_of, read_link
from helperd.kernel.netlink_batch import Refusal, exchange, one
from helperd.kernel.open_places import OpenPlaces
from helperd.kernel.step_errors import RunFailed, doing, in_the_way, refused
from helperd.plan import Step
from protocol.errors import Conflict, Gone, NetdeckError, NotFound
from protocol.names import display_text

Link = Bridge | Veth | Dummy | Vlan
_TOGETHER = 2  # from this many on, links are deleted as a group: 0.3 ms each instead of 16 ms


def create_links(places: OpenPlaces, run: Sequence[Step]) -> None:
    """Make links of one place; the master of none of them is made in the same run."""
    sock = places.socket(run[0].object.place)
    requests: list[bytes] = []
    failure: tuple[int, NetdeckError] | None = None
    for number, step in enumerate(run):
        try:
            requests.append(_request(places, sock, step))
        except NetdeckError as error:
            failure = (number, error)
            break
    made: dict[int, int] = {}
    outcomes = exchange(sock, requests)
    for number, refusal in enumerate(outcomes):
        if refusal is None:
            made[number] = index_of(sock, _link(run[number]).name)
    for number, refusal in enumerate(outcomes):
        try:
            if refusal is not None:
                _exists(places, sock, run[number], refusal)
        except NetdeckError as error:
            failure = (number, error)
            break
    failure = _mark(sock, run, made, failure)
    failure = _mark_peers(places, run, made, failure)
    if failure is not None:
        for number in sorted(made, reverse=True):
            if number >= failure[0]:
                with contextlib.suppress(Refusal):
                    one(sock, delete_link(made[number]))
        raise RunFailed(*failure)


def _link(step: Step) -> Link:
    assert isinstance(step.object, Link)
    return step.object


def _request(places: OpenPlaces, sock: socket.socket, step: Step) -> bytes:
    item = _link(step)
    match item:
        case Bridge():
            return new_bridge(item)
        case Dummy():
            return new_dummy(item)
        case Vlan():
            return new_vlan(item, _parent(sock, step, item))
    return new_veth(
        item, _master(sock, step, item), None if item.peer_place == item.place else places.target(item.peer_place)
    )


def _master(sock: socket.socket, step: Step, item: Veth) -> int:
    if not item.master:
        return 0
    index = index_of(sock, item.master)
    if not index:
        raise NotFound(f"{item.name} can't become a port of {item.master}: there is no such link", name=item.master)
    return index


def _parent(sock: socket.socket, step: Step, item: Vlan) -> int:
    index = index_of(sock, item.parent)
    if not index:
        raise NotFound(f"{doing(step)}: there is no link {item.parent} on the host", name=item.parent)
    return index


def _exists(places: OpenPlaces, sock: socket.socket, step: Step, refusal: Refusal) -> None:
    """Put up with a link that exists, if it is ours, and bring it to the wanted settings; else raise."""
    if refusal.number != errno.EEXIST:
        raise refused(step, refusal)
    item = _link(step)
    state = read_link(sock, item.name)
    if state is None:
        if isinstance(item, Vlan):
            raise in_the_way(step, f"{item.parent} has a link for VLAN {item.vid} already, under another name", item.parent)
        peer = item.peer_name if isinstance(item, Veth) else item.name
        raise in_the_way(step, f"a link {peer} exists already", peer)
    _require_mark(step, state, item.alias)
    if isinstance(item, Vlan) and (state.vlan, state.peer) != (item.vid, _parent(sock, step, item)):
        raise in_the_way(step, f"{item.name} exists and is not VLAN {item.vid} of {item.parent}", item.name)
    with _kernel(step):
        if isinstance(item, Veth):
            peer_sock, peer_state = _peer(places, step, item, state)
            one(peer_sock, set_link(peer_state.index, alias=item.alias, mtu=item.mtu, group=LINK_GROUP))
        for request in _settings(sock, step, item, state):
            one(sock, request)


def _require_mark(step: Step, state: LinkState, *aliases: str) -> None:
    if state.kind != step.object.__struct_config__.tag or not any(state.marked(alias) for alias in aliases):
        whose = f"with the alias {display_text(state.alias)!r}" if state.alias else "without netdeck's mark"
        raise in_the_way(step, f"{state.name} is a {state.kind or 'device'} {whose}, which is never changed or deleted. Delete it or give "
                               "it another name yourself, then try again", state.name)


def _peer(places: OpenPlaces, step: Step, item: Veth, state: LinkState) -> tuple[socket.socket, LinkState]:
    sock = places.socket(item.peer_place)
    peer = read_link(sock, item.peer_name)
    if peer is None or peer.index != state.peer or peer.peer != state.index:
        raise in_the_way(step, f"{item.name} exists and its other end is not {item.peer_name}", item.name)
    return sock, peer


def _settings(sock: socket.socket, step: Step, item: Link, state: LinkState) -> list[bytes]:
    """The requests that bring the near end from any state of ours to that of `item`."""
    if not isinstance(item, Veth):
        return [set_link(state.index, alias=item.alias, mtu=_mtu(item), group=LINK_GROUP)]
    master = _master(sock, step, item)
    moved = master if master != state.master else None
    as_wanted = (state.alias, state.mtu, state.group, state.up) == (item.alias, item.mtu, LINK_GROUP, True) and moved is None
    requests = [] if as_wanted else [
        set_link(state.index, alias=item.alias, mtu=item.mtu, group=LINK_GROUP, master=moved, up=True)]
    if master and ((item.isolated, item.hairpin) != (state.isolated, state.hairpin) or moved is not None):
        requests.append(set_port(state.index, isolated=item.isolated, hairpin=item.hairpin))
    return requests


def _mtu(item: Link) -> int | None:
    return None if isinstance(item, Vlan) else item.mtu


def _mark(
    sock: socket.socket, run: Sequence[Step], made: dict[int, int], failure: tuple[int, NetdeckError] | None
) -> tuple[int, NetdeckError] | None:
    requests: list[bytes] = []
    owner: list[int] = []
    for number, index in made.items():
        item = _link(run[number])
        if failure is not None and number >= failure[0]:
            continue
        requests.append(set_link(index, alias=item.alias, mtu=item.mtu if isinstance(item, Bridge) else None))
        owner.append(number)
        if isinstance(item, Veth) and (item.isolated or item.hairpin):
            requests.append(set_port(index, isolated=item.isolated, hairpin=item.hairpin))
            owner.append(number)
    return _first_refused(run, owner, exchange(sock, requests), failure)


def _mark_peers(
    places: OpenPlaces, run: Sequence[Step], made: dict[int, int], failure: tuple[int, NetdeckError] | None
) -> tuple[int, NetdeckError] | None:
    by_place: dict[str, list[int]] = {}
    for number in made:
        item = _link(run[number])
        if isinstance(item, Veth) and (failure is None or number < failure[0]):
            by_place.setdefault(item.peer_place, []).append(number)
    for place, numbers in by_place.items():
        try:
            sock = places.socket(place)
            requests = [
                set_link(index_of(sock, item.peer_name) or -1, alias=item.alias)
                for item in (_link(run[number]) for number in numbers)
                if isinstance(item, Veth)
            ]
            failure = _first_refused(run, numbers, exchange(sock, requests), failure)
        except NetdeckError as error:
            if failure is None or numbers[0] < failure[0]:
                failure = (numbers[0], error)
    return failure


def _first_refused(
    run: Sequence[Step],
    owner: Sequence[int],
    outcomes: Sequence[Refusal | None],
    failure: tuple[int, NetdeckError] | None,
) -> tuple[int, NetdeckError] | None:
    for number, refusal in zip(owner, outcomes, strict=True):
        if refusal is not None and (failure is None or number < failure[0]):
            failure = (number, refused(run[number], refusal))
    return failure


class _kernel:
    """Turns what the kernel refuses in a block into the error of a step."""

    def __init__(self, step: Step) -> None:
        self.step = step

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Refusal):
            raise refused(self.step, error) from error


@dataclass(frozen=True, slots=True)
class _Change:
    """The requests of one change: at the near end, at the far one, and those that put all back."""

    near: Sequence[tuple[socket.socket, bytes]]
    far: Sequence[tuple[socket.socket, bytes]]
    back: Sequence[tuple[socket.socket, bytes]]
    lowers: bool


def change_links(places: OpenPlaces, run: Sequence[Step]) -> None:
    """Change links of one place; where it can't be done with all of them, with those before the one that can't.

    A packet passes where every link on its way takes it, and a bridge drops without a word what is too large for a port. So what
    sends is lowered before what carries, and raised after it: containers first on the way down, bridge and ports first on the
    way up, each for all containers of the run together. Only between two containers, of which one end is changed a moment before
    the other, can a packet be lost that no longer or not yet passes.
    """
    prepared: list[_Change] = []
    failure: NetdeckError | None = None
    for step in run:
        try:
            prepared.append(_prepared(places, step))
        except NetdeckError as error:
            failure = error
            break
    try:
        _change_all(run, prepared)
    except NetdeckError:
        for number in range(len(prepared)):
            try:
                _change_all(run[number:], prepared[number : number + 1])
            except NetdeckError as error:
                raise RunFailed(number, error) from error
    if failure is not None:
        raise RunFailed(len(prepared), failure)


def _prepared(places: OpenPlaces, step: Step) -> _Change:
    item, before = _link(step), step.before
    sock = places.socket(item.place)
    state = read_link(sock, item.name)
    if state is None:
        raise Gone(f"link {item.name} is gone", name=item.name)
    _require_mark(step, state, item.alias, before.alias if isinstance(before, Link) else item.alias)
    near = [(sock, request) for request in _settings(sock, step, item, state)]
    old = set_link(state.index, alias=state.alias, mtu=state.mtu, group=state.group, master=state.master, up=state.up)
    back = [(sock, old)]
    if state.master:
        back.append((sock, set_port(state.index, isolated=state.isolated, hairpin=state.hairpin)))
    far: list[tuple[socket.socket, bytes]] = []
    if isinstance(item, Veth):
        peer_sock, peer = _peer(places, step, item, state)
        if (peer.alias, peer.mtu) != (item.alias, item.mtu):
            far.append((peer_sock, set_link(peer.index, alias=item.alias, mtu=item.mtu)))
        back.append((peer_sock, set_link(peer.index, alias=peer.alias, mtu=peer.mtu)))
    return _Change(near, far, back, (_mtu(item) or state.mtu) < state.mtu)


def _change_all(run: Sequence[Step], changes: Sequence[_Change]) -> None:
    """All of `changes`, which are those of the first steps of `run`, or none."""
    first = [(step, request) for step, change in zip(run, changes, strict=False) if change.lowers for request in change.far]
    then = [(step, request) for step, change in zip(run, changes, strict=False) for request in change.near]
    last = [(step, request) for step, change in zip(run, changes, strict=False) if not change.lowers for request in change.far]
    try:
        for step, (sock, request) in (*first, *then, *last):
            with _kernel(step):
                one(sock, request)
    except NetdeckError:
        for change in reversed(changes):
            for sock, request in change.back:
                with contextlib.suppress(Refusal):
                    one(sock, request)
        raise


def delete_links(places: OpenPlaces, run: Sequence[Step]) -> None:
    """Delete links of one place; one that is gone is done."""
    try:
        sock = places.socket(run[0].object.place)
    except Gone:
        return
    found: list[tuple[int, int]] = []
    failure: tuple[int, NetdeckError] | None = None
    for number, step in enumerate(run):
        state = read_link(sock, _link(step).name)
        if state is None:
            continue
        try:
            _require_mark(step, state, _link(step).alias)
        except Conflict as error:
            failure = (number, error)
            break
        found.append((number, state.index))
    if len(found) < _TOGETHER or not _delete_together(sock, [index for _, index in found]):
        for number, index in found:
            try:
                one(sock, delete_link(index))
            except Refusal as refusal:
                if refusal.number != errno.ENODEV:
                    raise RunFailed(number, refused(run[number], refusal)) from refusal
    if failure is not None:
        raise RunFailed(*failure)


def _delete_together(sock: socket.socket, indexes: Sequence[int]) -> bool:
    """Delete links as a group that only they are in. False, with all as before, where the kernel will not."""
    taken = {link.group for link in all_links(sock)}
    group = next(
        number for number in iter(lambda: LINK_GROUP << 16 | random.getrandbits(16), None) if number not in taken
    )
    outcomes = exchange(sock, [set_link(index, group=group) for index in indexes])
    if all(refusal is None or refusal.number == errno.ENODEV for refusal in outcomes):
        try:
            one(sock, delete_group(group))
            return True
        except Refusal as refusal:
            if refusal.number == errno.ENODEV:
                return True
    exchange(sock, [set_link(index, group=LINK_GROUP) for index in indexes])
    return False
