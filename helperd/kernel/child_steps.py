"""Steps that make, change and delete links which hang on a link of the host and live in a container, or on the host beside it.

A child is made in the container's namespace, under a name of its own, and renamed there: see `Macvlan.first_name`. Inside a container
marks can be forged, and links renamed. So what may be *used* needs our mark; what is to *go* is found by what the store knows
of it (its parent with its name, its mark or its MAC address): whoever owns a container can mislead that only to the harm of
links of his own, which he could delete himself.

A child takes no larger packets than its parent, and the kernel lowers its MTU with the parent's (macvlan_device_event,
ipvlan_device_event): such a child is as it should be.
"""

from __future__ import annotations

import contextlib
import errno
import socket

import msgspec

from drivers.objects import HOST, LINK_GROUP, Ipvlan, Macvlan
from helperd.kernel.link_messages import IPVLAN_FLAGS, IPVLAN_MODES, MACVLAN_MODES, delete_link, new_child, set_link
from helperd.kernel.link_state import LinkState, all_links, index_of, nsid_of, read_link
from helperd.kernel.netlink_batch import Refusal, one
from helperd.kernel.open_places import OpenPlaces
from helperd.kernel.step_errors import doing, in_the_way, refused
from helperd.plan import Step
from protocol.errors import Gone, NotFound
from protocol.names import display_text

Child = Macvlan | Ipvlan


def create_child(places: OpenPlaces, step: Step) -> None:
    """Make the link; one that is there and ours is brought to the wanted settings."""
    item = _child(step)
    sock = places.socket(item.place)
    parent = read_link(places.socket(HOST), item.parent)
    if parent is None:
        raise NotFound(f"{doing(step)}: there is no link {item.parent} on the host", name=item.parent)
    item = msgspec.structs.replace(item, mtu=min(item.mtu, parent.mtu))
    state = read_link(sock, item.name)
    if state is not None:
        if not state.marked(item.alias) or not _hangs(places, sock, state, item):
            whose = f"with the alias {display_text(state.alias)!r}" if state.alias else "without netdeck's mark"
            who = "the host" if item.place == HOST else "the container"
            raise in_the_way(step, f"{who} has a {state.kind or 'device'} {state.name} {whose}, which is never changed or deleted. "
                             "Delete it or give it another name yourself, then try again", state.name)
        if same_mode(state, item):
            _settle(sock, step, state, item)
            return
        _delete(sock, step, state.index)
    leftover = index_of(sock, item.first_name)
    if leftover:
        _delete(sock, step, leftover)
    try:
        one(places.socket(HOST), new_child(item, parent.index, places.target(item.place)))
    except Refusal as refusal:
        raise refused(step, refusal) from refusal
    made = index_of(sock, item.first_name)
    try:
        one(sock, set_link(made, name=item.name, alias=item.alias))
    except Refusal as refusal:
        with contextlib.suppress(Refusal):
            one(sock, delete_link(made))
        raise refused(step, refusal) from refusal


def change_child(places: OpenPlaces, step: Step) -> None:
    """Change MTU, MAC address or mark in place."""
    item = _child(step)
    sock = places.socket(item.place)
    state = read_link(sock, item.name)
    if state is None:
        raise Gone(f"link {item.name} is gone", name=item.name)
    if not _hangs(places, sock, state, item):
        raise in_the_way(step, f"{item.name} is not a {_kind(item)} of {item.parent}", item.name)
    parent = read_link(places.socket(HOST), item.parent)
    if parent is not None:
        item = msgspec.structs.replace(item, mtu=min(item.mtu, parent.mtu))
    _settle(sock, step, state, item)


def delete_child(places: OpenPlaces, step: Step) -> None:
    """Delete the link, under whatever name it is found; one that is gone is done."""
    item = _child(step)
    try:
        sock = places.socket(item.place)
    except Gone:
        return
    for state in all_links(sock):
        known = state.name in (item.name, item.first_name) or state.alias == item.alias or (_mac(item) and state.mac == _mac(item))
        ours = state.marked(item.alias) or (item.place != HOST and _hangs(places, sock, state, item))
        if known and state.kind == _kind(item) and ours:
            _delete(sock, step, state.index)


def same_mode(state: LinkState, item: Child) -> bool:
    """Whether a child link has the wanted mode, and flag."""
    if isinstance(item, Ipvlan):
        return (state.mode, state.flag) == (IPVLAN_MODES[item.mode], IPVLAN_FLAGS[item.flag])
    return state.mode == MACVLAN_MODES[item.mode]


def _child(step: Step) -> Child:
    assert isinstance(step.object, Child)
    return step.object


def _mac(item: Child) -> str:
    return item.mac.lower() if isinstance(item, Macvlan) else ""


def _kind(item: Child) -> str:
    return str(item.__struct_config__.tag)


def _hangs(places: OpenPlaces, sock: socket.socket, state: LinkState, item: Child) -> bool:
    """Whether the link is of the wanted kind and hangs on the wanted link of the host."""
    if state.kind != _kind(item) or state.peer != index_of(places.socket(HOST), item.parent):
        return False
    if item.place == HOST:
        return state.peer_nsid is None
    return state.peer_nsid is not None and state.peer_nsid == nsid_of(sock, places.target(HOST))


def _settle(sock: socket.socket, step: Step, state: LinkState, item: Child) -> None:
    # To set the MAC address of a link in mode passthru would set its parent's.
    mac = _mac(item) if _mac(item) not in ("", state.mac) else None
    try:
        one(sock, set_link(state.index, alias=item.alias, mtu=item.mtu, group=LINK_GROUP, mac=mac))
    except Refusal as refusal:
        raise refused(step, refusal) from refusal


def _delete(sock: socket.socket, step: Step, index: int) -> None:
    try:
        one(sock, delete_link(index))
    except Refusal as refusal:
        if refusal.number != errno.ENODEV:
            raise refused(step, refusal) from refusal
