"""Rows of the Interfaces table: every link of every namespace. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from protocol.model import Link
from tui import link_words
from tui.feed import Batch, Feed
from tui.rows.words import SPARKLINE_WIDTH, alarming, count_text, namespace_label, rate_tone
from tui.widgets.table_columns import Column, Kind

_NO_MAC: Final = "00:00:00:00:00:00"
NUMBERS: Final = ("rx", "tx", "packets", "errors", "drops")


def columns() -> tuple[Column, ...]:
    """Name, what changes, then what it is; the least important goes first where there is no room."""
    return (
        Column("name", "NAME", 15),
        Column("rx", "RX/s", 5, Kind.RATE, tone=rate_tone),
        Column("tx", "TX/s", 5, Kind.RATE, tone=rate_tone),
        Column("packets", "PKT/s", 5, Kind.RATE, priority=4, tone=rate_tone),
        Column("last", "LAST MIN", SPARKLINE_WIDTH, Kind.SPARKLINE, priority=2, source="traffic"),
        Column("errors", "ERR", 5, Kind.NUMBER, priority=5, formatter=count_text, tone=alarming),
        Column("drops", "DROP", 5, Kind.NUMBER, priority=5, formatter=count_text, tone=alarming),
        Column("state", "STATE", 8, Kind.STATE),
        Column("container", "CONTAINER", 14, stretch=True),
        Column("network", "NETWORK", 9, priority=1),
        Column("kind", "KIND", 8, priority=6),
        Column("mtu", "MTU", 5, Kind.NUMBER, priority=7),
        Column("addresses", "ADDRESSES", 30, priority=9),
        Column("mac", "MAC", 17, priority=10),
        Column("ns", "NAMESPACE", 14, priority=8),
        Column("peer", "PEER", 22, priority=11),
        # For the sparkline and for sorting by all traffic; too wide ever to be shown.
        Column("traffic", "TRAFFIC", 1000, Kind.RATE, priority=1000),
    )


def state_word(link: Link) -> str:
    """The state of a link."""
    return link_words.state_word(link.state, link.flags)


def peer_text(feed: Feed, link: Link) -> str:
    """Where the other end of a veth is: name and place."""
    if not link.peer_ifindex:
        return ""
    peer = feed.links.get(f"{link.peer_inode}/{link.peer_ifindex}")
    where = namespace_label(feed, link.peer_inode)
    return f"{peer.name}@{where}" if peer is not None else f"{link.peer_ifindex}@{where}"


def network_text(feed: Feed, link: Link) -> str:
    """The network that a link belongs to; of the host's own, those that it carries as their parent or uplink."""
    if link.network or link.inode != feed.host_inode:
        return link.network
    return ", ".join(network.name for network in feed.networks_on(link.name))


def row(feed: Feed, key: str, link: Link) -> dict[str, object]:
    """The cells of a link that change seldom."""
    place = namespace_label(feed, link.inode)
    return {
        "name": link.name,
        "state": state_word(link),
        "container": link.container or ("host" if place == "host" else ""),
        "network": network_text(feed, link),
        "kind": link.kind or ("loopback" if link.flags & 0x8 else ""),
        "mtu": link.mtu or None,
        "mac": "" if link.mac == _NO_MAC else link.mac,
        "ns": place,
        "peer": peer_text(feed, link),
        "addresses": " ".join(address.address for address in feed.addresses_of(key) if address.scope != "link")
        or " ".join(address.address for address in feed.addresses_of(key)),
    }


def numbers(feed: Feed, keys: Iterable[str]) -> dict[str, list[float]]:
    """The columns that change each second, for these links."""
    out: dict[str, list[float]] = {name: [] for name in (*NUMBERS, "traffic")}
    for key in keys:
        rates = feed.rates.of(key)
        if rates is None:
            values: tuple[float, ...] = (math.nan,) * 6
        else:
            packets = rates.rx_packets + rates.tx_packets
            values = (rates.rx, rates.tx, packets, float(rates.errors), float(rates.drops), rates.rx + rates.tx)
        for column, value in zip(out.values(), values, strict=True):
            column.append(value)
    return out


def touched(feed: Feed, batch: Batch) -> set[str]:
    """Keys of links whose row may differ after `batch`."""
    keys = set(batch.changed.get("links", ()))
    for key in tuple(keys):
        link = feed.links[key]
        if link.peer_ifindex:
            keys.add(f"{link.peer_inode}/{link.peer_ifindex}")
    networks = [feed.networks[key] for key in batch.changed.get("networks", ())] + list(batch.removed.get("networks", {}).values())
    carry = [feed.link_named(feed.host_inode, name) for network in networks for name in (network.link, network.uplink)]
    keys.update(f"{link.inode}/{link.ifindex}" for link in carry if link is not None)
    for topic in (batch.changed, batch.removed):
        for key in topic.get("namespaces", ()):
            keys.update(f"{link.inode}/{link.ifindex}" for link in feed.links_in(int(key)))
        keys.update("/".join(key.split("/", 2)[:2]) for key in topic.get("addresses", ()))
    return {key for key in keys if key in feed.links}
