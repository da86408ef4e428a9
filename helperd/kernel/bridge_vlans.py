"""The VLANs of bridge ports: from rtnetlink's bytes to `PortVlans`.

Sources: linux/if_bridge.h (struct bridge_vlan_info), net/bridge/br_netlink.c: a port is told of as a link of the family AF_BRIDGE, with
its VLANs in IFLA_AF_SPEC, neighbours drawn together where RTEXT_FILTER_BRVLAN_COMPRESSED was asked for, as events always have them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from helperd.kernel.netlink import NLA_TYPE_MASK, DecodeError, Message, attributes
from protocol.model import PortVlans, VlanRange

AF_BRIDGE = 7
RTEXT_FILTER_BRVLAN_COMPRESSED = 4
MOST = 64  # ranges of one port that are told; whoever owns a namespace can make two thousand of each port
_IFLA_MASTER, _IFLA_AF_SPEC, _IFLA_BRIDGE_VLAN_INFO = 10, 26, 2
_PVID, _UNTAGGED, _BEGIN, _END = 2, 4, 8, 16
_IFINFOMSG = struct.Struct("=BxHiII")
_ATTRIBUTE = struct.Struct("=HH")
_INFO = struct.Struct("=HH")
_U32 = struct.Struct("=I")


def is_port(data: bytes, message: Message) -> bool:
    """Whether a message about a link tells of it as a port of a bridge."""
    return message.end > message.start and data[message.start] == AF_BRIDGE


def port_vlans(data: bytes, start: int, end: int, inode: int) -> PortVlans | None:
    """The port that a message between two offsets tells of; None for what is no bridge's (some devices answer with an own switch).

    Raises `DecodeError` and struct.error for a message that is not well-formed.
    """
    index = _IFINFOMSG.unpack_from(data[start:end])[2]
    found = attributes(data, start + _IFINFOMSG.size, end)
    if _IFLA_MASTER not in found:
        return None
    vlans: list[VlanRange] = []
    first = 0
    for flags, vid in infos(found.get(_IFLA_AF_SPEC, b"")):
        if flags & _BEGIN:
            first = vid
            continue
        vlans.append(VlanRange(first if flags & _END and first else vid, vid, bool(flags & _UNTAGGED), bool(flags & _PVID)))
        first = 0
    return PortVlans(inode, index, int(_U32.unpack_from(found[_IFLA_MASTER])[0]), tuple(vlans[:MOST]), max(0, len(vlans) - MOST))


def infos(spec: bytes) -> Iterator[tuple[int, int]]:
    """Flags and id of each IFLA_BRIDGE_VLAN_INFO, of which there are many under one number."""
    start, end = 0, len(spec)
    while end - start >= 4:
        length, kind = _ATTRIBUTE.unpack_from(spec, start)
        if length < 4 or length > end - start:
            raise DecodeError(f"attribute length {length} at {start} of {end}")
        if kind & NLA_TYPE_MASK == _IFLA_BRIDGE_VLAN_INFO:
            flags, vid = _INFO.unpack_from(spec[start + 4:start + length])
            yield flags, vid
        start += (length + 3) & ~3
