"""What the state of a link is called, on the command line and in the workstation alike. Pure, and quick to import."""

from __future__ import annotations

FLAG_UP = 0x1  # IFF_UP, linux/if.h


def state_word(state: str, flags: int) -> str:
    """The word for an operstate (RFC 2863, as rtnetlink tells it). A device that has no carrier to speak of ("unknown", as lo) is up
    when it is switched on."""
    if state in ("", "unknown"):
        return "up" if flags & FLAG_UP else "down"
    return state
