"""VLANs of bridge ports: read, and brought to what is wanted (linux/if_bridge.h, br_vlan.c, rtnetlink(7))."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable
from typing import NamedTuple

import msgspec
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from drivers.port_objects import PortVlans
from drivers.vlans import numbers
from helperd.kernel.bridge_vlans import infos
from helperd.kernel.link_state import index_of, read_link
from helperd.kernel.netlink import attribute, attributes, dump, integer
from helperd.kernel.netlink_batch import Refusal, encode, one
from helperd.kernel.open_places import OpenPlaces
from helperd.kernel.step_errors import in_the_way, refused
from helperd.plan import Step
from protocol.errors import Gone, NotFound

_RTM_GETLINK, _RTM_SETLINK, _RTM_DELLINK = 18, 19, 17
_AF_BRIDGE, _AF_SPEC, _VLAN_INFO, _EXT_MASK, _COMPRESSED = 7, 26, 2, 29, 4  # IFLA_…, RTEXT_FILTER_BRVLAN_COMPRESSED
_PVID, _UNTAGGED, _BEGIN, _END = 2, 4, 8, 16  # BRIDGE_VLAN_INFO_…
_IFINFOMSG = struct.Struct("=BxHiII")
_INFO = struct.Struct("=HH")
_NATIVE = 1  # what the kernel gives a port


class State(NamedTuple):
    """The VLANs of a port, as the kernel has them: those that leave it with a tag and without; `native` is that of frames which come
    without one, 0 where those are dropped."""

    tagged: frozenset[int] = frozenset()
    untagged: frozenset[int] = frozenset()
    native: int = 0


def read_ports(sock: socket.socket) -> dict[int, State]:
    """The VLANs of all ports of bridges in the namespace, by the index of the link. A port that has none is left out."""
    body = _IFINFOMSG.pack(_AF_BRIDGE, 0, 0, 0, 0) + integer(_EXT_MASK, _COMPRESSED)
    return {state[0]: state[1] for state in (_state(answer) for _, answer in dump(sock, _RTM_GETLINK, body)) if state is not None}


def bring(places: OpenPlaces, step: Step) -> None:
    """Give a port just the VLANs of the step's object."""
    item = step.object
    assert isinstance(item, PortVlans)
    sock = places.socket(item.place)
    port = read_link(sock, item.link)
    if port is None:
        raise NotFound(f"there is no link {item.link} on the host", name=item.link)
    if not port.master or port.master != index_of(sock, item.master):
        raise in_the_way(step, f"{item.link} is no port of {item.master}", item.link)
    try:
        _settle(sock, port.index, spans_of(item))
    except Refusal as refusal:
        raise refused(step, refusal) from refusal


def give_back(places: OpenPlaces, step: Step) -> None:
    """Give a port that stays what the kernel gives it; one that is gone, or no port of the bridge any more, is nobody's business."""
    item = step.object
    assert isinstance(item, PortVlans)
    try:
        sock = places.socket(item.place)
    except Gone:
        return
    port = read_link(sock, item.link)
    try:
        if port is not None and port.master and port.master == index_of(sock, item.master):
            _settle(sock, port.index, State(untagged=frozenset({_NATIVE}), native=_NATIVE))
    except Refusal as refusal:
        if refusal.number not in (errno.ENODEV, errno.EOPNOTSUPP):
            raise refused(step, refusal) from refusal


def spans_of(item: PortVlans) -> State:
    """An object as `read_ports` tells of a port."""
    return State(numbers(item.tagged), frozenset({item.untagged} - {0}), item.untagged)


def as_object(item: PortVlans, state: State) -> PortVlans:
    """What was read of the port of `item`, as the object that comes next to it: VLANs that leave without a tag, but for that of frames
    which come without one, can't be said."""
    native = state.native if state.native in state.untagged else 0
    rest = (state.tagged | state.untagged) - {native}
    tagged = tuple(str(low) if low == high else f"{low}-{high}" for low, high in _spans(rest))
    return msgspec.structs.replace(item, tagged=tagged, untagged=native)


def _settle(sock: socket.socket, index: int, wanted: State) -> None:
    state = read_ports(sock).get(index, State())
    for low, high in _spans((state.tagged | state.untagged) - (wanted.tagged | wanted.untagged)):
        one(sock, _request(_RTM_DELLINK, index, low, high, 0))
    for low, high in _spans(wanted.tagged - state.tagged):  # one that is there takes the flags that it is given now
        one(sock, _request(_RTM_SETLINK, index, low, high, 0))
    if wanted.native and (wanted.native != state.native or wanted.native not in state.untagged):
        one(sock, _request(_RTM_SETLINK, index, wanted.native, wanted.native, _PVID | _UNTAGGED))


def _request(kind: int, index: int, low: int, high: int, flags: int) -> bytes:
    if low == high:
        infos = attribute(_VLAN_INFO, _INFO.pack(flags, low))
    else:
        infos = attribute(_VLAN_INFO, _INFO.pack(flags | _BEGIN, low)) + attribute(_VLAN_INFO, _INFO.pack(flags | _END, high))
    return encode(ifinfmsg, kind, 0, {"family": _AF_BRIDGE, "index": index}, (), attribute(_AF_SPEC, infos))


def _spans(numbers: Iterable[int]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1] = found[-1][0], number
        else:
            found.append((number, number))
    return found


def _state(body: bytes) -> tuple[int, State] | None:
    """(index, VLANs) of one answer."""
    tagged: set[int] = set()
    untagged: set[int] = set()
    native = begin = 0
    seen = False
    for flags, vid in infos(attributes(body, _IFINFOMSG.size, len(body)).get(_AF_SPEC, b"")):
        seen = True
        if flags & _BEGIN:
            begin = vid
            continue
        native = vid if flags & _PVID else native
        (untagged if flags & _UNTAGGED else tagged).update(range(begin if flags & _END else vid, vid + 1))
    return (int(_IFINFOMSG.unpack_from(body)[2]), State(frozenset(tagged), frozenset(untagged), native)) if seen else None
