"""Who is at the other end of a connection: ZeroMQ's authentication requests (ZAP, rfc.zeromq.org/spec/27) and their answers.

For ipc the kernel's SO_PEERCRED comes as the address ``localhost:UID:GID:PID``; for tcp there is the CURVE key. No sockets here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

ZAP_ENDPOINT = "inproc://zeromq.zap.01"
IPC_DOMAIN = b"netdeck"
TCP_DOMAIN = b"netdeck-tcp"

_VERSION = b"1.0"
_OK = b"200"
_DENIED = b"400"
_MAX_UID = 2**32 - 2  # 2^32-1 is "no user" to the kernel
_MAX_PID = 2**22


class Peer(msgspec.Struct, frozen=True):
    """A process that connected. `pid` is for the log only: it may be another process by now. It is 0 over tcp."""

    uid: int
    gid: int
    pid: int

    def text(self) -> str:
        """As it goes through libzmq with each message, and back through `parse_peer`."""
        return f"{self.uid}:{self.gid}:{self.pid}"


def _number(text: str, limit: int) -> int | None:
    if not (text.isascii() and text.isdecimal()) or len(text) > 10 or (len(text) > 1 and text[0] == "0"):
        return None
    value = int(text)
    return value if value <= limit else None


def parse_peer(text: str) -> Peer | None:
    """The peer in ``UID:GID:PID``, or None for anything else."""
    parts = text.split(":")
    if len(parts) != 3:
        return None
    uid, gid, pid = _number(parts[0], _MAX_UID), _number(parts[1], _MAX_UID), _number(parts[2], _MAX_PID)
    if uid is None or gid is None or pid is None:
        return None
    return Peer(uid, gid, pid)


def parse_address(address: bytes) -> Peer | None:
    """The peer in libzmq's ipc address ``localhost:UID:GID:PID``, or None for anything else.

    Strict, since an address that a stranger can shape has been taken for credentials before (CVE-2019-7304).
    """
    try:
        host, _, rest = address.decode("ascii").partition(":")
    except UnicodeDecodeError:
        return None
    return parse_peer(rest) if host == "localhost" else None


def zap_answer(
    request: Sequence[bytes], admit: Callable[[Peer], str], keys: Mapping[bytes, Peer] | None = None
) -> list[bytes]:
    """The answer to one ZAP request. `admit` returns "" for a peer that may come in, else why not.

    `keys` are the authorised CURVE keys (32 bytes) and whom each stands for. Everything that isn't exactly as expected is denied.
    """
    if len(request) < 6:
        return [_VERSION, request[1] if len(request) > 1 else b"", _DENIED, b"malformed request", b"", b""]
    version, ident, domain, address, _identity, mechanism, *credentials = request
    peer: Peer | None = None
    reason = "no credentials from the kernel"
    if version != _VERSION:
        reason = "unknown ZAP version"
    elif domain == IPC_DOMAIN and mechanism == b"NULL" and not credentials:
        peer = parse_address(address)
    elif domain == TCP_DOMAIN and mechanism == b"CURVE" and len(credentials) == 1:
        peer = (keys or {}).get(credentials[0])
        reason = "key not authorised"
    else:
        reason = "mechanism not allowed"
    if peer is not None:
        reason = admit(peer)
    if peer is None or reason:
        return [_VERSION, ident, _DENIED, reason.encode("ascii", "replace")[:200], b"", b""]
    return [_VERSION, ident, _OK, b"", peer.text().encode(), b""]
