"""What ports of a bridge are beside veths: a link of the host that leads out, and the VLANs of a port. Pure.

Sources: bridge(8), linux/if_bridge.h.
"""

from __future__ import annotations

from typing import ClassVar

from drivers.object_base import Key, Object


class Uplink(Object, frozen=True, tag="uplink"):
    """A link of the host that netdeck did not make, as a port of `master`, and up. It is given back as it was: no port, and down
    unless it was up before (`was_up`)."""

    link: str
    master: str
    was_up: bool = True

    rank: ClassVar[int] = 45

    @property
    def key(self) -> Key:
        return ("uplink", self.place, self.link)


class PortVlans(Object, frozen=True, tag="port_vlans"):
    """The 802.1Q VLANs of a port of the bridge `master`, which filters by them: `tagged` as ``10`` and ``20-30``, in order; `untagged` is
    the one of frames without a tag, both ways, 0 for none. A port without such an object has what the kernel gives it, VLAN 1 untagged;
    so has one that came from another bridge."""

    link: str
    master: str
    tagged: tuple[str, ...] = ()
    untagged: int = 0

    rank: ClassVar[int] = 46

    @property
    def key(self) -> Key:
        return ("port_vlans", self.place, self.link)

    @property
    def on(self) -> tuple[str, str] | None:
        return (self.place, self.link)
