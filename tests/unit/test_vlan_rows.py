"""Which rows the VLANs view has, from links as the kernel tells them: 802.1Q links of any namespace, macvlans, VLAN-aware bridges."""

from __future__ import annotations

import math

import pytest

from protocol.messages import Event, Snapshot
from protocol.model import Container, Endpoint, Link, Namespace, Network, PortVlans, Subnet, VlanRange
from tui.detail_pages import Context, lines
from tui.documents import plain_text
from tui.feed import Batch, Feed
from tui.rows import vlans
from tui.screens.vlans import VlansView
from tui.selection import Selected
from tui.widgets.glyphs import UNICODE

pytestmark = pytest.mark.req("W7")
HOST, SHOP, TAPE = 100, 200, 300
UP = 0x11043


def link(inode: int, ifindex: int, name: str, kind: str = "", **more: object) -> Link:
    lower = {"lower_inode": inode} if more.get("lower") and "lower_inode" not in more else {}
    return Link(inode, ifindex, name, kind, str(more.pop("state", "up")), UP, 1500, **lower, **more)  # type: ignore[arg-type]


ROWS = [
    ("namespaces", str(HOST), Namespace(HOST, host=True)),
    ("namespaces", str(SHOP), Namespace(SHOP, nsid=1, container="shop")),
    ("networks", "n1", Network("n1", "lan20", "macvlan", 0.0, (Subnet("10.0.20.0/24"),), link="eth0.20")),
    ("networks", "n2", Network("n2", "lan", "macvlan", 0.0, (Subnet("192.0.2.0/24"),), link="eth0")),
    ("networks", "n3", Network("n3", "wired", "bridge", 0.0, (Subnet("10.9.0.0/24"),), link="br-wired")),
    ("containers", "c1", Container("c1", "shop", "shop", "netdeck", SHOP)),
    ("containers", "c2", Container("c2", "tape", "docker:tape", "docker", TAPE)),
    ("endpoints", "e1", Endpoint("e1", "n1", "c1", "eth0", addresses=("10.0.20.2/24",))),
    ("endpoints", "e3", Endpoint("e3", "n3", "c2", "eth0", "veth3", addresses=("10.9.0.2/24",))),
    *((("links", f"{item.inode}/{item.ifindex}", item)) for item in (
        link(HOST, 2, "eth0"), link(HOST, 3, "eth1"),
        link(HOST, 4, "eth0.20", "vlan", lower=2, vlan=20, state="lowerlayerdown"),
        link(HOST, 5, "office", "vlan", lower=2, vlan=30, master=9, detail="802.1ad"),
        link(SHOP, 2, "eth0", "macvlan", lower=4, lower_inode=HOST, detail="bridge", container="shop", network="lan20"),
        link(TAPE, 6, "eth1", "macvlan", lower=2, lower_inode=HOST, detail="private", container="docker:tape", network="lan"),
        link(TAPE, 7, "moved", "vlan", lower=2, lower_inode=HOST, vlan=20, container="docker:tape"),
        link(HOST, 9, "br-wired", "bridge"),
        link(HOST, 10, "br-trunk", "bridge", detail="vlan-filtering"),
        link(HOST, 11, "vethx", "veth", master=10, peer_inode=SHOP, peer_ifindex=3), link(SHOP, 3, "eth5", "veth", container="shop"),
        link(HOST, 12, "up1", "", master=10),
    )),
    ("vlans", f"{HOST}/10", PortVlans(HOST, 10, 10, (VlanRange(1, 1, True, True),))),
    ("vlans", f"{HOST}/11", PortVlans(HOST, 11, 10, (VlanRange(7, 7, True, True),))),
    ("vlans", f"{HOST}/12", PortVlans(HOST, 12, 10, (VlanRange(1, 4094),))),
]


def filled() -> tuple[Feed, VlansView]:
    feed = Feed()
    view = VlansView(feed)
    feed.subscribe(view.collect)
    feed.take(Snapshot(1, "e", 0, tuple(ROWS)))
    return feed, view


def cells(view: VlansView) -> dict[tuple[object, object], dict[str, object]]:
    found = {}
    for key in view.model.rows.slots:
        row = view.cells(key)
        found[row["parent"], row["vlan"]] = row
    return found


def test_each_parent_and_each_vlan_has_a_row() -> None:
    _, view = filled()
    rows = cells(view)
    assert sorted(rows) == [("br-trunk", 0), ("br-trunk", 1), ("br-trunk", 7), ("eth0", 0), ("eth0", 20), ("eth0", 30)]
    twenty = rows["eth0", 20]
    assert twenty["links"] == "eth0.20 moved" and twenty["state"] == "lowerlayerdown"
    assert twenty["networks"] == "lan20" and twenty["containers"] == "docker:tape shop"
    assert rows["eth0", 30]["networks"] == "wired" and rows["eth0", 30]["containers"] == "docker:tape", "through the bridge that it is in"
    parent = rows["eth0", 0]
    assert parent["links"] == "2 VLANs, 1 macvlan" and parent["networks"] == "lan" and parent["containers"] == "docker:tape"
    assert rows["br-trunk", 7]["ports"] == "vethx up1 (tagged)" and rows["br-trunk", 7]["containers"] == "shop"
    assert rows["br-trunk", 0]["ports"] == "up1 (trunk)"
    assert [row["place"] for row in rows.values() if row["where"] == "host"] == [row["place"] for row in rows.values()]


def test_traffic_is_that_of_the_links_and_of_ports_with_one_vlan() -> None:
    feed, view = filled()
    assert math.isnan(vlans.traffic(feed, view.groups[f"{HOST}/2/20"])[0])
    assert vlans.rated_links(view.groups[f"{HOST}/2/20"])[0].name == "eth0.20"
    assert [item.name for item in vlans.rated_links(view.groups[f"{HOST}/10/7"])] == ["vethx"], "the port that is in no other VLAN"
    assert vlans.rated_links(view.groups[f"{HOST}/10/1"]) == ()
    assert [item.name for item in vlans.rated_links(view.groups[f"{HOST}/2/0"])] == ["eth0"]


def test_rows_follow_what_comes_and_goes() -> None:
    feed, view = filled()
    gone = [("links", "del", f"{HOST}/4", None), ("links", "del", f"{TAPE}/7", None), ("links", "del", f"{SHOP}/2", None)]
    feed.take(Event(1, 1, tuple(gone)))
    assert ("eth0", 20) not in cells(view) and cells(view)["eth0", 0]["links"] == "1 VLAN, 1 macvlan"
    feed.take(Event(1, 2, (("links", "put", f"{HOST}/20", link(HOST, 20, "v5", "vlan", lower=3, vlan=5)),)))
    assert cells(view)["eth1", 5]["links"] == "v5"
    feed.take(Event(1, 3, (("vlans", "put", f"{HOST}/11", PortVlans(HOST, 11, 10, (VlanRange(8, 9),))),)))
    assert {("br-trunk", 8), ("br-trunk", 9)} <= set(cells(view)) and ("br-trunk", 7) not in cells(view)
    feed.take(Event(1, 4, (("links", "del", f"{HOST}/2", None), ("links", "del", f"{HOST}/10", None))))
    assert sorted(cells(view)) == [("eth1", 0), ("eth1", 5)]
    assert view.touched(Batch()) == set(), "what does not change touches nothing"


def test_a_trunk_makes_no_row_for_each_of_its_thousands() -> None:
    feed, view = filled()
    feed.take(Event(1, 1, (("vlans", "put", f"{HOST}/11", PortVlans(HOST, 11, 10, tuple(
        VlanRange(first, first + 60) for first in range(2, 4000, 61)))),)))
    assert len(view.groups) < 300


def test_the_pages_say_what_is_in_it() -> None:
    feed, view = filled()

    def page(key: str, number: int) -> str:
        return plain_text(lines(Context(feed, UNICODE, 60), Selected("vlan", key, view.groups[key]), number))

    assert "20  (802.1Q)" in page(f"{HOST}/2/20", 0) and "802.1ad" in page(f"{HOST}/2/30", 0)
    text = page(f"{HOST}/2/20", 1)
    assert "eth0.20" in text and "On these links" in text and "shop  macvlan bridge" in text
    text = page(f"{HOST}/10/7", 1)
    assert "vethx" in text and "shop  untagged, frames without a tag come" in text
    assert "up1" in text and "tagged" in text
    assert "1-4094" in page(f"{HOST}/10/0", 1)
    assert '"vid": 20' in page(f"{HOST}/2/20", 2)
