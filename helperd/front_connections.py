"""The connections to the front as the kernel has them, clients or not yet. libzmq takes as many as come, and aborts where there are no
descriptors left (ipc_listener.cpp, accept): so the front itself ends those that are too many."""

from __future__ import annotations

import os
import socket
import struct
from collections import Counter
from collections.abc import Callable, Collection

import msgspec

OVER_TCP = -1  # in the place of a user

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid (socket(7), SO_PEERCRED)

Key = tuple[int, int]  # which socket of ours, descriptor


class _Connection(msgspec.Struct, frozen=True):
    uid: int
    inode: int


class Connections:
    """What libzmq's monitor told of, oldest first; `most` are kept."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[Key, _Connection] = {}

    def accepted(self, key: Key, clients: Callable[[], Collection[Key]]) -> Key | None:
        """There is a new one. The one that ends for it, None where there is room: of whoever has the most that are not among
        `clients`, the oldest."""
        self._known.pop(key, None)
        found = _look(key[1])
        if found is None:
            return None  # it is over already
        self._known[key] = found
        if len(self._known) <= self._most:
            return None
        speaking = clients()
        idle = [item for item in self._known if item not in speaking]
        if not idle:
            return None
        (uid, _), *_ = Counter(self._known[item].uid for item in idle).most_common(1)
        return next(item for item in idle if self._known[item].uid == uid)

    def closed(self, key: Key) -> None:
        """It is over."""
        self._known.pop(key, None)

    def end(self, key: Key) -> None:
        """Have libzmq close it, by the end of what comes from it: its descriptor is libzmq's, and may be another's by now."""
        known = self._known.pop(key, None)
        if known is None or known != _look(key[1]):
            return
        sock = socket.socket(fileno=key[1])
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the other side was quicker
        finally:
            sock.detach()


def _look(descriptor: int) -> _Connection | None:
    """Who is at the other end, None where there is no such connection."""
    try:
        inode = os.fstat(descriptor).st_ino
        sock = socket.socket(fileno=descriptor)
    except OSError:
        return None
    try:
        if sock.family != socket.AF_UNIX:
            return _Connection(OVER_TCP, inode)
        return _Connection(_CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))[1], inode)
    except OSError:
        return None
    finally:
        sock.detach()
