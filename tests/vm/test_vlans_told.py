"""What clients are told of VLANs by a kernel that has them, and which rows the workstation makes of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from protocol.client import Client
from tests.vm.site import Site
from tui.feed import Feed
from tui.rows import vlans

SECONDS = 60.0  # everything is ten times slower in a virtual machine


def rows(feed: Feed) -> dict[tuple[str, int], vlans.VlanGroup]:
    """The rows of all links of the host, by parent and VLAN."""
    return {(group.parent.name, group.vid): group
            for link in feed.links_in(feed.host_inode) for group in vlans.groups(feed, (link.inode, link.ifindex)).values()}


def ports(feed: Feed, vid: int) -> dict[str, bool]:
    """The ports of the bridge in a VLAN, each with whether frames leave tagged."""
    group = rows(feed).get(("brv", vid))
    return {} if group is None else {member.link.name: member.tagged for member in group.ports}


@pytest.mark.req("W7", "W4")
async def test_vlans_of_links_and_of_bridge_ports_arrive_live(site: Site) -> None:
    feed = Feed()
    client = Client(site.lab.socket, "test", feed.connection_changed)
    following = asyncio.create_task(feed.run(client))

    async def until(condition: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < end and not following.done(), f"still not so: {what}: {sorted(rows(feed))}"
            await asyncio.sleep(0.05)

    try:
        await until(lambda: feed.loaded, "a snapshot came")
        # What is true of the first such bridge of a namespace has to be true of the next.
        site.sh("ip link add older up type bridge vlan_filtering 1")
        await until(lambda: ("older", 1) in rows(feed), "a bridge has its own VLAN 1")
        site.sh("ip link add brv up type bridge && ip link add pv0 type veth peer name pv1 && ip link set pv0 master brv")
        await until(lambda: feed.link_named(feed.host_inode, "pv0") is not None, "the port is told")
        assert ("brv", 1) not in rows(feed), "of a bridge that looks at no tags nothing is shown"
        site.sh("ip link set brv type bridge vlan_filtering 1")
        await until(lambda: ports(feed, 1) == {"pv0": False, "brv": False}, "its ports have VLAN 1, as the kernel gives it")
        site.sh("bridge vlan add dev pv0 vid 20 pvid untagged && bridge vlan add dev pv0 vid 30-31 && bridge vlan add dev brv vid 30 self")
        await until(lambda: ports(feed, 20) == {"pv0": False} and ports(feed, 30) == {"pv0": True, "brv": True}, "those given by hand")
        assert ports(feed, 31) == {"pv0": True} and rows(feed)["brv", 0].vids == (1, 20, 30, 31)
        site.sh("bridge vlan del dev pv0 vid 1; bridge vlan del dev pv0 vid 30-31")
        await until(lambda: ports(feed, 31) == {} and ports(feed, 1) == {"brv": False}, "those taken away are gone")
        site.sh("ip link set pv0 nomaster")
        await until(lambda: ports(feed, 20) == {}, "a port that leaves takes its VLANs with it")

        site.sh("ip link add link eth0 name office type vlan id 41 && ip netns add boxed && "
                "ip link add link eth0 name moved netns boxed type vlan id 43 && ip link add link eth0 name eth0.42 type vlan id 42")
        await until(lambda: {41, 42, 43} <= {vid for name, vid in rows(feed) if name == "eth0"}, "each VLAN stands with its parent")
        found = rows(feed)
        assert [found["eth0", vid].links[0].name for vid in (41, 42, 43)] == ["office", "eth0.42", "moved"]
        assert found["eth0", 43].links[0].inode != feed.host_inode, "also one that lives in another namespace"
        assert found["eth0", 0].vids == (41, 42, 43)
    finally:
        site.sh("ip netns del boxed; for link in office eth0.42 older brv pv0; do ip link del $link; done", check=False)
        await until(lambda: not {("eth0", 41), ("eth0", 43), ("brv", 0), ("older", 0)} & set(rows(feed)), "all of it is gone")
        following.cancel()
        feed.close()
        await client.close()
