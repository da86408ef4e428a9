"""What the core and its children without privilege say to each other (the resolver, the DHCP client): one msgpack map a packet, over a
SEQPACKET pair, sockets beside it. What every child knows is here, the rest in the `frames` of each.

The core takes nothing from a child on trust: every packet is decoded into a frame that it may send, bounded and checked.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec

MAX_PACKET = 131_072  # bytes; a packet must fit into the socket's buffer as a whole
MAX_SOCKETS = 16  # that go with one packet

Frame = TypeVar("Frame")
Short = Annotated[str, msgspec.Meta(max_length=80)]


class PacketError(Exception):
    """The other side sent what is not a packet. Where a child did, it is replaced."""


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of a child. All but the last two are the resolver's, and keep one container from harming the others: rates are a second
    and container, bursts hold two seconds' worth."""

    ttl: int = 5  # seconds: a container that moves is found again soon
    questions: float = 20_000.0  # rate; what is above is dropped
    work: float = 0.25  # rate of processor time, in seconds, for questions that were not asked just so before; what is above is dropped
    forwarded: float = 500.0  # rate of questions to upstream servers; what is above is refused
    waiting: int = 64  # questions of one container that wait for an upstream server; what is above is refused
    waiting_in_all: int = 1_024  # above, whoever has the most gives its oldest up to one that has fewer
    connections: int = 16  # TCP, of one container
    idle: float = 10.0  # seconds until a silent TCP connection is closed
    server: float = 1.5  # seconds until the next upstream server is asked too
    answer: float = 4.0  # seconds until there is no answer
    files: int = 65_536
    memory: int = 268_435_456


class ToChild(msgspec.Struct, tag_field="frame", frozen=True, forbid_unknown_fields=True):
    """Base of what the core sends."""


class Start(ToChild, frozen=True, tag="start"):
    """The first packet."""

    limits: Limits = Limits()


class Ping(ToChild, frozen=True, tag="ping"):
    """Wants an `Alive`."""


class FromChild(msgspec.Struct, tag_field="frame", frozen=True, forbid_unknown_fields=True):
    """Base of what a child sends."""


class Ready(FromChild, frozen=True, tag="ready"):
    """It runs, without privilege."""


class Alive(FromChild, frozen=True, tag="alive"):
    """What it counts."""

    counts: Annotated[dict[Short, int], msgspec.Meta(max_length=64)]


_ENCODER = msgspec.msgpack.Encoder()
_START = msgspec.msgpack.Decoder(Start)


def pack(frame: ToChild | FromChild) -> bytes:
    """The packet of `frame`. Raises PacketError where it is too long."""
    body = _ENCODER.encode(frame)
    if len(body) > MAX_PACKET:
        raise PacketError(f"{type(frame).__name__} of {len(body)} bytes, at most {MAX_PACKET}")
    return body


def unpack(decoder: msgspec.msgpack.Decoder[Frame], body: bytes, child: str) -> Frame:
    """What a child, called `child`, sent. Raises PacketError."""
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PacketError(f"the {child} sent what is not a packet: {error}") from error


def limits_of(body: bytes) -> Limits:
    """What the first packet of the core says, to whichever child. Raises msgspec.MsgspecError."""
    first: Start = _START.decode(body)
    return first.limits
