"""Links of others on a parent: which of ours can be beside them, and what a repair leaves alone."""

from __future__ import annotations

import socket
import struct

import msgspec
import pytest

from drivers.beside import rival
from drivers.driver import HostLink, HostView, Hung, parse_options
from drivers.ipvlan import DRIVER as IPVLAN
from drivers.macvlan import DRIVER as MACVLAN
from drivers.objects import LINK_GROUP, Address, Ipvlan, Macvlan, Up, mark
from helperd.hung import hung, strangers
from helperd.kernel.netlink import Message, attribute
from helperd.kernel.observations import NamespaceRead, NamespaceSeen, PeersKnown
from helperd.kernel.rtnetlink import RTM_NEWLINK, Record, decode
from helperd.plan import Step
from helperd.repair import apart
from helperd.world import World
from protocol.errors import Conflict
from protocol.model import Link, Network

INSTANCE = "0123abcd"
C = "c" * 64


@pytest.mark.req("I8")
@pytest.mark.parametrize(("kind", "mode", "other", "words"), [
    ("ipvlan", "l2", ("ipvlan", "l2"), ""),
    ("ipvlan", "l3 private", ("ipvtap", "l3 private"), ""),
    ("ipvlan", "l2", ("ipvlan", "l2 private"), "same mode and flag"),
    ("ipvlan", "l2", ("ipvtap", "l3"), "same mode and flag"),
    ("ipvlan", "l2", ("macvtap", "bridge"), "either macvlan or ipvlan"),
    ("ipvlan", "l2", ("vlan", ""), ""),
    ("macvlan", "bridge", ("macvlan", "private"), ""),
    ("macvlan", "bridge", ("macvlan", "source"), ""),
    ("macvlan", "passthru", ("macvtap", "bridge"), "only one"),
    ("macvlan", "vepa", ("macvlan", "passthru"), "only one"),
    ("macvlan", "bridge", ("ipvlan", "l2"), "either macvlan or ipvlan"),
    ("third-party", "", ("ipvlan", "l2"), ""),
])
def test_what_goes_beside_what(kind: str, mode: str, other: tuple[str, str], words: str) -> None:
    link = Hung("x", *other, "netns:x")
    found = rival(kind, mode, (Hung("v", "vlan", "", "host"), link))
    assert found is None if not words else found is not None and found[0] == link and words in found[1]


@pytest.mark.req("I8", "I1", "M1")
def test_a_network_is_refused_in_words() -> None:
    def check(driver: str, hung: Hung, **options: str) -> Network:
        made = IPVLAN if driver == "ipvlan" else MACVLAN
        host = HostView(INSTANCE, {"eth0": HostLink("eth0", mac="02:00:00:00:00:01", hung=(hung,))})
        return made.check(Network(id="a" * 64, name="n", driver=driver, created=0.0,
                                  options=parse_options(made.info, {"parent": "eth0", **options})), host, ())

    theirs = Hung("t0", "ipvlan", "l3 private", "netns:x")
    with pytest.raises(Conflict, match=r"network n can't hang on eth0 in mode l2: the ipvlan link t0 in netns:x, in mode l3 private, hangs "
                                       r"there, which netdeck did not make, and all ipvlan.*Name another parent, or choose its mode"):
        check("ipvlan", theirs)
    check("ipvlan", theirs, ipvlan_mode="l3", ipvlan_flag="private")
    with pytest.raises(Conflict, match=r"t0 in netns:x.*or delete that link"):
        check("macvlan", theirs)
    with pytest.raises(Conflict, match="the macvlan link t on the host, in mode bridge, hangs there"):
        check("macvlan", Hung("t", "macvlan", "bridge", "host"), macvlan_mode="passthru")


@pytest.mark.req("I8", "I15")
def test_a_repair_leaves_alone_what_would_change_others() -> None:
    def steps(link: Ipvlan | Macvlan) -> tuple[Step, ...]:
        return (Step("delete", msgspec.structs.replace(link, mtu=1400)), Step("create", link),
                Step("create", Address(C, link.name, "10.0.0.2/24")), Step("create", Up(C, link.name)))

    alias = mark(INSTANCE, "endpoint", "e" * 64)
    held, kept, macvlan = (steps(Ipvlan(C, "eth0", alias, "p0")), steps(Ipvlan(C, "eth1", alias, "p1", "l3")),
                           steps(Macvlan(C, "eth2", alias, "p2")))
    orphan = Step("delete", Ipvlan("d" * 64, "eth0", alias, "p0"))
    there = {"p0": (Hung("t0", "ipvlan", "l3", "host"),), "p1": (Hung("t1", "ipvlan", "l3", "host"),)}
    left, told = apart((orphan, *held, *kept, *macvlan), lambda parent: there.get(parent, ()))
    assert left == (orphan, *kept, *macvlan), "what is not ours to keep may go; what is there stays as it is"
    (text,) = told
    assert text.startswith("links on p0 can't be made again: the ipvlan link t0 on the host, in mode l3, hangs there")


@pytest.mark.req("I8")
async def test_strangers_on_a_link_are_known_in_every_namespace() -> None:
    world = World(1)
    world.apply([NamespaceSeen(1, None, (), 1, True), NamespaceSeen(2, 7, ("x",), 0, False)])

    def put(link: Link, nsid: int | None = None, *, there: bool = True) -> None:
        world.apply([Record("links", f"{link.inode}/{link.ifindex}", there, link, nsid)])

    put(Link(1, 5, "eth0", mac="02:00:00:00:00:01"))
    put(Link(1, 6, "eth1"))
    for index, name, lower, alias, group in (
            (7, "a", 5, "", 0), (8, "ours", 5, mark(INSTANCE, "network", "n" * 64), LINK_GROUP), (9, "elsewhere", 6, "", 0),
            (10, "made", 5, "", LINK_GROUP), (11, "b\x1b", 5, mark("ffffffff", "network", "n"), LINK_GROUP)):
        put(Link(1, index, name, "macvlan", lower=lower, alias=alias, group=group, detail="bridge"))
    far = Link(2, 3, "far", "ipvlan", lower=5, detail="l3")
    put(far, 4)
    put(Link(2, 2, "own", "ipvlan", lower=5))  # hangs on link 5 of its own namespace
    assert [link.name for link in strangers(world, INSTANCE, 5)] == ["a", "b\x1b"], "where the last one hangs is not known yet"
    world.apply([PeersKnown(2, {4: 1})])
    assert hung(world, strangers(world, INSTANCE, 5)) == (
        Hung("a", "macvlan", "bridge", "host"), Hung("b\\x1b", "macvlan", "bridge", "host"), Hung("far", "ipvlan", "l3", "netns:x"))
    put(Link(1, 12, "near", "ipvlan", lower=5, detail="l3"))
    put(Link(1, 12, "near", "ipvlan", lower=5, detail="l2 private"))
    assert {item.mode for item in hung(world, strangers(world, INSTANCE, 5)) if item.kind == "ipvlan"} == {"l2 private"}, "one for all"
    put(Link(1, 12, "near", "ipvlan", lower=5), there=False)
    put(msgspec.structs.replace(far, lower=6), 4)
    put(Link(1, 7, "a", "macvlan", lower=5), there=False)
    assert [link.name for link in strangers(world, INSTANCE, 5)] == ["b\x1b"] and strangers(world, INSTANCE, 6)[-1].name == "far"
    world.apply([NamespaceRead(2, ("links",), ())])
    assert [link.name for link in strangers(world, INSTANCE, 6)] == ["elsewhere"]


@pytest.mark.req("I1")
@pytest.mark.parametrize(("mode", "flag", "told"), [(0, 0, "l2"), (1, 1, "l3 private"), (2, 2, "l3s vepa"), (0, None, "l2")])
def test_mode_and_flag_of_an_ipvlan_are_read(mode: int, flag: int | None, told: str) -> None:
    data = attribute(1, struct.pack("=H", mode)) + (attribute(2, struct.pack("=H", flag)) if flag is not None else b"")
    info = attribute(1, b"ipvtap\0") + attribute(2, data)
    body = struct.pack("=BxHiII", socket.AF_UNSPEC, 1, 9, 0, 0) + attribute(3, b"t0\0") + attribute(18, info)
    (record,) = decode(body, Message(RTM_NEWLINK, 0, 0, 0, 0, len(body)), 1)
    assert isinstance(record.value, Link) and record.value.detail == told
