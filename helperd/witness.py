"""Who a client is, seen by the core itself: the front shows it each connection once, and the core asks the kernel.

The front hands over the descriptor of an accepted connection (SCM_RIGHTS, unix(7)) with the number that it gave the client. Whatever a
front may send here, SO_PEERCRED of the descriptor counts only if it is a connected stream socket that lies at the very file of the
listening socket: then it was accepted there, and the kernel says who connected. That rules out what else has root at its other end:
the listening socket, the front's own pipes, the near end of a connection that the front made, a socket with the same path elsewhere.

The descriptors are looked at and closed in a thread of their own: one of a file system that somebody serves may hold up who closes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from helperd.frames import Caller, FrameError
from helperd.showing import NUMBER, credentials
from helperd.zap import Peer

SHOWN_SECONDS = 5.0  # until a client that the front speaks of must have been shown
MAX_SHOWN = 8_192  # of one front

_SIOCUNIXFILE = 0x89E0  # linux/un.h; needs CAP_NET_ADMIN
_MOST = 4  # descriptors in one message: one too many is seen, and closed

FileId = tuple[int, int]  # device and inode
log = logging.getLogger("netdeck.witness")


def file_of(sock: socket.socket) -> FileId:
    """The file at which a unix socket was bound, or the one that it was accepted from. Raises OSError."""
    path = fcntl.ioctl(sock.fileno(), _SIOCUNIXFILE)
    try:
        state = os.fstat(path)
        return state.st_dev, state.st_ino
    finally:
        os.close(path)


def peer_of(descriptor: int, listening: FileId) -> Peer | None:
    """Who connected, where `descriptor` is a connection that was accepted by the socket at `listening`; else None. Closes it."""
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError:  # no socket
        with contextlib.suppress(OSError):
            os.close(descriptor)
        return None
    with sock:
        try:
            if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
                return None
            if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) or file_of(sock) != listening:
                return None
            return credentials(sock)
        except OSError:
            return None


def place(listening: socket.socket) -> FileId | None:
    """What `peer_of` compares with; None where the core can't ask for it: without privilege, or in a user namespace, where all who
    can reach it are one user anyway."""
    uid_map = Path("/proc/self/uid_map").read_text(encoding="ascii").split()
    if uid_map != ["0", "0", "4294967295"]:
        return None
    try:
        return file_of(listening)
    except OSError as error:
        log.warning("who clients are is the front's word: %s", error)
        return None


class Witness:
    """What one front has shown. `close` when that front is gone."""

    def __init__(self, sock: socket.socket, listening: FileId) -> None:
        self._socket, self._listening = sock, listening
        self._peers: dict[int, Peer | None] = {}
        self._early: set[int] = set()  # gone before they were seen here
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._watch, name="witness", daemon=True).start()

    def close(self) -> None:
        """End the thread, once it is not held up any more."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def forget(self, client: int) -> None:
        """The client is gone."""
        if client in self._peers:
            del self._peers[client]
        else:
            self._early.add(client)
            if len(self._early) > MAX_SHOWN:
                self._early.clear()

    async def check(self, caller: Caller) -> None:
        """Raises FrameError unless the front has shown a connection of just this caller."""
        if caller.client not in self._peers:
            await self._shown(caller.client)
        peer = self._peers.get(caller.client)
        if peer != Peer(caller.uid, caller.gid, caller.pid):
            raise FrameError(f"the front says that client {caller.client} is user {caller.uid}, and showed {_words(peer)}")

    async def _shown(self, client: int) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SHOWN_SECONDS):
                while client not in self._peers:
                    self._news.clear()
                    await self._news.wait()

    def _watch(self) -> None:
        with self._socket:
            while True:
                try:
                    data, descriptors, _flags, _ = socket.recv_fds(self._socket, NUMBER.size, _MOST, socket.MSG_CMSG_CLOEXEC)
                except OSError:
                    return
                if not data and not descriptors:
                    return
                peers = [peer_of(descriptor, self._listening) for descriptor in descriptors]
                if len(data) == NUMBER.size:
                    self._tell(self._put, NUMBER.unpack(data)[0], peers[0] if len(peers) == 1 else None)

    def _tell(self, function: Callable[[int, Peer | None], None], number: int, peer: Peer | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(function, number, peer)

    def _put(self, number: int, peer: Peer | None) -> None:
        # What was shown of a client stands: its number is never given again.
        if number in self._early:
            self._early.discard(number)
        elif len(self._peers) < MAX_SHOWN:
            self._peers.setdefault(number, peer)
        self._news.set()


def _words(peer: Peer | None) -> str:
    return "no connection of it" if peer is None else f"one of user {peer.uid}, process {peer.pid}"
