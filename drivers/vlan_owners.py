"""A VLAN of a link of the host has one owner: the bridge whose uplink carries it, or an 802.1Q link with what hangs on that. Pure.

The kernel looks at tags before it gives a frame to a bridge (net/core/dev.c, __netif_receive_skb_core): a VLAN link takes its frames
from the bridge that the link below it is a port of, in whatever namespace it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from drivers.beside import told
from drivers.driver import HostView
from drivers.parents import vlan_id
from drivers.vlans import carries
from protocol.errors import Conflict
from protocol.model import Network
from protocol.names import display_text


def check_uplink(network: Network, host: HostView, others: Sequence[Network]) -> Network:
    """`network`, a bridge. Raises Conflict where its uplink is to carry a VLAN that something else has, or would take one from another."""
    if not network.uplink:
        return network
    check_vlan(network, network.uplink, host, others)
    for vid, who, remedy, name in _owners(network.uplink, host, others):
        if carries(network, vid):
            raise Conflict(f"{network.uplink} can't carry VLAN {vid} for network {network.name}: {who} takes its frames. Say with "
                           f"-o uplink_vlans which VLANs it carries, without that one, or {remedy} first",
                           field="uplink_vlans", value=str(vid), with_=name)
    return network


def check_vlan(network: Network, wire: str, host: HostView, others: Sequence[Network]) -> None:
    """Raises Conflict where `wire`, the parent or uplink of `network`, is a VLAN link that takes from a bridge what its uplink carries."""
    lower, vid = _vlan_of(wire, host)
    for other in others:
        if vid and other.uplink == lower and carries(other, vid):
            can_not = f"{wire} can't be the uplink of network {network.name}" if network.uplink else (
                f"network {network.name} can't hang on {wire}")
            raise Conflict(f"{can_not}: it would take the frames of VLAN {vid} from network {other.name}, whose uplink {lower} carries it. "
                           f"Connect the containers to {other.name} with --vlan {vid}, or name another VLAN",
                           field="uplink" if network.uplink else "parent", value=wire, with_=other.name)


def _owners(uplink: str, host: HostView, others: Sequence[Network]) -> Iterator[tuple[int, str, str, str]]:
    """What has VLANs of a link: (VLAN, who in words, what frees it, name). Networks first: their link may not be there now, or was made a
    moment ago, and they are what can be removed."""
    for other in others:
        wire = other.uplink or other.options.get("parent", "")
        lower, vid = _vlan_of(wire, host)
        if vid and lower == uplink:
            yield vid, f"network {other.name}, by {wire},", f"remove {other.name}", other.name
    for link in host.links.values():
        if link.kind == "vlan" and link.lower == uplink:
            yield link.vlan, display_text(link.name), "remove that link", link.name
    for item in host.links[uplink].hung if uplink in host.links else ():
        if item.kind == "vlan":
            yield item.vlan, told(item), "remove that link", item.name


def _vlan_of(wire: str, host: HostView) -> tuple[str, int]:
    """The link below a VLAN link and its VLAN, by the name where it is not there; 0 where it is none."""
    link = host.links.get(wire)
    base, _, text = wire.rpartition(".")
    return (link.lower, link.vlan) if link is not None else (base, vlan_id(text) or 0)
