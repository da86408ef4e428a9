"""What differs between two states of a network, in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from protocol.model import Network, Subnet
from protocol.names import display_text


def differences(before: Network, after: Network) -> tuple[str, ...]:
    """A line for each difference of what an operator can set, () where there is none: ``mtu: 1500 -> 1400``."""
    found = _of_maps("", before.options, after.options)
    if before.internal != after.internal:
        found.append("internal: " + ("on" if after.internal else "off"))
    if before.host_addresses != after.host_addresses:
        found.append("host access: " + (f"on, as {', '.join(after.host_addresses)}" if after.host_addresses else "off"))
    old, new = ({item.subnet: item for item in network.subnets} for network in (before, after))
    found += [f"subnet {name} removed" for name in old if name not in new]
    for name, item in new.items():
        if name in old:
            found += _of_subnets(old[name], item)
        else:
            found.append(f"subnet {name} added" + (f", gateway {item.gateway}" if item.gateway else ""))
            found += [f"aux-address {key} added: {value}" for key, value in item.aux.items()]
    found += _of_maps("label ", before.labels, after.labels)
    return tuple(found)


def _of_subnets(before: Subnet, after: Subnet) -> list[str]:
    values = (("gateway", before.gateway, after.gateway), ("ip-range", before.ip_range, after.ip_range))
    found = [f"{name} of {after.subnet}: {old or 'none'} -> {new or 'none'}" for name, old, new in values if old != new]
    return found + _of_maps("aux-address ", before.aux, after.aux)


def _of_maps(kind: str, before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    found = []
    for name in {**before, **after}:
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        shown = kind + display_text(name)
        if old is None:
            found.append(f"{shown} added: {display_text(new or '')}" if kind else f"{shown}: {display_text(new or '')}")
        elif new is None:
            found.append(f"{shown} removed" if kind else f"{shown}: {display_text(old)} -> not set")
        else:
            found.append(f"{shown}: {display_text(old)} -> {display_text(new)}")
    return found
