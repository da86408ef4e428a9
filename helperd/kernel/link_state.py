"""What the kernel holds of links, addresses and routes: just what marks and planning need, decoded by hand (10 µs a link).

Sources: rtnetlink(7), linux/if_link.h, linux/if_addr.h, linux/rtnetlink.h, linux/net_namespace.h.
"""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from drivers.objects import LINK_GROUP, PROTOCOL
from helperd.kernel.netlink import attribute, attributes, dump, integer, nested, one, request
from protocol.names import decode_kernel_text

RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE, RTM_GETNSID = 18, 22, 26, 90
SIOCGIFINDEX = 0x8933  # linux/sockios.h
_IFNAMSIZ = 16
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER = 1, 3, 4, 5, 10
_IFLA_LINKINFO, _IFLA_IFALIAS, _IFLA_GROUP, _IFLA_EXT_MASK, _IFLA_LINK_NETNSID = 18, 20, 27, 29, 37
_INFO_KIND, _INFO_DATA, _INFO_SLAVE_DATA, _BRPORT_MODE, _BRPORT_ISOLATED = 1, 2, 5, 4, 33
_VLAN_ID, _CHILD_MODE, _IPVLAN_FLAGS = 1, 1, 2
_BR_VLAN_FILTERING = 7  # linux/if_link.h
_IFF_LOOPBACK = 8
_SKIP_STATS = 8  # RTEXT_FILTER_SKIP_STATS
_IFLA_AF_SPEC, _IFLA_INET6_CONF = 26, 2
SETTINGS6 = {"forwarding": 0, "accept_ra": 3, "disable_ipv6": 26}  # places in IFLA_INET6_CONF, linux/ipv6.h (DEVCONF_)
_IFA_ADDRESS, _IFA_LOCAL, _IFA_PROTO = 1, 2, 11
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY = 1, 4, 5, 6
_NETNSA_NSID, _NETNSA_FD = 1, 3
_RTN_UNICAST, _RT_TABLE_MAIN = 1, 254
BOTH = (int(socket.AF_INET), int(socket.AF_INET6))
_IFINFOMSG = struct.Struct("=BxHiII")
_IFADDRMSG = struct.Struct("=BBBBi")
_RTMSG = struct.Struct("=BBBBBBBBI")


@dataclass(frozen=True, slots=True)
class LinkState:
    """A link. `peer` is the index of the other end (IFLA_LINK), in the namespace `peer_nsid` (None: this one)."""

    index: int
    name: str
    kind: str
    up: bool
    mtu: int
    mac: str
    alias: str
    group: int
    master: int
    peer: int
    peer_nsid: int | None
    isolated: bool
    hairpin: bool
    settings6: bytes = b""
    loopback: bool = False
    filters: bool = False  # of a bridge: it keeps VLANs apart
    vlan: int = 0  # of an 802.1Q sub-interface
    mode: int = 0  # of a macvlan or ipvlan, as linux/if_link.h numbers it
    flag: int = 0  # of an ipvlan

    def setting6(self, name: str) -> int | None:
        """The value of ``net.ipv6.conf.LINK.name``, one of `SETTINGS6`; None where the link has no IPv6 at all."""
        start = SETTINGS6[name] * 4
        raw = self.settings6[start : start + 4]
        return int.from_bytes(raw, "little", signed=True) if len(raw) == 4 else None

    def marked(self, alias: str) -> bool:
        """True where netdeck made it: of our group, and with this alias or, if it was killed while it made the link, none yet."""
        return self.ours and self.alias in ("", alias)

    @property
    def ours(self) -> bool:
        """True where its group is ours, or one that links of ours are put into to be deleted together."""
        return LINK_GROUP in (self.group, self.group >> 16)


@dataclass(frozen=True, slots=True)
class AddressState:
    """An address; `marked` where its protocol number (IFA_PROTO, Linux 5.18) is ours."""

    index: int
    prefix: str
    marked: bool


@dataclass(frozen=True, slots=True)
class RouteState:
    """A unicast route of the main table. `metric` is the kernel's (1024 for a v6 route that was given none)."""

    destination: str
    gateway: str
    index: int
    metric: int
    protocol: int


def index_of(sock: socket.socket, name: str) -> int:
    """The index of the link `name` in the namespace of `sock`, 0 if there is none."""
    if len(name.encode()) >= _IFNAMSIZ:
        return 0
    try:
        answer = fcntl.ioctl(sock.fileno(), SIOCGIFINDEX, struct.pack("=16si20x", name.encode(), 0))
    except OSError as error:
        if error.errno == errno.ENODEV:
            return 0
        raise
    return int(struct.unpack_from("=i", answer, 16)[0])


def read_link(sock: socket.socket, name: str) -> LinkState | None:
    """The link `name`, or None."""
    body = _IFINFOMSG.pack(0, 0, 0, 0, 0) + attribute(_IFLA_IFNAME, name.encode() + b"\0")
    try:
        link = _link(one(sock, RTM_GETLINK, body + integer(_IFLA_EXT_MASK, _SKIP_STATS)), True)
    except OSError as error:
        if error.errno == errno.ENODEV:
            return None
        raise
    return link if link.name == name else None


def all_links(sock: socket.socket) -> list[LinkState]:
    """All links of the namespace."""
    body = _IFINFOMSG.pack(0, 0, 0, 0, 0) + integer(_IFLA_EXT_MASK, _SKIP_STATS)
    return [_link(found) for _, found in dump(sock, RTM_GETLINK, body)]


def all_addresses(sock: socket.socket, index: int = 0, families: Iterable[int] = BOTH) -> list[AddressState]:
    """All addresses of the namespace, or of the link `index`."""
    found: list[AddressState] = []
    for family in families:
        for _, body in dump(sock, RTM_GETADDR, _IFADDRMSG.pack(family, 0, 0, 0, index)):
            if body[0] == family:
                found.append(_address(body))
    return found


def all_routes(sock: socket.socket, protocol: int = PROTOCOL, families: Iterable[int] = BOTH) -> list[RouteState]:
    """The unicast routes of the main table with a protocol number (0: all of them)."""
    found: list[RouteState] = []
    for family in families:
        body = _RTMSG.pack(family, 0, 0, 0, 0, protocol, 0, 0, 0)
        for _, answer in dump(sock, RTM_GETROUTE, body):
            if answer[0] == family and answer[4] == _RT_TABLE_MAIN and answer[7] == _RTN_UNICAST:
                state = _route(answer)
                if protocol in (0, state.protocol):
                    found.append(state)
    return found


def foreign_default_families(sock: socket.socket) -> tuple[int, ...]:
    """The families (4, 6) that have a default route in the main table which netdeck did not make, whatever its metric."""
    found = {route.destination for route in all_routes(sock, 0) if route.protocol != PROTOCOL}
    return tuple(family for family, destination in ((4, "0.0.0.0/0"), (6, "::/0")) if destination in found)


def nsid_of(sock: socket.socket, namespace: int) -> int | None:
    """The number by which the namespace of `sock` knows the one of the descriptor `namespace`, None if it has none."""
    answers = request(sock, RTM_GETNSID, 0, b"\0\0\0\0" + integer(_NETNSA_FD, namespace))
    for answer in answers:
        number = attributes(answer, 4, len(answer)).get(_NETNSA_NSID)
        if number is not None:
            value = int.from_bytes(number, "little", signed=True)
            return value if value >= 0 else None
    return None


def _ip(packed: bytes) -> str:
    # inet_ntop is ten times as fast as ipaddress, which counts with thousands of addresses.
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def _u32(found: dict[int, bytes], key: int) -> int:
    return int.from_bytes(found.get(key, b""), "little")


def _text(raw: bytes) -> str:
    return decode_kernel_text(raw.rstrip(b"\0"))


def _settings6(spec: bytes) -> bytes:
    return nested(nested(spec).get(int(socket.AF_INET6), b"")).get(_IFLA_INET6_CONF, b"")


def _link(body: bytes, with_settings: bool = False) -> LinkState:
    _, _, index, flags, _ = _IFINFOMSG.unpack_from(body)
    found = attributes(body, 16, len(body))
    info = nested(found[_IFLA_LINKINFO]) if _IFLA_LINKINFO in found else {}
    port = nested(info[_INFO_SLAVE_DATA]) if _INFO_SLAVE_DATA in info else {}
    nsid = found.get(_IFLA_LINK_NETNSID)
    kind = _text(info.get(_INFO_KIND, b""))
    data = nested(info[_INFO_DATA]) if kind in ("bridge", "vlan", "macvlan", "ipvlan") and _INFO_DATA in info else {}
    return LinkState(
        index,
        _text(found.get(_IFLA_IFNAME, b"")),
        kind,
        bool(flags & 1),
        _u32(found, _IFLA_MTU),
        found.get(_IFLA_ADDRESS, b"").hex(":"),
        _text(found.get(_IFLA_IFALIAS, b"")),
        _u32(found, _IFLA_GROUP),
        _u32(found, _IFLA_MASTER),
        _u32(found, _IFLA_LINK),
        None if nsid is None else int.from_bytes(nsid, "little", signed=True),
        port.get(_BRPORT_ISOLATED, b"\0") != b"\0",
        port.get(_BRPORT_MODE, b"\0") != b"\0",
        _settings6(found.get(_IFLA_AF_SPEC, b"")) if with_settings else b"",
        bool(flags & _IFF_LOOPBACK),
        kind == "bridge" and data.get(_BR_VLAN_FILTERING, b"\0") != b"\0",
        _u32(data, _VLAN_ID) if kind == "vlan" else 0,
        _u32(data, _CHILD_MODE) if kind in ("macvlan", "ipvlan") else 0,
        _u32(data, _IPVLAN_FLAGS) if kind == "ipvlan" else 0,
    )


def _address(body: bytes) -> AddressState:
    _, length, _, _, index = _IFADDRMSG.unpack_from(body)
    found = attributes(body, 8, len(body))
    return AddressState(
        index,
        f"{_ip(found.get(_IFA_LOCAL) or found[_IFA_ADDRESS])}/{length}",
        found.get(_IFA_PROTO) == bytes((PROTOCOL,)),
    )


def _route(body: bytes) -> RouteState:
    family, length, _, _, _, protocol, _, _, _ = _RTMSG.unpack_from(body)
    found = attributes(body, 12, len(body))
    default = b"\0" * (4 if family == socket.AF_INET else 16)
    destination = _ip(found.get(_RTA_DST, default))
    gateway = _ip(found[_RTA_GATEWAY]) if _RTA_GATEWAY in found else ""
    return RouteState(f"{destination}/{length}", gateway, _u32(found, _RTA_OIF), _u32(found, _RTA_PRIORITY), protocol)
