"""Copying to the clipboard of the terminal the user sits at, through SSH, tmux and screen: OSC 52.

tmux and GNU screen pass a foreign sequence on only when it is wrapped in a DCS of theirs (tmux(1) "passthrough",
screen(1) "string escape"); tmux wants every ESC in it doubled, screen takes no more than 768 bytes at a time.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final

#: Longest base64 text that common terminals accept (xterm's and hterm's limit is about 100,000 bytes, tmux's lower).
LARGEST: Final = 74_994
_SCREEN_CHUNK: Final = 76


class Multiplexer(Enum):
    """What stands between the program and the terminal."""

    NONE = "none"
    TMUX = "tmux"
    SCREEN = "screen"


class TooLargeError(ValueError):
    """The text does not fit into one clipboard sequence. `size` and `largest` are bytes of UTF-8."""

    def __init__(self, size: int, largest: int) -> None:
        super().__init__(f"{size} bytes are too many for the terminal's clipboard (at most {largest}); save to a file")
        self.size = size
        self.largest = largest


def multiplexer(environ: Mapping[str, str]) -> Multiplexer:
    """Which multiplexer the environment shows: TMUX set, or a TERM of screen or tmux."""
    term = environ.get("TERM", "")
    if environ.get("TMUX") or term.startswith("tmux"):
        return Multiplexer.TMUX
    if environ.get("STY") or term.startswith("screen"):
        return Multiplexer.SCREEN
    return Multiplexer.NONE


def copy_sequence(text: str, around: Multiplexer = Multiplexer.NONE, *, largest: int = LARGEST) -> str:
    """The bytes to write so that the terminal puts `text` on its clipboard.

    `largest` is the longest base64 text allowed. Raises `TooLargeError` when it would be longer.
    """
    raw = text.encode("utf-8", "surrogateescape")
    encoded = base64.b64encode(raw).decode("ascii")
    if len(encoded) > largest:
        raise TooLargeError(len(raw), largest // 4 * 3)
    sequence = f"\x1b]52;c;{encoded}\x07"
    return _WRAP[around](sequence)


def _for_tmux(sequence: str) -> str:
    # The plain sequence as well: a tmux with `set-clipboard on` takes it, one with `allow-passthrough` the wrapped one.
    return sequence + "\x1bPtmux;" + sequence.replace("\x1b", "\x1b\x1b") + "\x1b\\"


def _for_screen(sequence: str) -> str:
    chunks = (sequence[start : start + _SCREEN_CHUNK] for start in range(0, len(sequence), _SCREEN_CHUNK))
    return "".join(f"\x1bP{chunk}\x1b\\" for chunk in chunks)


_WRAP: Final[dict[Multiplexer, Callable[[str], str]]] = {
    Multiplexer.NONE: lambda sequence: sequence,
    Multiplexer.TMUX: _for_tmux,
    Multiplexer.SCREEN: _for_screen,
}


def write_clipboard(write: Callable[[str], None], text: str, environ: Mapping[str, str]) -> None:
    """Send `text` to the clipboard with `write`; raises `TooLargeError`."""
    write(copy_sequence(text, multiplexer(environ)))
