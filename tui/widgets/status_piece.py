"""A part of the status line. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the status; the highest `priority` goes first where there is no room. `style` names a theme's colours."""

    text: str
    style: str = ""
    priority: int = 0
