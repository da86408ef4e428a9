"""The neighbours and forwarding entries of an interface, as they are at this moment. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Final

from protocol.model import Link, Neighbour
from protocol.names import display_text
from tui.documents import Line, Page, Span
from tui.feed import Feed
from tui.rows.words import namespace_label
from tui.tables import cell_width
from tui.widgets.glyphs import Glyphs, state_text, state_tone

_SHOWN: Final = 300  # of each kind; more are no page to read
_FDB: Final = 7  # family of a forwarding entry
_MAC: Final = 17
_STATE: Final = 13


def page_lines(feed: Feed, link: Link, rows: Mapping[str, Neighbour] | None, refused: str, glyphs: Glyphs, width: int) -> list[Line]:
    """`rows` are those of the link's namespace, None until the helper told them; `refused` is why it tells none."""
    page = Page(width)
    if refused:
        page.text(refused, "bad")
        return page.lines
    if rows is None:
        page.text("asking the helper", "muted")
        return page.lines
    own = [row for row in rows.values() if row.ifindex == link.ifindex and row.family != _FDB]
    ports = {port.ifindex: port for port in (link, *feed.ports_of(link.inode, link.ifindex))}
    forwarding = [row for row in rows.values() if row.family == _FDB and row.ifindex in ports]
    names = _owners(feed)
    page.heading("Neighbours", "ARP and ND" if own else "")
    _neighbours(page, own, names, glyphs)
    if forwarding or link.kind in ("bridge", "vxlan") or link.master:
        page.heading("Forwarding", "FDB: where a MAC address is")
        _forwarding(page, feed, forwarding, ports, names)
    return page.lines


def _owners(feed: Feed) -> dict[str, str]:
    """Whose a MAC address is, of our endpoints and of the host's links."""
    found = {link.mac: link.name for link in feed.links_in(feed.host_inode) if link.mac}
    for endpoint in feed.endpoints.values():
        container = feed.containers.get(endpoint.container)
        if endpoint.mac and container is not None:
            found[endpoint.mac.lower()] = container.ref
    return found


def _order(row: Neighbour) -> tuple[object, ...]:
    address = ipaddress.ip_address(row.address)
    return address.version, int(address)


def _neighbours(page: Page, rows: Sequence[Neighbour], names: Mapping[str, str], glyphs: Glyphs) -> None:
    if not rows:
        page.text("none", "muted")
    room = min(max((len(row.address) for row in rows), default=0), max(15, page.width - _MAC - _STATE - 2))
    for row in sorted(rows, key=_order)[:_SHOWN]:
        state = Span(f"{state_text(row.state, glyphs):<{_STATE}} ", state_tone(row.state))
        mac = Span(f"{row.mac or glyphs.missing:<{_MAC}} ")
        who = names.get(row.mac, "")
        if len(row.address) <= room:
            _line(page, who, room + 1, Span(f"{row.address:<{room}} ", "label"), mac, state)
        else:
            page.raw(Span(row.address, "label"))
            _line(page, who, 2, Span("  "), mac, state)
    _rest(page, len(rows))


def _forwarding(page: Page, feed: Feed, rows: Sequence[Neighbour], ports: Mapping[int, Link], names: Mapping[str, str]) -> None:
    if not rows:
        page.text("none", "muted")
    for row in sorted(rows, key=lambda row: (ports[row.ifindex].name, row.vlan, row.mac))[:_SHOWN]:
        port = ports[row.ifindex]
        words = [display_text(port.name)]
        words += [f"VLAN {row.vlan}"] if row.vlan else []
        words += [f"to {row.address}"] if row.address else []
        text = f"{' '.join(words):<15} {row.state:<9} "
        peer = feed.links.get(f"{port.peer_inode}/{port.peer_ifindex}")
        far = peer.container or namespace_label(feed, peer.inode) if peer is not None else ""
        # The address of a port itself is the host's end of it.
        who = names.get(row.mac) or (far if row.state != "permanent" else "")
        _line(page, who, _MAC + 1, Span(f"{row.mac:<{_MAC}} ", "label"), Span(text[: max(0, page.width - _MAC - 1)]))
    _rest(page, len(rows))


def _line(page: Page, who: str, indent: int, *spans: Span) -> None:
    """A line, with whose it is behind it, or below where there is no room."""
    text = display_text(who)
    if text and sum(cell_width(span.text) for span in spans) + cell_width(text) <= page.width:
        page.raw(*spans, Span(text, "accent"))
        return
    page.raw(*spans)
    if text:
        page.raw(Span(" " * indent), Span(text[: max(0, page.width - indent)], "accent"))


def _rest(page: Page, count: int) -> None:
    if count > _SHOWN:
        page.text(f"and {count - _SHOWN} more", "muted")
