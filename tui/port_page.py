"""The page of a container's published ports: where each is reachable, and whether it is kept for the container. Pure."""

from __future__ import annotations

from typing import Any, Final

from protocol.model import Container, Port
from protocol.ports import host_text
from tui.documents import Line, Page
from tui.feed import Feed
from tui.rows.ports import endpoint_text, published, reach

_SHOWN: Final = 40  # ports; more are no page to read
_FIELDS: Final = ("protocol", "host", "host_port", "port")


def page_lines(feed: Feed, container: Container, answer: Any, width: int) -> list[Line]:
    """`answer` is what ``port.list`` gave, None until it did, a str where it was refused."""
    page = Page(width)
    ports = published(feed, container)
    held = {tuple(row[name] for name in _FIELDS): bool(row["held"]) for row in answer} if isinstance(answer, list) else {}
    places = {port: endpoint for endpoint in feed.endpoints_of(container=container.id) for port in endpoint.ports}
    for port in ports[:_SHOWN]:
        network = feed.networks.get(places[port].network)
        page.heading(f"{port.port}/{port.protocol}", f"on {host_text(port)}")
        _reachable(page, feed, port)
        inner = min((prefix.partition("/")[0] for prefix in places[port].addresses),
                    key=lambda address: (":" in address) != (":" in port.host), default="")
        across = bool(inner) and (":" in inner) != (":" in port.host)  # the relay carries it
        words = endpoint_text(inner, port.port) + " as this host" * across if inner else "no address"
        page.field("leads to", words, "" if inner else "bad")
        page.field("network", network.name if network else "")
        if not held.get((port.protocol, port.host, port.host_port, port.port), True):
            page.field("held", "no: a process of the host has the port, which may get what is meant for the container", "warn")
    if len(ports) > _SHOWN:
        page.blank()
        page.text(f"and {len(ports) - _SHOWN} more: netdeck port {container.ref} lists all", "muted")
    if not ports:
        page.text("No port is published: p publishes some.", "muted")
    rest = [name for name in container.exposed if name not in {f"{port.port}/{port.protocol}" for port in ports}]
    if rest:
        page.blank()
        page.field("exposed", f"{', '.join(rest)}  (not published)", "muted")
    return page.lines


def _reachable(page: Page, feed: Feed, port: Port) -> None:
    found = reach(feed, port)
    if found.missing:
        page.field("reachable", f"nowhere: the host has no address {port.host} now", "warn")
        return
    page.field("reachable", "  ".join(found.outside) or "from this host alone", "" if found.outside else "muted")
    page.field("on the host", "  ".join(found.here))
