"""The caller's terminal while a remote program uses it: raw mode, its size, the keys that leave the program alone.

Sources: termios(3), tty_ioctl(4).
"""

from __future__ import annotations

import contextlib
import os
import termios
import tty
from collections.abc import Iterator

DETACH_KEYS = b"\x10\x11"  # ctrl-p ctrl-q, docker's


@contextlib.contextmanager
def raw(fd: int) -> Iterator[None]:
    """Raw mode on the terminal `fd` within the block; whatever ends the block, the terminal is as before."""
    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd, termios.TCSADRAIN)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def size_of(fd: int) -> tuple[int, int]:
    """Rows and columns of the terminal `fd`; 24 and 80 where it does not know."""
    try:
        found = os.get_terminal_size(fd)
    except OSError:
        return 24, 80
    return found.lines or 24, found.columns or 80


class DetachScanner:
    """Takes typed bytes, gives those to send, and notices the detach keys. The first key is held until the next is known."""

    def __init__(self, keys: bytes = DETACH_KEYS) -> None:
        self._keys = keys
        self._held = 0
        self.detached = False

    def feed(self, data: bytes) -> bytes:
        """What of `data`, and of what was held back, is to be sent. After the detach keys: what came before them."""
        out = bytearray()
        for byte in data:
            if byte == self._keys[self._held]:
                self._held += 1
                if self._held == len(self._keys):
                    self.detached = True
                    break
                continue
            out += self._keys[: self._held]
            self._held = 1 if byte == self._keys[0] else 0
            if not self._held:
                out.append(byte)
        return bytes(out)
