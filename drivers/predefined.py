"""Drivers of which there is one predefined network, and on which nothing is made: `host` and `none`."""

from __future__ import annotations

from collections.abc import Sequence

from drivers.driver import HostView
from drivers.objects import AnyObject
from protocol.errors import Conflict
from protocol.model import DriverInfo, Endpoint, Network


class PredefinedDriver:
    """A driver without objects: the engine starts such a container in the host's namespace, or in an empty one."""

    def __init__(self, name: str, words: str) -> None:
        self.name = name
        self.info = DriverInfo(
            name=name,
            help=words,
            subnets=False,
            creatable=False,
            internal=False,
            notes=(
                f"There is one network of this driver, the predefined `{name}`.",
                f"A container is put there when it is started: netdeck run --network {name}",
            ),
        )

    def check(self, network: Network, host: HostView, others: Sequence[Network]) -> Network:
        """Only the predefined network is accepted."""
        if not network.predefined:
            raise Conflict(
                f"network {network.name} can't be made: the predefined network {self.name!r} is the only one of its driver",
                field="driver",
                value=self.name,
                with_=self.name,
            )
        return network

    def network_objects(self, network: Network, instance: str) -> tuple[AnyObject, ...]:
        """Nothing."""
        return ()

    def check_endpoint(self, network: Network, endpoint: Endpoint, others: Sequence[Endpoint]) -> Endpoint:
        """Always refused: a container can't change its namespace while it runs."""
        raise Conflict(
            f"a container can't be connected to network {network.name} after its start: start it there, with "
            f"netdeck run --network {network.name}",
            field="network",
            value=network.name,
            with_=network.name,
        )

    def endpoint_objects(self, network: Network, endpoint: Endpoint, instance: str) -> tuple[AnyObject, ...]:
        """Nothing."""
        return ()

    def default_routes(self, network: Network, endpoint: Endpoint) -> tuple[AnyObject, ...]:
        """Nothing."""
        return ()
