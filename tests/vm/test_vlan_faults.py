"""A fault at each step of changes to VLANs: an error in words, and kernel, store and pools as before."""

from __future__ import annotations

from pathlib import Path

import pytest

from protocol.requests import NetworkConnect, NetworkCreate, NetworkDisconnect, NetworkRemove, NetworkUpdate, Request, SubnetRequest
from tests.kernel.core_in_host import core_in
from tests.kernel.test_faults import told_at_each_fault
from tests.simulated_host import SimulatedHost

# Each with the steps that it is about: all of them would take minutes here, and the rest fails in tests/kernel/test_faults.py.
CHANGES: tuple[tuple[Request, str], ...] = (
    (NetworkCreate(name="n", subnets=(SubnetRequest(subnet="10.9.0.0/24"),),
                   options={"uplink": "trunk0", "vlan_filtering": "1", "uplink_vlans": "10,20-30"}), r"VLANs|trunk0"),
    (NetworkConnect(network="n", container="netns:c1", vlans=("20", "25-28"), untagged=10), r"VLANs|eth0 up"),
    (NetworkUpdate(name="n", options={"mtu": "1400"}), r"mtu"),
    (NetworkDisconnect(network="n", container="netns:c1"), r"VLANs|veth"),
    (NetworkRemove(name="n"), r"VLANs|trunk0"),
)


@pytest.mark.req("X20", "X1")
def test_a_fault_at_each_step_of_a_change_of_vlans_is_taken_back(host: SimulatedHost, tmp_path: Path) -> None:
    host.add_namespace("c1")
    host.run("ip link add trunk0 type veth peer name trunk1 && ip link set trunk0 up && ip link set trunk1 up")

    async def inside() -> list[list[str]]:
        async with core_in(tmp_path) as core:
            return [await told_at_each_fault(core, tmp_path, change, about, ("verify", "finish")) for change, about in CHANGES]

    for (change, _), told in zip(CHANGES, host.call(inside), strict=True):
        assert len(told) > 2 and all("made to fail" in line for line in told), change
