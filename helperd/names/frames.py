"""What the core and the resolver say to each other, beside the frames that every child knows (`helperd.child_frames`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import msgspec

from helperd.child_frames import Alive, FromChild, Ping, Ready, Short, Start, ToChild, unpack

ROWS_OF_QUERIES = 500  # of the query log, in one packet
BYTES_OF_QUERIES = 65_536  # of such rows, in one packet

Shown = Annotated[str, msgspec.Meta(max_length=1100)]  # a name of 255 bytes, each written as \\DDD at the worst


class NetworkPut(ToChild, frozen=True, tag="network"):
    """A network with names. `subnets` are prefixes."""

    id: str
    name: str
    subnets: tuple[str, ...]


class NetworkGone(ToChild, frozen=True, tag="network_gone"):
    id: str


class EndpointPut(ToChild, frozen=True, tag="endpoint"):
    """One container on one network: the names it goes by there (the first is what its addresses resolve to), bare addresses."""

    id: str
    network: str
    names: tuple[str, ...]
    addresses: tuple[str, ...]


class EndpointGone(ToChild, frozen=True, tag="endpoint_gone"):
    id: str


class ContainerPut(ToChild, frozen=True, tag="container"):
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


class ContainerGone(ToChild, frozen=True, tag="container_gone"):
    id: str


class Upstreams(ToChild, frozen=True, tag="upstreams"):
    """The host's name servers, asked from the host's namespace."""

    servers: tuple[str, ...]


class Watching(ToChild, frozen=True, tag="watching"):
    """Whether anybody reads the query log."""

    on: bool


class Sockets(ToChild, frozen=True, tag="sockets"):
    """Answer to `Wanted`; the sockets go with it, none where the container is gone."""

    container: str
    family: int
    kind: str


class Wanted(FromChild, frozen=True, tag="wanted"):
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


class Queries(FromChild, frozen=True, tag="queries"):
    """What was asked since the last such packet; `lost` more were, which there was no room for."""

    rows: Annotated[tuple[Asked, ...], msgspec.Meta(max_length=ROWS_OF_QUERIES)]
    lost: int = 0


AnyToResolver = (
    Start | NetworkPut | NetworkGone | EndpointPut | EndpointGone | ContainerPut | ContainerGone | Upstreams | Watching | Sockets | Ping
)
AnyFromResolver = Ready | Alive | Wanted | Queries

_ENCODER = msgspec.msgpack.Encoder()
_TO_RESOLVER = msgspec.msgpack.Decoder(AnyToResolver)
_FROM_RESOLVER: msgspec.msgpack.Decoder[AnyFromResolver] = msgspec.msgpack.Decoder(AnyFromResolver)


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
    return unpack(_FROM_RESOLVER, body, "resolver")


def to_resolver(body: bytes) -> AnyToResolver:
    """Raises msgspec.MsgspecError."""
    frame: AnyToResolver = _TO_RESOLVER.decode(body)
    return frame
