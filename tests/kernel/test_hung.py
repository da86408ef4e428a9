"""Links that others hung on one of the host's, before anything is heard of them."""

from __future__ import annotations

import pytest

from drivers.objects import LINK_GROUP, mark
from helperd.hung import strangers_on
from helperd.world import World
from tests.simulated_host import SimulatedHost

INSTANCE = "0123abcd"


@pytest.mark.req("I8")
def test_what_was_hung_on_a_link_is_known_before_it_is_heard_of(host: SimulatedHost) -> None:
    """A busy host's news are seconds late, and with a VLAN of netdeck's that is deleted goes what hangs on it."""
    host.run("ip link add up0 type veth peer name up1 && "
             "ip link add link up0 name theirs type macvlan mode bridge && "
             f"ip link add link up0 name made group {LINK_GROUP} type macvlan mode bridge && "
             f"ip link add link up0 name ours group {LINK_GROUP} type macvlan mode bridge && "
             f"ip link set ours alias '{mark(INSTANCE, 'network', 'n' * 64)}' && "
             f"ip link add link up0 name others group {LINK_GROUP} type macvlan mode bridge && "
             f"ip link set others alias '{mark('ffffffff', 'network', 'n' * 64)}'")

    async def inside() -> list[tuple[str, str]]:
        return sorted((link.name, link.kind) for link in strangers_on(World(1), INSTANCE, "up0"))

    assert host.call(inside) == [("others", "macvlan"), ("theirs", "macvlan")]
