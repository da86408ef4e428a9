"""Which sockets wait at an IPv4 address, in the namespace that the calling thread is in.

The kernel is asked by sock_diag for UDP sockets and for TCP sockets that listen, which takes 30 µs; /proc/net/tcp walks the
connections of the whole machine, which takes a millisecond, and is read only where the kernel has no sock_diag. Sources:
sock_diag(7), linux/inet_diag.h, proc(5).
"""

from __future__ import annotations

import contextlib
import socket
import struct
from pathlib import Path

from helperd.kernel.namespaces import netlink_socket
from helperd.kernel.netlink import dump

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_ALL_STATES, _LISTEN = 0xFFFFFFFF, 10  # TCP_LISTEN, linux/tcp_states.h
_ASKED = ((socket.IPPROTO_UDP, _ALL_STATES), (socket.IPPROTO_TCP, 1 << _LISTEN))
_COUNTED = ("TCP: inuse", "UDP: inuse")  # /proc/net/sockstat
_REQUEST = struct.Struct("=BBBxI48x")  # struct inet_diag_req_v2
_SOURCE, _INODE, _LONG = 8, 68, 72  # places in struct inet_diag_msg, and its length


def sockets_at(address: str) -> frozenset[int]:
    """The inodes of the UDP sockets at `address` and of the TCP sockets that listen there."""
    if not _any():
        return frozenset()
    packed = socket.inet_aton(address)
    found: set[int] = set()
    try:
        with netlink_socket(protocol=_NETLINK_SOCK_DIAG) as sock:
            for protocol, states in _ASKED:
                for _, body in dump(sock, _SOCK_DIAG_BY_FAMILY, _REQUEST.pack(socket.AF_INET, protocol, 0, states)):
                    if len(body) >= _LONG and body[_SOURCE : _SOURCE + 4] == packed:
                        found.add(int.from_bytes(body[_INODE:_LONG], "little"))
    except OSError:  # neither built in nor to be loaded as a module
        return _in_proc(packed)
    return frozenset(found - {0})


def _any() -> bool:
    """Whether the namespace has IPv4 sockets of these kinds at all. The kernel counts them; in a list it passes by those of all other
    namespaces."""
    try:
        with open("/proc/thread-self/net/sockstat", encoding="ascii") as lines:
            return any(line.startswith(_COUNTED) and line.split()[2] != "0" for line in lines)
    except OSError:
        return True


def _in_proc(packed: bytes) -> frozenset[int]:
    wanted = f"{int.from_bytes(packed, 'little'):08X}:"
    found: set[int] = set()
    for protocol, states in (("udp", None), ("tcp", f"{_LISTEN:02X}")):
        with contextlib.suppress(OSError):
            rows = [line.split() for line in Path(f"/proc/thread-self/net/{protocol}").read_text(encoding="ascii").splitlines()[1:]]
            found |= {int(row[9]) for row in rows if row[1].startswith(wanted) and states in (None, row[3])}
    return frozenset(found - {0})
