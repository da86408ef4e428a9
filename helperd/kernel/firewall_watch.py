"""Notice when somebody else changes or flushes the firewall table of ours.

The kernel tells every nftables transaction on NFNLGRP_NFTABLES: the objects, then the new generation with the
thread that committed it. Messages bear the port of the socket that asked for the change, by which one's own are known.
Sources: linux/netfilter/nf_tables.h, linux/netfilter/nfnetlink.h, net/netfilter/nf_tables_api.c, proc(5).
"""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass

from helperd.kernel.namespaces import NamespaceRef, netlink_socket
from helperd.kernel.netlink import NETLINK_ADD_MEMBERSHIP, SOL_NETLINK, DecodeError, attributes, messages
from protocol.names import decode_kernel_text

NETLINK_NETFILTER = 12
NFNLGRP_NFTABLES = 7
NFNL_SUBSYS_NFTABLES = 10
NFPROTO_INET = 1
NFT_MSG_DELTABLE, NFT_MSG_NEWGEN = 2, 15
NFTA_TABLE_NAME = 1  # and the table's name of chains, rules, sets, elements, objects
NFTA_GEN_ID, NFTA_GEN_PROC_PID, NFTA_GEN_PROC_NAME = 1, 2, 3


@dataclass(frozen=True, slots=True)
class FirewallChange:
    """A transaction of somebody else. `ours` says that it touched our table; where it did not, the rest is not filled in.

    `pid` is the committing thread in the machine's pid namespace and `process` its name, both 0 and "" when events were
    lost; `deleted` says that the table is gone, or may be.
    """

    generation: int
    pid: int
    process: str
    deleted: bool
    ours: bool = True


class FirewallWatch:
    """The socket that hears of nftables transactions in one namespace (None: the process's own)."""

    def __init__(self, table: str, target: NamespaceRef | None = None, receive_buffer: int = 1 << 20) -> None:
        self._table = table.encode() + b"\0"
        self._touched = False
        self._deleted = False
        self._own_ports: set[int] = set()
        self._socket = netlink_socket(target, NETLINK_NETFILTER, receive_buffer=receive_buffer)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NFNLGRP_NFTABLES)
        self._socket.setblocking(False)

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._socket.fileno()

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()

    def read(self) -> list[FirewallChange]:
        """Return what others did since the last call, to our table each, to other tables together; never waits."""
        found: list[FirewallChange] = []
        while True:
            try:
                data, (port, _) = self._socket.recvfrom(1 << 17)
            except BlockingIOError:
                elsewhere = [change for change in found if not change.ours]
                return [*(change for change in found if change.ours), *elsewhere[-1:]]
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                found.append(FirewallChange(0, 0, "", True))
                continue
            if port == 0:
                found += self._changes(data)

    def _changes(self, data: bytes) -> list[FirewallChange]:
        found: list[FirewallChange] = []
        try:
            for message in messages(data):
                if message.kind >> 8 != NFNL_SUBSYS_NFTABLES or message.end - message.start < 4:
                    continue
                kind = message.kind & 0xFF
                known = attributes(data, message.start + 4, message.end)
                if kind == NFT_MSG_NEWGEN:
                    found += self._generation(known, message.port)
                elif data[message.start] == NFPROTO_INET and known.get(NFTA_TABLE_NAME) == self._table:
                    self._touched = True
                    # The table may be made anew in the same transaction: the last word counts.
                    if kind in (0, NFT_MSG_DELTABLE):
                        self._deleted = kind == NFT_MSG_DELTABLE
        except DecodeError:
            found.append(FirewallChange(0, 0, "", True))
        return found

    def _generation(self, known: dict[int, bytes], port: int) -> list[FirewallChange]:
        touched, deleted = self._touched, self._deleted
        self._touched = self._deleted = False
        thread = int.from_bytes(known.get(NFTA_GEN_PROC_PID, b""), "big")
        if not touched:
            # A look at whose port it is costs more than to hear of a change of one's own in vain.
            return [] if port in self._own_ports else [FirewallChange(0, 0, "", False, ours=False)]
        if self._own(thread, port):
            return []
        name = decode_kernel_text(known.get(NFTA_GEN_PROC_NAME, b"").split(b"\0", 1)[0])
        return [FirewallChange(int.from_bytes(known.get(NFTA_GEN_ID, b""), "big"), thread, name, deleted)]

    def _own(self, thread: int, port: int) -> bool:
        """Whether this process asked for the change. In a pid namespace the thread's number says nothing, the port does."""
        if port not in self._own_ports and port in _own_ports():
            self._own_ports.add(port)
        return port in self._own_ports or os.path.exists(f"/proc/self/task/{thread}")


def _own_ports() -> set[int]:
    """The ports of this process's netlink sockets for netfilter."""
    inodes = set()
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            inodes.add(os.readlink(f"/proc/self/fd/{fd}"))
    with open("/proc/self/net/netlink", encoding="ascii") as lines:
        next(lines)
        rows = [line.split() for line in lines]  # sk, protocol, port, groups, …, inode
    ours = [row for row in rows if int(row[1]) == NETLINK_NETFILTER and f"socket:[{row[-1]}]" in inodes]
    # The kernel writes the port as a signed number there, and without a sign into messages.
    return {int(row[2]) & 0xFFFFFFFF for row in ours}
