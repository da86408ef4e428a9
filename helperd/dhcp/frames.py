"""What the core and the DHCP process say to each other, beside the frames that every such process knows (`helperd.names.frames`)."""

from __future__ import annotations

from typing import Annotated

import msgspec

from helperd.child_frames import Alive, FromChild, Ping, Ready, Short, Start, ToChild, unpack
from helperd.dhcp.terms import Terms

Why = Annotated[str, msgspec.Meta(max_length=500)]


class Wire(ToChild, frozen=True, tag="wire"):
    """A network's link, and the VLAN that frames on it are tagged with, 0 for none; a packet socket on it goes with this."""

    id: str
    vlan: int = 0


class WireGone(ToChild, frozen=True, tag="wire_gone"):
    id: str


class Lessee(ToChild, frozen=True, tag="lessee"):
    """Who wants a lease. `id` is the endpoint's. With `terms` it has one, granted `age` seconds ago; without, `hint` is an address that
    would be welcome."""

    id: str
    wire: str
    mac: str
    hostname: str = ""
    client_id: bytes = b""
    terms: Terms | None = None
    age: float = 0.0
    hint: str = ""


class LesseeGone(ToChild, frozen=True, tag="lessee_gone"):
    """What it has is given back, or declined: somebody else has the address."""

    id: str
    declined: bool = False


class Leased(FromChild, frozen=True, tag="leased"):
    id: Short
    terms: Terms


class LeaseLost(FromChild, frozen=True, tag="lease_lost"):
    id: Short
    why: Why


class LeaseRefused(FromChild, frozen=True, tag="lease_refused"):
    """A server said something that can't be taken."""

    id: Short
    why: Why


class WireFailed(FromChild, frozen=True, tag="wire_failed"):
    """The socket of a network works no more: its link went, or is down."""

    id: Short


AnyToDhcp = Start | Ping | Wire | WireGone | Lessee | LesseeGone
AnyFromDhcp = Ready | Alive | Leased | LeaseLost | LeaseRefused | WireFailed

_TO = msgspec.msgpack.Decoder(AnyToDhcp)
_FROM: msgspec.msgpack.Decoder[AnyFromDhcp] = msgspec.msgpack.Decoder(AnyFromDhcp)


def from_dhcp(body: bytes) -> AnyFromDhcp:
    """Raises PacketError."""
    return unpack(_FROM, body, "DHCP process")


def to_dhcp(body: bytes) -> AnyToDhcp:
    """Raises msgspec.MsgspecError."""
    frame: AnyToDhcp = _TO.decode(body)
    return frame
