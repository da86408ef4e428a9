"""VLANs of bridge ports: read, and brought to what is wanted (linux/if_bridge.h, br_vlan.c, rtnetlink(7))."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable

from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from drivers.port_objects import PortVlans
from helperd.kernel.link_state import index_of
from helperd.kernel.netlink import attribute, dump, integer
from helperd.kernel.netlink_batch import Refusal, encode, one
from helperd.kernel.open_places import OpenPlaces
from helperd.kernel.step_errors import refused
from helperd.plan import Step
from protocol.errors import Gone, NotFound

_RTM_GETLINK, _RTM_SETLINK, _RTM_DELLINK = 18, 19, 17
_AF_BRIDGE, _AF_SPEC, _VLAN_INFO, _EXT_MASK, _COMPRESSED = 7, 26, 2, 29, 4  # IFLA_…, RTEXT_FILTER_BRVLAN_COMPRESSED
_PVID, _UNTAGGED, _BEGIN, _END = 2, 4, 8, 16  # BRIDGE_VLAN_INFO_…
_IFINFOMSG = struct.Struct("=BxHiII")
_INFO = struct.Struct("=HH")
_NATIVE = 1  # what the kernel gives a port

State = tuple[frozenset[int], int]  # tagged VLANs, the untagged one (0: none)


def read_ports(sock: socket.socket) -> dict[int, State]:
    """The VLANs of all ports of bridges in the namespace, by the index of the link. A port that has none is left out."""
    body = _IFINFOMSG.pack(_AF_BRIDGE, 0, 0, 0, 0) + integer(_EXT_MASK, _COMPRESSED)
    return {state[0]: state[1] for state in (_state(answer) for _, answer in dump(sock, _RTM_GETLINK, body)) if state is not None}


def bring(places: OpenPlaces, step: Step) -> None:
    """Give a port just the VLANs of the step's object."""
    item = step.object
    assert isinstance(item, PortVlans)
    sock = places.socket(item.place)
    index = index_of(sock, item.link)
    if not index:
        raise NotFound(f"there is no link {item.link} on the host", name=item.link)
    try:
        _settle(sock, index, spans_of(item))
    except Refusal as refusal:
        raise refused(step, refusal) from refusal


def give_back(places: OpenPlaces, step: Step) -> None:
    """Give a port that stays what the kernel gives it; one that is gone, or a port no more, has none."""
    item = step.object
    assert isinstance(item, PortVlans)
    try:
        sock = places.socket(item.place)
    except Gone:
        return
    index = index_of(sock, item.link)
    try:
        if index and index in read_ports(sock):
            _settle(sock, index, (frozenset(), _NATIVE))
    except Refusal as refusal:
        if refusal.number not in (errno.ENODEV, errno.EOPNOTSUPP):
            raise refused(step, refusal) from refusal


def spans_of(item: PortVlans) -> State:
    """An object as `read_ports` tells of a port."""
    found: set[int] = set()
    for text in item.tagged:
        low, _, high = text.partition("-")
        found.update(range(int(low), int(high or low) + 1))
    return frozenset(found), item.untagged


def as_object(place: str, link: str, state: State) -> PortVlans:
    """What was read of a port, as the object that would make it."""
    return PortVlans(place, link, tuple(str(low) if low == high else f"{low}-{high}" for low, high in _spans(state[0])), state[1])


def _settle(sock: socket.socket, index: int, wanted: State) -> None:
    tagged, native = read_ports(sock).get(index, (frozenset(), 0))
    for low, high in _spans((tagged - wanted[0]) | ({native} if native not in (0, wanted[1]) else set())):
        one(sock, _request(_RTM_DELLINK, index, low, high, 0))
    for low, high in _spans(wanted[0] - tagged):
        one(sock, _request(_RTM_SETLINK, index, low, high, 0))
    if wanted[1] and wanted[1] != native:
        one(sock, _request(_RTM_SETLINK, index, wanted[1], wanted[1], _PVID | _UNTAGGED))


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
    """(index, VLANs) of one answer. Attributes of one kind are many here: each is looked at."""
    index = int(_IFINFOMSG.unpack_from(body)[2])
    tagged: set[int] = set()
    native = begin = 0
    seen = False
    for kind, value in _attributes(body[16:]):
        if kind != _AF_SPEC:
            continue
        for inner, raw in _attributes(value):
            if inner != _VLAN_INFO or len(raw) < 4:
                continue
            seen = True
            flags, vid = _INFO.unpack_from(raw)
            if flags & _BEGIN:
                begin = vid
                continue
            if flags & _PVID:
                native = vid
            if not flags & _UNTAGGED:
                tagged.update(range(begin if flags & _END else vid, vid + 1))
    return (index, (frozenset(tagged), native)) if seen else None


def _attributes(data: bytes) -> Iterable[tuple[int, bytes]]:
    at = 0
    while len(data) - at >= 4:
        length, kind = struct.unpack_from("=HH", data, at)
        if not 4 <= length <= len(data) - at:
            return
        yield kind & 0x3FFF, data[at + 4:at + length]
        at += (length + 3) & ~3
