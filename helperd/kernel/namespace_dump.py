"""Read everything of one network namespace, by a socket that is opened in it and closed at once."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterable, Iterator

from helperd.kernel.namespaces import NamespaceRef, netlink_socket
from helperd.kernel.netlink import DecodeError, Message, dump
from helperd.kernel.rtnetlink import DUMPS, Record, decode

_TIMEOUT = 10.0  # seconds without any answer; the kernel holds RTNL for less
# A kernel without a protocol family (no IPv6, no bridge) refuses to list it: there is nothing to list.
_NOTHING_THERE = frozenset({errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT})

TOPICS = tuple(DUMPS)


@contextlib.contextmanager
def dump_socket(target: NamespaceRef | None) -> Iterator[socket.socket]:
    """A socket for lists of `target` (None: the own namespace). Raises `NamespaceGone` and OSError."""
    sock = netlink_socket(target)
    try:
        sock.settimeout(_TIMEOUT)
        yield sock
    finally:
        sock.close()


def read(sock: socket.socket, inode: int, topics: Iterable[str] = TOPICS) -> list[Record]:
    """Return all objects of `topics` in the namespace of `sock`, which is `inode`.

    Raises OSError, and `DumpInterrupted` when a list could not be had undisturbed. An object that can't be decoded is
    left out: one odd message must not hide the others.
    """
    records: list[Record] = []
    for topic in topics:
        for kind, body in DUMPS[topic]:
            try:
                answers = dump(sock, kind, body)
            except OSError as error:
                if error.errno not in _NOTHING_THERE:
                    raise
                continue
            for found, data in answers:
                with contextlib.suppress(DecodeError):
                    records += decode(data, Message(found, 0, 0, 0, 0, len(data)), inode)
    return [record for record in records if record.put]
