"""The ipvlan driver: containers share the MAC address of a link of the host, and are told apart by their IP addresses.

Options and rules are Docker's (moby, libnetwork/drivers/ipvlan); what modes and flags do is the kernel's (drivers/net/ipvlan,
Documentation/networking/ipvlan.rst). Mode and flag belong to the parent: all that hangs on it has the same.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import msgspec

from drivers.beside import require_room
from drivers.driver import HostView
from drivers.host_access import host_link, network_part, ways_to
from drivers.objects import HOST, Address, AnyObject, Ipvlan, Route, Up, mark
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
from protocol.model import DHCP, DriverInfo, Endpoint, Network, OptionInfo
from protocol.names import link_name

DUMMY = "di-"
_ROUTED = (
    "No broadcast and no multicast; --gateway has no effect, the default route is the link itself. Other hosts need a route to the subnets "
    "by this host's address on the parent.",
    "Subnets on one parent reach each other.")
_MODE = OptionInfo("ipvlan_mode", "choice", "l2", "l2: on the site's segment, with its gateway; l3: routed by the parent, without "
                   "broadcast; l3s: as l3, and the host's firewall sees the packets", choices=("l2", "l3", "l3s"),
                   fixed="every container's link and routes were made with it", choice_notes={
                       "l2": ("A DHCP server must tell containers apart by their client identifiers (RFC 2132, 9.14), as dnsmasq and ISC's "
                              "do: they have one MAC address.", "Subnets on one parent need a router to reach each other."),
                       "l3": _ROUTED, "l3s": _ROUTED})
_FLAG = OptionInfo("ipvlan_flag", "choice", "bridge", "how containers on one parent reach each other: directly (bridge), not at all "
                   "(private), by the switch outside (vepa)", choices=("bridge", "private", "vepa"),
                   fixed="every container's link was made with it", choice_notes={
                       "bridge": ("`netdeck network host-access NETWORK on` gives the host a link among the containers.",),
                       "private": ("Containers don't reach each other at all.",),
                       "vepa": ("Containers on one parent reach each other only if the switch sends frames back where they came from "
                                "(hairpin, 802.1Qbg).",)})


class IpvlanDriver:
    """Docker's ipvlan driver as data."""

    name = "ipvlan"
    info = DriverInfo(
        name="ipvlan",
        help="containers on a network of the site, with the MAC address of a link of the host",
        options=(OPTIONS[0], _MODE, _FLAG, *OPTIONS[1:]),
        parents=True,
        leases=True,
        notes=(
            "The host and the containers can't reach each other over the parent: the kernel keeps them apart.",
            "All containers have the parent's MAC address, so none can be chosen.",
            "Mode and flag belong to the parent: all networks on it have the same, and so must other programs' links there. Links in "
            "namespaces that netdeck does not see can't be asked for theirs, and would be changed.",
            "Published ports have no effect: containers have addresses of the site's network.",
            NO_SLAAC,
        ),
    )

    def check(self, network: Network, host: HostView, others: Sequence[Network]) -> Network:
        """`network` with its parent, or NotFound, InvalidValue or Conflict."""
        routed = _mode(network) != "l2"
        if routed and network.ipam == DHCP:
            raise InvalidValue(f"--ipam-driver dhcp does not go with ipvlan_mode={_mode(network)}: there is no broadcast, which DHCP "
                               "needs. Use mode l2", field="ipam", value=DHCP)
        if routed:
            # What asks for a gateway is told so by the notes; Docker ignores it too.
            network = msgspec.structs.replace(
                network, subnets=tuple(msgspec.structs.replace(item, gateway=None) for item in network.subnets))
        network = on_parent(network, host, DUMMY)
        check_vlan(network, network.link, host, others)
        require_room(network, host.links.get(network.link))
        link_name(network.options.get("container_iface_prefix", "eth") + "0", "option container_iface_prefix, with a number,")
        if routed and network.link in host.links:
            _check_apart(network, host.links[network.link].addresses)
        for other in sharers(network, others):
            if other.driver != self.name:
                raise Conflict(f"network {network.name} can't hang on {network.link}: network {other.name} (driver {other.driver}) has it, "
                               f"and a link carries only one kind. Name another parent, or remove {other.name}",
                               field="parent", value=network.link, with_=other.name)
            for option in ("ipvlan_mode", "ipvlan_flag"):
                theirs, asked = other.options.get(option, ""), network.options.get(option, "")
                if theirs != asked:
                    raise Conflict(f"network {network.name} can't have {option}={asked} on {network.link}: network {other.name} has "
                                   f"{theirs} there, and all on a parent have the same", field=option, value=asked, with_=other.name)
        return network

    def network_objects(self, network: Network, instance: str) -> tuple[AnyObject, ...]:
        """The parent, where it is ours; the host's own link among the containers, where it has one."""
        own = Ipvlan(HOST, host_link(network), mark(instance, "network", network.id), network.link, _mode(network),
                     network.options.get("ipvlan_flag", "bridge"), int(network.options["mtu"]))
        return (*parent_objects(network, instance, ipv6=_mode(network) != "l2"), *network_part(network, own))

    def check_host_access(self, network: Network) -> None:
        """Raises InvalidValue where the kernel does not let the host in."""
        flag = network.options.get("ipvlan_flag", "bridge")
        if flag != "bridge":
            raise InvalidValue(f"the host can't have a link in network {network.name}: with ipvlan_flag={flag} nothing on the parent "
                               "reaches its containers but by the network outside. Create the network with ipvlan_flag=bridge",
                               field="ipvlan_flag", value=flag, expected="bridge")

    def check_endpoint(self, network: Network, endpoint: Endpoint, others: Sequence[Endpoint]) -> Endpoint:
        """`endpoint`, or InvalidValue."""
        link_name(endpoint.ifname, "interface name")
        check_families(network, endpoint)
        if endpoint.mac:
            raise InvalidValue(f"a MAC address can't be chosen on network {network.name}: ipvlan containers have that of {network.link}",
                               field="mac_address", value=endpoint.mac)
        return endpoint

    def endpoint_objects(self, network: Network, endpoint: Endpoint, instance: str) -> tuple[AnyObject, ...]:
        """The link in the container, its settings and addresses."""
        inside, link = endpoint.container, endpoint.ifname
        made = Ipvlan(inside, link, mark(instance, "endpoint", endpoint.id), network.link, _mode(network),
                      network.options.get("ipvlan_flag", "bridge"), int(network.options["mtu"]))
        addresses = (Address(inside, link, prefix) for prefix in endpoint.addresses)
        return (made, *inner_settings(network, endpoint), *addresses, Up(inside, link), *ways_to(network, endpoint))

    def default_routes(self, network: Network, endpoint: Endpoint) -> tuple[AnyObject, ...]:
        """By the site's gateway in mode l2, by the link itself in the others: the parent routes, also between subnets of a network
        that leads nowhere else."""
        if _mode(network) == "l2":
            return gateway_routes(network, endpoint)
        versions = sorted({ipaddress.ip_interface(prefix).version for prefix in endpoint.addresses})
        return tuple(Route(endpoint.container, "0.0.0.0/0" if version == 4 else "::/0", endpoint.ifname) for version in versions)


def _mode(network: Network) -> str:
    return network.options.get("ipvlan_mode", "l2")


def _check_apart(network: Network, own: Sequence[str]) -> None:
    """The parent routes between its own subnet and those of the containers: they can't be one."""
    for prefix in own:
        address = ipaddress.ip_interface(prefix).ip
        for subnet in network.subnets:
            net = ipaddress.ip_network(subnet.subnet)
            if address.version == net.version and address in net:
                raise InvalidValue(f"subnet {net} holds {address}, the address of {network.link}: in mode {_mode(network)} the parent "
                                   "routes, so choose a subnet of which it has no address", field="subnet", value=str(net))


DRIVER = IpvlanDriver()
