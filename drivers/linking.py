"""What a driver may have beside `drivers.driver.Driver`, where containers of a network may not talk to each other: links open what
they name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from drivers.objects import AnyObject
from protocol.model import Endpoint, Network

Ports = Sequence[tuple[int, str]]  # (number, protocol)


@runtime_checkable
class OpensLinks(Protocol):
    """A driver whose networks may open what a link names."""

    def opens_links(self, network: Network) -> bool:
        """Whether links on `network` open anything: false where all is open anyway, and where a link is but a name."""
        ...

    def link_objects(self, network: Network, source: Endpoint, target: Endpoint, ports: Ports) -> tuple[AnyObject, ...]:
        """What lets the container of `source` reach `ports` of the container of `target`, on a network that `opens_links`."""
        ...
