"""What other programs hung on a link of the host: as far as their namespaces are seen."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from drivers.driver import Hung
from drivers.objects import LINK_GROUP, parse_mark
from helperd.kernel.host_links import hanging
from helperd.world import World
from protocol.model import Link
from protocol.names import display_text


def strangers(world: World, instance: str, ifindex: int) -> list[Link]:
    """The links on the host's link `ifindex` that do not bear this helper's mark, those of the host first."""
    found = [link for link in world.hanging(world.host, ifindex, instance) if is_strange(link, instance)]
    return sorted(found, key=lambda link: (link.inode != world.host, link.inode, link.ifindex))


def strangers_on(world: World, instance: str, name: str) -> list[Link]:
    """The same for the host's link that is called `name` now, and those of the host that were not heard of yet: the news of a busy host
    may be seconds old, and the kernel deletes with a link what hangs on it."""
    try:
        index = socket.if_nametoindex(name)
    except OSError:
        return []
    found = strangers(world, instance, index)
    now = {upper: item for upper, item in hanging(name).items() if world.link(world.host, item.index) is None}
    return found + [link for upper, item in now.items() if is_strange(link := Link(
        world.host, item.index, upper, item.kind, mtu=item.mtu, mac=item.mac, lower=index, group=LINK_GROUP if item.ours else 0,
        alias=item.alias, vlan=item.vlan, lower_inode=world.host), instance)]


def is_strange(link: Link, instance: str) -> bool:
    """Whether a link bears another mark than this helper's, or none (and is none that is just being made)."""
    mark = parse_mark(link.alias)
    return mark[0] != instance if mark is not None else bool(link.alias) or link.group != LINK_GROUP


def hung(world: World, links: Iterable[Link]) -> tuple[Hung, ...]:
    """The same as drivers look at them."""
    return tuple(Hung(display_text(link.name), link.kind, world.mode(link), world.place(link.inode), link.vlan) for link in links)
