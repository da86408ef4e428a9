"""What the core and the resolver process say to each other: one msgpack map a packet, over a SEQPACKET pair, sockets beside it.

The core takes nothing from the resolver on trust: every packet is decoded into one of `FromResolver`, bounded and checked.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import msgspec

MAX_PACKET = 131_072  # bytes; a packet must fit into the socket's buffer as a whole
MAX_SOCKETS = 16  # that go with one packet
ROWS_OF_QUERIES = 500  # of the query log, in one packet
BYTES_OF_QUERIES = 65_536  # of such rows, in one packet

Short = Annotated[str, msgspec.Meta(max_length=80)]
Shown = Annotated[str, msgspec.Meta(max_length=1100)]  # a name of 255 bytes, each written as \\DDD at the worst


class PacketError(Exception):
    """The other side sent what is not a packet. Where the resolver did, it is replaced."""


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds that keep one container from harming the others. Rates are a second and container, bursts hold two seconds' worth."""

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


class ToResolver(msgspec.Struct, tag_field="frame", frozen=True, forbid_unknown_fields=True):
    """Base of what the core sends."""


class Start(ToResolver, frozen=True, tag="start"):
    """The first packet."""

    limits: Limits = Limits()


class NetworkPut(ToResolver, frozen=True, tag="network"):
    """A network with names. `subnets` are prefixes."""

    id: str
    name: str
    subnets: tuple[str, ...]


class NetworkGone(ToResolver, frozen=True, tag="network_gone"):
    id: str


class EndpointPut(ToResolver, frozen=True, tag="endpoint"):
    """One container on one network: the names it goes by there (the first is what its addresses resolve to), bare addresses."""

    id: str
    network: str
    names: tuple[str, ...]
    addresses: tuple[str, ...]


class EndpointGone(ToResolver, frozen=True, tag="endpoint_gone"):
    id: str


class ContainerPut(ToResolver, frozen=True, tag="container"):
    """Who asks: the networks whose names it may know, in their order, and where its other questions go.

    Two sockets go with it: UDP, and TCP that listens. `servers` are asked from inside the container; where there are none,
    the host's are, if `outside` allows it. `bare`: names without a dot go to upstream servers too.
    """

    id: str
    ref: str
    inode: int
    networks: tuple[str, ...]
    servers: tuple[str, ...] = ()
    outside: bool = True
    bare: bool = True


class ContainerGone(ToResolver, frozen=True, tag="container_gone"):
    id: str


class Upstreams(ToResolver, frozen=True, tag="upstreams"):
    """The host's name servers, asked from the host's namespace."""

    servers: tuple[str, ...]


class Watching(ToResolver, frozen=True, tag="watching"):
    """Whether anybody reads the query log."""

    on: bool


class Sockets(ToResolver, frozen=True, tag="sockets"):
    """Answer to `Wanted`; the sockets go with it, none where the container is gone."""

    container: str
    family: int
    kind: str


class Ping(ToResolver, frozen=True, tag="ping"):
    """Wants an `Alive`."""


class FromResolver(msgspec.Struct, tag_field="frame", frozen=True, forbid_unknown_fields=True):
    """Base of what the resolver sends."""


class Ready(FromResolver, frozen=True, tag="ready"):
    """It runs, without privilege."""


class Alive(FromResolver, frozen=True, tag="alive"):
    """What it counts."""

    counts: Annotated[dict[Short, int], msgspec.Meta(max_length=64)]


class Wanted(FromResolver, frozen=True, tag="wanted"):
    """Sockets in a container's namespace, for questions to its own servers."""

    container: Short
    family: Annotated[int, msgspec.Meta(ge=4, le=6)]
    kind: Annotated[str, msgspec.Meta(max_length=3)]


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """One question of a container, for the query log. `by`: ``names``, an upstream server, or "" where it was not answered."""

    time: float
    container: Short
    name: Shown
    type: Short
    result: Short
    by: Short
    answers: Annotated[tuple[Shown, ...], msgspec.Meta(max_length=8)]
    seconds: float


class Queries(FromResolver, frozen=True, tag="queries"):
    """What was asked since the last such packet; `lost` more were, which there was no room for."""

    rows: Annotated[tuple[Asked, ...], msgspec.Meta(max_length=ROWS_OF_QUERIES)]
    lost: int = 0


AnyToResolver = (
    Start | NetworkPut | NetworkGone | EndpointPut | EndpointGone | ContainerPut | ContainerGone | Upstreams | Watching | Sockets | Ping
)
AnyFromResolver = Ready | Alive | Wanted | Queries

_ENCODER = msgspec.msgpack.Encoder()
_START = msgspec.msgpack.Decoder(Start)
_TO_RESOLVER = msgspec.msgpack.Decoder(AnyToResolver)
_FROM_RESOLVER = msgspec.msgpack.Decoder(AnyFromResolver)


def pack(frame: ToResolver | FromResolver) -> bytes:
    """The packet of `frame`. Raises PacketError where it is too long."""
    body = _ENCODER.encode(frame)
    if len(body) > MAX_PACKET:
        raise PacketError(f"{type(frame).__name__} of {len(body)} bytes, at most {MAX_PACKET}")
    return body


def queries(rows: Iterable[Asked], lost: int) -> list[Queries]:
    """`rows` in as many frames as they need to fit into packets each. The first says how many were lost: `lost`, and those that no
    packet has room for."""
    parts: list[list[Asked]] = []
    left = count = 0
    for row in rows:
        size = len(_ENCODER.encode(row))
        if size > BYTES_OF_QUERIES:
            lost += 1
            continue
        if size > left or count >= ROWS_OF_QUERIES:
            parts.append([])
            left, count = BYTES_OF_QUERIES, 0
        parts[-1].append(row)
        left, count = left - size, count + 1
    if lost and not parts:
        parts.append([])
    return [Queries(tuple(part), 0 if number else lost) for number, part in enumerate(parts)]


def from_resolver(body: bytes) -> AnyFromResolver:
    """Raises PacketError."""
    try:
        frame: AnyFromResolver = _FROM_RESOLVER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PacketError(f"the resolver sent what is not a packet: {error}") from error
    return frame


def to_resolver(body: bytes) -> AnyToResolver:
    """Raises msgspec.MsgspecError."""
    frame: AnyToResolver = _TO_RESOLVER.decode(body)
    return frame


def limits_of(body: bytes) -> Limits:
    """What the first packet of the core says, to whichever child. Raises msgspec.MsgspecError."""
    first: Start = _START.decode(body)
    return first.limits
