"""The MTU along the paths of a network: where two links of a path disagree, large packets are lost and small ones pass.

Sources: RFC 1191, RFC 8201; veth and bridge drop what is larger than the receiving end takes.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from drivers.ipv6 import IPV6_MIN_MTU
from helperd.doctor.situation import Situation
from protocol.findings import Finding
from protocol.model import Link, Network
from protocol.names import display_text

_SHOWN = 8


def mtu_mismatch(situation: Situation) -> Iterator[Finding]:
    """Links of a network that disagree with each other, and ways of the host to the outside that take less than the network."""
    for network in situation.bridges():
        bridge = situation.links.get(network.link)
        if bridge is None:
            continue
        wanted = int(network.options.get("mtu", bridge.mtu))
        yield from _inside(situation, network, bridge, wanted)
        if not network.internal and not network.uplink:
            yield from _outside(situation, network, wanted)


def _inside(situation: Situation, network: Network, bridge: Link, wanted: int) -> Iterator[Finding]:
    differing: list[str] = []
    commands: list[str] = []
    ports = [port for port in situation.links.values() if port.master == bridge.ifindex]
    uplink = next((port for port in ports if port.name == network.uplink and port.mtu != wanted), None)
    common = wanted if uplink is None else uplink.mtu  # what they all get: the site's is not the network's to choose
    if uplink is not None:
        if network.ipv6 and common < IPV6_MIN_MTU:
            common = wanted
            commands.append(f"ip link set {shlex.quote(uplink.name)} mtu {common}")
        else:
            commands.append(f"netdeck network update -o mtu={common} {network.name}")
    set_anyhow = common != wanted  # with the network's
    if bridge.mtu != wanted:
        differing.append(f"the bridge {display_text(bridge.name)} has {bridge.mtu}")
        commands += [] if set_anyhow else [f"ip link set {shlex.quote(bridge.name)} mtu {wanted}"]
    ours = {endpoint.host_link for endpoint in situation.endpoints.get(network.id, ())}
    for port in ports:
        if port.mtu != wanted:
            differing.append(f"its {'uplink' if port is uplink else 'port'} {display_text(port.name)} has {port.mtu}")
            commands += [f"ip link set {port.name} mtu {wanted}"] if port.name in ours and not set_anyhow else []
        where, peer = situation.peers.get(port.ifindex, ("", None))
        if peer is None:
            continue
        if peer.mtu != wanted:
            end = f"{display_text(peer.name)} in {display_text(where)}"
            differing.append(f"{end}, behind the port {display_text(port.name)}, has {peer.mtu}")
        if peer.mtu != common and where.startswith("netns:") and not (set_anyhow and port.name in ours):
            commands.append(f"ip -n {shlex.quote(where.removeprefix('netns:'))} link set {shlex.quote(peer.name)} mtu {common}")
    if not differing:
        return
    more = f" and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
    instead = "" if uplink is None or not set_anyhow else (
        f", that of the uplink, as below; or the uplink that of the network, with ip link set {display_text(uplink.name)} mtu {wanted}")
    yield Finding(
        f"mtu.{network.name}", "warning",
        f"links of the network {network.name} (MTU {wanted}) disagree: {'; '.join(differing[:_SHOWN])}{more}",
        "What one end sends and the next can't take is dropped without a word: small packets pass, large ones never arrive.",
        f"Give them one MTU{instead}. `netdeck doctor --fix changed` does it for the links that netdeck made, where it is listed too.",
        details=tuple(differing), commands=tuple(commands), networks=(network.name,))


def _outside(situation: Situation, network: Network, wanted: int) -> Iterator[Finding]:
    seen: set[str] = set()
    for family, on in ((4, network.ipv4), (6, network.ipv6)):
        for name in situation.uplinks.get(family, ())[:1] if on else ():
            uplink = situation.links.get(name)
            if uplink is None or uplink.mtu >= wanted or name in seen:
                continue
            seen.add(name)
            how = f"mtu = {uplink.mtu} in the configuration file, and a restart of the helper" if network.predefined else \
                f"netdeck network update {network.name} -o mtu={uplink.mtu}"
            yield Finding(
                f"mtu.{network.name}.{display_text(name)}", "warning",
                f"the network {network.name} has MTU {wanted}, and the way to the outside, {display_text(name)}, takes {uplink.mtu}",
                "Containers send packets that don't fit. That works only while every router and firewall on the way lets the ICMP "
                "messages for path MTU discovery through; where one doesn't, connections hang once they send much.",
                f"Make the network's MTU {uplink.mtu}: {how}.",
                details=(f"containers and bridge {network.link}: {wanted}", f"uplink {display_text(name)}: {uplink.mtu}"),
                networks=(network.name,))
