"""The driver of the predefined network `none`: a container on it has a namespace of its own with nothing but `lo`."""

from __future__ import annotations

from collections.abc import Sequence

from drivers.driver import HostView
from drivers.objects import AnyObject
from protocol.errors import Conflict
from protocol.model import DriverInfo, Endpoint, Network


class NoneDriver:
    """No objects at all; the engine starts such a container in an empty namespace."""

    name = "none"
    info = DriverInfo(
        name="none",
        help="no network: the container has only its loopback",
        subnets=False,
        creatable=False,
        internal=False,
        notes=(
            "There is one network of this driver, the predefined `none`.",
            "A container is put there when it is started: netdeck run --network none",
        ),
    )

    def check(self, network: Network, host: HostView, others: Sequence[Network]) -> Network:
        """Only the predefined network is accepted."""
        if not network.predefined:
            raise Conflict(
                f"network {network.name} can't be made: the predefined network 'none' is the only one of driver none",
                field="driver",
                value="none",
                with_="none",
            )
        return network

    def network_objects(self, network: Network, instance: str) -> tuple[AnyObject, ...]:
        """Nothing."""
        return ()

    def check_endpoint(self, network: Network, endpoint: Endpoint, others: Sequence[Endpoint]) -> Endpoint:
        """Always refused: who asked for no network shall get none later through this one."""
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


DRIVER = NoneDriver()
