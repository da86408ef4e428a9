"""Links that others hung on a parent, and whether one of ours can hang beside them. Pure.

The kernel has one ipvlan mode and one flag for each parent, and the last link that is made sets them for all (drivers/net/ipvlan): so a
link of ours must not be made beside one that has others. A macvlan in mode passthru has its parent for itself, and a parent carries
either macvlan or ipvlan (drivers/net/macvlan.c); there the kernel refuses.
"""

from __future__ import annotations

from collections.abc import Sequence

from drivers.driver import HostLink, Hung
from protocol.errors import Conflict
from protocol.model import Network
from protocol.names import display_text

FAMILY = {"macvlan": "macvlan", "macvtap": "macvlan", "ipvlan": "ipvlan", "ipvtap": "ipvlan"}


def told(other: Hung) -> str:
    """A link in words: ``the ipvlan link theirs in netns:x, in mode l3 private``."""
    mode = f", in mode {other.mode}" if other.mode else ""
    place = "on the host" if other.where == "host" else f"in {other.where}"
    return f"the {display_text(other.kind) or 'device'} link {display_text(other.name)} {place}{mode}"


def told_all(others: Sequence[Hung]) -> str:
    """Several, the first eight by name."""
    return ", ".join(map(told, others[:8])) + (f" and {len(others) - 8} more" if len(others) > 8 else "")


def own_mode(network: Network) -> str:
    """The mode of the network's links, as `Hung.mode` has it."""
    if network.driver == "ipvlan":
        return ipvlan_mode(network.options.get("ipvlan_mode", "l2"), network.options.get("ipvlan_flag", "bridge"))
    return network.options.get("macvlan_mode", "bridge")


def ipvlan_mode(mode: str, flag: str) -> str:
    """Mode and flag of an ipvlan in one: ``l3``, ``l3 private``."""
    return mode if flag in ("", "bridge") else f"{mode} {flag}"


def rival(kind: str, mode: str, others: Sequence[Hung]) -> tuple[Hung, str] | None:
    """The first of `others` beside which no link of `kind` in `mode` can hang, and why not, in words; None where all can."""
    for other in others if kind in FAMILY else ():
        family = FAMILY.get(other.kind)
        if family is None:
            continue
        if family != kind:
            return other, "a link carries either macvlan or ipvlan"
        if kind == "ipvlan" and other.mode != mode:
            return other, f"all ipvlan links on a parent have the same mode and flag: to make one in mode {mode} would change that one"
        if kind == "macvlan" and "passthru" in (mode, other.mode):
            return other, "in mode passthru a link carries only one"
    return None


def require_room(network: Network, link: HostLink | None) -> None:
    """Raises Conflict where a link that somebody else made hangs on `link`, beside which the network's can't."""
    found = rival(network.driver, own_mode(network), link.hung) if link is not None else None
    if found is None or link is None:
        return
    other, why = found
    remedy = "choose its mode and flag" if network.driver == FAMILY[other.kind] == "ipvlan" else "delete that link"
    raise Conflict(f"network {network.name} can't hang on {link.name} in mode {own_mode(network)}: {told(other)}, hangs there, which "
                   f"netdeck did not make, and {why}. Name another parent, or {remedy}", field="parent", value=link.name, with_=other.name)
