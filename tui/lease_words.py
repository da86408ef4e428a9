"""What the site's DHCP server gave an attachment, in words. Pure."""

from __future__ import annotations

import time
from typing import Final

from protocol.model import Lease
from tui.documents import Page
from tui.rows.words import duration_text

_NEVER: Final = 4294967295  # seconds of a lease that does not end (RFC 2131, section 3.3)


def put(page: Page, lease: Lease | None, now: float) -> None:
    """The lease on a page; nothing where there is none."""
    if lease is None:
        return
    if lease.lost:
        page.field("lease", f"lost: {lease.lost}", "bad")
        return
    page.field("lease", f"{lease.prefix} from {lease.server}, {ends(lease, now)}")
    page.field("gateway", lease.gateway)
    page.field("dns", " ".join((*lease.dns, *([f"search {lease.domain}"] if lease.domain else []))))
    page.field("left out", lease.note, "warn")


def ends(lease: Lease, now: float) -> str:
    """How long it holds, and when it is renewed."""
    if lease.seconds == _NEVER:
        return "for ever"
    renewed = lease.obtained + lease.renew
    again = f", asked for again at {time.strftime('%H:%M:%S', time.localtime(renewed))}" if renewed > now else ""
    left = lease.obtained + lease.seconds - now
    return f"{duration_text(left)} left{again}" if left > 0 else "over"
