"""Namespaces that have a name: the files under /run/netns and /run/docker/netns, and the moment they appear.

inotify tells of a file before the namespace is mounted over it, so a change is followed by a few looks.
Sources: inotify(7), ip-netns(8).
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Sequence

from helperd.kernel.namespaces import NamespaceGone, NamespaceRef, identify

DIRECTORIES = ("/run/netns", "/run/docker/netns")
IN_CREATE, IN_DELETE, IN_MOVED, IN_DELETE_SELF, IN_ONLYDIR = 0x100, 0x200, 0xC0, 0x400, 0x01000000
_EVENTS = IN_CREATE | IN_DELETE | IN_MOVED | IN_DELETE_SELF | IN_ONLYDIR
_LOOKS = (0.004, 0.03, 0.2)  # seconds after a change
_TRUSTED = 10.0  # seconds for which nothing is looked at again unless inotify tells of a change

_libc = ctypes.CDLL(None, use_errno=True)
_libc.inotify_init1.argtypes = (ctypes.c_int,)
_libc.inotify_add_watch.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)


class NamespaceWatch:
    """Watches directories of namespace files, those too that do not exist yet (`look` begins to watch them)."""

    def __init__(self, directories: Sequence[str] = DIRECTORIES) -> None:
        self._directories = tuple(directories)
        self._known: dict[str, tuple[tuple[int, int], NamespaceRef]] = {}
        self._due: list[float] = []
        self._trusted_until = 0.0
        self._missing: list[str] = []
        self._fd = int(_libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))
        if self._fd < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"inotify_init1: {os.strerror(number)}")

    def fileno(self) -> int:
        """The descriptor to wait on; when it is readable call `read`."""
        return self._fd

    def close(self) -> None:
        """Stop watching."""
        os.close(self._fd)

    def read(self) -> None:
        """Take note that something changed: `due` then says when to look."""
        try:
            while os.read(self._fd, 1 << 14):
                pass
        except BlockingIOError:
            pass
        now = time.monotonic()
        self._due = [now + delay for delay in _LOOKS]
        self._trusted_until = 0.0

    def due(self) -> float | None:
        """The monotonic time at which to `look`, None if there is no need."""
        return self._due[0] if self._due else None

    def look(self) -> list[NamespaceRef]:
        """Return the namespaces that have a file now."""
        now = time.monotonic()
        self._due = [moment for moment in self._due if moment > now]
        if now < self._trusted_until and not any(map(os.path.isdir, self._missing)):
            return [ref for _, ref in self._known.values()]
        certain = not self._due
        self._missing = []
        seen: dict[str, tuple[tuple[int, int], NamespaceRef]] = {}
        for directory in self._directories:
            # Adding a watch again changes nothing, and finds a directory that was made or mounted anew.
            if _libc.inotify_add_watch(self._fd, directory.encode(), _EVENTS) < 0:
                self._missing.append(directory)
                continue
            try:
                with os.scandir(directory) as entries:
                    paths = [entry.path for entry in entries]
            except OSError:
                continue
            for path in paths:
                certain &= self._look_at(path, seen)
        self._known = seen
        if certain:
            self._trusted_until = now + _TRUSTED
        return [ref for _, ref in seen.values()]

    def _look_at(self, path: str, seen: dict[str, tuple[tuple[int, int], NamespaceRef]]) -> bool:
        try:
            status = os.stat(path)
            key = (status.st_dev, status.st_ino)
            known = self._known.get(path)
            # A file that is no namespace yet keeps its own inode until one is mounted over it.
            seen[path] = known if known is not None and known[0] == key else (key, identify(path))
        except (OSError, NamespaceGone):
            return False
        return True
