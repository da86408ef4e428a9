"""Rows of the Containers table: ours, and every other that was discovered. Pure."""

from __future__ import annotations

import math

from protocol.model import Container
from protocol.ports import summary
from tui.cut_off_words import CUT_OFF
from tui.feed import Batch, Feed
from tui.rows.words import SPARKLINE_WIDTH, rate_tone
from tui.widgets.table_columns import Column, Kind

_LOOPBACK = 0x8  # IFF_LOOPBACK, linux/if.h
_LOST = {"no lease": "! no lease on", **dict.fromkeys(CUT_OFF, "! cut off from")}  # by the state of an endpoint


def columns() -> tuple[Column, ...]:
    return (
        Column("name", "NAME", 18),
        Column("rx", "RX/s", 5, Kind.RATE, tone=rate_tone),
        Column("tx", "TX/s", 5, Kind.RATE, tone=rate_tone),
        Column("last", "LAST MIN", SPARKLINE_WIDTH, Kind.SPARKLINE, priority=2, source="traffic"),
        Column("status", "STATUS", 10, Kind.STATE),
        Column("networks", "NETWORKS", 12),
        Column("addresses", "ADDRESSES", 18, priority=1, stretch=True, tone=_lost_tone),
        Column("ports", "PORTS", 24, priority=7),
        Column("runtime", "RUNTIME", 9, priority=3),
        Column("pid", "PID", 8, Kind.NUMBER, priority=6),
        Column("command", "COMMAND", 20, priority=5),
        Column("id", "ID", 12, priority=8),
        Column("ns", "NAMESPACE", 12, Kind.NUMBER, priority=9),
        Column("traffic", "TRAFFIC", 1000, Kind.RATE, priority=1000),
    )


def _lost_tone(cell: object) -> str:
    return "bad" if str(cell).startswith(tuple(_LOST.values())) else ""


def status_word(container: Container) -> str:
    """Its status; one that ended with an error says so."""
    if container.status == "exited" and container.exit_code:
        return f"exited {container.exit_code}"
    return container.status


def networks_text(container: Container) -> str:
    """Names of its networks, in order of attachment; the mode where it has none of its own."""
    return " ".join(container.networks) or ("" if container.mode == "private" else container.mode)


def addresses_text(feed: Feed, container: Container) -> str:
    """Its addresses: those that networks of ours gave it, else what its namespace has; before them, where a DHCP server gives it none
    any more, or nothing leaves by the link that a network hangs on."""
    endpoints = feed.endpoints_of(container=container.id)
    given = [address for endpoint in endpoints for address in endpoint.addresses]
    lost: dict[str, list[str]] = {}
    for endpoint in endpoints:
        words = _LOST.get("no lease" if endpoint.lease and endpoint.lease.lost else endpoint.state)
        if words and endpoint.network in feed.networks:
            lost.setdefault(words, []).append(feed.networks[endpoint.network].name)
    if lost:
        return " ".join((*(f"{words} {', '.join(names)}" for words, names in lost.items()), *given))
    if given or not container.inode or container.inode == feed.host_inode:
        return " ".join(given)
    found = [
        address.address
        for link in feed.links_in(container.inode) if not link.flags & _LOOPBACK
        for address in feed.addresses_of(f"{link.inode}/{link.ifindex}") if address.scope == "global"
    ]
    return " ".join(found)


def ports_text(feed: Feed, container: Container) -> str:
    """What is published of it, as docker's ports column."""
    endpoints = feed.endpoints_of(container=container.id)
    return summary((port for endpoint in endpoints for port in endpoint.ports), container.exposed)


def row(feed: Feed, container: Container) -> dict[str, object]:
    return {
        "name": container.ref,
        "status": status_word(container),
        "networks": networks_text(container),
        "addresses": addresses_text(feed, container),
        "ports": ports_text(feed, container),
        "runtime": container.runtime,
        "pid": container.pid or None,
        "command": " ".join(container.command),
        "id": container.id[:12],
        "ns": container.inode or None,
    }


def traffic(feed: Feed, container: Container) -> tuple[float, float]:
    """Bytes a second in and out of its namespace, without its loopback; NaN where it has no namespace of its own."""
    if not container.inode or container.inode == feed.host_inode:
        return math.nan, math.nan
    rx = tx = 0.0
    for link in feed.links_in(container.inode):
        rates = None if link.flags & _LOOPBACK else feed.rates.of(f"{link.inode}/{link.ifindex}")
        if rates is not None:
            rx, tx = rx + rates.rx, tx + rates.tx
    return rx, tx


def touched(feed: Feed, batch: Batch) -> set[str]:
    """Ids of containers whose row may differ after `batch`."""
    keys = set(batch.changed.get("containers", ()))
    keys.update(feed.endpoints[key].container for key in batch.changed.get("endpoints", ()))
    keys.update(gone.container for gone in batch.removed.get("endpoints", {}).values())
    spaces = {int(key.split("/", 1)[0]) for topic in (batch.changed, batch.removed) for key in topic.get("addresses", ())}
    for inode in spaces:
        keys.update(container.id for container in feed.containers_in(inode))
    return {key for key in keys if key in feed.containers}
