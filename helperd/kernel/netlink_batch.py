"""Requests to rtnetlink, encoded by pyroute2's message classes, and several of them in one sendmsg.

The kernel carries out the messages of one sendmsg in order *and goes on after one that it refuses*: what to do about those
behind it is the business of the caller, who learns the fate of each. Sources: netlink(7), rtnetlink(7), net/netlink/af_netlink.c.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from helperd.kernel.netlink import (
    NLM_F_ACK,
    NLM_F_ACK_TLVS,
    NLM_F_CAPPED,
    NLMSG_ERROR,
    NLMSGERR_ATTR_MSG,
    SOL_NETLINK,
    attributes,
    messages,
)

NLM_F_REQUEST = 0x1
NLM_F_EXCL = 0x200  # of a NEW request, with NLM_F_CREATE
NETLINK_CAP_ACK = 10  # linux/netlink.h: acknowledgements don't repeat the request
LIMIT = 64  # messages in one sendmsg, so that their acknowledgements fit into any receive buffer

_U32 = struct.Struct("=I")
_INT = struct.Struct("=i")


class Refusal(Exception):
    """The kernel refused a request: `number` is the errno, `text` the kernel's own words, or else those of errno(3)."""

    def __init__(self, number: int, text: str = "") -> None:
        self.number = number
        self.text = text or os.strerror(number)
        super().__init__(self.text)


def encode(
    message: type[Any],
    kind: int,
    flags: int,
    fields: Mapping[str, object],
    attrs: Sequence[tuple[str, object]] = (),
    tail: bytes = b"",
) -> bytes:
    """One request: `message` is a class of pyroute2, `fields` its fixed part, `attrs` its attributes by name. `tail` are
    attributes that are encoded already: deep ones cost pyroute2 half a millisecond."""
    request = message()
    for name, value in fields.items():
        request[name] = value
    request["attrs"] = list(attrs)
    request["header"]["type"] = kind
    request["header"]["flags"] = NLM_F_REQUEST | NLM_F_ACK | flags
    request.encode()
    return _U32.pack(len(request.data) + len(tail)) + bytes(request.data[4:]) + tail


def exchange(sock: socket.socket, requests: Sequence[bytes]) -> list[Refusal | None]:
    """Send `requests` in as few sendmsg as their number allows and return what became of each: None where it was done.

    Raises OSError when the socket itself fails; what was done then is unknown.
    """
    results: list[Refusal | None] = []
    for start in range(0, len(requests), LIMIT):
        results += _exchange(sock, requests[start : start + LIMIT])
    return results


def one(sock: socket.socket, request: bytes) -> None:
    """Send one request. Raises Refusal."""
    refusal = _exchange(sock, (request,))[0]
    if refusal is not None:
        raise refusal


def _exchange(sock: socket.socket, requests: Sequence[bytes]) -> list[Refusal | None]:
    sock.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
    buffers = []
    for number, request in enumerate(requests, 1):
        buffer = bytearray(request)
        _U32.pack_into(buffer, 8, number)
        buffer += b"\0" * (-len(buffer) % 4)
        buffers.append(buffer)
    sock.sendmsg(buffers)
    fate: dict[int, Refusal | None] = {}
    while len(fate) < len(requests):
        data = sock.recv(1 << 16)
        for found in messages(data):
            if found.kind == NLMSG_ERROR and 1 <= found.sequence <= len(requests):
                fate[found.sequence] = _refusal(data, found.flags, found.start, found.end)
    return [fate[number] for number in range(1, len(requests) + 1)]


def _refusal(data: bytes, flags: int, start: int, end: int) -> Refusal | None:
    number = -int(_INT.unpack_from(data, start)[0])
    if number == 0:
        return None
    text = ""
    if flags & NLM_F_ACK_TLVS and end - start >= 20:
        repeated = 0 if flags & NLM_F_CAPPED else max(0, int.from_bytes(data[start + 4 : start + 8], "little") - 16)
        words = attributes(data, min(start + 20 + repeated, end), end).get(NLMSGERR_ATTR_MSG, b"")
        text = words.rstrip(b"\0").decode("utf-8", "backslashreplace")
    return Refusal(number, text)
