"""Addresses: networks that overlap with what the host routes elsewhere, and pools that are, or soon will be, used up."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from helperd.doctor.situation import Situation
from helperd.ipam import pool_of, usage
from helperd.subnets import check_subnets
from protocol.errors import Conflict, NetdeckError
from protocol.findings import Finding
from protocol.model import Network
from protocol.requests import SubnetRequest

NEARLY = 0.9  # of a pool in use
_FEW = 3  # free subnets of the default pools; the look goes no further


def overlaps(situation: Situation) -> Iterator[Finding]:
    """Networks whose subnet is, by now, also somewhere else: a VPN that came up, say. All routes are looked at."""
    for network in situation.networks:
        if network.driver in situation.parent_drivers or network.uplink:
            continue  # the host has no part in them, and may be on the site's subnet by another link
        own = network.link if not network.made_link else ""
        for subnet in network.subnets:
            request = SubnetRequest(subnet=subnet.subnet)
            try:
                check_subnets(network.name, (request,), ipv4=":" not in subnet.subnet, ipv6=":" in subnet.subnet, networks=(),
                              host=situation.ranges, pools=situation.pools, own_link=own)
            except Conflict as error:
                other = str(error.details.get("with_", "something else"))
                yield Finding(
                    f"overlap.{network.name}.{subnet.subnet}", "error" if situation.used(network) else "warning",
                    f"subnet {subnet.subnet} of the network {network.name} overlaps {other}",
                    "The host sends what is for one of the two to the other: containers can't reach what is there, or are not reached.",
                    "Give one of the two other addresses: make the network anew with another --subnet, or change the route.",
                    details=(f"network {network.name}: {subnet.subnet} on {network.link}", other), networks=(network.name,))
            except NetdeckError:
                continue


def pools(situation: Situation) -> Iterator[Finding]:
    """Networks without free addresses, or with few; default pools that give no more networks, or few."""
    for network in situation.networks:
        for subnet in network.subnets:
            found = usage(pool_of(subnet, situation.leases(network.id).keys()))
            if found.free and found.used < NEARLY * (found.used + found.free):
                continue
            if not found.free and not found.used:
                continue  # nothing is handed out by itself, which was asked for by its range
            left = f"{found.free} left" if found.free else "none left"
            yield Finding(
                f"pool.{network.name}.{subnet.subnet}", "warning" if found.free else "error",
                f"the network {network.name} has {found.used} addresses of {subnet.ip_range or subnet.subnet} in use, {left}",
                "The next container that joins it without an address of its own choice is refused."
                if not found.free else "Soon the next container that joins it is refused.",
                "Detach containers, give another with --ip outside the ip-range, or use a network with a larger subnet.",
                networks=(network.name,))
    yield from _default_pools(situation)


def _default_pools(situation: Situation) -> Iterator[Finding]:
    for family in situation.pools:
        others: list[Network] = list(situation.networks)
        left = 0
        while left < _FEW:
            try:
                subnets = check_subnets("", (), ipv4=family == 4, ipv6=family == 6, networks=others, host=situation.ranges,
                                        pools=situation.pools)
            except NetdeckError:
                break
            left += 1
            others.append(msgspec.structs.replace(_NOBODY, subnets=subnets))
        if left < _FEW:
            yield Finding(
                f"default-pools.ipv{family}", "notice" if left else "warning",
                f"the default pools have {left or 'no'} IPv{family} subnet{'' if left == 1 else 's'} left for new networks",
                "A network without --subnet gets the next free one; without any it can't be created.",
                "Remove networks that nobody needs (netdeck network prune), or give more or smaller default-address-pools in the "
                "configuration file.")


_NOBODY = Network("0" * 64, "", "bridge", 0.0)
