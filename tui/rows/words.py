"""Words that several tables share. Pure."""

from __future__ import annotations

import math

from tui.feed import Feed
from tui.widgets.table_columns import Cell, short_number

SPARKLINE_WIDTH = 10


def namespace_label(feed: Feed, inode: int) -> str:
    """What an operator calls a network namespace: "host", its name, its container, else its number."""
    if inode == feed.host_inode:
        return "host"
    namespace = feed.namespaces.get(str(inode))
    if namespace is not None:
        if namespace.host:
            return "host"
        if namespace.names:
            return namespace.names[0]
        if namespace.container:
            return namespace.container
    return f"net:{inode}" if inode else ""


def alarming(value: Cell) -> str:
    """The tone of a number that should be zero."""
    return "warn" if isinstance(value, float | int) and value > 0 else "muted"


def count_text(value: Cell) -> str:
    """A count in few letters."""
    return short_number(float(value))


def rate_tone(value: Cell) -> str:
    """The tone of a rate: what stands still steps back."""
    return "number" if isinstance(value, float | int) and value > 0 else "muted"


def bytes_text(value: float) -> str:
    """Bytes for people, in powers of 1000."""
    return f"{short_number(value)}B" if value >= 1000 else f"{value:.0f} B"


def rate_text(value: float) -> str:
    """Bytes a second for people, with the bits a second that network people think in."""
    if math.isnan(value):
        return ""
    return f"{bytes_text(value)}/s ({short_number(value * 8)}bit/s)"


def duration_text(seconds: float) -> str:
    """A time span: 42 s, 3:07, 2:05:00, 3 d."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d}"
    if whole < 86400:
        return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
    return f"{whole // 86400} d"
