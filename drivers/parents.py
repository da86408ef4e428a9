"""The link of the host that a macvlan or ipvlan network hangs on: which can serve, which is made, what is on it. Pure.

Rules and names are Docker's (moby, libnetwork/drivers/macvlan and ipvlan): a link that exists is used as it is and never changed; a
missing one called LINK.VLAN is made as an 802.1Q sub-interface, and goes with the last network on it; without a parent, or with
--internal, a dummy link is made, and the network leads nowhere.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import msgspec

from drivers.beside import FAMILY
from drivers.driver import HostLink, HostView
from drivers.ipv6 import IPV6_MIN_MTU, settings6
from drivers.objects import HOST, AnyObject, Dummy, Route, Up, Vlan, mark
from protocol.errors import Conflict, InvalidValue, NotFound
from protocol.model import DHCP, Endpoint, Network, OptionInfo, Subnet
from protocol.names import display_text, suggestion

DEFAULT_MTU = 1500

NO_SLAAC = ("IPv6 addresses and routes are those that netdeck gives, from an IPv6 --subnet and its --gateway: router advertisements of the "
            "site (SLAAC) are not followed, and there is no DHCPv6.")
PROBE = OptionInfo("address_probe", "bool", "true", "on the site's wire, ask whether somebody has an address before a container gets it",
                   changeable=True)
OPTIONS = (
    OptionInfo("parent", "link", "", "the host's link that containers hang on; a missing eth0.20 is made as VLAN 20 of eth0; "
               "none: a network that leads nowhere", fixed="every container hangs on it"),
    OptionInfo("mtu", "int", "", "largest packet, in bytes; the parent's, if not given; at least 1280 with IPv6", minimum=68,
               maximum=65535, long_names=("com.docker.network.driver.mtu",), fixed="every container's link was made with it"),
    OptionInfo("container_iface_prefix", "text", "eth", "what interfaces in containers are called, before their number",
               long_names=("com.docker.network.container_iface_prefix",), fixed="the links of its containers have their names already"),
    PROBE,
)


def on_parent(network: Network, host: HostView, dummy: str) -> Network:
    """`network` with its link, whether that is ours to make, and its MTU, or what can't be. `dummy` begins a dummy's name."""
    parent = network.options.get("parent", "")
    if network.internal and parent:
        raise InvalidValue(f"an internal network leads nowhere, so option parent={parent} has no effect: leave out one of them",
                           field="parent", value=parent)
    if not parent:
        link = dummy + network.id[:12]
        return _with_mtu(msgspec.structs.replace(network, link=link, made_link=True, internal=True), None)
    found = host.links.get(parent)
    if found is not None:
        _check_usable(found, network, host)
        network = msgspec.structs.replace(network, link=parent, made_link=found.ours and found.kind == "vlan")
        return _with_mtu(_without_own_addresses(network, found), found)
    base = host.links[_base_and_vid(parent, host)[0]]
    _check_base(parent, base, host)
    return _with_mtu(msgspec.structs.replace(network, link=parent, made_link=True), base)


def parent_names(parent: str) -> tuple[str, ...]:
    """The links of the host that a parent's name speaks of: itself, and what it would be a VLAN of."""
    base, dot, _ = parent.rpartition(".")
    return (parent, base) if dot and base else (parent,) if parent else ()


def sharers(network: Network, others: Sequence[Network]) -> tuple[Network, ...]:
    """The other networks on the network's link."""
    return tuple(item for item in others if item.id != network.id and item.link == network.link)


def parent_objects(network: Network, instance: str, *, ipv6: bool = False) -> tuple[AnyObject, ...]:
    """The link that the containers hang on, where it is ours: the same objects for every network on it. The host takes no part in
    what goes over it, so it has no IPv6 there, unless `ipv6` says that the host routes for the containers."""
    link = network.link
    if not network.made_link:
        return ()
    made: AnyObject
    if network.internal:
        made = Dummy(HOST, link, mark(instance, "network", network.id), _mtu(network))
    else:
        base, _, vid = link.rpartition(".")
        made = Vlan(HOST, link, mark(instance, "parent", link), base, int(vid))
    # A VLAN has the MTU of what it is made on, whatever the networks on it have: `_check_base` sees to that.
    quiet = () if ipv6 else settings6(HOST, link, made.mtu if isinstance(made, Dummy) else IPV6_MIN_MTU, {"disable_ipv6": "1"})
    return (made, *quiet, Up(HOST, link))


def gateway_routes(network: Network, endpoint: Endpoint) -> tuple[AnyObject, ...]:
    """One default route a family, by the gateway of the subnet that the container's address is in, or of its lease; none where there is
    none."""
    routes: dict[int, AnyObject] = {}
    if endpoint.lease is not None:
        gateway = endpoint.lease.gateway if endpoint.addresses else ""
        return (Route(endpoint.container, "0.0.0.0/0", endpoint.ifname, gateway),) if gateway else ()
    for prefix in endpoint.addresses:
        interface = ipaddress.ip_interface(prefix)
        subnet = next((item for item in network.subnets if ipaddress.ip_network(item.subnet) == interface.network), None)
        if not network.internal and subnet is not None and subnet.gateway and interface.version not in routes:
            everything = "0.0.0.0/0" if interface.version == 4 else "::/0"
            routes[interface.version] = Route(endpoint.container, everything, endpoint.ifname, subnet.gateway)
    return tuple(routes.values())


def check_families(network: Network, endpoint: Endpoint) -> None:
    """Raises InvalidValue where the endpoint lacks an address of a family of the network, which a DHCP server need not have given yet."""
    if network.ipam == DHCP:
        return
    have = {ipaddress.ip_interface(prefix).version for prefix in endpoint.addresses}
    missing = {family for family, on in ((4, network.ipv4), (6, network.ipv6)) if on} - have
    if missing:
        raise InvalidValue(f"an endpoint of network {network.name} needs an IPv{min(missing)} address", field="addresses",
                           value=", ".join(endpoint.addresses))


def inner_settings(network: Network, endpoint: Endpoint) -> tuple[AnyObject, ...]:
    """The IPv6 settings of the link in the container: addresses are netdeck's to give, not a router's."""
    six = any(":" in prefix for prefix in endpoint.addresses)
    settings = {"disable_ipv6": "0", "accept_ra": "0"} if six else {"disable_ipv6": "1"}
    return settings6(endpoint.container, endpoint.ifname, _mtu(network), settings)


def _check_usable(link: HostLink, network: Network, host: HostView) -> None:
    def unusable(why: str, remedy: str) -> Conflict:
        return Conflict(f"{link.name} can't be the parent of network {network.name}: {why}. {remedy}", field="parent", value=link.name,
                        with_=link.master or link.name)

    if link.loopback:
        raise InvalidValue(f"{link.name} is a loopback link, which can't be a parent: name the link that leads to the network",
                           field="parent", value=link.name)
    if link.ours and link.kind != "vlan":
        raise unusable("netdeck made it for another network", "Connect the containers to that network, or name another link")
    if link.ours and link.kind == "vlan" and link.name != f"{link.lower or link.name.rpartition('.')[0]}.{link.vlan}":
        raise unusable("netdeck made it, and it or the link below it has another name since", "Give that its name back, or name another "
                       "link")
    if link.master:
        if getattr(host.links.get(link.master), "ours", False):
            raise unusable(f"it is a port of {link.master}, which netdeck made for another network", "Connect the containers to that "
                           "network, or name another link")
        raise unusable(f"it is a port of {link.master}", f"Name {link.master} as the parent, or take {link.name} out of it")
    if link.kind in FAMILY:
        raise unusable(f"it is a {link.kind} itself", "Name the link that it hangs on")
    if not link.mac:
        raise unusable("it is not an Ethernet link", "Name one that has a MAC address")


def vlan_id(text: str) -> int | None:
    """The number of an 802.1Q VLAN as it stands in a link's name, None where `text` is none."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 4 and text[0] != "0" and int(text) <= 4094 else None


def _base_and_vid(parent: str, host: HostView) -> tuple[str, int]:
    base, _, text = parent.rpartition(".")
    if not base or "." in base:
        theirs = sorted(display_text(link.name) for link in host.links.values() if not (link.loopback or link.ours))
        known = ", ".join(theirs[:16]) or "none"
        dots = "it has two dots, so it is not made; LINK.VLAN" if "." in base else "one called LINK.VLAN"
        raise NotFound(f"there is no link {parent} on this host{suggestion(parent, host.links)}: known are {known}; {dots} such as "
                       "eth0.20 would be made", field="parent", name=parent)
    expected = "a VLAN id from 1 to 4094 behind the dot, such as eth0.20"
    vid = vlan_id(text)
    if vid is None:
        wrong = repr(text) if text else "nothing"
        raise InvalidValue(f"option parent={parent}: there is no such link on this host, and {wrong} is no VLAN id: expected {expected}",
                           field="parent", value=parent, expected=expected)
    if base not in host.links:
        raise NotFound(f"{parent} can't be made: there is no link {base} on this host{suggestion(base, host.links)}", field="parent",
                       name=base)
    return base, vid


def _check_base(parent: str, base: HostLink, host: HostView) -> None:
    """Whether a VLAN can be made on `base`. Unlike a parent it may be a port of a bridge: tags are looked at before that."""
    vid = int(parent.rpartition(".")[2])
    if base.ours:
        raise Conflict(f"{parent} can't be made: netdeck made {base.name} for another network, and it would go with that. Name a link "
                       "of the host", field="parent", value=parent, with_=base.name)
    if base.loopback:
        raise InvalidValue(f"{parent} can't be made: {base.name} is a loopback link, which has no VLANs", field="parent", value=parent)
    if base.master and getattr(host.links.get(base.master), "kind", "") != "bridge":
        raise Conflict(f"{parent} can't be made: {base.name} is a port of {base.master}. Name {base.master}.{vid}", field="parent",
                       value=parent, with_=base.master)
    if not base.mac:
        raise InvalidValue(f"{parent} can't be made: {base.name} is not an Ethernet link", field="parent", value=parent)
    if base.mtu < IPV6_MIN_MTU:
        raise InvalidValue(f"{parent} can't be made: {base.name} has MTU {base.mtu}, and a VLAN that netdeck makes has at least "
                           f"{IPV6_MIN_MTU}. Make it yourself: ip link add link {base.name} name {parent} type vlan id {vid}; ip link set "
                           f"{parent} up", field="parent", value=parent, expected=str(IPV6_MIN_MTU))
    for link in host.links.values():
        if link.kind == "vlan" and link.vlan == vid and link.lower == base.name:
            raise Conflict(f"{parent} can't be made: VLAN {vid} of {base.name} is there already, as {link.name}. "
                           f"Use that with -o parent={link.name}", field="parent", value=parent, with_=link.name)
    if not base.up:
        raise Conflict(f"{parent} can't be made while {base.name} is down. Bring it up first: ip link set {base.name} up",
                       field="parent", value=parent, with_=base.name)


def _mtu(network: Network) -> int:
    return int(network.options.get("mtu", DEFAULT_MTU))


def _with_mtu(network: Network, parent: HostLink | None) -> Network:
    most = parent.mtu if parent is not None else 65535
    asked = network.options.get("mtu")
    mtu = int(asked) if asked else (parent.mtu if parent is not None else DEFAULT_MTU)
    if mtu > most and parent is not None:
        raise InvalidValue(f"option mtu={mtu} is more than {parent.name} has: expected at most {most}", field="mtu", value=str(mtu),
                           expected=str(most))
    if network.ipv6 and mtu < IPV6_MIN_MTU:
        whose = f"option mtu={mtu}" if asked else f"the MTU {mtu} of {network.options.get('parent')}"
        raise InvalidValue(f"{whose} is too small for IPv6: expected at least {IPV6_MIN_MTU} (RFC 8200)", field="mtu", value=str(mtu),
                           expected=str(IPV6_MIN_MTU))
    return msgspec.structs.replace(network, options={**network.options, "mtu": str(mtu)})


def _without_own_addresses(network: Network, parent: HostLink) -> Network:
    """The parent's own addresses are kept out of the pools: on the wire, a container that had one would answer for the host."""
    own = [ipaddress.ip_interface(prefix).ip for prefix in parent.addresses]
    subnets: list[Subnet] = []
    for subnet in network.subnets:
        net = ipaddress.ip_network(subnet.subnet)
        if subnet.gateway is not None and ipaddress.ip_address(subnet.gateway) in own:
            raise InvalidValue(f"gateway {subnet.gateway} is an address of {parent.name} itself, which containers can't reach over it: "
                               "give the router's with --gateway", field="gateway", value=subnet.gateway)
        taken = set(subnet.aux.values())
        kept = [str(address) for address in own if address.version == net.version and address in net and str(address) not in taken]
        names = {address: parent.name + (f"-{number}" if number else "") for number, address in enumerate(kept)}
        aux = {**{name: address for address, name in names.items() if name not in subnet.aux}, **subnet.aux}
        subnets.append(msgspec.structs.replace(subnet, aux=aux))
    return msgspec.structs.replace(network, subnets=tuple(subnets))
