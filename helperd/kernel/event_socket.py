"""The socket that hears links, addresses, routes, neighbours and rules of every namespace that has an id here.

Sources: netlink(7), linux/rtnetlink.h, net/netlink/af_netlink.c. NETLINK_LISTEN_ALL_NSID needs CAP_NET_BROADCAST over each
namespace that is to be heard.
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import NamedTuple

from helperd.kernel.namespaces import SO_RCVBUFFORCE, netlink_socket
from helperd.kernel.netlink import NETLINK_ADD_MEMBERSHIP, NETLINK_LISTEN_ALL_NSID, SOL_NETLINK

# RTNLGRP_: link, neigh, v4 address, v4 route, v4 rule, v6 address, v6 route, v6 rule, nsid
GROUPS = (1, 3, 5, 7, 8, 9, 11, 19, 28)
RECEIVE_BUFFER = 8 << 20
_LARGEST = 1 << 17  # a link with many virtual functions is told in some ten kilobytes
_ANCILLARY = socket.CMSG_SPACE(4)


class Datagram(NamedTuple):
    """What was heard: the bytes, and the id of the namespace it is about (None: the own one)."""

    data: bytes
    nsid: int | None


class EventSocket:
    """Reads without waiting. `lost` is set when the kernel had to drop events; whoever reads resets it."""

    def __init__(self, receive_buffer: int = RECEIVE_BUFFER) -> None:
        self.lost = False
        self._socket = netlink_socket()
        self._buffer = bytearray(_LARGEST)
        self._view = memoryview(self._buffer)
        try:
            self._set_buffer(receive_buffer)
            self._socket.setsockopt(SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 1)
            for group in GROUPS:
                self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
            self._socket.setblocking(False)
        except BaseException:
            self._socket.close()
            raise

    def _set_buffer(self, size: int) -> None:
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size)
        except PermissionError:
            # In a user namespace only the system's limit can be had; what is lost then is read again.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._socket.fileno()

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()

    def read(self) -> Datagram | None:
        """Return the next event, None when there is none. Events that no kernel sent are passed over."""
        while True:
            try:
                size, ancillary, flags, address = self._socket.recvmsg_into([self._buffer], _ANCILLARY)
            except BlockingIOError:
                return None
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self.lost = True
                continue
            if flags & socket.MSG_TRUNC:
                self.lost = True
                continue
            if address[0] != 0:  # the port of the sender; the kernel's is 0
                continue
            nsid = None
            for level, kind, payload in ancillary:
                if level == SOL_NETLINK and kind == NETLINK_LISTEN_ALL_NSID and len(payload) == 4:
                    nsid = int(struct.unpack("=i", payload)[0])
            return Datagram(bytes(self._view[:size]), nsid)
