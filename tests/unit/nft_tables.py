"""The firewall objects of several bridge networks together, over the matrix of options."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

from drivers.bridge import DRIVER
from drivers.driver import HostView, parse_options
from drivers.objects import Chain, Jump
from protocol.model import Network, Subnet

GOLDEN = Path(__file__).parent / "golden"
FAMILIES: Mapping[str, tuple[Subnet, ...]] = {
    "v4": (Subnet(subnet="10.1.0.0/24", gateway="10.1.0.1"), Subnet(subnet="10.2.0.0/24", gateway="10.2.0.1")),
    "v6": (Subnet(subnet="fd00:1::/64", gateway="fd00:1::1"),),
    "dual": (Subnet(subnet="10.1.0.0/24", gateway="10.1.0.1"), Subnet(subnet="fd00:1::/64", gateway="fd00:1::1")),
}


def table_objects(family: str) -> tuple[Chain | Jump, ...]:
    """Chains and jumps of one network for each combination of icc, masquerade and internal, and of one with its own source."""
    subnets = FAMILIES[family]
    found: list[Chain | Jump] = []
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
        checked = DRIVER.check(network, HostView("0a1b2c3d"), ())
        found += [item for item in DRIVER.network_objects(checked, "0a1b2c3d") if isinstance(item, Chain | Jump)]
    return tuple(found)
