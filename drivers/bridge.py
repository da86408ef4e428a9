"""The bridge driver: one bridge on the host for a network, a veth pair for each container, filtering and masquerade by
nftables.

Options and names are Docker's (moby, libnetwork/drivers/bridge). A bridge that was there before can carry a network: it
keeps all its settings, gets our addresses, and stays when the network goes.
"""

from __future__ import annotations

import hashlib
import ipaddress
import shlex
from collections.abc import Sequence

import msgspec

from drivers import bridge_links, vlans
from drivers.bridge_firewall import firewall_objects
from drivers.bridge_ports import port_objects
from drivers.bridge_uplink import UPLINK, check_mtu, uplink_objects, with_uplink
from drivers.driver import HostView, families
from drivers.ipv6 import IPV6_MIN_MTU, settings6
from drivers.objects import HOST, Address, AnyObject, Bridge, Route, Up, Veth, mark
from drivers.parents import PROBE, gateway_routes
from drivers.parsed import family_of, lies_in, network_of
from drivers.vlan_owners import check_uplink
from protocol.errors import Conflict, InvalidValue
from protocol.model import DHCP, DriverInfo, Endpoint, Network, OptionInfo, Subnet
from protocol.names import link_name, mac_address

PREDEFINED_LINK = "netdeck0"
_AUX_GATEWAY = {4: "DefaultGatewayIPv4", 6: "DefaultGatewayIPv6"}

_OPTIONS = (
    OptionInfo(
        "mtu",
        "int",
        "1500",
        "largest packet, in bytes; at least 1280 with IPv6",
        minimum=68,
        maximum=65535,
        long_names=("com.docker.network.driver.mtu",),
        changeable=True,
    ),
    OptionInfo(
        "icc",
        "bool",
        "true",
        "containers of this network may talk to each other",
        long_names=("com.docker.network.bridge.enable_icc",),
        changeable=True,
    ),
    OptionInfo(
        "masquerade",
        "bool",
        "true",
        "packets to the outside get the host's address as source",
        long_names=("com.docker.network.bridge.enable_ip_masquerade",),
        changeable=True,
    ),
    OptionInfo(
        "name",
        "link",
        "",
        "name of the bridge on the host; one that exists is used and kept",
        long_names=("com.docker.network.bridge.name",),
        fixed="every container hangs on the bridge that was made with the network",
    ),
    OptionInfo(
        "host_binding_ipv4",
        "address",
        "",
        "the host's address that published ports are bound to",
        long_names=("com.docker.network.bridge.host_binding_ipv4",),
        changeable=True,
    ),
    OptionInfo(
        "host_ipv4",
        "address",
        "",
        "source address of IPv4 packets to the outside, in place of masquerade",
        long_names=("com.docker.network.host_ipv4",),
        changeable=True,
    ),
    OptionInfo(
        "host_ipv6",
        "address",
        "",
        "source address of IPv6 packets to the outside, in place of masquerade",
        long_names=("com.docker.network.host_ipv6",),
        changeable=True,
    ),
    OptionInfo(
        "inhibit_ipv4",
        "bool",
        "false",
        "the bridge gets no IPv4 address: the gateway is somebody else",
        long_names=("com.docker.network.bridge.inhibit_ipv4",),
        changeable=True,
    ),
    OptionInfo(
        "container_iface_prefix",
        "text",
        "eth",
        "what interfaces in containers are called, before their number",
        long_names=("com.docker.network.container_iface_prefix",),
        changeable=True,
    ),
    UPLINK,
    *vlans.OPTIONS,
    msgspec.structs.replace(PROBE, needs=UPLINK.name),
)


class BridgeDriver:
    """Docker's bridge driver as data."""

    name = "bridge"
    info = DriverInfo(
        name="bridge",
        help="a private network on this host, with masquerade to the outside",
        options=_OPTIONS,
        publishes=True,
        leases=True,
        notes=(
            "Containers on different bridges can't reach each other.",
            "Two aux-addresses have a meaning: those named DefaultGatewayIPv4 and DefaultGatewayIPv6 become the gateway of the containers.",
        ),
        changeable=("subnets", "internal"),
    )
    opens_links = staticmethod(bridge_links.opens_links)
    link_objects = staticmethod(bridge_links.link_objects)

    def check(self, network: Network, host: HostView, others: Sequence[Network]) -> Network:
        """`network` with its bridge and effective MTU, or InvalidValue or Conflict."""
        _check_options(network)
        network = check_uplink(vlans.check_options(with_uplink(network, host, others)), host, others)
        link = _link_of(network)
        for other in others:
            if other.id != network.id and other.link == link:
                raise Conflict(
                    f"network {network.name} can't have the bridge {link}: network {other.name} has it",
                    field="name",
                    value=link,
                    with_=other.name,
                )
        found = host.links.get(link)
        if found is None:
            return msgspec.structs.replace(network, link=link, made_link=True, kept_addresses=())
        if found.kind != "bridge":
            raise Conflict(
                f"existing interface {link} is not a bridge but {_kind_text(found.kind)}: choose another name",
                field="name",
                value=link,
                with_=link,
            )
        if found.ours:
            return msgspec.structs.replace(network, link=link, made_link=True, kept_addresses=())
        if network.options.get("name") != link:
            raise Conflict(
                f"interface {link} exists and is not netdeck's: give the bridge another name with -o name=NAME",
                field="name",
                value=link,
                with_=link,
            )
        if vlans.filters(network) and not found.filters:
            raise Conflict(f"the bridge {link} is not netdeck's and does not keep VLANs apart: switch that on with `ip link set "
                           f"{shlex.quote(link)} type bridge vlan_filtering 1`, or leave vlan_filtering out", field="vlan_filtering",
                           value=link, with_=link)
        return _adopt(network, link, found.mtu, found.addresses)

    def check_update(self, before: Network, after: Network, host: HostView, others: Sequence[Network]) -> Network:
        """`after`, which keeps its bridge, or InvalidValue."""
        _check_options(after)
        found = host.links.get(after.link)
        if not after.made_link and found is not None and _mtu(after) > found.mtu:
            raise _too_large(after, after.link, found.mtu)
        if _mtu(after) != _mtu(before):
            check_mtu(after, host)
        if after.uplink and after.internal and not before.internal:
            raise InvalidValue(f"network {after.name} can't become internal: its uplink {after.uplink} leads its containers to the site. "
                               "Create another network with --internal", field="internal", value="true")
        return after

    def network_objects(self, network: Network, instance: str) -> tuple[AnyObject, ...]:
        """The bridge with its settings, unless it was there before; its addresses; chains and jumps."""
        objects: list[AnyObject] = []
        if network.made_link:
            objects.append(
                Bridge(
                    HOST, network.link, mark(instance, "network", network.id), _mtu(network), derived_mac(network.id),
                    vlans.filters(network),
                )
            )
            # All of them without IPv6 too: so the family can come and go later by one setting.
            settings = {"accept_ra": "0", "disable_ipv6": "0" if network.ipv6 and not network.uplink else "1", "forwarding": "1"}
            objects += settings6(HOST, network.link, _mtu(network), settings)
            objects.append(Up(HOST, network.link))
        objects += (Address(HOST, network.link, prefix) for prefix in _gateway_prefixes(network))
        return (*objects, *uplink_objects(network), *vlans.uplink_port(network), *firewall_objects(network))

    def check_endpoint(self, network: Network, endpoint: Endpoint, others: Sequence[Endpoint]) -> Endpoint:
        """`endpoint` with its host link and MAC address, or InvalidValue.

        The host link has 11 digits of the endpoint's id, not Docker's 7: no two meet among thousands, nor one of
        Docker's.
        """
        link_name(endpoint.ifname, "interface name")
        missing = frozenset[int]() if network.ipam == DHCP else _wanted(network) - families(endpoint.addresses)
        if missing:
            raise InvalidValue(
                f"an endpoint of network {network.name} needs an IPv{min(missing)} address",
                field="addresses",
                value=", ".join(endpoint.addresses),
            )
        mac = mac_address(endpoint.mac) if endpoint.mac else derived_mac(endpoint.id)
        return msgspec.structs.replace(endpoint, host_link="veth" + endpoint.id[:11], mac=mac)

    def endpoint_objects(self, network: Network, endpoint: Endpoint, instance: str) -> tuple[AnyObject, ...]:
        """The veth pair, its IPv6 settings, the container's addresses, its end up; its published ports."""
        inside, link = endpoint.container, endpoint.ifname
        six = 6 in families(endpoint.addresses)
        objects: list[AnyObject] = [
            Veth(
                HOST,
                endpoint.host_link,
                mark(instance, "endpoint", endpoint.id),
                inside,
                link,
                _mtu(network),
                endpoint.mac,
                network.link,
                isolated=network.options.get("icc") == "false",
                # Where bridged packets are filtered too (br_netfilter), what a container sends to its own published port turns
                # round in the bridge.
                hairpin=bool(endpoint.ports),
            ),
            # A port of a bridge needs no address of its own; a link-local one would only answer where nobody should
            # ask.
            *settings6(HOST, endpoint.host_link, _mtu(network), {"disable_ipv6": "1"}),
        ]
        objects += vlans.endpoint_port(network, endpoint)
        settings = {"disable_ipv6": "0", "accept_ra": "0"} if six else {"disable_ipv6": "1"}
        if six and network.predefined:  # two that are linked reach each other by the host, whatever it says of a shorter way
            settings["accept_redirects"] = "0"
        objects += settings6(inside, link, _mtu(network), settings)
        objects += (Address(inside, link, prefix) for prefix in endpoint.addresses)
        objects.append(Up(inside, link))
        if endpoint.ports:
            gateways = {6 if ":" in item.subnet else 4: _container_gateway(item, 6 if ":" in item.subnet else 4)
                        for item in reversed(network.subnets)}
            objects += port_objects(network, endpoint, gateways)
        return tuple(objects)

    def default_routes(self, network: Network, endpoint: Endpoint) -> tuple[AnyObject, ...]:
        """One route a family, by the gateway of the subnet that the container's address is in; none on an internal
        network."""
        if network.internal:
            return ()
        if endpoint.lease is not None:
            return gateway_routes(network, endpoint)
        routes: dict[int, AnyObject] = {}
        for prefix in endpoint.addresses:
            family = family_of(prefix)
            subnet = next((item for item in network.subnets if lies_in(prefix, item.subnet)), None)
            gateway = _container_gateway(subnet, family) if subnet else None
            if gateway is not None and family not in routes:
                everything = "0.0.0.0/0" if family == 4 else "::/0"
                routes[family] = Route(endpoint.container, everything, endpoint.ifname, gateway)
        return tuple(routes.values())


def derived_mac(ident: str) -> str:
    """A locally administered unicast MAC address from an object's (random) id: the same whenever the object is made
    again.

    A bridge without one of its own takes the lowest of its ports, which changes as containers come and go.
    """
    digest = bytearray(hashlib.sha256(b"netdeck mac " + ident.encode()).digest()[:6])
    digest[0] = (digest[0] & 0xFC) | 0x02
    return digest.hex(":")


def _check_options(network: Network) -> None:
    options = network.options
    if network.ipv6 and _mtu(network) < IPV6_MIN_MTU:
        raise InvalidValue(
            f"option mtu={options['mtu']} is too small for IPv6: expected at least {IPV6_MIN_MTU} (RFC 8200)",
            field="mtu",
            value=options["mtu"],
            expected=str(IPV6_MIN_MTU),
        )
    for name, family in (("host_binding_ipv4", 4), ("host_ipv4", 4), ("host_ipv6", 6)):
        value = options.get(name)
        if value and ipaddress.ip_address(value).version != family:
            raise InvalidValue(f"option {name}={value}: expected an IPv{family} address", field=name, value=value)
    for name, on in (("host_ipv4", network.ipv4), ("host_ipv6", network.ipv6)):
        value = options.get(name)
        if not value:
            continue
        address = ipaddress.ip_address(value)
        if address.is_unspecified or address.is_multicast or address.is_loopback:
            raise InvalidValue(
                f"option {name}={value} can't be the source of packets: expected an address of the host",
                field=name,
                value=value,
            )
        for hindrance, there in (
            ("an internal network", network.internal),
            ("masquerade=false", options.get("masquerade") == "false"),
            (f"a network without IPv{address.version}", not on),
        ):
            if there:
                raise InvalidValue(
                    f"option {name}={value} has no effect on {hindrance}: leave it out", field=name, value=value
                )
    if options.get("inhibit_ipv4") == "true" and not network.ipv4:
        raise InvalidValue(
            "option inhibit_ipv4=true has no effect on a network without IPv4: leave it out",
            field="inhibit_ipv4",
            value="true",
        )
    prefix = options.get("container_iface_prefix", "eth")
    if len(prefix) > 11:
        raise InvalidValue(
            f"option container_iface_prefix={prefix}: expected at most 11 characters, a number comes behind them",
            field="container_iface_prefix",
            value=prefix,
        )
    link_name(prefix + "0", "option container_iface_prefix, with a number,")
    for subnet in network.subnets:
        _check_aux(network, subnet)


def _check_aux(network: Network, subnet: Subnet) -> None:
    version = ipaddress.ip_network(subnet.subnet).version
    for family, name in _AUX_GATEWAY.items():
        if name not in subnet.aux:
            continue
        if network.internal:
            raise InvalidValue(
                f"aux-address {name} can't be given on an internal network: nothing is routed out of it",
                field="aux",
                value=name,
            )
        if family != version:
            raise InvalidValue(
                f"aux-address {name}={subnet.aux[name]}: expected an IPv{family} address", field="aux", value=name
            )


def _link_of(network: Network) -> str:
    if network.options.get("name"):
        return network.options["name"]
    return PREDEFINED_LINK if network.predefined else "br-" + network.id[:12]


def _kind_text(kind: str) -> str:
    return f"of kind {kind}" if kind else "a plain device"


def _adopt(network: Network, link: str, mtu: int, addresses: tuple[str, ...]) -> Network:
    """`network` on a bridge that is not ours; packets that are larger than the bridge takes would be lost in it."""
    default = next(option.default for option in _OPTIONS if option.name == "mtu")
    if _mtu(network) > mtu:
        if network.options.get("mtu", default) != default:
            raise _too_large(network, link, mtu)
        if network.ipv6 and mtu < IPV6_MIN_MTU:
            raise InvalidValue(
                f"the bridge {link} has MTU {mtu}, which is too small for IPv6: expected at least {IPV6_MIN_MTU} (RFC 8200)",
                field="name",
                value=link,
            )
        network = msgspec.structs.replace(network, options={**network.options, "mtu": str(mtu)})
    return msgspec.structs.replace(network, link=link, made_link=False, kept_addresses=addresses)


def _too_large(network: Network, link: str, mtu: int) -> InvalidValue:
    return InvalidValue(
        f"option mtu={_mtu(network)} is more than the bridge {link} has, which is not netdeck's: expected at most {mtu}",
        field="mtu",
        value=str(_mtu(network)),
        expected=str(mtu),
    )


def _mtu(network: Network) -> int:
    return int(network.options.get("mtu", "1500"))


def _wanted(network: Network) -> frozenset[int]:
    return frozenset(family for family, on in ((4, network.ipv4), (6, network.ipv6)) if on)


def _gateway_prefixes(network: Network) -> list[str]:
    """The addresses of the bridge that are ours to set: one a subnet, but for those that the bridge had before."""
    kept = {str(ipaddress.ip_interface(prefix)) for prefix in network.kept_addresses}
    prefixes = []
    for subnet in network.subnets:
        net = network_of(subnet.subnet)
        inhibited = network.uplink or (net.version == 4 and network.options.get("inhibit_ipv4") == "true")
        prefix = f"{subnet.gateway}/{net.prefixlen}"
        if subnet.gateway is not None and not inhibited and prefix not in kept:
            prefixes.append(prefix)
    return prefixes


def _container_gateway(subnet: Subnet, family: int) -> str | None:
    return subnet.aux.get(_AUX_GATEWAY[family], subnet.gateway)


DRIVER = BridgeDriver()
