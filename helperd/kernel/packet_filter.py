"""Filters of packet sockets (packet(7), linux/filter.h): short programs that the kernel runs on each frame before anybody reads it.

A program is lines of (code, to skip if true, to skip if false, value); what gets to its end without an answer may not be.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Sequence

Line = tuple[int, int, int, int]

LDW_ABS, LDH_ABS, LDB_ABS, LDX_MSH, LDH_IND, AND, JEQ, JSET, RET = 0x20, 0x28, 0x30, 0xB1, 0x48, 0x54, 0x15, 0x45, 0x06  # bpf_common.h
ACCEPT: Line = (RET, 0, 0, 0xFFFF)
DROP: Line = (RET, 0, 0, 0)
_ETH_P_ALL = 0x0003
_SO_ATTACH_FILTER, _SO_LOCK_FILTER = 26, 44  # asm-generic/socket.h
_ANCILLARY = 0xFFFFF000  # SKF_AD_OFF: what the kernel knows of a frame beside its bytes
_PACKET_TYPE, _VLAN, _VLAN_PRESENT = _ANCILLARY + 4, _ANCILLARY + 44, _ANCILLARY + 48
_OUTGOING = 4  # PACKET_OUTGOING
_INSTRUCTION = struct.Struct("=HBBI")


def require(load: int, at: int, value: int) -> tuple[Line, ...]:
    """Drop what has something else than `value` there."""
    return (load, 0, 0, at), (JEQ, 1, 0, value), DROP


def incoming() -> tuple[Line, ...]:
    """Drop what this host sends."""
    return (LDW_ABS, 0, 0, _PACKET_TYPE), (JEQ, 0, 1, _OUTGOING), DROP


def in_vlan(vlan: int) -> tuple[Line, ...]:
    """Drop what came in another VLAN than `vlan`; 0: what came with a tag. The kernel takes the tag off before a socket sees the frame."""
    tag = (LDW_ABS, 0, 0, _VLAN), (AND, 0, 0, 0xFFF)
    if vlan:
        return (LDW_ABS, 0, 0, _VLAN_PRESENT), (JEQ, 3, 0, 0), *tag, (JEQ, 1, 0, vlan), DROP
    return (LDW_ABS, 0, 0, _VLAN_PRESENT), (JEQ, 4, 0, 0), *tag, (JEQ, 1, 0, 0), DROP  # a tag of VLAN 0 only says a priority


def tagged(frame: bytes, vlan: int) -> bytes:
    """`frame` with an 802.1Q tag; 0: as it is."""
    return frame[:12] + struct.pack("!HH", 0x8100, vlan) + frame[12:] if vlan else frame


def open_filtered(link: str, program: Sequence[Line]) -> socket.socket:
    """A packet socket on a link of this namespace that hears all that `program` lets through, and to which no other program can be given.

    It hears what goes to containers on the link too: taps come before the receive handler by which macvlan and bridges take frames.
    Raises OSError, also where there is no such link or it is down."""
    index = socket.if_nametoindex(link)
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0)
    try:
        memory = ctypes.create_string_buffer(b"".join(_INSTRUCTION.pack(*line) for line in program))
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", len(program), ctypes.addressof(memory)))
        sock.setsockopt(socket.SOL_SOCKET, _SO_LOCK_FILTER, 1)
        sock.bind((link, _ETH_P_ALL))
        if sock.getsockname()[0] != link or socket.if_nametoindex(link) != index:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
    except BaseException:
        sock.close()
        raise
    return sock
