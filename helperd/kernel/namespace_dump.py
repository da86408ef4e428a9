"""Read everything of one network namespace, by a socket that is opened in it and closed at once."""

from __future__ import annotations

import contextlib
import errno
import socket
import sys
from collections.abc import Callable, Iterable, Iterator

from helperd.kernel.namespaces import NamespaceRef, netlink_socket
from helperd.kernel.netlink import ATTEMPTS, DecodeError, DumpInterrupted, Message, dump_parts
from helperd.kernel.rtnetlink import DUMPS, RT_TABLE_LOCAL, RTM_NEWROUTE, Record, decode

_TIMEOUT = 10.0  # seconds without any answer; the kernel holds RTNL for less
# A kernel without a protocol family (no IPv6, no bridge) refuses to list it: there is nothing to list.
_NOTHING_THERE = frozenset({errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT})

COUNTED = 50_000  # objects beyond the most that are counted before a list is given up

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


class Found:
    """What was read: the objects, how many of each topic were kept, and how many more there are, at least, of those with too many."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.rows: dict[str, int] = {}
        self.left_out: dict[str, int] = {}


def read(sock: socket.socket, inode: int, topics: Iterable[str] = TOPICS) -> list[Record]:
    """Return all objects of `topics` in the namespace of `sock`, which is `inode`, however many.

    Raises OSError, and `DumpInterrupted` when a list could not be had undisturbed. An object that can't be decoded is
    left out: one odd message must not hide the others.
    """
    found = Found()
    read_some(sock, inode, topics, lambda topic: sys.maxsize, found)
    return found.records


def read_some(sock: socket.socket, inode: int, topics: Iterable[str], most: Callable[[str], int], found: Found) -> tuple[str, ...]:
    """As `read`, but at most so many objects of a topic as `most` says; the others are counted, up to COUNTED.

    Returns the topics that are still to be read, with another socket: a list that is not taken to its end spoils this one.
    """
    wanted = tuple(topics)
    for number, topic in enumerate(wanted):
        limit = most(topic)
        kept: list[Record] = []
        left_out = 0
        for kind, body in DUMPS[topic]:
            try:
                part, beyond = _list(sock, kind, body, inode, limit - len(kept))
            except OSError as error:
                if error.errno not in _NOTHING_THERE:
                    raise
                continue
            kept += part
            left_out += beyond
            if beyond >= COUNTED:
                break
        found.records += kept
        found.rows[topic] = len(kept)
        if left_out:
            found.left_out[topic] = left_out
            if left_out >= COUNTED:
                return wanted[number + 1:]
    return ()


def _list(sock: socket.socket, kind: int, body: bytes, inode: int, limit: int) -> tuple[list[Record], int]:
    """At most `limit` records, and how many messages were left out; from COUNTED on the list is given up."""
    for sequence in range(1, ATTEMPTS + 1):
        kept: list[Record] = []
        left_out, disturbed = 0, False
        for answers, odd in dump_parts(sock, kind, body, sequence):
            disturbed |= odd
            for message_kind, data in answers:
                if len(kept) >= limit:
                    left_out += _counts(message_kind, data)
                    continue
                with contextlib.suppress(DecodeError):
                    kept += [item for item in decode(data, Message(message_kind, 0, 0, 0, 0, len(data)), inode) if item.put]
            if left_out >= COUNTED:
                return kept[:limit], left_out
        if not disturbed:
            return kept[:limit], left_out + len(kept[limit:])
    raise DumpInterrupted(f"the list of kind {kind} changed during each of {ATTEMPTS} tries")


def _counts(kind: int, data: bytes) -> bool:
    """Whether a message tells of an object that would be kept, as far as a glance can tell."""
    return kind != RTM_NEWROUTE or (len(data) > 4 and data[4] != RT_TABLE_LOCAL)
