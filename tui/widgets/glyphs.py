"""The signs that the workstation draws, in Unicode and in ASCII (`--ascii`), and how states are named.

A state is never shown by colour alone: a glyph and a word stand with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Glyphs:
    """One set of signs; each is one cell wide, `bars` from empty to full."""

    up: str
    down: str
    warning: str
    unknown: str
    ascending: str
    descending: str
    marked: str
    ellipsis: str
    missing: str
    frozen: str
    bars: str


UNICODE: Final = Glyphs("▲", "▼", "!", "·", "▲", "▼", "●", "…", "–", "⏸", " ▁▂▃▄▅▆▇█")
ASCII: Final = Glyphs("^", "v", "!", ".", "^", "v", "*", "~", "-", "#", " .:-=+*#%")


@dataclass(frozen=True, slots=True)
class State:
    """How a state is shown: which glyph (a field of `Glyphs`), and its tone ("good", "bad", "warn", "muted")."""

    glyph: str
    tone: str


_UP: Final = State("up", "good")
_DOWN: Final = State("down", "bad")
_WARNING: Final = State("warning", "warn")
_UNKNOWN: Final = State("unknown", "muted")

#: Known state words (lower case): those of IF_OPER_* (RFC 2863), of neighbours (NUD_*), and of containers and networks.
STATES: Final[Mapping[str, State]] = {
    "up": _UP,
    "running": _UP,
    "ready": _UP,
    "ok": _UP,
    "reachable": _UP,
    "permanent": _UP,
    "down": _DOWN,
    "failed": _DOWN,
    "error": _DOWN,
    "lowerlayerdown": _DOWN,
    "notpresent": _DOWN,
    "missing": _DOWN,
    "detached": _DOWN,
    "no lease": _DOWN,
    "incomplete": _WARNING,
    "stale": _WARNING,
    "delay": _WARNING,
    "probe": _WARNING,
    "dormant": _WARNING,
    "testing": _WARNING,
    "degraded": _WARNING,
    "damaged": _WARNING,
    "paused": _WARNING,
}


def state_text(value: str, glyphs: Glyphs) -> str:
    """Glyph and word of a state: `▲ UP`."""
    state = STATES.get(value.lower(), _UNKNOWN)
    return f"{getattr(glyphs, state.glyph)} {value.upper()}" if value else glyphs.missing


def state_tone(value: str) -> str:
    """The tone of a state; "muted" for those not known."""
    return STATES.get(value.lower(), _UNKNOWN).tone
