"""The rtnetlink requests that make, change and delete the objects of `drivers.objects`. Pure: they only return bytes.

Sources: rtnetlink(7), linux/if_link.h, linux/rtnetlink.h, net/core/rtnetlink.c (which attributes count at creation: the alias and
the flags of a bridge port don't, they need a request of their own).
"""

from __future__ import annotations

import ipaddress
import socket

from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from drivers.objects import LINK_GROUP, PROTOCOL, Bridge, Route, Veth
from helperd.kernel.netlink import NLM_F_CREATE, NLM_F_REPLACE, attribute
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
_HEADER = 16  # bytes of struct nlmsghdr
_FRESH = NLM_F_CREATE | NLM_F_EXCL


def new_bridge(item: Bridge) -> bytes:
    """Make the bridge, down, without its alias and MTU: one that is given at creation is lost with the last port."""
    attrs: list[tuple[str, object]] = [("IFLA_IFNAME", item.name), ("IFLA_GROUP", LINK_GROUP)]
    if item.mac:
        attrs.append(("IFLA_ADDRESS", item.mac))
    attrs.append(("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "bridge")]}))
    return encode(ifinfmsg, RTM_NEWLINK, _FRESH, {}, attrs)


def new_veth(item: Veth, master: int, peer_namespace: int | None) -> bytes:
    """Make the pair: the near end up, a port of the link with index `master` (0: of none); the far end down, in the namespace
    that the descriptor `peer_namespace` stands for (None: where the near end is). The aliases have to be set afterwards."""
    peer: list[tuple[str, object]] = [
        ("IFLA_IFNAME", item.peer_name),
        ("IFLA_GROUP", LINK_GROUP),
        ("IFLA_MTU", item.mtu),
    ]
    if item.peer_mac:
        peer.append(("IFLA_ADDRESS", item.peer_mac))
    if peer_namespace is not None:
        peer.append(("IFLA_NET_NS_FD", peer_namespace))
    attrs: list[tuple[str, object]] = [
        ("IFLA_IFNAME", item.name),
        ("IFLA_GROUP", LINK_GROUP),
        ("IFLA_MTU", item.mtu),
    ]
    if master:
        attrs.append(("IFLA_MASTER", master))
    other = encode(ifinfmsg, RTM_NEWLINK, 0, {}, peer)[_HEADER:]
    data = attribute(_INFO_DATA, attribute(_VETH_INFO_PEER, other))
    info = attribute(_LINKINFO, attribute(_INFO_KIND, b"veth") + data)
    return encode(ifinfmsg, RTM_NEWLINK, _FRESH, {"flags": IFF_UP, "change": IFF_UP}, attrs, info)


def set_link(
    index: int,
    *,
    alias: str | None = None,
    mtu: int | None = None,
    group: int | None = None,
    master: int | None = None,
    up: bool | None = None,
) -> bytes:
    """Change what is given of the link `index`; a `master` of 0 releases it from its bridge."""
    given = (("IFLA_IFALIAS", alias), ("IFLA_MTU", mtu), ("IFLA_GROUP", group), ("IFLA_MASTER", master))
    fields = {"index": index}
    if up is not None:
        fields |= {"flags": IFF_UP if up else 0, "change": IFF_UP}
    return encode(ifinfmsg, RTM_NEWLINK, 0, fields, [(name, value) for name, value in given if value is not None])


def set_port(index: int, isolated: bool) -> bytes:
    """Change the isolation flag of a bridge port."""
    data = {"attrs": [("IFLA_BRPORT_ISOLATED", int(isolated))]}
    info = {"attrs": [("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", data)]}
    return encode(ifinfmsg, RTM_NEWLINK, 0, {"index": index}, [("IFLA_LINKINFO", info)])


def delete_link(index: int) -> bytes:
    """Delete the link `index`."""
    return encode(ifinfmsg, RTM_DELLINK, 0, {"index": index})


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
    address = ipaddress.ip_interface(prefix)
    v6 = address.version == 6
    attrs: list[tuple[str, object]] = [("IFA_LOCAL", str(address.ip)), ("IFA_ADDRESS", str(address.ip))]
    if kind == RTM_NEWADDR:
        attrs.append(("IFA_PROTO", PROTOCOL))
        if v6:
            attrs.append(("IFA_FLAGS", IFA_F_NODAD))
    fields = {
        "family": family(address.version),
        "prefixlen": address.network.prefixlen,
        "index": index,
        "flags": IFA_F_NODAD if v6 and kind == RTM_NEWADDR else 0,
    }
    return encode(ifaddrmsg, kind, flags, fields, attrs)


def new_route(item: Route, index: int, *, replace: bool = False) -> bytes:
    """Add a route by the link `index` to the main table, or put it in the place of the one with its destination and metric."""
    return _route(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE if replace else _FRESH, item, index)


def delete_route(item: Route, index: int) -> bytes:
    """Delete a route, if it bears our protocol number."""
    return _route(RTM_DELROUTE, 0, item, index)


def _route(kind: int, flags: int, item: Route, index: int) -> bytes:
    network = ipaddress.ip_network(item.destination)
    gateway = ipaddress.ip_address(item.gateway) if item.gateway else None
    if gateway is not None and gateway.version != network.version:
        raise InvalidValue(
            f"route to {item.destination} has the gateway {item.gateway} of another family",
            field="gateway",
            value=item.gateway,
        )
    attrs: list[tuple[str, object]] = [("RTA_TABLE", RT_TABLE_MAIN)]
    if network.prefixlen:
        attrs.append(("RTA_DST", str(network.network_address)))
    if gateway is not None:
        attrs.append(("RTA_GATEWAY", str(gateway)))
    if item.metric:
        attrs.append(("RTA_PRIORITY", item.metric))
    attrs.append(("RTA_OIF", index))
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
