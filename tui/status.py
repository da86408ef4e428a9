"""What stands at the right of the status line: the host, who one is, the link to the terminal, and how fresh all this is. Pure."""

from __future__ import annotations

from protocol.names import display_text
from tui.feed import Feed
from tui.rows.words import duration_text
from tui.widgets.glyphs import ASCII, Glyphs
from tui.widgets.status_piece import Piece


def rounded_delay(seconds: float) -> str:
    """A time in one or two digits, so that it doesn't change with every frame."""
    milliseconds = seconds * 1000
    if milliseconds < 10:
        return "<10 ms"
    step = 10 if milliseconds < 100 else 50
    return f"{round(milliseconds / step) * step} ms" if milliseconds < 1000 else f"{seconds:.1f} s"


def pieces(feed: Feed, round_trip: float | None, glyphs: Glyphs, *, frozen: bool = False) -> list[Piece]:
    """From left to right; the last, which says whether all this is true now, never goes."""
    found: list[Piece] = []
    welcome = feed.welcome
    if welcome is not None:
        if welcome.lab:
            found.append(Piece(" LAB ", "bold $badge on $badge-background", 2))
        found.append(Piece(display_text(welcome.host) or "host", "bold", 3))
        who = f"{welcome.user or welcome.uid} ({welcome.role})" if welcome.role != welcome.user else welcome.role
        found.append(Piece(display_text(who), "$text-muted", 4))
    if round_trip is not None:
        found.append(Piece(f"link {rounded_delay(round_trip)}", "$text-muted", 5))
    if frozen:
        found.append(Piece(f"{glyphs.frozen} FROZEN", "bold $text-warning", 1))
    found.append(_freshness(feed, glyphs))
    return found


def _freshness(feed: Feed, glyphs: Glyphs) -> Piece:
    if feed.connected and feed.loaded:
        return Piece("* live" if glyphs is ASCII else "● live", "$text-success")
    if not feed.loaded:
        return Piece(f"{glyphs.warning} no helper" if feed.reason else "connecting", "bold $text-error" if feed.reason else "$text-warning")
    if feed.connected:
        return Piece(f"{glyphs.warning} reading", "$text-warning")
    return Piece(f"{glyphs.down} HELPER LOST {duration_text(feed.age)}", "bold $text-error")
