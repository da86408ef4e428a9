"""What was made is read back: whatever of it is not so is told, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from drivers.objects import HOST, AnyObject, Chain, Jump, Sysctl
from helperd.kernel.verification import missing
from tests.kernel.written_objects import Written, creates, endpoint, network, written
from tests.simulated_host import SimulatedHost

ALL: list[AnyObject] = [*network(), *endpoint("c1", 0)]


@pytest.fixture
async def rig(host: SimulatedHost) -> AsyncIterator[Written]:
    async with written(host, "c1") as made:
        await made.apply(creates(ALL))
        yield made


async def absent(rig: Written, wanted: list[AnyObject]) -> list[AnyObject]:
    return list(await rig.writer.apply_then((), rig.places, lambda places: missing(places, wanted)))


async def test_all_that_was_made_is_seen(rig: Written) -> None:
    assert await absent(rig, ALL) == []
    assert any(isinstance(item, Sysctl) and item.place != HOST for item in ALL)


@pytest.mark.parametrize("command, where, lost", [
    ("ip addr flush dev eth0 scope global", "c1", {"address", "route"}),
    ("ip -4 route del default", "c1", {"route"}),
    ("ip -6 route del default", "c1", {"route"}),
    ("sysctl -qw net.ipv6.conf.eth0.accept_ra=2", "c1", {"sysctl"}),
    ("ip link set eth0 mtu 1400", "c1", {"veth"}),
    ("ip link set br0 alias other", "", {"bridge"}),
    ("ip link set br0 down", "", {"up", "address"}),  # the v6 ones go with it
    ("sysctl -qw net.ipv6.conf.br0.accept_ra=1", "", {"sysctl"}),
    ("ip link del br0", "", {"bridge", "address", "up"}),
    ("ip link del eth0", "c1", {"veth", "address", "up", "route"}),
])
async def test_what_is_not_so_is_told(rig: Written, command: str, where: str, lost: set[str]) -> None:
    rig.host.run(command, netns=where)
    found = await absent(rig, ALL)
    assert {type(item).__struct_config__.tag for item in found} == lost
    assert not any(isinstance(item, Chain | Jump) for item in found)
