"""What an upstream server told: whether it answers the question, and what it says. Pure.

An answer is walked over, not parsed: it goes to the asker as it came, and records that share a long name cost a parser up to a
second for one message (RFC 1035, 4.1).
"""

from __future__ import annotations

import dns.message
import dns.rcode
import dns.rdatatype

HEADER = 12  # bytes
_RECORD = 10  # bytes between the name of a record and its data
_SHOWN = 8  # answers, for the query log
_SHOWN_BYTES = 4_096  # of the message, that may be parsed for them


def is_answer(question: bytes, wire: bytes) -> dns.rcode.Rcode | None:
    """The (extended) result that `wire` has if it answers `question`, a message with one question as it was sent: with its id and
    its question, whole, and nothing behind it. None where it doesn't. Never raises."""
    if len(wire) < HEADER or wire[:2] != question[:2] or not wire[2] & 0x80 or (wire[2] ^ question[2]) & 0x78 or wire[4:6] != b"\0\1":
        return None
    start = _behind_name(question, HEADER)
    if wire[HEADER:start].lower() != question[HEADER:start].lower() or wire[start:start + 4] != question[start:start + 4]:
        return None
    extended = 0
    count = sum(_counts(wire))
    at = start + 4
    if count * (1 + _RECORD) > len(wire) - at:
        return None
    for _ in range(count):
        kind = _behind_name(wire, at)
        if kind + _RECORD > len(wire):
            return None
        if wire[kind:kind + 2] == b"\0\x29":  # OPT (RFC 6891, 6.1.3)
            extended = wire[kind + 4]
        at = _behind_record(wire, kind)
    return dns.rcode.Rcode(extended << 4 | wire[3] & 15) if at == len(wire) else None


def shown(question: bytes, wire: bytes) -> tuple[str, ...]:
    """The first answers in `wire`, which answers `question`, for the query log. Never raises."""
    at = _behind_name(question, HEADER) + 4
    count = 0
    for _ in range(min(_SHOWN, _counts(wire)[0])):
        end = _behind_record(wire, _behind_name(wire, at))
        if end > _SHOWN_BYTES:
            break
        at, count = end, count + 1
    try:
        message = dns.message.from_wire(wire[:6] + bytes((0, count)) + bytes(4) + wire[HEADER:at])
        return tuple(rdata.to_text()[:200] for rrset in message.answer for rdata in rrset)
    except Exception:  # an upstream server is no better than a container
        return ()


def _counts(wire: bytes) -> tuple[int, int, int]:
    """Of answers, authorities and additional records."""
    return int.from_bytes(wire[6:8], "big"), int.from_bytes(wire[8:10], "big"), int.from_bytes(wire[10:12], "big")


def _behind_name(wire: bytes, at: int) -> int:
    """Where the name at `at` ends; behind the end of `wire` where it doesn't."""
    size = len(wire)
    while at < size:
        length = wire[at]
        if length == 0:
            return at + 1
        if length >= 0xC0:
            return at + 2
        if length > 63:
            break
        at += 1 + length
    return size + 1


def _behind_record(wire: bytes, kind: int) -> int:
    """Where the record ends whose type is at `kind`."""
    return kind + _RECORD + int.from_bytes(wire[kind + 8:kind + _RECORD], "big")
