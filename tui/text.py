"""Text from outside, made fit for a widget: no markup, no control characters."""

from __future__ import annotations

from typing import Final

from textual.content import Content

from protocol.names import display_text
from tui.widgets.glyphs import ASCII, Glyphs

_IN_ASCII: Final = str.maketrans({
    "·": "-", "…": "~", "–": "-", "✗": "x", "●": "*", "↑": "up", "↓": "down", "←": "left", "→": "right",
})


def plain(text: str, style: str = "") -> Content:
    """`text` as it is, whatever brackets it holds, with what a terminal could act on written as an escape."""
    return Content.styled(display_text(text), style) if style else Content(display_text(text))


def drawn(text: str, glyphs: Glyphs) -> str:
    """Words of ours as they are drawn: with ASCII glyphs without any sign beyond it."""
    return text.translate(_IN_ASCII) if glyphs is ASCII else text
