"""The macvlan driver: each container has a link with a MAC address of its own on a link of the host.

Options and rules are Docker's (moby, libnetwork/drivers/macvlan); what the modes do is the kernel's (drivers/net/macvlan.c).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from drivers.beside import require_room
from drivers.bridge import derived_mac
from drivers.driver import HostView
from drivers.host_access import host_link, network_part, ways_to
from drivers.objects import HOST, Address, AnyObject, Macvlan, Up, mark
from drivers.parents import (
    NO_SLAAC,
    OPTIONS,
    check_families,
    gateway_routes,
    inner_settings,
    on_parent,
    parent_objects,
    sharers,
)
from drivers.vlan_owners import check_vlan
from protocol.errors import Conflict, InvalidValue
from protocol.model import DriverInfo, Endpoint, Network, OptionInfo
from protocol.names import link_name, mac_address

DUMMY = "dm-"
_MANY = (
    "Each container adds a MAC address to the parent. Switches limit how many they take on a port, and a hypervisor or a wireless "
    "network often takes only one: then nothing reaches the containers. Use ipvlan there.",
    "The parent must be able to go into promiscuous mode once it has more addresses than its hardware filters.")
_MODE = OptionInfo("macvlan_mode", "choice", "bridge", "how containers on one parent reach each other: directly (bridge), by the switch "
                   "outside (vepa), not at all (private); passthru: one container has the parent for itself",
                   choices=("bridge", "vepa", "private", "passthru"), fixed="every container's link was made with it", choice_notes={
                       "bridge": ("`netdeck network host-access NETWORK on` gives the host a link among the containers.", *_MANY),
                       "vepa": ("Containers on one parent reach each other only if the switch sends frames back where they came from "
                                "(hairpin, 802.1Qbg).", *_MANY),
                       "private": ("Containers don't reach each other at all.", *_MANY),
                       "passthru": (
                           "One network and one container on the parent, with the parent's own MAC address, and no macvlan link of another "
                           "program; the parent is then in promiscuous mode.",)})

_NO_HOST_ACCESS = {
    "private": "nothing on the parent reaches its containers then but by the network outside. Create the network in mode bridge",
    "vepa": "what passes between them goes by the switch outside then. If that sends frames back where they came from (hairpin, "
            "802.1Qbg), they reach each other already; else create the network in mode bridge",
    "passthru": "the one container has the parent for itself. Create the network in mode bridge",
}


class MacvlanDriver:
    """Docker's macvlan driver as data."""

    name = "macvlan"
    info = DriverInfo(
        name="macvlan",
        help="containers on a network of the site, each with a MAC address of its own on a link of the host",
        options=(OPTIONS[0], _MODE, *OPTIONS[1:]),
        parents=True,
        leases=True,
        notes=(
            "The host and the containers can't reach each other over the parent: the kernel keeps them apart.",
            "Published ports have no effect: containers have addresses of the site's network.",
            NO_SLAAC,
        ),
    )

    def check(self, network: Network, host: HostView, others: Sequence[Network]) -> Network:
        """`network` with its parent, or NotFound, InvalidValue or Conflict."""
        network = on_parent(network, host, DUMMY)
        check_vlan(network, network.link, host, others)
        require_room(network, host.links.get(network.link))
        link_name(network.options.get("container_iface_prefix", "eth") + "0", "option container_iface_prefix, with a number,")
        for other in sharers(network, others):
            if other.driver != self.name:
                raise Conflict(f"network {network.name} can't hang on {network.link}: network {other.name} (driver {other.driver}) has it, "
                               f"and a link carries only one kind. Name another parent, or remove {other.name}",
                               field="parent", value=network.link, with_=other.name)
            for one, why in ((network, f"network {other.name} is on it"), (other, f"network {other.name} has it in mode passthru")):
                if _mode(one) == "passthru":
                    raise Conflict(f"network {network.name} can't hang on {network.link} in mode {_mode(network)}: {why}, and in mode "
                                   "passthru a link carries only one network", field="parent", value=network.link, with_=other.name)
        return network

    def network_objects(self, network: Network, instance: str) -> tuple[AnyObject, ...]:
        """The parent, where it is ours; the host's own link among the containers, where it has one."""
        own = Macvlan(HOST, host_link(network), mark(instance, "network", network.id), network.link, _mode(network),
                      int(network.options["mtu"]), derived_mac(network.id))
        return (*parent_objects(network, instance), *network_part(network, own))

    def check_host_access(self, network: Network) -> None:
        """Raises InvalidValue where the kernel does not let the host in."""
        why = _NO_HOST_ACCESS.get(_mode(network))
        if why is not None:
            raise InvalidValue(f"the host can't have a link in network {network.name}, which is in mode {_mode(network)}: {why}",
                               field="macvlan_mode", value=_mode(network), expected="bridge")

    def check_endpoint(self, network: Network, endpoint: Endpoint, others: Sequence[Endpoint]) -> Endpoint:
        """`endpoint` with its MAC address ("" in mode passthru, where it has the parent's), or InvalidValue or Conflict."""
        link_name(endpoint.ifname, "interface name")
        check_families(network, endpoint)
        rest = [other for other in others if other.id != endpoint.id]
        if _mode(network) == "passthru":
            if endpoint.mac:
                raise InvalidValue(f"a MAC address can't be chosen on network {network.name}: in mode passthru the container has that of "
                                   f"{network.link}", field="mac_address", value=endpoint.mac)
            if rest:
                raise Conflict(f"network {network.name} is in mode passthru and takes one container: disconnect "
                               f"{rest[0].container[:12]} first", field="network", value=network.name, with_=rest[0].container)
            return endpoint
        mac = mac_address(endpoint.mac) if endpoint.mac else derived_mac(endpoint.id)
        for other in rest:
            if other.mac == mac:
                raise Conflict(f"MAC address {mac} is in use on network {network.name} by container {other.container[:12]}",
                               field="mac_address", value=mac, with_=other.container)
        return msgspec.structs.replace(endpoint, mac=mac)

    def endpoint_objects(self, network: Network, endpoint: Endpoint, instance: str) -> tuple[AnyObject, ...]:
        """The link in the container, its settings and addresses."""
        inside, link = endpoint.container, endpoint.ifname
        made = Macvlan(inside, link, mark(instance, "endpoint", endpoint.id), network.link, _mode(network),
                       int(network.options["mtu"]), endpoint.mac)
        addresses = (Address(inside, link, prefix) for prefix in endpoint.addresses)
        return (made, *inner_settings(network, endpoint), *addresses, Up(inside, link), *ways_to(network, endpoint))

    def default_routes(self, network: Network, endpoint: Endpoint) -> tuple[AnyObject, ...]:
        """By the site's gateway; none on a network that leads nowhere."""
        return gateway_routes(network, endpoint)


def _mode(network: Network) -> str:
    return network.options.get("macvlan_mode", "bridge")


DRIVER = MacvlanDriver()
