"""Sockets that keep the published ports of the host from everybody else, for as long as they are published.

They answer nobody: packets for a published port are led to the container before they come here, and a filter drops what comes all
the same, so that a client tries again instead of being refused while the firewall table is loaded anew. Those with a target are
served by the relay. A kernel without SCTP sockets has no ports of that kind that could be taken.

Sources: socket(7), tcp(7), ip(7), ipv6(7), sctp(7), net/ipv4/inet_connection_sock.c (what may share a port).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import resource
import socket
import struct
from collections.abc import Iterable

from drivers.commands import describe
from drivers.objects import HOST, Key, PortSocket
from helperd.kernel.port_owner import owner
from helperd.relay_process import RelayProcess
from helperd.relay_tcp import BACKLOG
from protocol.errors import Conflict, InvalidValue, KernelRefused, NetdeckError

_TYPES = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, 132),
}
_NO_SUCH_PROTOCOL = (errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT, errno.EAFNOSUPPORT)
_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27  # asm-generic/socket.h
_FILES = 65_536  # open files of this process, each held port is one
_DROP = ctypes.create_string_buffer(struct.pack("=HBBI", 0x06, 0, 0, 0))  # BPF_RET | BPF_K: no byte of the packet is kept
_DROP_ALL = struct.pack("@HP", 1, ctypes.addressof(_DROP))  # struct sock_fprog


class PortSockets:
    """The sockets that are held, in the process's own namespace. All of it ends with the process."""

    def __init__(self) -> None:
        self._held: dict[Key, tuple[PortSocket, socket.socket | None]] = {}
        self.relay = RelayProcess()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, _FILES)), hard))

    def objects(self) -> frozenset[PortSocket]:
        """What is held."""
        return frozenset(item for item, _ in list(self._held.values()))

    def hold(self, item: PortSocket) -> None:
        """Take a port; one that is held already gets another target. Raises Conflict, InvalidValue, KernelRefused, with all as before."""
        if item.place != HOST:
            raise InvalidValue(f"{describe(item)}: ports are held on the host", field="place", value=item.place)
        known, sock = self._held.get(item.key, (None, None))
        if known is None:
            sock = take(item)
        if known != item and sock is not None:
            try:
                if known is not None:
                    self._lead(sock, known, item)
                elif item.target:
                    self.relay.serve(item, sock)
            except OSError as error:
                if known is None:
                    sock.close()
                else:
                    with contextlib.suppress(OSError):
                        self._lead(sock, None, known)
                raise KernelRefused(f"port {item.port}/{item.protocol} can't lead to {item.target or 'its container'}: the relay that "
                                    f"carries it can't be started: {error.strerror}", object=describe(item), errno=error.errno or 0,
                                    kernel=str(error.strerror)) from error
        self._held[item.key] = item, sock

    def _lead(self, sock: socket.socket, known: PortSocket | None, item: PortSocket) -> None:
        """Lead a port that is held to where `item` says. Raises OSError."""
        if known is not None and known.target:
            self.relay.end(known)
        _filter(sock, item)
        if item.target:
            self.relay.serve(item, sock)

    def release(self, item: PortSocket) -> None:
        """Let a port go."""
        known, sock = self._held.pop(item.key, (None, None))
        if known is not None and known.target:
            self.relay.end(known)
        if sock is not None:
            sock.close()

    def close(self) -> None:
        """Let all go."""
        self.relay.close()
        for item, _ in list(self._held.values()):
            self.release(item)


def probe(items: Iterable[PortSocket], *, named: bool = True) -> None:
    """Raise what `PortSockets.hold` would raise now for one of `items`. Whoever has it is only looked for if he is to be
    `named`: that takes some ms."""
    with contextlib.ExitStack() as stack:
        for item in items:
            sock = take(item, named=named)
            if sock is not None:
                stack.enter_context(sock)


def take(item: PortSocket, *, named: bool = True) -> socket.socket | None:
    """A socket that has the port, None where the kernel has no such sockets. Raises Conflict, InvalidValue, KernelRefused."""
    kind, number = _TYPES[item.protocol]
    family = socket.AF_INET6 if ":" in item.address else socket.AF_INET
    try:
        sock = socket.socket(family, kind | socket.SOCK_CLOEXEC, number)
    except OSError as error:
        if error.errno in _NO_SUCH_PROTOCOL and item.protocol == "sctp":
            return None
        raise _refused(item, error, named) from error
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        _filter(sock, item)
        if item.protocol == "tcp":
            # Connections of before that time out may still have the port; one that listens shuts others out all the same.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((item.address, item.port))
        if item.protocol == "tcp":
            sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise _refused(item, error, named) from error
    return sock


def _filter(sock: socket.socket, item: PortSocket) -> None:
    """Nothing comes in, but for the relay."""
    if not item.target:
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _DROP_ALL)
        return
    with contextlib.suppress(FileNotFoundError):  # it has none
        sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


def _refused(item: PortSocket, error: OSError, named: bool) -> NetdeckError:
    where = "" if item.address in ("0.0.0.0", "::") else f" of {item.address}"
    port = f"port {item.port}/{item.protocol}{where}"
    if error.errno == errno.EADDRINUSE:
        found = owner(item.protocol, item.address, item.port) if named else None
        who = f"{found.name} (pid {found.pid})" if found else "a process that can't be seen from here"
        return Conflict(f"{port} is taken on this host by {who}: stop it, or publish another port", field="publish",
                        value=str(item.port), with_=who)
    if error.errno == errno.EADDRNOTAVAIL:
        return InvalidValue(f"{item.address} is not an address of this host: `ip address` lists them", field="publish",
                            value=item.address)
    return KernelRefused(f"{port} can't be had on this host: {error.strerror}", object=describe(item), errno=error.errno or 0,
                         kernel=str(error.strerror))
