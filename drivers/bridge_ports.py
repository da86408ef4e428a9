"""Published ports of an endpoint on a bridge, as kernel objects. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

import msgspec

from drivers.objects import HOST, AnyObject, Masked, PortSocket, Published, Relayed, Sysctl
from protocol.model import Endpoint, Network, Port
from protocol.ports import EVERYWHERE

_LOOPBACK = {4: "127.0.0.1", 6: "::1"}
RELAYED = frozenset(("tcp", "udp"))  # what the relay can carry


def family(port: Port) -> int:
    """4 or 6."""
    return 6 if ":" in port.host else 4


def target_of(network: Network, endpoint: Endpoint, port: Port) -> str:
    """The container's address that `port` leads to: of the port's own family, else of the other; "" where it has none."""
    found: dict[int, str] = {ipaddress.ip_interface(prefix).version: prefix.partition("/")[0] for prefix in reversed(endpoint.addresses)}
    if 6 in found and network.options.get("inhibit_ipv4") == "true":
        found.pop(4, None)  # the host has no address there to ask from
    return found.get(family(port)) or next(iter(found.values()), "")


def port_objects(network: Network, endpoint: Endpoint, gateways: Mapping[int, str | None]) -> list[AnyObject]:
    """What the ports of `endpoint` need. `gateways` are what the container's default routes would lead to, by family.

    A port of one family that leads to an address of the other is carried by the relay, whoever asks, as by docker's proxy.
    Where the container's default route leads to somebody else than the bridge, its answers would pass the host by: then the
    bridge's own address is put in the sender's place, which is on the same wire.
    """
    objects: list[AnyObject] = []
    own = {subnet.gateway for subnet in network.subnets}
    for port in endpoint.ports:
        version = family(port)
        target = target_of(network, endpoint, port)
        held = PortSocket(HOST, port.protocol, port.host, port.host_port)
        if not target:
            objects.append(held)
            continue
        if (":" in target) != (version == 6):
            # The host's own connection comes from the bridge's address, so answers need nothing more.
            objects.append(Relayed(HOST, port.protocol, port.host, port.host_port))
            objects.append(msgspec.structs.replace(held, target=target, target_port=port.port))
            continue
        loopback = port.host == _LOOPBACK[version] or port.host.startswith("127.")
        everywhere = port.host == EVERYWHERE[version]
        # The kernel leads what this host sends to 127.0.0.1 to a container if the bridge's settings allow for it; it never
        # does so with ::1.
        relayed = (loopback or everywhere) and (version == 6 or not network.made_link) and port.protocol in RELAYED
        objects.append(msgspec.structs.replace(held, target=target, target_port=port.port) if relayed else held)
        if not (loopback and relayed):
            objects.append(Published(HOST, port.protocol, port.host, port.host_port, target, port.port))
        if everywhere and relayed and version == 4:
            # To itself, which is where the relay listens.
            objects.append(Published(HOST, port.protocol, _LOOPBACK[4], port.host_port, _LOOPBACK[4], port.host_port))
        if gateways.get(version) not in own:
            objects.append(Masked(HOST, target))
        if version == 4 and network.made_link and (loopback or everywhere):
            # The host's own connections to its loopback leave by the bridge, and their answers come back there.
            objects.append(Sysctl(HOST, "net.ipv4.conf.*.route_localnet", "1", network.link))
    return list(dict.fromkeys(objects))
