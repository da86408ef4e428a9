"""The rtnetlink requests that make, change and delete the objects of `drivers.objects`. Pure: they only return bytes.

pyroute2 takes 30 to 240 µs to encode a request, as long as the kernel takes to carry it out. So it encodes the part that many
requests share, once (`_head`), and what differs from one container to the next (index, names, addresses) is put behind it.

Sources: rtnetlink(7), linux/if_link.h, linux/rtnetlink.h, net/core/rtnetlink.c (which attributes count at creation: the alias and
the flags of a bridge port don't, they need a request of their own).
"""

from __future__ import annotations

import functools
import ipaddress
import socket
import struct
import sys
from typing import Any

from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from drivers.objects import LINK_GROUP, PROTOCOL, Bridge, Dummy, Ipvlan, Macvlan, Route, Veth, Vlan
from helperd.kernel.netlink import NLM_F_CREATE, NLM_F_REPLACE, attribute, integer
from helperd.kernel.netlink_batch import NLM_F_EXCL, encode
from protocol.errors import InvalidValue

RTM_NEWLINK, RTM_DELLINK = 16, 17
RTM_NEWADDR, RTM_DELADDR = 20, 21
RTM_NEWROUTE, RTM_DELROUTE = 24, 25
IFF_UP = 1
IFA_F_NODAD = 2
RT_TABLE_MAIN = 254
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_NOWHERE = 0, 253, 255
RTN_UNICAST = 1
_LINKINFO, _INFO_KIND, _INFO_DATA, _VETH_INFO_PEER = 18, 1, 2, 1  # linux/if_link.h, linux/veth.h
_INFO_SLAVE_KIND, _INFO_SLAVE_DATA, _BRPORT_MODE, _BRPORT_ISOLATED = 4, 5, 4, 33  # linux/if_link.h
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MASTER, _IFLA_IFALIAS, _IFLA_NET_NS_FD = 1, 3, 10, 20, 28
_IFA_ADDRESS, _IFA_LOCAL = 1, 2  # linux/if_addr.h
_RTA_OIF = 4  # linux/rtnetlink.h
_BR_VLAN_FILTERING = 7  # linux/if_link.h
_VLAN_ID, _MACVLAN_MODE, _IPVLAN_MODE, _IPVLAN_FLAGS = 1, 1, 1, 2  # linux/if_link.h
IPVLAN_MODES = {"l2": 0, "l3": 1, "l3s": 2}
IPVLAN_FLAGS = {"bridge": 0, "private": 1, "vepa": 2}
MACVLAN_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}
_HEADER = 16  # bytes of struct nlmsghdr
_INDEX = _HEADER + 4  # where struct ifinfomsg and struct ifaddrmsg have the link's index
_FRESH = NLM_F_CREATE | NLM_F_EXCL
_U32 = struct.Struct("=I")


@functools.lru_cache(512)
def _head(
    message: type[Any],
    kind: int,
    flags: int,
    fields: tuple[tuple[str, int], ...],
    attrs: tuple[tuple[str, object], ...] = (),
) -> bytes:
    """The beginning of many requests, with the index 0."""
    return encode(message, kind, flags, dict(fields), attrs)


def _request(head: bytes, index: int, *attributes: bytes) -> bytes:
    """A whole request on the link `index`; `attributes` are encoded already. Of messages whose struct has no index, give 0."""
    request = bytearray(head)
    if index:
        _U32.pack_into(request, _INDEX, index & 0xFFFFFFFF)
    for item in attributes:
        request += item
    _U32.pack_into(request, 0, len(request))
    return bytes(request)


def _text(kind: int, text: str) -> bytes:
    return attribute(kind, text.encode() + b"\0")


def new_bridge(item: Bridge) -> bytes:
    """Make the bridge, down, without its alias and MTU."""
    attrs: list[tuple[str, object]] = [("IFLA_IFNAME", item.name), ("IFLA_GROUP", LINK_GROUP), ("IFLA_MTU", item.first_mtu)]
    if item.mac:
        attrs.append(("IFLA_ADDRESS", item.mac))
    data = attribute(_BR_VLAN_FILTERING, b"\1") if item.vlan_filtering else b""
    return encode(ifinfmsg, RTM_NEWLINK, _FRESH, {}, attrs, _info("bridge", data))


def new_veth(item: Veth, master: int, peer_namespace: int | None) -> bytes:
    """Make the pair: the near end up, a port of the link with index `master` (0: of none); the far end down, in the namespace
    that the descriptor `peer_namespace` stands for (None: where the near end is). The aliases have to be set afterwards."""
    shared = (("IFLA_GROUP", LINK_GROUP), ("IFLA_MTU", item.mtu))
    peer = [_text(_IFLA_IFNAME, item.peer_name)]
    if item.peer_mac:
        peer.append(attribute(_IFLA_ADDRESS, bytes.fromhex(item.peer_mac.replace(":", ""))))
    if peer_namespace is not None:
        peer.append(integer(_IFLA_NET_NS_FD, peer_namespace))
    other = _request(_head(ifinfmsg, RTM_NEWLINK, 0, (), shared), 0, *peer)[_HEADER:]
    data = attribute(_INFO_DATA, attribute(_VETH_INFO_PEER, other))
    near = [_text(_IFLA_IFNAME, item.name), attribute(_LINKINFO, attribute(_INFO_KIND, b"veth") + data)]
    if master:
        near.append(integer(_IFLA_MASTER, master))
    return _request(_head(ifinfmsg, RTM_NEWLINK, _FRESH, _fields(True), shared), 0, *near)


def _fields(up: bool | None) -> tuple[tuple[str, int], ...]:
    """Of struct ifinfomsg: the up state, unless it is to stay."""
    return () if up is None else (("flags", IFF_UP if up else 0), ("change", IFF_UP))


def new_dummy(item: Dummy) -> bytes:
    """Make the dummy, down, without its alias."""
    attrs = [("IFLA_IFNAME", item.name), ("IFLA_GROUP", LINK_GROUP), ("IFLA_MTU", item.mtu)]
    return encode(ifinfmsg, RTM_NEWLINK, _FRESH, {}, attrs, _info("dummy"))


def new_vlan(item: Vlan, parent: int) -> bytes:
    """Make the sub-interface of the link with index `parent`, down, without its alias."""
    attrs = [("IFLA_IFNAME", item.name), ("IFLA_GROUP", LINK_GROUP), ("IFLA_LINK", parent)]
    data = attribute(_VLAN_ID, item.vid.to_bytes(2, sys.byteorder))
    return encode(ifinfmsg, RTM_NEWLINK, _FRESH, {}, attrs, _info("vlan", data))


def new_child(item: Macvlan | Ipvlan, parent: int, namespace: int) -> bytes:
    """Make the link on the host's link with index `parent` in the namespace of a descriptor, down, under its first name and without
    its alias. To be sent in the host's namespace."""
    attrs: list[tuple[str, object]] = [
        ("IFLA_IFNAME", item.first_name),
        ("IFLA_GROUP", LINK_GROUP),
        ("IFLA_MTU", item.mtu),
        ("IFLA_LINK", parent),
        ("IFLA_NET_NS_FD", namespace),
    ]
    if isinstance(item, Ipvlan):
        data = attribute(_IPVLAN_MODE, IPVLAN_MODES[item.mode].to_bytes(2, sys.byteorder))
        data += attribute(_IPVLAN_FLAGS, IPVLAN_FLAGS[item.flag].to_bytes(2, sys.byteorder))
        return encode(ifinfmsg, RTM_NEWLINK, _FRESH, {}, attrs, _info("ipvlan", data))
    if item.mac:
        attrs.append(("IFLA_ADDRESS", item.mac))
    data = attribute(_MACVLAN_MODE, MACVLAN_MODES[item.mode].to_bytes(4, sys.byteorder))
    return encode(ifinfmsg, RTM_NEWLINK, _FRESH, {}, attrs, _info("macvlan", data))


def new_kind(kind: str) -> bytes:
    """Ask for a link without the parent that its kind needs, and with a MAC address that no link has: never made, but the kernel says
    whether it knows the kind."""
    return encode(ifinfmsg, RTM_NEWLINK, _FRESH, {}, (("IFLA_ADDRESS", "ff:ff:ff:ff:ff:ff"),), _info(kind))


def _info(kind: str, data: bytes = b"") -> bytes:
    return attribute(_LINKINFO, attribute(_INFO_KIND, kind.encode()) + (attribute(_INFO_DATA, data) if data else b""))


def set_link(
    index: int,
    *,
    name: str | None = None,
    mac: str | None = None,
    alias: str | None = None,
    mtu: int | None = None,
    group: int | None = None,
    master: int | None = None,
    up: bool | None = None,
) -> bytes:
    """Change what is given of the link `index`; a `master` of 0 releases it from its bridge."""
    given = (("IFLA_MTU", mtu), ("IFLA_GROUP", group), ("IFLA_MASTER", master))
    shared = tuple((key, value) for key, value in given if value is not None)
    own = [_text(kind, text) for kind, text in ((_IFLA_IFNAME, name), (_IFLA_IFALIAS, alias)) if text is not None]
    if mac is not None:
        own.append(attribute(_IFLA_ADDRESS, bytes.fromhex(mac.replace(":", ""))))
    return _request(_head(ifinfmsg, RTM_NEWLINK, 0, _fields(up), shared), index, *own)


def set_port(index: int, *, isolated: bool, hairpin: bool) -> bytes:
    """Change the flags of a bridge port."""
    data = attribute(_BRPORT_MODE, bytes((hairpin,))) + attribute(_BRPORT_ISOLATED, bytes((isolated,)))
    info = attribute(_INFO_SLAVE_KIND, b"bridge") + attribute(_INFO_SLAVE_DATA, data)
    return _request(_head(ifinfmsg, RTM_NEWLINK, 0, ()), index, attribute(_LINKINFO, info))


def delete_link(index: int) -> bytes:
    """Delete the link `index`."""
    return _request(_head(ifinfmsg, RTM_DELLINK, 0, ()), index)


def delete_group(group: int) -> bytes:
    """Delete all links of a group, or none of them if one can't be."""
    return encode(ifinfmsg, RTM_DELLINK, 0, {}, [("IFLA_GROUP", group)])


def new_address(index: int, prefix: str) -> bytes:
    """Add an address to the link `index`: v4 without a broadcast address, v6 without duplicate address detection."""
    return _address(RTM_NEWADDR, _FRESH, index, prefix)


def delete_address(index: int, prefix: str) -> bytes:
    """Delete an address."""
    return _address(RTM_DELADDR, 0, index, prefix)


def _address(kind: int, flags: int, index: int, prefix: str) -> bytes:
    bare, _, length = prefix.partition("/")
    v6 = ":" in bare
    packed = socket.inet_pton(family(6 if v6 else 4), bare)
    fields = [("family", family(6 if v6 else 4)), ("prefixlen", int(length))]
    attrs: tuple[tuple[str, object], ...] = ()
    if kind == RTM_NEWADDR:
        attrs = (("IFA_PROTO", PROTOCOL), ("IFA_FLAGS", IFA_F_NODAD)) if v6 else (("IFA_PROTO", PROTOCOL),)
        fields.append(("flags", IFA_F_NODAD if v6 else 0))
    head = _head(ifaddrmsg, kind, flags, tuple(fields), attrs)
    return _request(head, index, attribute(_IFA_LOCAL, packed), attribute(_IFA_ADDRESS, packed))


def new_route(item: Route, index: int, *, replace: bool = False) -> bytes:
    """Add a route by the link `index` to the main table, or put it in the place of the one with its destination and metric."""
    return _route(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE if replace else _FRESH, item, index)


def delete_route(item: Route, index: int) -> bytes:
    """Delete a route, if it bears our protocol number."""
    return _route(RTM_DELROUTE, 0, item, index)


def _route(kind: int, flags: int, item: Route, index: int) -> bytes:
    head = _route_head(kind, flags, item.destination, item.gateway, item.metric)
    return _request(head, 0, integer(_RTA_OIF, index))


@functools.lru_cache(512)
def _route_head(kind: int, flags: int, destination: str, via: str, metric: int) -> bytes:
    """All but the link: the containers of a network have the same default route."""
    network = ipaddress.ip_network(destination)
    gateway = ipaddress.ip_address(via) if via else None
    if gateway is not None and gateway.version != network.version:
        raise InvalidValue(
            f"route to {destination} has the gateway {via} of another family",
            field="gateway",
            value=via,
        )
    attrs: list[tuple[str, object]] = [("RTA_TABLE", RT_TABLE_MAIN)]
    if network.prefixlen:
        attrs.append(("RTA_DST", str(network.network_address)))
    if gateway is not None:
        attrs.append(("RTA_GATEWAY", str(gateway)))
    if metric:
        attrs.append(("RTA_PRIORITY", metric))
    near = network.version == 4 and gateway is None
    scope = RT_SCOPE_LINK if near else RT_SCOPE_UNIVERSE
    if kind == RTM_DELROUTE:
        scope = RT_SCOPE_NOWHERE
    fields = {
        "family": family(network.version),
        "dst_len": network.prefixlen,
        "table": RT_TABLE_MAIN,
        "proto": PROTOCOL,
        "scope": scope,
        "type": RTN_UNICAST,
    }
    return encode(rtmsg, kind, flags, fields, attrs)


def family(version: int) -> int:
    """AF_INET or AF_INET6 for 4 or 6."""
    return int(socket.AF_INET6 if version == 6 else socket.AF_INET)
