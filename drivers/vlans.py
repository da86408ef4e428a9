"""VLANs of ports of a bridge network with ``-o vlan_filtering=1``: what was asked for, checked and written in one way. Pure.

``--vlan 10`` alone makes an access port: frames without a tag are of VLAN 10. With several, or with ``--untagged``, it is a trunk: what is
in ``--vlan`` comes tagged, what is in ``--untagged`` without a tag. The uplink is a trunk with all of the site's VLANs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from drivers.objects import HOST, PortVlans
from drivers.port_commands import vlan_text
from protocol.errors import InvalidValue
from protocol.model import DHCP, Endpoint, Network, OptionInfo
from protocol.names import display_text

FIRST, LAST, NATIVE = 1, 4094, 1  # NATIVE: the VLAN of frames without a tag where nothing else was said
OPTIONS = (
    OptionInfo("vlan_filtering", "bool", "false", "the bridge keeps 802.1Q VLANs apart; containers get theirs when they are connected, the "
               "uplink is a trunk", fixed="the ports of containers were made for it"),
    OptionInfo("uplink_vlans", "text", "", "the VLANs that the uplink carries tagged, as 10,20-30; all but 1 if not given; 1 comes "
               "untagged", fixed="the uplink was made for it", needs="uplink"),
)
_ALL = ("2-4094",)
_EXPECTED = f"VLAN ids from {FIRST} to {LAST} and ranges of them, as 10 or 20,30-40"


def filters(network: Network) -> bool:
    """Whether the network's bridge is aware of VLANs."""
    return network.options.get("vlan_filtering") == "true"


def parsed(texts: Iterable[str], field: str = "vlan") -> tuple[str, ...]:
    """``20,30-40`` and the like as ranges in order that don't touch. Raises InvalidValue."""
    spans: list[tuple[int, int]] = []
    for text in texts:
        for part in text.split(","):
            low, dash, high = part.strip().partition("-")
            span = _number(low, text, field), _number(high, text, field) if dash else _number(low, text, field)
            if span[0] > span[1]:
                raise InvalidValue(f"{display_text(part)} in {_flag(field)}{display_text(text)} ends before it begins: expected "
                                   f"{_EXPECTED}", field=field, value=display_text(text), expected=_EXPECTED)
            spans.append(span)
    joined: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(last, joined[-1][1])
        else:
            joined.append((first, last))
    return tuple(str(first) if first == last else f"{first}-{last}" for first, last in joined)


def numbers(ranges: Iterable[str]) -> frozenset[int]:
    """The VLAN ids of ranges that `parsed` wrote."""
    found: set[int] = set()
    for text in ranges:
        low, _, high = text.partition("-")
        found.update(range(int(low), int(high or low) + 1))
    return frozenset(found)


def with_vlans(endpoint: Endpoint, network: Network, vlans: Sequence[str], untagged: int | None) -> Endpoint:
    """`endpoint` with the VLANs that were asked for. Raises InvalidValue."""
    if not vlans and untagged is None:
        return _require_server(endpoint, network)
    if not filters(network):
        raise InvalidValue(f"network {network.name} is not aware of VLANs: create it with -o vlan_filtering=1 (driver bridge), or use "
                           "-o parent=LINK.VLAN with macvlan or ipvlan", field="vlan", value=", ".join(map(display_text, vlans)))
    tagged = parsed(vlans)
    only = tagged[0] if len(tagged) == 1 else ""
    if untagged is None and only.isdecimal():
        untagged = int(only)
    native = _number(str(untagged), str(untagged), "untagged") if untagged is not None else 0
    if only == str(native):
        tagged = ()
    if native in numbers(tagged):
        raise InvalidValue(f"VLAN {native} can't be both tagged (--vlan {','.join(tagged)}) and untagged: leave it out of one of them",
                           field="untagged", value=str(native))
    return _require_server(msgspec.structs.replace(endpoint, vlans=tagged, untagged=native), network)


def check_options(network: Network) -> Network:
    """`network` with the VLANs of its uplink written in one way. Raises InvalidValue."""
    text = network.options.get("uplink_vlans", "")
    if not text:
        return network
    if not filters(network) or not network.uplink:
        raise InvalidValue("option uplink_vlans has no effect without uplink and vlan_filtering: leave it out, or give both",
                           field="uplink_vlans", value=display_text(text), needs=["uplink", "vlan_filtering"])
    return msgspec.structs.replace(network, options={**network.options, "uplink_vlans": ",".join(parsed((text,), "uplink_vlans"))})


def carries(network: Network, vid: int) -> bool:
    """Whether the uplink of the network's bridge carries this VLAN tagged."""
    return bool(network.uplink) and filters(network) and vid in numbers(_uplink_vlans(network)[0])


def site_vlan(network: Network, endpoint: Endpoint) -> int | None:
    """The tag that the uplink gives what a container sends without one, 0 for none; None where that does not leave by the uplink."""
    if not filters(network):
        return 0
    own = endpoint.untagged or (0 if endpoint.vlans else NATIVE)
    ranges, native = _uplink_vlans(network)
    return 0 if own and own == native else own if own in numbers(ranges) else None


def uplink_port(network: Network) -> tuple[PortVlans, ...]:
    """The VLANs of the uplink, where the bridge is aware of them."""
    name = network.uplink
    if not name or not filters(network):
        return ()
    return (PortVlans(HOST, name, network.link, *_uplink_vlans(network)),)


def endpoint_port(network: Network, endpoint: Endpoint) -> tuple[PortVlans, ...]:
    """The VLANs of a container's port, where it was given any."""
    if not endpoint.vlans and not endpoint.untagged:
        return ()
    return (PortVlans(HOST, endpoint.host_link, network.link, endpoint.vlans, endpoint.untagged),)


def words(network: Network, endpoint: Endpoint) -> str:
    """The VLANs of a container as people read them; "" where its network knows none."""
    if not filters(network):
        return ""
    return "".join(vlan_text(port) for port in endpoint_port(network, endpoint)) or f"{NATIVE} untagged"


def unchosen(network: Network, endpoint: Endpoint, container: str) -> list[str]:
    """That nobody chose the VLAN which a container called `container` is in, in words."""
    if not filters(network) or endpoint.vlans or endpoint.untagged:
        return []
    return [f"no VLAN was chosen for {container} on {network.name}: its frames, which have no tag, are of VLAN {NATIVE}. To have others, "
            "disconnect it and connect it with --vlan, as 10 or 20,30-40"]


def _uplink_vlans(network: Network) -> tuple[tuple[str, ...], int]:
    """What the uplink carries tagged, and without a tag (0: nothing)."""
    text = network.options.get("uplink_vlans", "")
    ranges = tuple(text.split(",")) if text else _ALL
    return ranges, 0 if NATIVE in numbers(ranges) else NATIVE


def _require_server(endpoint: Endpoint, network: Network) -> Endpoint:
    """Raises InvalidValue where no DHCP server of the site could hear the container."""
    if network.ipam != DHCP or site_vlan(network, endpoint) is not None:
        return endpoint
    link = network.options.get("uplink", "")
    if endpoint.vlans and not endpoint.untagged:
        raise InvalidValue(f"addresses on network {network.name} come from the site's DHCP server, which is asked without a tag: say "
                           "with --untagged in which VLAN that is", field="untagged", value="")
    own = endpoint.untagged or NATIVE
    carried = ",".join(_uplink_vlans(network)[0])
    raise InvalidValue(f"VLAN {own} does not leave by {link}, the uplink of network {network.name}, so no DHCP server is reached: "
                       f"expected one of {carried}", field="untagged" if endpoint.vlans else "vlan", value=str(own), expected=carried)


def _number(text: str, whole: str, field: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 4 or not FIRST <= int(text) <= LAST:
        wrong = repr(display_text(text)) if text else "nothing"
        raise InvalidValue(f"{_flag(field)}{display_text(whole)}: {wrong} is no VLAN id: expected {_EXPECTED}",
                           field=field, value=display_text(whole), expected=_EXPECTED)
    return int(text)


def _flag(field: str) -> str:
    """How the value of `field` is given, as far as the value."""
    return f"option {field}=" if field == "uplink_vlans" else f"--{field} "
