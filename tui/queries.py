"""What a container asked netdeck's name server, in a line for people, and the page of them in a container's details. Pure."""

from __future__ import annotations

import time
from collections.abc import Iterable

from protocol.model import Query
from protocol.names import display_text
from tui.documents import Line, Page, Span

KEPT = 200  # on a page
_TONES = {"NOERROR": "good", "NXDOMAIN": "warn", "REFUSED": "warn"}


def clock(moment: float) -> str:
    return f"{time.strftime('%H:%M:%S', time.localtime(moment))}.{int(moment * 1000) % 1000:03d}"


def answer(query: Query) -> str:
    """The answer, and who gave it how fast."""
    by = f"by {query.by}" if query.by else "by nobody"
    took = f"in {query.seconds * 1000:.0f} ms" if query.seconds else ""
    return display_text(" ".join(filter(None, (query.result, *query.answers, by, took))))


def line(query: Query) -> str:
    """One question: when, who, what, and the answer."""
    return display_text(" ".join((clock(query.time), query.container, query.type or "?", query.name or "(unreadable)", answer(query))))


def page_lines(queries: Iterable[Query], refused: str, width: int) -> list[Line]:
    """The newest first; `refused` is why the helper tells none."""
    page = Page(width)
    if refused:
        page.text(refused, "bad")
    found = list(queries)[::-1]
    if not found and not refused:
        page.text("Nothing was asked since this page was opened. Nothing is recorded while nobody watches.", "muted")
    for query in found:
        page.raw(Span(f"{clock(query.time)} ", "muted"), Span(display_text(f"{query.type or '?'} {query.name or '(unreadable)'}"), "label"))
        page.field("", answer(query), _TONES.get(query.result, "bad"), labels=12)
        if query.lost:
            page.text(f"{query.lost} more were asked before, which there was no room to tell.", "muted")
    return page.lines
