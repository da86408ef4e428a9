"""Rows of the Networks table. Pure."""

from __future__ import annotations

import math

from protocol.model import DHCP, Endpoint, Network
from tui.feed import Batch, Feed
from tui.link_words import FLAG_UP
from tui.rows.interfaces import state_word
from tui.rows.words import SPARKLINE_WIDTH, rate_tone
from tui.widgets.table_columns import Column, Kind


def columns() -> tuple[Column, ...]:
    return (
        Column("name", "NAME", 16),
        Column("rx", "RX/s", 5, Kind.RATE, tone=rate_tone),
        Column("tx", "TX/s", 5, Kind.RATE, tone=rate_tone),
        Column("last", "LAST MIN", SPARKLINE_WIDTH, Kind.SPARKLINE, priority=3, source="traffic"),
        Column("containers", "CTRS", 4, Kind.NUMBER),
        Column("state", "STATE", 10, Kind.STATE),
        Column("driver", "DRIVER", 8, priority=1),
        Column("subnets", "SUBNETS", 18, stretch=True),
        Column("gateway", "GATEWAY", 24, priority=5),
        Column("link", "LINK", 15, priority=4),
        Column("options", "OPTIONS", 22, priority=6),
        Column("id", "ID", 12, priority=8),
        Column("traffic", "TRAFFIC", 1000, Kind.RATE, priority=1000),
    )


def state_of(feed: Feed, network: Network) -> str:
    """What becomes of it while it is made or removed, else the state of the link that carries it. A bridge without a port has
    no carrier: a network that nobody uses yet is ready and not down."""
    if network.state != "ready":
        return network.state
    if network.problem:
        return "damaged"
    if not network.link:
        return "ready"
    link = feed.link_named(feed.host_inode, network.link)
    if link is None:
        return "missing"
    state = state_word(link)
    if state == "down" and link.flags & FLAG_UP and not feed.endpoints_of(network=network.id):
        return "ready"
    return state


def options_text(network: Network) -> str:
    """What sets a network apart, in words."""
    words = []
    if network.internal:
        words.append("internal")
    if network.ipv6:
        words.append("ipv6" if network.ipv4 else "ipv6 only")
    if network.predefined:
        words.append("predefined")
    if network.link and not network.made_link:
        words.append("foreign link")
    return " ".join(words)


def row(feed: Feed, network: Network) -> dict[str, object]:
    return {
        "name": network.name,
        "containers": len(feed.endpoints_of(network=network.id)),
        "state": state_of(feed, network),
        "driver": network.driver,
        "subnets": " ".join(subnet.subnet for subnet in network.subnets) or (DHCP if network.ipam == DHCP else ""),
        "gateway": " ".join(subnet.gateway for subnet in network.subnets if subnet.gateway),
        "link": network.link,
        "options": options_text(network),
        "id": network.id[:12],
    }


def inner_link(feed: Feed, endpoint: Endpoint) -> str | None:
    """The key of an endpoint's interface inside its container."""
    container = feed.containers.get(endpoint.container)
    if container is None or not container.inode or container.inode == feed.host_inode:
        return None
    link = feed.link_named(container.inode, endpoint.ifname)
    return None if link is None else f"{link.inode}/{link.ifindex}"


def traffic(feed: Feed, network: Network) -> tuple[float, float]:
    """Bytes a second that the network's containers receive and send on it; NaN where that can't be told (host, none).

    The counters of the bridge itself would leave out what containers send each other.
    """
    rx = tx = 0.0
    known = bool(network.link)
    for endpoint in feed.endpoints_of(network=network.id):
        key = inner_link(feed, endpoint)
        rates = None if key is None else feed.rates.of(key)
        if rates is not None:
            rx, tx, known = rx + rates.rx, tx + rates.tx, True
    return (rx, tx) if known else (math.nan, math.nan)


def touched(feed: Feed, batch: Batch) -> set[str]:
    """Ids of networks whose row may differ after `batch`."""
    keys = set(batch.changed.get("networks", ()))
    keys.update(feed.endpoints[key].network for key in batch.changed.get("endpoints", ()))
    keys.update(gone.network for gone in batch.removed.get("endpoints", {}).values())
    links = [feed.links[key] for key in batch.changed.get("links", ())] + list(batch.removed.get("links", {}).values())
    names = {link.name for link in links if link.inode == feed.host_inode}
    if names:
        keys.update(key for key, network in feed.networks.items() if network.link in names)
    return {key for key in keys if key in feed.networks}
