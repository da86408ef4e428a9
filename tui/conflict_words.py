"""Who else on the site has addresses of an attachment, in words. Pure."""

from __future__ import annotations

import time
from collections.abc import Iterable

from protocol.model import AddressConflict
from protocol.names import display_text
from tui.documents import Page


def put(page: Page, conflicts: Iterable[AddressConflict]) -> None:
    """A line for each on a page."""
    for item in conflicts:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(item.since))
        page.field("conflict", f"{item.address} is also at {item.mac} on {display_text(item.link)}, since {since}", "bad")
