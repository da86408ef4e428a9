"""The firewall objects of several bridge networks together, over the matrix of options."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import msgspec

from drivers.bridge import DRIVER
from drivers.driver import HostView, parse_options
from drivers.objects import TableItem
from protocol.model import Endpoint, Network, Port, Subnet

GOLDEN = Path(__file__).parent / "golden"
FAMILIES: Mapping[str, tuple[Subnet, ...]] = {
    "v4": (Subnet(subnet="10.1.0.0/24", gateway="10.1.0.1"), Subnet(subnet="10.2.0.0/24", gateway="10.2.0.1")),
    "v6": (Subnet(subnet="fd00:1::/64", gateway="fd00:1::1"),),
    "dual": (Subnet(subnet="10.1.0.0/24", gateway="10.1.0.1"), Subnet(subnet="fd00:1::/64", gateway="fd00:1::1")),
}


def table_objects(family: str) -> tuple[TableItem, ...]:
    """What the table holds of one network for each combination of icc, masquerade and internal, and of one with its own source;
    each but the internal ones with a container that has published ports, the last with a gateway that is not the bridge; and the
    default network with icc off, where one container is linked to another."""
    subnets = FAMILIES[family]
    found: list[TableItem] = []
    switches = ("true", "false")
    variants = [
        ({"icc": icc, "masquerade": masquerade}, internal)
        for icc, masquerade, internal in itertools.product(switches, switches, (False, True))
    ]
    variants.append(({"host_ipv6": "2001:db8::7"} if family == "v6" else {"host_ipv4": "192.0.2.7"}, False))
    for number, (options, internal) in enumerate(variants):
        name = "-".join(
            ("own", "source")
            if len(options) == 1
            else (f"icc-{options['icc']}-masq-{options['masquerade']}", "internal" if internal else "open")
        )
        network = Network(
            id=f"{number:064x}",
            name=name,
            driver="bridge",
            created=0.0,
            subnets=subnets,
            options=parse_options(DRIVER.info, {"name": f"br-{number}", **options}),
            internal=internal,
            ipv4=family != "v6",
            ipv6=family != "v4",
        )
        if len(options) == 1:
            aux = {"DefaultGatewayIPv4": "10.1.0.254"} if family != "v6" else {"DefaultGatewayIPv6": "fd00:1::fe"}
            network = msgspec.structs.replace(network, subnets=(msgspec.structs.replace(subnets[0], aux=aux), *subnets[1:]))
        checked = DRIVER.check(network, HostView("0a1b2c3d"), ())
        objects = DRIVER.network_objects(checked, "0a1b2c3d")
        if not internal:
            objects += DRIVER.endpoint_objects(checked, _with_ports(checked, number), "0a1b2c3d")
        found += [item for item in objects if isinstance(item, TableItem)]
    return (*found, *_default_with_a_link(family))


def _default_with_a_link(family: str) -> list[TableItem]:
    options = parse_options(DRIVER.info, {"icc": "false"})
    network = Network(id="f" * 64, name="bridge", driver="bridge", created=0.0, subnets=FAMILIES[family], options=options,
                      predefined=True, ipv4=family != "v6", ipv6=family != "v4")
    checked = DRIVER.check(network, HostView("0a1b2c3d"), ())
    target = _with_ports(checked, 40)
    addresses = tuple(prefix.replace("2/", "3/") for prefix in target.addresses)
    source = msgspec.structs.replace(target, id="e" * 64, container="e" * 64, addresses=addresses, ports=())
    objects = (*DRIVER.network_objects(checked, "0a1b2c3d"),
               *DRIVER.link_objects(checked, source, target, [(80, "tcp"), (53, "udp"), (132, "sctp")]))
    return [item for item in objects if isinstance(item, TableItem)]


def _with_ports(network: Network, number: int) -> Endpoint:
    """An endpoint with a port on all addresses, one on one address, and one on the loopback, of each family; the relay carries
    the first two of a family that the network has not."""
    ports = []
    for on, hosts in ((network.ipv4, ("0.0.0.0", "192.0.2.1", "127.0.0.1")), (network.ipv6, ("::", "2001:db8::1", "::1"))):
        if on or number < 4:
            ports += [Port(protocol, host, 8000 + 10 * number + step, 80 + step)
                      for step, (protocol, host) in enumerate(zip(("tcp", "udp", "sctp"), hosts, strict=True))
                      if on or protocol != "sctp"]
    addresses = (*("10.1.0.2/24",) * network.ipv4, *("fd00:1::2/64",) * network.ipv6)
    return Endpoint(id=f"{number:064x}", network=network.id, container="c" * 64, ifname="eth0", host_link=f"veth{number}",
                    addresses=addresses, ports=tuple(ports))
