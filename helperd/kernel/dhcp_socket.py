"""A packet socket on a link of the host that hears what DHCP servers say there, and nothing else (packet(7)).

It hears what goes to a container on the link too: taps come before the receive handler by which macvlan and bridges take frames.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct

_ETH_P_ALL = 0x0003
_SO_ATTACH_FILTER, _SO_LOCK_FILTER = 26, 44  # asm-generic/socket.h
_LDH_ABS, _LDB_ABS, _LDX_MSH, _LDH_IND, _JEQ, _JSET, _RET = 0x28, 0x30, 0xB1, 0x48, 0x15, 0x45, 0x06  # linux/bpf_common.h
_INSTRUCTION = struct.Struct("=HBBI")
_PORT = 68

# (code, to skip if true, to skip if false, value): IPv4, UDP, no fragment, to the port of DHCP clients; all else is dropped.
_FILTER = (
    (_LDH_ABS, 0, 0, 12), (_JEQ, 0, 8, 0x0800),
    (_LDB_ABS, 0, 0, 23), (_JEQ, 0, 6, socket.IPPROTO_UDP),
    (_LDH_ABS, 0, 0, 20), (_JSET, 4, 0, 0x3FFF),
    (_LDX_MSH, 0, 0, 14), (_LDH_IND, 0, 0, 16), (_JEQ, 0, 1, _PORT),
    (_RET, 0, 0, 0xFFFF), (_RET, 0, 0, 0),
)


def open_on(link: str) -> socket.socket:
    """A socket on a link of this namespace, its filter locked. Raises OSError, also where there is no such link or it is down."""
    index = socket.if_nametoindex(link)
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0)
    try:
        program = b"".join(_INSTRUCTION.pack(*line) for line in _FILTER)
        memory = ctypes.create_string_buffer(program)
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", len(_FILTER), ctypes.addressof(memory)))
        sock.setsockopt(socket.SOL_SOCKET, _SO_LOCK_FILTER, 1)
        sock.bind((link, _ETH_P_ALL))
        if sock.getsockname()[0] != link or socket.if_nametoindex(link) != index:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
    except BaseException:
        sock.close()
        raise
    return sock


def mac_of(link: str) -> str:
    """The MAC address of a link of this namespace. Raises OSError."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    try:
        sock.bind((link, 0))
        return bytes(sock.getsockname()[4]).hex(":")
    finally:
        sock.close()
