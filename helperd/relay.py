"""The relay process: ``python -m helperd.relay --core-fd N``, started by the core and by nobody else.

The kernel leads packets to a published port straight to the container, but it can't send those out that a process of this host
sends to its own ``::1``: for IPv6 there is no `route_localnet`. Such connections end here, without any privilege, and are carried
to the container by a second one. It is for them alone: what came to another address than the loopback's is refused, for no rule of
the firewall sees from which network the second connection was asked for. Standard library only: what strangers send is passed on
and never looked at.

The core sends one datagram for each port: ``{"number", "protocol", "target": [address, port]}`` with the socket that is to be
served, or ``{"number"}`` to end it, which is sent back when it is done. When the core ends, so does the relay.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import struct
import sys
from typing import Any

from helperd.privilege import leave_everything, leave_root, limit_resources

USERS = ("netdeck-front", "nobody")
FILES, MEMORY = 20_000, 512 << 20
CONNECTIONS = 1024  # that are carried at one time, of all ports together
OF_ONE_PORT = 256  # of them at most, so that one port does not stop the others
CONNECT_SECONDS = 10.0
IDLE_SECONDS = 90.0  # after which a UDP client is forgotten, as in docker's proxy
# After which a connection gives way to a new one where its port has no room: no sooner, for many are idle and are needed.
STALE_SECONDS = 300.0
KEEPALIVE = {socket.TCP_KEEPIDLE: 60, socket.TCP_KEEPINTVL: 15, socket.TCP_KEEPCNT: 4}  # a container that went leaves no word
BACKLOG = 128
_CHUNK = 1 << 16
_IPV6_RECVPKTINFO, _IPV6_PKTINFO = 49, 50  # linux/in6.h
_IP_PKTINFO = 8  # linux/in.h

Target = tuple[str, int]


class Carried:
    """One connection, with both its ends."""

    def __init__(self, near: asyncio.StreamWriter) -> None:
        self.ends = [near]
        self.used = asyncio.get_running_loop().time()

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what comes, to its end."""
        while data := await reader.read(_CHUNK):
            self.used = asyncio.get_running_loop().time()
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    def abort(self) -> None:
        """The client sees a reset, as from a port that is shut."""
        for writer in self.ends:
            writer.transport.abort()


class TcpPort:
    """One listening socket, whose connections are carried to `target`. `everywhere` are those of all ports."""

    def __init__(self, sock: socket.socket, target: Target, everywhere: set[Carried]) -> None:
        self._sock, self._target, self._everywhere = sock, target, everywhere
        self._carried: set[Carried] = set()
        self._server = asyncio.ensure_future(asyncio.start_server(self._accept, sock=sock, backlog=BACKLOG, limit=_CHUNK))

    def close(self) -> None:
        """Accept no more; what is carried goes on, as established connections do that the kernel carries."""
        if self._server.done() and not self._server.cancelled() and self._server.exception() is None:
            self._server.result().close()
        self._server.cancel()
        self._sock.close()

    def _room(self) -> bool:
        """Whether there is room for one more, perhaps in the place of one that was idle for long."""
        full = next((those for those, most in ((self._carried, OF_ONE_PORT), (self._everywhere, CONNECTIONS)) if len(those) >= most), None)
        if full is None:
            return True
        oldest = min(full, key=lambda item: item.used)
        if asyncio.get_running_loop().time() - oldest.used < STALE_SECONDS:
            return False
        oldest.abort()
        self._drop(oldest)
        return True

    def _drop(self, item: Carried) -> None:
        self._carried.discard(item)
        self._everywhere.discard(item)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        here = writer.get_extra_info("sockname")[0].partition("%")[0]  # a link-local one is told with its link
        if not _is_loopback(socket.inet_pton(self._sock.family, here)) or not self._room():
            writer.transport.abort()
            return
        item = Carried(writer)
        self._carried.add(item)
        self._everywhere.add(item)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                far_reader, far_writer = await asyncio.open_connection(*self._target, limit=_CHUNK)
            item.ends.append(far_writer)
            _keep_alive(far_writer)
            await asyncio.gather(item.pump(reader, far_writer), item.pump(far_reader, writer))
        except (OSError, TimeoutError):
            item.abort()
        finally:
            for end in item.ends:
                end.close()
            self._drop(item)


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE.items():
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _is_loopback(address: bytes) -> bool:
    """Whether a packed address is ::1 or one of 127.0.0.0/8: packets from elsewhere can't be for it, the kernel drops them."""
    return address == socket.inet_pton(socket.AF_INET6, "::1") or (len(address) == 4 and address[0] == 127)


class UdpPort:
    """One bound socket, whose datagrams are carried to `target`, each client's by a socket of its own."""

    def __init__(self, sock: socket.socket, target: Target) -> None:
        self._sock, self._target = sock, target
        self._clients: dict[tuple[Any, bytes], tuple[socket.socket, float]] = {}  # (address, our address) → socket, last used
        self._loop = asyncio.get_running_loop()
        self._six = sock.family == socket.AF_INET6
        sock.setblocking(False)
        if self._six:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        self._loop.add_reader(sock, self._from_client)
        self._sweep: asyncio.TimerHandle = self._loop.call_later(IDLE_SECONDS, self._forget_idle)

    def close(self) -> None:
        self._sweep.cancel()
        self._loop.remove_reader(self._sock)
        for key in list(self._clients):
            self._forget(key)
        self._sock.close()

    def _from_client(self) -> None:
        with contextlib.suppress(OSError):
            data, control, _, client = self._sock.recvmsg(_CHUNK, 128)
            here = next((value for _, kind, value in control if kind in (_IPV6_PKTINFO, _IP_PKTINFO)), b"")
            if not _is_loopback(here[:16] if self._six else here[8:12]):
                return
            key = client, here
            known = self._clients.pop(key, None)
            far = known[0] if known else self._new(key)
            self._clients[key] = far, self._loop.time()
            far.send(data)

    def _new(self, key: tuple[Any, bytes]) -> socket.socket:
        if len(self._clients) >= CONNECTIONS:
            self._forget(next(iter(self._clients)))
        far = socket.socket(socket.AF_INET6 if ":" in self._target[0] else socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        far.connect(self._target)
        self._loop.add_reader(far, self._from_container, far, key)
        return far

    def _from_container(self, far: socket.socket, key: tuple[Any, bytes]) -> None:
        client, here = key
        with contextlib.suppress(OSError):
            data = far.recv(_CHUNK)
            self._clients[key] = far, self._loop.time()
            if self._six:
                # By no link in particular: the route decides, as for any answer.
                control = [(socket.IPPROTO_IPV6, _IPV6_PKTINFO, here[:16] + b"\0" * 4)]
            else:
                control = [(socket.IPPROTO_IP, _IP_PKTINFO, struct.pack("=i4s4s", 0, here[4:8], b"\0" * 4))]
            self._sock.sendmsg([data], control if here else [], 0, client)

    def _forget(self, key: tuple[Any, bytes]) -> None:
        far, _ = self._clients.pop(key)
        self._loop.remove_reader(far)
        far.close()

    def _forget_idle(self) -> None:
        oldest = self._loop.time() - IDLE_SECONDS
        for key in [key for key, (_, used) in self._clients.items() if used < oldest]:
            self._forget(key)
        self._sweep = self._loop.call_later(IDLE_SECONDS / 3, self._forget_idle)


class Relay:
    """All ports, as the core tells of them."""

    def __init__(self, core: socket.socket) -> None:
        self._core = core
        self._ports: dict[int, TcpPort | UdpPort] = {}
        self._everywhere: set[Carried] = set()
        self.over = asyncio.Event()

    def told(self) -> None:
        """A datagram of the core's."""
        data, descriptors, _, _ = socket.recv_fds(self._core, 4096, 1)
        if not data:
            self.over.set()
            return
        message = json.loads(data)
        known = self._ports.pop(message["number"], None)
        if known is not None:
            known.close()
        if not descriptors:
            self._core.send(data)  # the port is free now, as far as we have it
        else:
            sock = socket.socket(fileno=descriptors[0])
            target = str(message["target"][0]), int(message["target"][1])
            self._ports[message["number"]] = (
                TcpPort(sock, target, self._everywhere) if message["protocol"] == "tcp" else UdpPort(sock, target))


async def serve(core: socket.socket) -> None:
    """Until the core ends."""
    relay = Relay(core)
    asyncio.get_running_loop().add_reader(core, relay.told)
    await relay.over.wait()


def main() -> None:
    """Give up all privilege, then serve."""
    parser = argparse.ArgumentParser(prog="helperd.relay", allow_abbrev=False)
    parser.add_argument("--core-fd", type=int, required=True, help="the pipe to the core")
    given = parser.parse_args()
    leave_root(USERS)
    leave_everything()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limit_resources(FILES, MEMORY)
    os.chdir("/")
    asyncio.run(serve(socket.socket(fileno=given.core_fd)))


if __name__ == "__main__":
    try:
        main()
        status = 0
    except BaseException as error:
        sys.stderr.write(f"netdeck relay: {type(error).__name__}: {error}\n")
        sys.stderr.flush()
        status = 1
    os._exit(status)  # the ports must be free at once
