"""VLANs of bridge ports as the kernel tells them (net/bridge/br_netlink.c), and what is no such message."""

from __future__ import annotations

import struct

import pytest

from helperd.kernel.bridge_vlans import MOST, is_port, port_vlans
from helperd.kernel.netlink import DecodeError, Message, attribute, integer
from helperd.kernel.rtnetlink import RTM_DELLINK, RTM_NEWLINK, decode
from protocol.model import PortVlans, VlanRange

pytestmark = pytest.mark.req("W7")
PVID, UNTAGGED, BEGIN, END = 2, 4, 8, 16


def link_message(*infos: tuple[int, int], master: int = 7, family: int = 7) -> bytes:
    """What RTM_NEWLINK of a port with these (flags, vid) holds."""
    spec = b"".join(attribute(2, struct.pack("=HH", flags, vid)) for flags, vid in infos)
    body = struct.pack("=BxHiII", family, 1, 12, 0x1043, 0) + attribute(3, b"veth1\0")
    return body + (integer(10, master) if master else b"") + (attribute(26 | 0x8000, spec) if infos else b"")


def told(data: bytes, kind: int = RTM_NEWLINK) -> list[tuple[str, str, bool, object]]:
    return [(item.topic, item.key, item.put, item.value) for item in decode(data, Message(kind, 0, 0, 0, 0, len(data)), 99)]


def test_ranges_tags_and_the_vlan_of_frames_without_a_tag() -> None:
    data = link_message((PVID | UNTAGGED, 1), (0, 20), (BEGIN, 30), (END, 40))
    assert told(data) == [("vlans", "99/12", True, PortVlans(99, 12, 7, (
        VlanRange(1, 1, True, True), VlanRange(20, 20), VlanRange(30, 40))))]
    assert is_port(data, Message(RTM_NEWLINK, 0, 0, 0, 0, len(data)))


def test_a_port_that_is_in_no_vlan_and_one_that_left() -> None:
    assert told(link_message()) == [("vlans", "99/12", True, PortVlans(99, 12, 7, ()))]
    assert told(link_message(), RTM_DELLINK)[0][2] is False


def test_a_port_of_thousands_of_ranges_costs_little() -> None:
    value = port_vlans(data := link_message(*((0, vid) for vid in range(2, 4000, 2))), 0, len(data), 99)
    assert value is not None and len(value.vlans) == MOST and value.more == 1999 - MOST


def test_what_is_no_bridge_port_is_left_out() -> None:
    assert told(link_message(master=0)) == []
    assert told(link_message(family=0))[0][0] == "links"
    assert not is_port(link_message(family=0), Message(RTM_NEWLINK, 0, 0, 0, 0, 40))


@pytest.mark.parametrize("spec", [b"\2\0", b"\3\0\2\0", b"\xff\0\2\0\0\0\1\0", b"\5\0\2\0\1"], ids=repr)
def test_a_broken_message_is_refused(spec: bytes) -> None:
    data = struct.pack("=BxHiII", 7, 1, 12, 0, 0) + integer(10, 7) + attribute(26, spec)
    if len(spec) < 4:
        assert told(data)[0][3] == PortVlans(99, 12, 7, ())  # too short to hold any
        return
    with pytest.raises(DecodeError):
        told(data)
