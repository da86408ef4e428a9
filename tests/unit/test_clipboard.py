"""OSC 52: what is written so that the user's own terminal takes the text."""

from __future__ import annotations

import base64

import pytest

from tui.terminal.clipboard import Multiplexer, TooLargeError, copy_sequence, multiplexer, write_clipboard

pytestmark = pytest.mark.req("W6")


def test_plain() -> None:
    assert copy_sequence("é") == "\x1b]52;c;" + base64.b64encode("é".encode()).decode() + "\x07"


def test_tmux_gets_it_plain_and_wrapped() -> None:
    sequence = copy_sequence("web", Multiplexer.TMUX)
    assert sequence == "\x1b]52;c;d2Vi\x07\x1bPtmux;\x1b\x1b]52;c;d2Vi\x07\x1b\\"


def test_screen_gets_it_in_pieces() -> None:
    sequence = copy_sequence("x" * 500, Multiplexer.SCREEN)
    pieces = sequence.split("\x1b\\")[:-1]
    assert len(pieces) > 5 and all(piece.startswith("\x1bP") and len(piece) <= 768 for piece in pieces)
    assert "".join(piece.removeprefix("\x1bP") for piece in pieces) == copy_sequence("x" * 500)


def test_too_large_is_refused_in_words() -> None:
    with pytest.raises(TooLargeError, match="save to a file") as caught:
        copy_sequence("x" * 60_000)
    assert caught.value.size == 60_000
    assert copy_sequence("x" * caught.value.largest)


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({"TERM": "xterm-256color"}, Multiplexer.NONE),
        ({"TERM": "xterm", "TMUX": "/tmp/x,1,0"}, Multiplexer.TMUX),
        ({"TERM": "screen-256color", "TMUX": "/tmp/x,1,0"}, Multiplexer.TMUX),
        ({"TERM": "tmux-256color"}, Multiplexer.TMUX),
        ({"TERM": "screen"}, Multiplexer.SCREEN),
        ({}, Multiplexer.NONE),
    ],
)
def test_multiplexer(environ: dict[str, str], found: Multiplexer) -> None:
    assert multiplexer(environ) is found


def test_writer() -> None:
    written: list[str] = []
    write_clipboard(written.append, "web", {"TERM": "xterm"})
    assert written == ["\x1b]52;c;d2Vi\x07"]
