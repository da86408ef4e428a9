"""Objects of the feed by kind and key, and by what people call them. Pure."""

from __future__ import annotations

from tui.feed import Feed
from tui.rows.words import namespace_label
from tui.selection import Model, Selected

_NAMES_KEPT = 5_000


def object_of(feed: Feed, kind: str, key: str) -> Selected | None:
    """The object as it is now; None when it is gone, or is of a kind that the feed keeps no table of."""
    model: Model | None = None
    match kind:
        case "network":
            model = feed.networks.get(key)
        case "container":
            model = feed.containers.get(key)
        case "interface":
            model = feed.links.get(key)
    return None if model is None else Selected(kind, key, model)


def find_object(feed: Feed, name: str) -> Selected | None:
    """The network, container or interface of that name; interfaces are ``NAME`` on the host, ``NAME@PLACE`` elsewhere."""
    network = feed.network_named(name)
    if network is not None:
        return Selected("network", network.id, network)
    container = feed.container_named(name)
    if container is not None:
        return Selected("container", container.id, container)
    wanted, _, place = name.partition("@")
    for key, link in feed.links.items():
        if link.name == wanted and (place or "host") == namespace_label(feed, link.inode):
            return Selected("interface", key, link)
    return None


def names_of(feed: Feed) -> list[str]:
    """Names that `find_object` finds; of interfaces those of the host."""
    names = [network.name for network in feed.networks.values()]
    names += [container.ref for container in feed.containers.values()]
    names += [link.name for link in feed.links_in(feed.host_inode)]
    return names[:_NAMES_KEPT]
