"""Links, addresses, routes, neighbours and rules: from rtnetlink's bytes to the structs that clients see.

Hand-written because it is on the hot path (10 µs a message, where a general parser takes 170). What the kernel or a
namespace's owner puts into a message is never trusted: odd lengths end in `DecodeError`, names are decoded so that
they can always be encoded again.

Sources: rtnetlink(7), linux/if_link.h, linux/if_addr.h, linux/rtnetlink.h, linux/neighbour.h, linux/fib_rules.h.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Mapping
from sys import intern
from typing import NamedTuple

from helperd.kernel.bridge_vlans import AF_BRIDGE, RTEXT_FILTER_BRVLAN_COMPRESSED, port_vlans
from helperd.kernel.netlink import NLM_F_REPLACE, DecodeError, Message, attributes, integer, nested
from protocol.model import Address, Link, Neighbour, PortVlans, Route, Rule
from protocol.names import decode_kernel_text

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34
RTM_NEWNSID, RTM_DELNSID, RTM_GETNSID = 88, 89, 90

IFF_UP, IFF_LOWER_UP = 0x1, 0x10000
RT_TABLE_LOCAL = 255
RTM_F_CLONED = 0x200  # an entry of the routing cache
NUD_NOARP = 0x40
_FAMILIES: Mapping[int, int] = {socket.AF_INET: 4, socket.AF_INET6: 6}

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER, IFLA_WIRELESS = 1, 3, 4, 5, 10, 11
IFLA_OPERSTATE, IFLA_LINKINFO, IFLA_IFALIAS, IFLA_GROUP, IFLA_EXT_MASK, IFLA_LINK_NETNSID = 16, 18, 20, 27, 29, 37
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
RTEXT_FILTER_SKIP_STATS = 8
VLAN_AWARE = "vlan-filtering"  # `detail` of a bridge that looks at tags
_OPERSTATES = ("unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up")
_MACVLAN_MODES: Mapping[int, str] = {1: "private", 2: "vepa", 4: "bridge", 8: "passthru", 16: "source"}
_IPVLAN_MODES: Mapping[int, str] = {0: "l2", 1: "l3", 2: "l3s"}
_IPVLAN_FLAGS: Mapping[int, str] = {1: "private", 2: "vepa"}  # 0, bridge, goes without saying
_SCOPES: Mapping[int, str] = {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}
_ROUTE_KINDS: Mapping[int, str] = {
    1: "unicast", 2: "local", 3: "broadcast", 4: "anycast", 5: "multicast", 6: "blackhole", 7: "unreachable",
    8: "prohibit", 9: "throw", 10: "nat",
}
_NEIGHBOUR_STATES: Mapping[int, str] = {
    0: "none", 1: "incomplete", 2: "reachable", 4: "stale", 8: "delay", 16: "probe", 32: "failed", 64: "noarp",
    128: "permanent",
}
_RULE_ACTIONS: Mapping[int, str] = {1: "lookup", 2: "goto", 3: "nop", 6: "blackhole", 7: "unreachable", 8: "prohibit"}

_IFINFOMSG = struct.Struct("=BxHiII")
_IFADDRMSG = struct.Struct("=BBBBI")
_RTMSG = struct.Struct("=BBBBBBBBI")
_NDMSG = struct.Struct("=BxHiHBB")
_RULE = struct.Struct("=BBBBBBBBI")
_U32 = struct.Struct("=I")
_U16 = struct.Struct("=H")
_INT = struct.Struct("=i")
_NEXTHOP = struct.Struct("=HBBi")


Inner = Link | PortVlans | Address | Route | Neighbour | Rule
"""What lives in a namespace."""


class Record(NamedTuple):
    """One object that a message tells of. `put` is False where it is gone; `link_nsid` is IFLA_LINK_NETNSID of a link
    (None: its lower link or peer is in its own namespace); `replaced` where the object took the place of others."""

    topic: str
    key: str
    put: bool
    value: Inner
    link_nsid: int | None = None
    replaced: bool = False


def decode(data: bytes, message: Message, inode: int) -> list[Record]:
    """Return what `message`, about the namespace `inode`, tells; nothing for messages that are of no interest.

    Raises `DecodeError` for a message that is not well-formed, and nothing else.
    """
    entry = _DECODERS.get(message.kind)
    if entry is None:
        return []
    decoder, put = entry
    try:
        records = decoder(data, message.start, message.end, inode, put)
    except (struct.error, ValueError, IndexError) as error:
        raise DecodeError(f"message {message.kind} about namespace {inode}: {error}") from error
    if put and message.flags & NLM_F_REPLACE:
        return [record._replace(replaced=True) for record in records]
    return records


def _u32(found: Mapping[int, bytes], key: int) -> int:
    raw = found.get(key)
    return 0 if raw is None else int(_U32.unpack_from(raw)[0])


def _text(raw: bytes | None) -> str:
    return intern(decode_kernel_text(raw.split(b"\0", 1)[0])) if raw else ""


def _ip(raw: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)


def _link(data: bytes, start: int, end: int, inode: int, put: bool) -> list[Record]:
    family, _, index, flags, _ = _IFINFOMSG.unpack_from(data[start:end])
    if family == AF_BRIDGE:
        port = port_vlans(data, start, end, inode)
        return [] if port is None else [Record("vlans", f"{inode}/{index}", put, port)]
    found = attributes(data, start + 16, end)
    # Inet6 settings and wireless events use the same messages with a part of the attributes.
    if family != socket.AF_UNSPEC or IFLA_WIRELESS in found:
        return []
    info = nested(found[IFLA_LINKINFO]) if IFLA_LINKINFO in found else {}
    kind = _text(info.get(IFLA_INFO_KIND))
    state = found.get(IFLA_OPERSTATE, b"\0")[0]
    vlan, detail = _link_detail(kind, info)
    nsid = found.get(IFLA_LINK_NETNSID)
    value = Link(
        inode=inode,
        ifindex=index,
        name=_text(found.get(IFLA_IFNAME)),
        kind=kind,
        state=_OPERSTATES[state] if state < len(_OPERSTATES) else "unknown",
        flags=flags,
        mtu=_u32(found, IFLA_MTU),
        mac=found.get(IFLA_ADDRESS, b"").hex(":"),
        master=_u32(found, IFLA_MASTER),
        lower=_u32(found, IFLA_LINK),
        group=_u32(found, IFLA_GROUP),
        alias=_text(found.get(IFLA_IFALIAS)),
        vlan=vlan,
        detail=detail,
    )
    return [Record("links", f"{inode}/{index}", put, value, None if nsid is None else int(_INT.unpack_from(nsid)[0]))]


def _link_detail(kind: str, info: Mapping[int, bytes]) -> tuple[int, str]:
    """VLAN id and the mode of a link, from the attributes of its kind, or of its place under a bridge."""
    known = nested(info[IFLA_INFO_DATA]) if kind in _DETAILS and IFLA_INFO_DATA in info else {}
    vlan, detail = _DETAILS[kind](known) if known else (0, "")
    if _text(info.get(IFLA_INFO_SLAVE_KIND)) == "bridge" and IFLA_INFO_SLAVE_DATA in info:
        port = nested(info[IFLA_INFO_SLAVE_DATA])
        if port.get(33, b"\0") != b"\0":  # IFLA_BRPORT_ISOLATED
            detail = f"{detail} isolated".strip()
    return vlan, detail


def _vlan_detail(found: Mapping[int, bytes]) -> tuple[int, str]:
    raw = found.get(1)  # IFLA_VLAN_ID
    protocol = found.get(5)  # IFLA_VLAN_PROTOCOL, network order
    return (0 if raw is None else int(_U16.unpack_from(raw)[0])), "802.1ad" if protocol == b"\x88\xa8" else ""


def _vxlan_detail(found: Mapping[int, bytes]) -> tuple[int, str]:
    return 0, f"vni {_u32(found, 1)}"  # IFLA_VXLAN_ID


def _macvlan_detail(found: Mapping[int, bytes]) -> tuple[int, str]:
    return 0, _MACVLAN_MODES.get(_u32(found, 1), "")  # IFLA_MACVLAN_MODE


def _ipvlan_detail(found: Mapping[int, bytes]) -> tuple[int, str]:
    raw, flags = found.get(1), found.get(2)  # IFLA_IPVLAN_MODE, IFLA_IPVLAN_FLAGS
    if raw is None:
        return 0, ""
    flag = 0 if flags is None else int(_U16.unpack_from(flags)[0])
    return 0, f"{_IPVLAN_MODES.get(int(_U16.unpack_from(raw)[0]), '')} {_IPVLAN_FLAGS.get(flag, '')}".strip()


def _bridge_detail(found: Mapping[int, bytes]) -> tuple[int, str]:
    return 0, VLAN_AWARE if found.get(7, b"\0") != b"\0" else ""  # IFLA_BR_VLAN_FILTERING


_DETAILS: Mapping[str, Callable[[Mapping[int, bytes]], tuple[int, str]]] = {
    "vlan": _vlan_detail, "vxlan": _vxlan_detail, "macvlan": _macvlan_detail, "macvtap": _macvlan_detail,
    "ipvlan": _ipvlan_detail, "ipvtap": _ipvlan_detail, "bridge": _bridge_detail,
}


def _address(data: bytes, start: int, end: int, inode: int, put: bool) -> list[Record]:
    family, length, flags, scope, index = _IFADDRMSG.unpack_from(data[start:end])
    if family not in _FAMILIES:
        return []
    found = attributes(data, start + 8, end)
    raw = found.get(2) or found.get(1)  # IFA_LOCAL, else IFA_ADDRESS
    if raw is None:
        raise DecodeError("an address message without an address")
    prefix = f"{_ip(raw)}/{length}"
    value = Address(inode=inode, ifindex=index, address=prefix, scope=_SCOPES.get(scope, "global"),
                    flags=_u32(found, 8) if 8 in found else flags,  # IFA_FLAGS
                    protocol=found[11][0] if found.get(11) else 0)  # IFA_PROTO
    return [Record("addresses", f"{inode}/{index}/{prefix}", put, value)]


def _route(data: bytes, start: int, end: int, inode: int, put: bool) -> list[Record]:
    family, length, _, tos, table, protocol, scope, kind, flags = _RTMSG.unpack_from(data[start:end])
    if family not in _FAMILIES or flags & RTM_F_CLONED:
        return []
    found = attributes(data, start + 12, end)
    table = _u32(found, 15) or table  # RTA_TABLE
    if table == RT_TABLE_LOCAL:
        return []
    destination = "default" if length == 0 else f"{_ip(found[1] if 1 in found else _zeros(family))}/{length}"  # RTA_DST
    metric = _u32(found, 6)  # RTA_PRIORITY
    source = intern(_ip(found[7])) if 7 in found else ""  # RTA_PREFSRC
    what = _ROUTE_KINDS.get(kind, "unicast")
    records = []
    for gateway, index in _next_hops(found):
        value = Route(inode=inode, family=_FAMILIES[family], destination=destination, gateway=gateway, ifindex=index,
                      table=table, protocol=protocol, scope=scope, metric=metric, kind=what, source=source)
        key = f"{inode}/{value.family} {table} {destination} {metric} {tos} {what} {gateway} {index}"
        records.append(Record("routes", key, put, value))
    return records


def _zeros(family: int) -> bytes:
    return bytes(4 if family == socket.AF_INET else 16)


def _gateway(found: Mapping[int, bytes]) -> str:
    if 5 in found:  # RTA_GATEWAY
        return intern(_ip(found[5]))  # many routes share it
    via = found.get(18)  # RTA_VIA: family and address, for IPv4 routes over IPv6
    return _ip(via[2:]) if via else ""


def _next_hops(found: Mapping[int, bytes]) -> list[tuple[str, int]]:
    raw = found.get(9)  # RTA_MULTIPATH
    if not raw:
        return [(_gateway(found), _u32(found, 4))]  # RTA_OIF
    hops, offset = [], 0
    while len(raw) - offset >= 8:
        length, _, _, index = _NEXTHOP.unpack_from(raw, offset)
        if length < 8 or length > len(raw) - offset:
            raise DecodeError(f"next hop of length {length} at {offset} of {len(raw)}")
        hops.append((_gateway(attributes(raw, offset + 8, offset + length)), index))
        offset += (length + 3) & ~3
    return hops


def _neighbour(data: bytes, start: int, end: int, inode: int, put: bool) -> list[Record]:
    family, _, index, state, flags, _ = _NDMSG.unpack_from(data[start:end])
    found = attributes(data, start + 12, end)
    mac = found.get(2, b"").hex(":")  # NDA_LLADDR
    target = _ip(found[1]) if len(found.get(1, b"")) in (4, 16) else ""  # NDA_DST
    if family == AF_BRIDGE:
        # Entries with neither are a device's own unicast and multicast filters, of which no events come.
        if 9 not in found and not target:  # NDA_MASTER
            return []
        vlan = int(_U16.unpack_from(found[5])[0]) if 5 in found else 0  # NDA_VLAN
        key = f"{inode}/{index} fdb {mac} {vlan} {target}"
        seen = intern("static" if state == NUD_NOARP else _NEIGHBOUR_STATES.get(state, str(state)))
        entry = Neighbour(inode=inode, ifindex=index, address=target, mac=mac, state=seen, family=AF_BRIDGE,
                          flags=flags, vlan=vlan)
        return [Record("neighbours", key, put, entry)]
    if family not in _FAMILIES or not target:
        return []
    value = Neighbour(inode=inode, ifindex=index, address=target, mac=mac, family=_FAMILIES[family], flags=flags,
                      state=_NEIGHBOUR_STATES.get(state, str(state)))
    return [Record("neighbours", f"{inode}/{index} {target}", put and state not in (0, NUD_NOARP), value)]


def _rule(data: bytes, start: int, end: int, inode: int, put: bool) -> list[Record]:
    family, to_length, from_length, tos, table, _, _, action, flags = _RULE.unpack_from(data[start:end])
    if family not in _FAMILIES:
        return []
    found = attributes(data, start + 12, end)
    words = ["not"] if flags & 2 else []  # FIB_RULE_INVERT
    words += ["from", f"{_ip(found[2])}/{from_length}" if 2 in found else "all"]  # FRA_SRC
    if 1 in found:  # FRA_DST
        words += ["to", f"{_ip(found[1])}/{to_length}"]
    if tos:
        words += ["tos", f"{tos:#x}"]
    for number, word in ((3, "iif"), (17, "oif")):  # FRA_IIFNAME, FRA_OIFNAME
        if number in found:
            words += [word, _text(found[number])]
    if 10 in found:  # FRA_FWMARK, FRA_FWMASK
        words += ["fwmark", f"{_u32(found, 10):#x}/{_u32(found, 16):#x}"]
    if 22 in found:  # FRA_IP_PROTO
        words += ["ipproto", str(found[22][0])]
    for number, word in ((20, "uidrange"), (23, "sport"), (24, "dport")):
        if number in found:  # FRA_UID_RANGE, FRA_SPORT_RANGE, FRA_DPORT_RANGE
            words += [word, "{}-{}".format(*struct.unpack_from("=II" if number == 20 else "=HH", found[number]))]
    table = _u32(found, 15) or table  # FRA_TABLE
    priority = _u32(found, 6)  # FRA_PRIORITY
    done = _RULE_ACTIONS.get(action, str(action))
    if action == 2:
        done = f"goto {_u32(found, 4)}"  # FRA_GOTO
    selector = intern(" ".join(words))
    value = Rule(inode=inode, family=_FAMILIES[family], priority=priority, selector=selector, action=done, table=table,
                 protocol=found[21][0] if found.get(21) else 0)  # FRA_PROTOCOL
    return [Record("rules", f"{inode}/{value.family} {priority} {selector} {done} {table}", put, value)]


_Decoder = Callable[[bytes, int, int, int, bool], list[Record]]
_DECODERS: Mapping[int, tuple[_Decoder, bool]] = {
    RTM_NEWLINK: (_link, True), RTM_DELLINK: (_link, False),
    RTM_NEWADDR: (_address, True), RTM_DELADDR: (_address, False),
    RTM_NEWROUTE: (_route, True), RTM_DELROUTE: (_route, False),
    RTM_NEWNEIGH: (_neighbour, True), RTM_DELNEIGH: (_neighbour, False),
    RTM_NEWRULE: (_rule, True), RTM_DELRULE: (_rule, False),
}

TOPICS: Mapping[int, str] = {
    RTM_NEWLINK: "links", RTM_DELLINK: "links", RTM_NEWADDR: "addresses", RTM_DELADDR: "addresses", RTM_NEWROUTE: "routes",
    RTM_DELROUTE: "routes", RTM_NEWNEIGH: "neighbours", RTM_DELNEIGH: "neighbours", RTM_NEWRULE: "rules", RTM_DELRULE: "rules",
}
"""What the messages are about."""

DUMPS: Mapping[str, tuple[tuple[int, bytes], ...]] = {
    "links": ((RTM_GETLINK, _IFINFOMSG.pack(0, 0, 0, 0, 0) + integer(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)),),
    "vlans": ((RTM_GETLINK, _IFINFOMSG.pack(AF_BRIDGE, 0, 0, 0, 0) + integer(IFLA_EXT_MASK, RTEXT_FILTER_BRVLAN_COMPRESSED)),),
    "addresses": ((RTM_GETADDR, _IFADDRMSG.pack(0, 0, 0, 0, 0)),),
    "routes": tuple((RTM_GETROUTE, _RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)) for family in _FAMILIES),
    "neighbours": tuple((RTM_GETNEIGH, _NDMSG.pack(family, 0, 0, 0, 0, 0)) for family in (0, AF_BRIDGE)),
    "rules": tuple((RTM_GETRULE, _RULE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)) for family in _FAMILIES),
}
"""The requests that list all objects of a topic in a namespace."""
