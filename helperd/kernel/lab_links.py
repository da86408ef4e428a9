"""Links, addresses and routes of a lab: a host with two cables to a namespace that plays the rest of the world.

Sources: rtnetlink(7), linux/if_link.h, linux/veth.h, linux/if_addr.h, Documentation/networking/ip-sysctl.rst.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from helperd.kernel.lab_mounts import CLONE_NEWNET, enter_network, name_network, unshare
from helperd.kernel.netlink import NLM_F_CREATE, SOL_NETLINK, attribute, integer, request

_NETLINK_ROUTE, _NETLINK_EXT_ACK = 0, 11
_RTM_NEWLINK, _RTM_NEWADDR, _RTM_NEWROUTE = 16, 20, 24
_NLM_F_EXCL = 0x200
_IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_NET_NS_FD = 3, 18, 28
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_IFA_F_NODAD = 0x02  # nobody else is on these cables: usable at once
_RTA_GATEWAY, _RTA_OIF = 5, 4
_RT_TABLE_MAIN, _RTPROT_STATIC, _RTN_UNICAST = 254, 4, 1
_IFF_UP = 1
_LOOPBACK = 1  # ifindex of lo in every namespace


@dataclass(frozen=True, slots=True)
class Cable:
    """A veth pair: names and addresses of its two ends."""

    inside: str
    outside: str
    inside_addresses: tuple[str, ...]
    outside_addresses: tuple[str, ...]


CABLES = (
    Cable("eth0", "lan0", ("192.168.1.250/24", "2001:db8:1::250/64"), ("192.168.1.1/24", "2001:db8:1::1/64")),
    Cable("eth1", "lan1", ("10.0.1.250/24",), ("10.0.1.1/24",)),
)
GATEWAYS = (("eth0", "192.168.1.1"), ("eth0", "2001:db8:1::1"))
# Behind the router, for what must be more than one hop away.
FAR_ADDRESSES = ("203.0.113.1/32", "2001:db8:ffff::1/128")
_IPV6 = Path("/proc/sys/net/ipv6")  # absent where the kernel has none: then the lab is IPv4 only
_FORWARDING = ("ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv6/conf/default/forwarding")


def lay_cables(outside_path: str) -> None:
    """Make the namespace `outside_path`, and link ours, which must be new, with it. Raises OSError."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        unshare(CLONE_NEWNET)
        name_network(outside_path)
        with _netlink_socket() as sock:
            for cable in CABLES:
                _add_veth(sock, cable.outside, cable.inside, home)
                _add_addresses(sock, socket.if_nametoindex(cable.outside), cable.outside_addresses)
            _add_addresses(sock, _LOOPBACK, FAR_ADDRESSES)
            _set_up(sock, _LOOPBACK)
        _forward()
        enter_network(home)
        with _netlink_socket() as sock:
            _set_up(sock, _LOOPBACK)
            for cable in CABLES:
                index = socket.if_nametoindex(cable.inside)
                _set_up(sock, index)
                _add_addresses(sock, index, cable.inside_addresses)
            for link, gateway in GATEWAYS:
                _add_default_route(sock, socket.if_nametoindex(link), gateway)
        _forward()
    finally:
        os.close(home)


def _netlink_socket() -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_ROUTE)
    sock.setsockopt(SOL_NETLINK, _NETLINK_EXT_ACK, 1)
    sock.bind((0, 0))
    return sock


def _forward() -> None:
    for name in _FORWARDING:
        path = Path("/proc/sys/net") / name
        if path.exists():
            path.write_text("1")


def _link_header(index: int = 0, flags: int = _IFF_UP) -> bytes:
    return struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, flags, flags)


def _add_veth(sock: socket.socket, name: str, peer: str, peer_namespace: int) -> None:
    # A peer can't be made up: at that moment it is not yet connected.
    end = _link_header(flags=0) + attribute(_IFLA_IFNAME, peer.encode() + b"\0") + integer(_IFLA_NET_NS_FD, peer_namespace)
    info = (attribute(_IFLA_INFO_KIND, b"veth\0")
            + attribute(_IFLA_INFO_DATA, attribute(_VETH_INFO_PEER, end)))
    body = _link_header() + attribute(_IFLA_IFNAME, name.encode() + b"\0") + attribute(_IFLA_LINKINFO, info)
    request(sock, _RTM_NEWLINK, NLM_F_CREATE | _NLM_F_EXCL, body)


def _set_up(sock: socket.socket, index: int) -> None:
    request(sock, _RTM_NEWLINK, 0, _link_header(index))


def _add_addresses(sock: socket.socket, index: int, prefixes: Iterable[str]) -> None:
    for prefix in prefixes:
        address = ipaddress.ip_interface(prefix)
        if address.version == 6 and not _IPV6.exists():
            continue
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        header = struct.pack("=BBBBI", family, address.network.prefixlen, 0, 0, index)
        body = (header + attribute(_IFA_LOCAL, address.packed) + attribute(_IFA_ADDRESS, address.packed)
                + integer(_IFA_FLAGS, _IFA_F_NODAD))
        request(sock, _RTM_NEWADDR, NLM_F_CREATE | _NLM_F_EXCL, body)


def _add_default_route(sock: socket.socket, index: int, gateway: str) -> None:
    address = ipaddress.ip_address(gateway)
    if address.version == 6 and not _IPV6.exists():
        return
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    header = struct.pack("=BBBBBBBBI", family, 0, 0, 0, _RT_TABLE_MAIN, _RTPROT_STATIC, 0, _RTN_UNICAST, 0)
    body = header + attribute(_RTA_GATEWAY, address.packed) + integer(_RTA_OIF, index)
    request(sock, _RTM_NEWROUTE, NLM_F_CREATE | _NLM_F_EXCL, body)
