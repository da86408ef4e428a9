"""Namespace ids: the small numbers by which one network namespace knows others, and by which events name them.

Sources: linux/net_namespace.h, ip-netns(8), net/core/net_namespace.c.
"""

from __future__ import annotations

import errno
import socket

from helperd.kernel.netlink import DecodeError, attributes, dump, integer, request
from helperd.kernel.rtnetlink import RTM_GETNSID, RTM_NEWNSID

NETNSA_NSID, NETNSA_FD, NETNSA_TARGET_NSID, NETNSA_CURRENT_NSID = 1, 3, 4, 5
_RTGENMSG = b"\0\0\0\0"


def assign(sock: socket.socket, namespace: int) -> int:
    """Return the id of the namespace behind a descriptor in that of `sock`; the kernel picks one if it has none."""
    try:
        request(sock, RTM_NEWNSID, 0, _RTGENMSG + integer(NETNSA_FD, namespace) + integer(NETNSA_NSID, -1))
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise
    found = lookup(sock, namespace)
    if found is None:
        raise OSError(errno.ENOENT, "the namespace was given no id")
    return found


def lookup(sock: socket.socket, namespace: int, viewer: int | None = None) -> int | None:
    """Return the id that the namespace with id `viewer` (None: that of `sock`) has for the one behind a descriptor."""
    body = _RTGENMSG + integer(NETNSA_FD, namespace)
    if viewer is not None:
        body += integer(NETNSA_TARGET_NSID, viewer)
    for answer in request(sock, RTM_GETNSID, 0, body):
        found = event_nsid(answer)
        if found >= 0:
            return found
    return None


def table(sock: socket.socket, viewer: int | None = None) -> dict[int, int]:
    """Return all ids that the namespace `viewer` (None: that of `sock`) has given.

    The value is the id that the namespace of `sock` has for the same one, -1 where it has none.
    """
    body = _RTGENMSG if viewer is None else _RTGENMSG + integer(NETNSA_TARGET_NSID, viewer)
    found: dict[int, int] = {}
    for _, answer in dump(sock, RTM_GETNSID, body):
        known = attributes(answer, 4, len(answer))
        if NETNSA_NSID in known:
            nsid = _signed(known[NETNSA_NSID])
            found[nsid] = _signed(known[NETNSA_CURRENT_NSID]) if NETNSA_CURRENT_NSID in known else nsid
    return found


def event_nsid(body: bytes) -> int:
    """Return the id that an RTM_NEWNSID or RTM_DELNSID message is about, -1 if it names none."""
    raw = attributes(body, 4, len(body)).get(NETNSA_NSID)
    return -1 if raw is None else _signed(raw)


def _signed(raw: bytes) -> int:
    if len(raw) != 4:
        raise DecodeError(f"namespace id of {len(raw)} bytes")
    return int.from_bytes(raw, "little", signed=True)
