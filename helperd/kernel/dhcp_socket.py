"""A packet socket on a link of the host that hears what DHCP servers say there, and nothing else (packet(7))."""

from __future__ import annotations

import socket

from helperd.kernel.packet_filter import (
    ACCEPT,
    DROP,
    JEQ,
    JSET,
    LDB_ABS,
    LDH_ABS,
    LDH_IND,
    LDX_MSH,
    in_vlan,
    open_filtered,
)

_PORT = 68

# IPv4, UDP, no fragment, to the port of DHCP clients; all else is dropped.
_FILTER = (
    (LDH_ABS, 0, 0, 12), (JEQ, 0, 8, 0x0800),
    (LDB_ABS, 0, 0, 23), (JEQ, 0, 6, socket.IPPROTO_UDP),
    (LDH_ABS, 0, 0, 20), (JSET, 4, 0, 0x3FFF),
    (LDX_MSH, 0, 0, 14), (LDH_IND, 0, 0, 16), (JEQ, 0, 1, _PORT),
    ACCEPT, DROP,
)


def open_on(link: str, vlan: int = 0) -> socket.socket:
    """A socket on a link of this namespace, its filter locked; `vlan` is what tags on it say, 0 for frames without one. Raises OSError,
    also where there is no such link or it is down."""
    return open_filtered(link, (*in_vlan(vlan), *_FILTER))


def mac_of(link: str) -> str:
    """The MAC address of a link of this namespace. Raises OSError."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    try:
        sock.bind((link, 0))
        return bytes(sock.getsockname()[4]).hex(":")
    finally:
        sock.close()
