"""Netlink framing: messages, attributes, requests and dumps on a raw socket.

What arrives is bounds-checked here once: every function raises `DecodeError` for bytes that are no netlink, and nothing
else. Sources: netlink(7), linux/netlink.h, RFC 3549.
"""

from __future__ import annotations

import itertools
import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

NLMSG_ERROR = 2
NLMSG_DONE = 3
NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_DUMP_INTR = 0x10
NLM_F_REPLACE = 0x100  # of a NEW request or event
NLM_F_DUMP = 0x300
NLM_F_CREATE = 0x400
NLM_F_APPEND = 0x800
NLMSGERR_ATTR_MSG = 1  # extended acknowledgement: the kernel's words
NLM_F_CAPPED = 0x100  # of an error message: the request is not repeated
NLM_F_ACK_TLVS = 0x200
NLA_TYPE_MASK = 0x3FFF

SOL_NETLINK = 270  # linux/socket.h
NETLINK_ADD_MEMBERSHIP = 1
NETLINK_LISTEN_ALL_NSID = 8

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_INT = struct.Struct("=i")
_RECEIVE = 1 << 18
_SEQUENCES = itertools.count(1 << 16)  # above those of requests that are numbered within their datagram
ATTEMPTS = 8  # to have a list that nothing changed meanwhile


class DecodeError(ValueError):
    """The bytes are not what their netlink headers say."""


class DumpInterrupted(Exception):
    """What was being listed changed so often while it was listed that no consistent list could be had."""


class Message(NamedTuple):
    """One netlink message: its header, and where its body lies in the datagram."""

    kind: int
    flags: int
    sequence: int
    port: int
    start: int
    end: int


def messages(data: bytes) -> Iterator[Message]:
    """Iterate over the messages of one datagram. Raises `DecodeError` at the first broken one."""
    offset, total = 0, len(data)
    while total - offset >= 16:
        length, kind, flags, sequence, port = _HEADER.unpack_from(data, offset)
        if length < 16 or length > total - offset:
            raise DecodeError(f"message length {length} at {offset} of {total}")
        yield Message(kind, flags, sequence, port, offset + 16, offset + length)
        offset += (length + 3) & ~3


def attributes(data: bytes, start: int, end: int) -> dict[int, bytes]:
    """Return the attributes between two offsets, by number; of repeated ones the last, as the kernel itself reads them.

    Raises `DecodeError` for a length that does not fit.
    """
    found: dict[int, bytes] = {}
    unpack = _ATTRIBUTE.unpack_from
    while end - start >= 4:
        length, kind = unpack(data, start)
        if length < 4 or length > end - start:
            raise DecodeError(f"attribute length {length} at {start} of {end}")
        found[kind & NLA_TYPE_MASK] = data[start + 4 : start + length]
        start += (length + 3) & ~3
    return found


def nested(payload: bytes) -> dict[int, bytes]:
    """Return the attributes inside an attribute."""
    return attributes(payload, 0, len(payload))


def attribute(kind: int, payload: bytes) -> bytes:
    """Encode one attribute, padded."""
    return _ATTRIBUTE.pack(4 + len(payload), kind) + payload + b"\0" * (-len(payload) % 4)


def integer(kind: int, value: int) -> bytes:
    """Encode a 32-bit attribute."""
    return _ATTRIBUTE.pack(8, kind) + struct.pack("=I", value & 0xFFFFFFFF)


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """Encode one message."""
    return _HEADER.pack(16 + len(body), kind, flags, sequence, 0) + body


def error_of(data: bytes, found: Message) -> OSError | None:
    """The error of an NLMSG_ERROR with the kernel's own words, None when it is an acknowledgement. Raises `DecodeError`."""
    if found.end - found.start < 4:
        raise DecodeError("error message without a number")
    number = -int(_INT.unpack_from(data, found.start)[0])
    if number == 0:
        return None
    text = os.strerror(number)
    start = found.start + 20
    if found.flags & NLM_F_ACK_TLVS and found.end - found.start >= 20:
        if not found.flags & NLM_F_CAPPED:
            start += max(0, int.from_bytes(data[found.start + 4 : found.start + 8], "little") - 16)
        words = attributes(data, min(start, found.end), found.end).get(NLMSGERR_ATTR_MSG)
        if words:
            text = words.rstrip(b"\0").decode("utf-8", "backslashreplace")
    return OSError(number, text)


def _raise_error(data: bytes, found: Message) -> None:
    error = error_of(data, found)
    if error is not None:
        raise error


def request(sock: socket.socket, kind: int, flags: int, body: bytes) -> list[bytes]:
    """Send one request, wait for its acknowledgement and return the bodies of the answers before it.

    Raises OSError with the kernel's words when it refuses, `DecodeError` when the answer is broken.
    """
    sock.send(message(kind, NLM_F_REQUEST | NLM_F_ACK | flags, 1, body))
    answers: list[bytes] = []
    while True:
        data = sock.recv(_RECEIVE)
        for found in messages(data):
            if found.kind == NLMSG_ERROR:
                _raise_error(data, found)
                return answers
            answers.append(data[found.start : found.end])


def one(sock: socket.socket, kind: int, body: bytes) -> bytes:
    """Ask for one object and return the body of the answer, without an acknowledgement behind it, which costs as much as the answer.

    Raises OSError with the kernel's words when it refuses, `DecodeError` when the answer is broken.
    """
    sequence = next(_SEQUENCES) & 0xFFFFFFFF
    sock.send(message(kind, NLM_F_REQUEST, sequence, body))
    while True:
        data = sock.recv(_RECEIVE)
        for found in messages(data):
            if found.sequence != sequence:
                continue
            if found.kind == NLMSG_ERROR:
                error = error_of(data, found)
                raise DecodeError("an acknowledgement in place of an answer") if error is None else error
            return data[found.start : found.end]


def dump(sock: socket.socket, kind: int, body: bytes) -> list[tuple[int, bytes]]:
    """List all objects of one kind: (message type, body) for each. A list disturbed by changes is taken again.

    Raises OSError when the kernel refuses, `DumpInterrupted` when no try was undisturbed.
    """
    for sequence in range(1, ATTEMPTS + 1):
        parts = list(dump_parts(sock, kind, body, sequence))
        if not any(disturbed for _, disturbed in parts):
            return [answer for answers, _ in parts for answer in answers]
    raise DumpInterrupted(f"the list of kind {kind} changed during each of {ATTEMPTS} tries")


def dump_parts(sock: socket.socket, kind: int, body: bytes, sequence: int) -> Iterator[tuple[list[tuple[int, bytes]], bool]]:
    """One try of `dump`, in parts as they come, each with whether it was disturbed. Whoever does not take all of them must close the
    socket: the kernel goes on with one list at a time."""
    sock.send(message(kind, NLM_F_REQUEST | NLM_F_DUMP, sequence, body))
    while True:
        answers: list[tuple[int, bytes]] = []
        disturbed = False
        data = sock.recv(_RECEIVE)
        for found in messages(data):
            if found.sequence != sequence:
                continue
            if found.flags & NLM_F_DUMP_INTR:
                disturbed = True
            if found.kind == NLMSG_DONE:
                _raise_error(data, found)
                yield answers, disturbed
                return
            if found.kind == NLMSG_ERROR:
                _raise_error(data, found)
                continue
            answers.append((found.kind, data[found.start : found.end]))
        yield answers, disturbed
