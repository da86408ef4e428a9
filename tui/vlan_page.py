"""The page of a VLAN, or of a link that others hang on: its links, bridge ports, networks and containers. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from protocol.model import Link
from tui.documents import Line, Page
from tui.feed import Feed
from tui.rows import vlans
from tui.rows.interfaces import state_word
from tui.rows.vlans import VlanGroup
from tui.rows.words import namespace_label, rate_text
from tui.widgets.glyphs import Glyphs, state_text, state_tone


def summary(feed: Feed, group: VlanGroup, glyphs: Glyphs, width: int) -> Page:
    """What it is; the traffic is the caller's to add."""
    page, parent = Page(width), group.parent
    if group.vid:
        page.field("vlan", f"{group.vid}{_protocol(group)}")
    page.field("parent", f"{parent.name}  ({parent.kind or 'link'})")
    _state(page, parent, glyphs, "parent is" if group.vid else "state")
    page.field("where", namespace_label(feed, parent.inode))
    page.field("networks", " ".join(group.networks))
    page.field("containers", " ".join(group.containers))
    if not group.vid and parent.kind == "bridge" and vlans.AWARE in parent.detail.split():
        page.field("bridge", "VLAN-aware: it keeps the VLANs of its ports apart")
    return page


def _protocol(group: VlanGroup) -> str:
    """802.1Q unless the link says otherwise."""
    words = sorted({link.detail or "802.1Q" for link in group.links})
    return f"  ({' '.join(words)})" if words else ""


def members(feed: Feed, group: VlanGroup, glyphs: Glyphs, width: int) -> list[Line]:
    """Each link and port in it, with where it is."""
    page = Page(width)
    if group.vids:
        page.heading("VLANs")
        page.text(", ".join(map(str, group.vids)))
    _links(page, feed, group.links, glyphs, "Links" if group.vid else "On the parent, without a tag")
    _links(page, feed, group.children, glyphs, "On these links")
    if group.ports:
        page.heading("Bridge ports", f"of {group.parent.name}")
        for member in group.ports:
            words = ["tagged" if member.tagged else "untagged", *(["frames without a tag come into it"] if member.pvid else [])]
            page.field(member.link.name, f"{_place(feed, member.link)}  {', '.join(words)}", labels=15)
    if group.trunks:
        page.heading("Trunks")
        for link, text in group.trunks:
            page.field(link.name, text, labels=15)
    if not page.lines:
        page.text("Nothing is on it.", "muted")
    return page.lines


def _links(page: Page, feed: Feed, links: Sequence[Link], glyphs: Glyphs, title: str) -> None:
    if not links:
        return
    page.heading(title)
    for link in links:
        words = " ".join(filter(None, (link.kind, link.detail)))
        page.field(link.name, f"{_place(feed, link)}  {words}", labels=15)
        _state(page, link, glyphs, "  state", 15)
        page.field("  network", link.network, labels=15)
        page.field("  addresses", " ".join(row.address for row in feed.addresses_of(f"{link.inode}/{link.ifindex}")), labels=15)
        rates = feed.rates.of(f"{link.inode}/{link.ifindex}")
        if rates is not None:
            page.field("  receives", rate_text(rates.rx), labels=15)
            page.field("  sends", rate_text(rates.tx), labels=15)


def _place(feed: Feed, link: Link) -> str:
    """Which container it is for: its own, or that at the other end of a veth."""
    peer = feed.links.get(f"{link.peer_inode}/{link.peer_ifindex}")
    return link.container or (peer.container if peer is not None else "") or namespace_label(feed, link.inode)


def _state(page: Page, link: Link, glyphs: Glyphs, label: str, labels: int = 12) -> None:
    word = state_word(link)
    page.field(label, state_text(word, glyphs), state_tone(word), labels)
