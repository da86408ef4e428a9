"""A fault at each step of changes to VLANs: an error in words, and kernel, store and pools as before."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from protocol.requests import NetworkConnect, NetworkCreate, NetworkDisconnect, NetworkRemove, NetworkUpdate, Request, SubnetRequest
from tests.kernel.core_in_host import core_in
from tests.kernel.test_faults import told_at_each_fault
from tests.simulated_host import SimulatedHost
from tests.vm.test_parent_faults import dump

# Each with the steps that it is about: all of them would take minutes here, and the rest fails in tests/kernel/test_faults.py.
CHANGES: tuple[tuple[Request, str], ...] = (
    (NetworkCreate(name="n", subnets=(SubnetRequest(subnet="10.9.0.0/24"),),
                   options={"uplink": "trunk0", "vlan_filtering": "1", "uplink_vlans": "10,20-30"}), r"VLANs|trunk0"),
    (NetworkConnect(network="n", container="netns:c1", vlans=("20", "25-28"), untagged=10), r"VLANs|eth0 up"),
    (NetworkUpdate(name="n", options={"mtu": "1400"}), r"mtu"),
    (NetworkDisconnect(network="n", container="netns:c1"), r"VLANs|veth"),
    (NetworkRemove(name="n"), r"VLANs|trunk0"),
)


def state() -> dict[str, Any]:
    """What the kernel holds, with the ports of bridges and their VLANs; each program that is started costs here."""
    vlans = subprocess.run(["bridge", "-compressvlans", "vlan", "show"], check=True, capture_output=True, text=True).stdout
    # Link-local routes come and go with a carrier.
    return {"all": [str(item) for item in dump() if not str(item[0]).startswith(("fe80:", "ff00:"))], "vlans": vlans.splitlines()}


@pytest.mark.req("X20", "X1")
def test_a_fault_at_each_step_of_a_change_of_vlans_is_taken_back(host: SimulatedHost, tmp_path: Path) -> None:
    host.add_namespace("c1")
    host.run("ip link add trunk0 type veth peer name trunk1 && ip link set trunk0 up && ip link set trunk1 up")

    async def inside() -> list[list[str]]:
        async with core_in(tmp_path) as core:
            return [await told_at_each_fault(core, tmp_path, change, about, ("verify",), state) for change, about in CHANGES]

    for (change, _), told in zip(CHANGES, host.call(inside), strict=True):
        assert len(told) > 1 and all("made to fail" in line for line in told), change
