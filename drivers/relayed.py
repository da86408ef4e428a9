"""Published ports that the relay carries, from whoever reaches the host. Pure."""

from __future__ import annotations

from typing import ClassVar

from drivers.object_base import Key, Object


class Relayed(Object, frozen=True, tag="relayed"):
    """A port of the host at which the relay answers everybody, so that internal networks have to be kept from it: what they send to
    the host does not pass the rules for what is forwarded."""

    protocol: str
    address: str  # 0.0.0.0, ::, or one of the host's
    port: int

    rank: ClassVar[int] = 4  # before the socket that answers, and longer than it

    @property
    def key(self) -> Key:
        return ("relayed", self.place, self.protocol, self.address, str(self.port))
