"""Addresses of the networks, as clients see them: pools, who has what, what leaked, what is in the way."""

from __future__ import annotations

from protocol.model import Model


class AddressUse(Model, frozen=True):
    """One address that is not free. `use` is a word of `USES`; `owner` is whose it is, as people call it; `text` says more."""

    address: str  # bare
    use: str
    owner: str = ""
    text: str = ""
    mac: str = ""


USES = ("container", "gateway", "aux", "reserved", "leaked", "conflict")


class PoolUse(Model, frozen=True):
    """One subnet of a network as a pool. Numbers of addresses are text: a number, or a power of two where it is larger than 2^32."""

    network: str  # name
    driver: str
    subnet: str
    ip_range: str | None
    size: str
    free: str  # what can still be handed out automatically; "" where a DHCP server of the site does that
    used: int  # by containers
    leaked: int
    conflicts: int
    addresses: tuple[AddressUse, ...] = ()  # in order of address
