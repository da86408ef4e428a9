"""State of the kernel that is to be compared: read when what the kernel still does by itself is done.

An IPv6 address is tentative for one to three seconds (RFC 4862, 5.4), and a link says that it is up within a second of it
(net/core/link_watch.c); on a busy machine, later.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.waiting import LONGEST_SECONDS


def steady(read: Callable[[], str], seconds: float = LONGEST_SECONDS) -> str:
    """What `read` says when it has said the same for a second, with no address that is tentative."""
    end = time.monotonic() + seconds
    said, since = read(), time.monotonic()
    while time.monotonic() < end and ("tentative" in said or time.monotonic() < since + 1):
        time.sleep(0.1)
        now = read()
        if now != said:
            said, since = now, time.monotonic()
    return said


def same_again(read: Callable[[], str], before: str, seconds: float = LONGEST_SECONDS) -> str:
    """What `read` says as soon as it is `before`; else, what it says when the time is over."""
    end = time.monotonic() + seconds
    while (said := read()) != before and time.monotonic() < end:
        time.sleep(0.1)
    return said
