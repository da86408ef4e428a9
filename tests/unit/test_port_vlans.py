"""What the kernel tells of a port's VLANs, and the object that it is taken for."""

from __future__ import annotations

import struct

import pytest

from drivers.port_objects import PortVlans
from helperd.kernel import port_vlans
from helperd.kernel.netlink import attribute
from helperd.kernel.port_vlans import State, as_object, spans_of

PVID, UNTAGGED, BEGIN, END = 2, 4, 8, 16  # linux/if_bridge.h


@pytest.mark.req("X20")
@pytest.mark.parametrize(("infos", "state"), [
    (((PVID | UNTAGGED, 10), (BEGIN, 20), (END, 23), (0, 30)), State(frozenset({20, 21, 22, 23, 30}), frozenset({10}), 10)),
    (((PVID, 10),), State(frozenset({10}), frozenset(), 10)),
    (((PVID | UNTAGGED, 10), (UNTAGGED | BEGIN, 20), (UNTAGGED | END, 21)), State(frozenset(), frozenset({10, 20, 21}), 10)),
    ((), None),
])
def test_each_vlan_of_a_port_is_told_with_its_flags(infos: tuple[tuple[int, int], ...], state: State | None) -> None:
    spec = b"".join(attribute(2, struct.pack("=HH", flags, vid)) for flags, vid in infos)
    body = struct.pack("=BxHiII", 7, 0, 9, 0, 0) + attribute(26, spec)
    assert port_vlans._state(body) == (None if state is None else (9, state))
    if state is None:
        return
    shown = as_object(PortVlans("host", "veth1", "br-a"), state)
    assert (spans_of(shown) == state) == (infos[0][0] == PVID | UNTAGGED and len(infos) == 4), "only what an object can say comes back"


def test_the_vlans_of_an_object_come_back_as_it() -> None:
    for tagged, untagged in ((("20", "30-40"), 10), ((), 10), (("7",), 0)):
        item = PortVlans("host", "veth1", "br-a", tagged, untagged)
        assert as_object(PortVlans("host", "veth1", "br-a"), spans_of(item)) == item
