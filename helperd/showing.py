"""The front shows the core each connection of a client once; what the core makes of it stands in `helperd.witness`."""

from __future__ import annotations

import os
import socket
import struct

from helperd.zap import Peer

NUMBER = struct.Struct("<Q")  # a client's, as the front counts
_CREDENTIALS = struct.Struct("=iII")  # struct ucred, unix(7)


def show(sock: socket.socket, number: int, descriptor: int, peer: Peer) -> bool:
    """Show a client's connection to the core. False where it is gone by now, or the core takes no more.

    libzmq may have closed the descriptor and given its number to another connection: so it is looked at before it is sent.
    """
    try:
        copy = os.dup(descriptor)
    except OSError:
        return False
    try:
        with socket.socket(fileno=os.dup(copy)) as connection:
            if credentials(connection) != peer:
                return False
        return socket.send_fds(sock, [NUMBER.pack(number)], [copy]) == NUMBER.size
    except OSError:
        return False
    finally:
        os.close(copy)


def credentials(sock: socket.socket) -> Peer:
    """Who connected, or made the other end, in the kernel's words."""
    pid, uid, gid = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return Peer(uid, gid, pid)
