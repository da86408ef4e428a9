"""The names of networks: which addresses a name has, and which name an address has. Pure.

Names are compared without regard to case (RFC 4343), so all of them are held in lower case.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from helperd.names.frames import EndpointPut, NetworkPut

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(slots=True)
class _Network:
    name: str
    subnets: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    names: dict[str, dict[str, tuple[Address, ...]]] = field(default_factory=dict)  # name → endpoint → addresses
    addresses: dict[Address, str] = field(default_factory=dict)  # → the endpoint's first name


class Tables:
    """What the core has told of networks and endpoints."""

    def __init__(self) -> None:
        self._networks: dict[str, _Network] = {}
        self._endpoints: dict[str, EndpointPut] = {}

    def put_network(self, frame: NetworkPut) -> None:
        known = self._networks.setdefault(frame.id, _Network(""))
        known.name = frame.name.lower()
        known.subnets = tuple(ipaddress.ip_network(item) for item in frame.subnets)

    def drop_network(self, ident: str) -> None:
        self._networks.pop(ident, None)
        for endpoint in [item.id for item in self._endpoints.values() if item.network == ident]:
            del self._endpoints[endpoint]

    def put_endpoint(self, frame: EndpointPut) -> None:
        self.drop_endpoint(frame.id)
        network = self._networks.get(frame.network)
        if network is None:
            return
        self._endpoints[frame.id] = frame
        addresses = tuple(ipaddress.ip_address(item) for item in frame.addresses)
        for name in frame.names:
            network.names.setdefault(name.lower(), {})[frame.id] = addresses
        for address in addresses if frame.names else ():
            network.addresses[address] = frame.names[0]

    def drop_endpoint(self, ident: str) -> None:
        frame = self._endpoints.pop(ident, None)
        network = self._networks.get(frame.network) if frame is not None else None
        if frame is None or network is None:
            return
        for name in (item.lower() for item in frame.names):
            owners = network.names.get(name, {})
            owners.pop(ident, None)
            if not owners:
                network.names.pop(name, None)
        for address in (ipaddress.ip_address(item) for item in frame.addresses):
            network.addresses.pop(address, None)

    def find(self, networks: Sequence[str], name: str, version: int) -> tuple[Address, ...] | None:
        """The addresses of IP `version` (4, 6) that `name` has, on the first of `networks` where it has some: () where it is known
        without one, None where it is not known. `name.network` is looked for on that network only."""
        wanted = name.lower()
        known = False
        for network in (self._networks[item] for item in networks if item in self._networks):
            for form in (wanted, wanted.removesuffix(f".{network.name}")):
                owners = network.names.get(form)
                if owners:
                    known = True
                    found = tuple(address for each in owners.values() for address in each if address.version == version)
                    if found:
                        return found
        return () if known else None

    def knows(self, networks: Sequence[str], name: str) -> bool:
        """Whether `name` is one on any of `networks`."""
        return self.find(networks, name, 4) is not None

    def name_of(self, networks: Sequence[str], address: Address) -> str | None:
        """`name.network` of an address; "" where it is of one of the `networks`, but nobody's; None where it is not."""
        inside = False
        for network in (self._networks[item] for item in networks if item in self._networks):
            if address in network.addresses:
                return f"{network.addresses[address]}.{network.name}"
            inside = inside or _within(address, network.subnets)
        return "" if inside else None


def _within(address: Address, subnets: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    return any(address in subnet for subnet in subnets)
