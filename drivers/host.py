"""The driver of the predefined network `host`: a container on it shares the host's stack and has nothing of its own."""

from __future__ import annotations

from collections.abc import Sequence

from drivers.driver import HostView
from drivers.objects import AnyObject
from protocol.errors import Conflict
from protocol.model import DriverInfo, Endpoint, Network


class HostDriver:
    """No objects at all; the engine starts such a container in the host's namespace."""

    name = "host"
    info = DriverInfo(
        name="host",
        help="the host's own network stack, shared by the container",
        subnets=False,
        creatable=False,
        internal=False,
        notes=(
            "There is one network of this driver, the predefined `host`.",
            "A container is put there when it is started: netdeck run --network host",
        ),
    )

    def check(self, network: Network, host: HostView, others: Sequence[Network]) -> Network:
        """Only the predefined network is accepted."""
        if not network.predefined:
            raise Conflict(
                f"network {network.name} can't be made: the predefined network 'host' is the only one of driver host",
                field="driver",
                value="host",
                with_="host",
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


DRIVER = HostDriver()
