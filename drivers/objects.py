"""Kernel objects as data: what a network or an endpoint wants the kernel to hold.

Pure. A driver returns these; the planner compares them; the writer makes them; `drivers.commands` shows them as commands.
`place` says in which network namespace an object lives: `HOST`, or the id of a container.

Two objects with the same `key` are the same thing, perhaps with different settings: the planner changes it. `rank` is the order
of making; taking away goes the other way.
"""

from __future__ import annotations

import hashlib
from typing import ClassVar

import msgspec

from drivers.object_base import Key as Key
from drivers.object_base import Object as Object
from drivers.port_objects import PortVlans as PortVlans
from drivers.port_objects import Uplink as Uplink
from drivers.relayed import Relayed as Relayed

HOST = "host"
LINK_GROUP = 0x6E64  # "nd"; the mark of our links, IFLA_GROUP
PROTOCOL = 171  # the mark of our routes, rules and neighbours, rtm_protocol
MARK_VERSION = "netdeck:1"
TABLE = "netdeck"  # nftables table, family inet
NAME_ADDRESS = "127.0.0.11"  # where containers ask for names, as docker's
NAME_TABLE = "netdeck-names"  # nftables table inside containers, family ip


class PortSocket(Object, frozen=True, tag="port-socket"):
    """A socket of the helper's that is bound to a port of the host: nobody else can have it. It answers nobody; with a `target`
    the relay carries to there what the kernel can't lead to a container by itself: what this host sends to its own loopback, and
    to a `target` of the other family, all that comes."""

    protocol: str  # tcp | udp | sctp
    address: str  # 0.0.0.0, ::, or one of the host's
    port: int
    target: str = ""  # bare address of a container
    target_port: int = 0

    rank: ClassVar[int] = 5  # before all else: a port that is taken stops a change before it has begun

    @property
    def crosses(self) -> bool:
        """Whether all that comes is carried, into the other family."""
        return bool(self.target) and (":" in self.target) != (":" in self.address)

    @property
    def key(self) -> Key:
        return ("socket", self.place, self.protocol, self.address, str(self.port))


class Bridge(Object, frozen=True, tag="bridge"):
    """A bridge (IFLA_INFO_KIND bridge), no spanning tree, not yet up."""

    name: str
    alias: str
    mtu: int = 1500
    mac: str = ""  # "" lets the kernel choose
    vlan_filtering: bool = False  # it keeps 802.1Q VLANs apart

    rank: ClassVar[int] = 10

    @property
    def first_mtu(self) -> int:
        """What it is made with. One that is set later, to a value that it has not, stays; else the bridge takes the smallest of its
        ports (net/bridge/br_if.c, br_mtu_auto_adjust), which an uplink may have larger."""
        return self.mtu ^ 1

    @property
    def key(self) -> Key:
        return ("link", self.place, self.name)


class Veth(Object, frozen=True, tag="veth"):
    """A veth pair made in one step: `name` in `place` (a port of `master`, already up), `peer_name` in `peer_place` (down)."""

    name: str
    alias: str
    peer_place: str
    peer_name: str
    mtu: int = 1500
    peer_mac: str = ""
    master: str = ""
    isolated: bool = False  # bridge port flag: no traffic to other isolated ports
    hairpin: bool = False  # bridge port flag: what came in by the port may go out by it again

    rank: ClassVar[int] = 40

    @property
    def key(self) -> Key:
        return ("link", self.place, self.name)


class Dummy(Object, frozen=True, tag="dummy"):
    """A link that leads nowhere (IFLA_INFO_KIND dummy), not yet up: what containers of an isolated network hang on."""

    name: str
    alias: str
    mtu: int = 1500

    rank: ClassVar[int] = 10

    @property
    def key(self) -> Key:
        return ("link", self.place, self.name)


class Vlan(Object, frozen=True, tag="vlan"):
    """An 802.1Q sub-interface of `parent` (in the same place), not yet up; it has the MTU of its parent. `vid`: 1 to 4094."""

    name: str
    alias: str
    parent: str
    vid: int

    rank: ClassVar[int] = 12

    @property
    def key(self) -> Key:
        return ("link", self.place, self.name)

    @property
    def on(self) -> tuple[str, str] | None:
        return (self.place, self.parent)


class Macvlan(Object, frozen=True, tag="macvlan"):
    """A macvlan of the host's link `parent`, made directly in `place`, down. `mode`: bridge, vepa, private, passthru.

    In mode passthru `mac` is "": the link has that of its parent, and to set another would change the parent's.
    """

    name: str
    alias: str
    parent: str
    mode: str = "bridge"
    mtu: int = 1500
    mac: str = ""

    rank: ClassVar[int] = 40

    @property
    def first_name(self) -> str:
        """What it is called while it is made: before Linux 6.15 a link can't be made in another namespace with a name that the
        host's has (rtnl_newlink looks there), and the host's `eth0` is the usual parent of a container's."""
        return first_name(self.alias)

    @property
    def key(self) -> Key:
        return ("link", self.place, self.name)

    @property
    def on(self) -> tuple[str, str] | None:
        return (HOST, self.parent)


class Ipvlan(Object, frozen=True, tag="ipvlan"):
    """An ipvlan of the host's link `parent`, made directly in `place`, down. `mode`: l2, l3, l3s; `flag`: bridge, private, vepa: both
    belong to the parent, so all that hangs on it has the same. Its MAC address is the parent's."""

    name: str
    alias: str
    parent: str
    mode: str = "l2"
    flag: str = "bridge"
    mtu: int = 1500

    rank: ClassVar[int] = 40

    @property
    def first_name(self) -> str:
        """As of `Macvlan`."""
        return first_name(self.alias)

    @property
    def key(self) -> Key:
        return ("link", self.place, self.name)

    @property
    def on(self) -> tuple[str, str] | None:
        return (HOST, self.parent)


class Sysctl(Object, frozen=True, tag="sysctl"):
    """`name` in dotted form with the link's name in `link` where it belongs to one (``net.ipv6.conf.*.disable_ipv6``; the ``*``
    stands for the link, whose name may hold dots)."""

    name: str
    value: str
    link: str = ""

    rank: ClassVar[int] = 50

    @property
    def key(self) -> Key:
        return ("sysctl", self.place, self.name, self.link)

    @property
    def on(self) -> tuple[str, str] | None:
        return (self.place, self.link) if self.link else None


class Address(Object, frozen=True, tag="address"):
    """An address on a link; v6 without duplicate address detection (the pool is the authority)."""

    link: str
    prefix: str  # 172.18.0.1/16

    rank: ClassVar[int] = 60

    @property
    def key(self) -> Key:
        return ("address", self.place, self.link, self.prefix)

    @property
    def on(self) -> tuple[str, str] | None:
        return (self.place, self.link)


class Up(Object, frozen=True, tag="up"):
    """The link is administratively up (IFF_UP)."""

    link: str

    rank: ClassVar[int] = 70

    @property
    def key(self) -> Key:
        return ("up", self.place, self.link)

    @property
    def on(self) -> tuple[str, str] | None:
        return (self.place, self.link)


class Route(Object, frozen=True, tag="route"):
    """A route with our protocol number. `destination` is a prefix, ``0.0.0.0/0`` or ``::/0`` for the default."""

    destination: str
    link: str
    gateway: str = ""
    metric: int = 0

    rank: ClassVar[int] = 80

    @property
    def key(self) -> Key:
        return ("route", self.place, self.destination, str(self.metric))

    @property
    def on(self) -> tuple[str, str] | None:
        return (self.place, self.link)


class Match(msgspec.Struct, frozen=True):
    """`left op right`, as nft writes it: ``iifname``, ``oifname``, ``ip saddr``, ``ip daddr``, ``ip6 saddr``, ``ip6 daddr``,
    ``ct state``, ``fib daddr type``, ``meta nfproto``, ``meta l4proto``, ``tcp dport`` … `right` holds one value or several."""

    left: str
    right: tuple[str, ...]
    op: str = "=="


class Rule(msgspec.Struct, frozen=True):
    """One rule: all `matches`, a counter, then `verdict` (``accept``, ``drop``, ``return``, ``masquerade``, ``snat to A``,
    ``jump linked``), and a comment in plain words."""

    matches: tuple[Match, ...]
    verdict: str
    comment: str


class Chain(Object, frozen=True, tag="chain"):
    """A regular chain of the table `inet netdeck`, whole."""

    name: str
    rules: tuple[Rule, ...]

    rank: ClassVar[int] = 20

    @property
    def key(self) -> Key:
        return ("chain", self.place, self.name)


class Jump(Object, frozen=True, tag="jump"):
    """An element of a verdict map by interface name: packets of `link` go to `chain`.

    `map` is one of `VERDICT_MAPS`; the base chains of the table look them up.
    """

    map: str
    link: str
    chain: str

    rank: ClassVar[int] = 30

    @property
    def key(self) -> Key:
        return ("jump", self.place, self.map, self.link)


class Masked(Object, frozen=True, tag="masked"):
    """A container's `address` to which published packets go with the bridge's address as their source, since its answers to
    anybody else would take another way."""

    address: str

    rank: ClassVar[int] = 88

    @property
    def key(self) -> Key:
        return ("masked", self.place, self.address)


class Linked(Object, frozen=True, tag="linked"):
    """Packets from the container `source` to `port` of the container `target` pass, where containers may not talk to each other."""

    source: str  # bare addresses, of one family
    target: str
    protocol: str
    port: int

    rank: ClassVar[int] = 88

    @property
    def key(self) -> Key:
        return ("linked", self.place, self.source, self.target, self.protocol, str(self.port))


class Published(Object, frozen=True, tag="published"):
    """Packets to `address` (``0.0.0.0`` and ``::``: any of the host's), port `host_port`, go to `port` of `target`."""

    protocol: str
    address: str
    host_port: int
    target: str  # bare address of the container, of the same family
    port: int

    rank: ClassVar[int] = 90  # behind all else: nobody is led to a container that is not there yet

    @property
    def key(self) -> Key:
        return ("published", self.place, self.protocol, self.address, str(self.host_port))


class NameServer(Object, frozen=True, tag="name_server"):
    """Names served inside a container: sockets of ours at `NAME_ADDRESS` on free ports, and the nft table `ip netdeck-names` there
    that sends what goes to port 53 of that address to them. The ports are the kernel's choice, and others after each start."""

    mark: str

    rank: ClassVar[int] = 90

    @property
    def key(self) -> Key:
        return ("name_server", self.place)


class VerdictMap(msgspec.Struct, frozen=True):
    """A verdict map of the table and the base chain that looks it up."""

    name: str
    chain: str
    type: str  # filter | nat
    hook: str
    priority: int
    left: str  # iifname | oifname


# Of a forwarded packet the chain of where it comes from is asked first: what an internal network sends to a port that another
# network publishes must not get there. The closing drop of the destination's chain keeps networks apart.
VERDICT_MAPS: tuple[VerdictMap, ...] = (
    VerdictMap("arrive-from", "arriving", "filter", "prerouting", -300, "iifname"),
    VerdictMap("forward-from", "forward", "filter", "forward", 0, "iifname"),
    VerdictMap("forward-to", "forward", "filter", "forward", 0, "oifname"),
    VerdictMap("nat-to", "postrouting", "nat", "postrouting", 100, "oifname"),
    VerdictMap("nat-from", "postrouting", "nat", "postrouting", 100, "iifname"),
)
MASKED = {4: "masked-4", 6: "masked-6"}  # sets of addresses
LINKED = {4: "linked-4", 6: "linked-6"}  # sets of what links open: from, to, protocol, port
LINKED_CHAIN = "linked"  # looks them up, and accepts
RELAYED_CHAIN = "relayed"  # looks up what the relay answers, and drops

LINK_KINDS: tuple[type[Object], ...] = (Bridge, Veth, Dummy, Vlan, Macvlan, Ipvlan)
TableItem = Chain | Jump | Masked | Linked | Published | Relayed  # what the table `inet netdeck` holds
BridgePort = Uplink | PortVlans
Child = Macvlan | Ipvlan
AnyObject = PortSocket | Bridge | Veth | Dummy | Vlan | Child | BridgePort | Sysctl | Address | Up | Route | TableItem | NameServer


def mark(instance: str, kind: str, ident: str) -> str:
    """The ifalias of a link that `instance` (8 hex digits) made for the object `ident` of `kind` (``network``, ``endpoint``, or
    ``parent`` with the link's own name: several networks may hang on it), and the beginning of the comment of a
    container's table of names (``names``, followed by ``:<UDP port>.<TCP port>``)."""
    return f"{MARK_VERSION}:{instance}:{kind}:{ident}"


def first_name(alias: str) -> str:
    """A name for the link with the mark `alias` that no other link has."""
    return "nd" + hashlib.sha256(alias.encode()).hexdigest()[:13]


def parse_mark(alias: str) -> tuple[str, str, str] | None:
    """(instance, kind, id) of an ifalias that netdeck wrote, else None."""
    parts = alias.split(":")
    if len(parts) != 5 or ":".join(parts[:2]) != MARK_VERSION or not all(parts[2:]):
        return None
    return parts[2], parts[3], parts[4]
