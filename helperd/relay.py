"""The relay process: ``python -m helperd.relay --core-fd N``, started by the core and by nobody else.

The kernel leads packets to a published port straight to the container, but there are some that it can't lead there: those of one
family to a container that has only the other, and those that a process of this host sends to its own ``::1``, for which there is no
`route_localnet`. Such connections end here, without any privilege, and are carried to the container by a second one, whose source
is this host. A port that is there for the loopback serves nobody else: no rule of the firewall sees from which network the second
connection was asked for. Where all are served, the firewall keeps internal networks away (`drivers.relayed`). Standard library
only: what strangers send is passed on and never looked at.

The core sends one datagram for each port: ``{"number", "protocol", "target": [address, port], "loopback": whether it is for that
alone}`` with the socket that is to be served, or ``{"number"}`` to end it, which is sent back when it is done. When the core ends,
so does the relay.
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
from helperd.relay_room import Room
from helperd.relay_tcp import Carried, Serves, Target, TcpPort

USERS = ("netdeck-front", "nobody")
FILES, MEMORY = 65_536, 512 << 20
CONNECTIONS = 1024  # that are carried at one time, of all ports together
OF_ONE_PORT = 256  # of them at most
CLIENTS, CLIENTS_OF_ONE = 4096, 1024  # the same of those who send datagrams
IDLE_SECONDS = 90.0  # after which a UDP client is forgotten, as in docker's proxy
# After which a connection gives way to a new one where its port has no room: no sooner, for many are idle and are needed.
STALE_SECONDS = 300.0
_CHUNK = 1 << 16
_IPV6_RECVPKTINFO, _IPV6_PKTINFO = 49, 50  # linux/in6.h
_IP_PKTINFO = 8  # linux/in.h

_ONE = socket.inet_pton(socket.AF_INET6, "::1")

Key = tuple[Any, bytes]  # of who sends datagrams: the address, and what the kernel tells of ours


def on_loopback(here: bytes, client: bytes) -> bool:
    """Whether this host asks its own loopback: ::1, or one of 127.0.0.0/8 from such a one, since links can be told to let packets to
    those in. Addresses are packed."""
    return here == _ONE or (len(here) == 4 and here[0] == client[0] == 127)


def anywhere(here: bytes, client: bytes) -> bool:
    """Whoever asks, at whichever address of this host; 127.0.0.0/8 is for this host alone all the same."""
    return len(here) == 16 or here[0] != 127 or client[0] == 127


class Client:
    """Whoever sends datagrams to a port, as `here` and `address` tell, and the socket that carries them on."""

    def __init__(self, port: UdpPort, key: Key, far: socket.socket) -> None:
        self.port, self.key, self.far = port, key, far


class UdpPort:
    """One bound socket, whose datagrams are carried to `target`, each client's by a socket of its own. `number` is its own in `room`,
    which all ports share."""

    def __init__(self, number: int, sock: socket.socket, target: Target, serves: Serves, room: Room[Client]) -> None:
        self._number, self._sock, self._target, self._serves, self._room = number, sock, target, serves, room
        self._clients: dict[Key, Client] = {}
        self._loop = asyncio.get_running_loop()
        self._six = sock.family == socket.AF_INET6
        sock.setblocking(False)
        if self._six:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        self._loop.add_reader(sock, self._from_client)

    def close(self) -> None:
        self._loop.remove_reader(self._sock)
        for client in self._room.of(self._number):
            self._room.leave(self._number, client)
            self.forget(client)
        self._sock.close()

    def forget(self, client: Client) -> None:
        """It is out of the room; what else it sends is taken for another's."""
        self._clients.pop(client.key, None)
        self._loop.remove_reader(client.far)
        client.far.close()

    def _from_client(self) -> None:
        with contextlib.suppress(OSError):
            data, control, _, address = self._sock.recvmsg(_CHUNK, 128)
            here = next((value for _, kind, value in control if kind in (_IPV6_PKTINFO, _IP_PKTINFO)), b"")
            key = address, here
            client = self._clients.get(key)
            if client is None:
                packed = socket.inet_pton(self._sock.family, address[0].partition("%")[0])
                if not self._to_one(here) or not self._serves(here[:16] if self._six else here[8:12], packed) \
                        or (client := self._new(key)) is None:
                    return
            self._room.used(self._number, client, self._loop.time())
            client.far.send(data)

    def _to_one(self, here: bytes) -> bool:
        """Whether a datagram was sent to an address of this host's, not to all on a link: of those the kernel names another as the
        source of an answer, and none of those that came before it was asked (ip(7), IP_PKTINFO)."""
        return here[:1] != b"\xff" if self._six else here[4:8] in (here[8:12], bytes(4))

    def _new(self, key: Key) -> Client | None:
        far = socket.socket(socket.AF_INET6 if ":" in self._target[0] else socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        client = Client(self, key, far)
        try:
            far.connect(self._target)
            entered = self._room.enter(self._number, client, self._loop.time())
        except BaseException:
            far.close()
            raise
        if not entered:
            far.close()
            return None
        self._clients[key] = client
        self._loop.add_reader(far, self._from_container, client)
        return client

    def _from_container(self, client: Client) -> None:
        address, here = client.key
        with contextlib.suppress(OSError):
            data = client.far.recv(_CHUNK)
            self._room.used(self._number, client, self._loop.time())
            if self._six:
                # By no link in particular: the route decides, as for any answer. A link-local client's address names its link.
                control = [(socket.IPPROTO_IPV6, _IPV6_PKTINFO, here[:16] + b"\0" * 4)]
            else:
                control = [(socket.IPPROTO_IP, _IP_PKTINFO, struct.pack("=i4s4s", 0, here[4:8], b"\0" * 4))]
            self._sock.sendmsg([data], control if here else [], 0, address)


class Relay:
    """All ports, as the core tells of them."""

    def __init__(self, core: socket.socket) -> None:
        self._core = core
        self._ports: dict[int, TcpPort | UdpPort] = {}
        self._connections: Room[Carried] = Room(CONNECTIONS, OF_ONE_PORT, STALE_SECONDS, Carried.abort)
        self._clients: Room[Client] = Room(CLIENTS, CLIENTS_OF_ONE, 0.0, lambda client: client.port.forget(client))
        self._loop = asyncio.get_running_loop()
        self._loop.call_later(IDLE_SECONDS, self._forget_idle)
        self.over = asyncio.Event()

    def told(self) -> None:
        """A datagram of the core's."""
        try:
            self._take(*socket.recv_fds(self._core, 4096, 1)[:2])
        except ConnectionError:  # it was killed
            self.over.set()

    def _take(self, data: bytes, descriptors: list[int]) -> None:
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
            number, serves = message["number"], on_loopback if message["loopback"] else anywhere
            self._ports[number] = (TcpPort(number, sock, target, serves, self._connections) if message["protocol"] == "tcp" else
                                   UdpPort(number, sock, target, serves, self._clients))

    def _forget_idle(self) -> None:
        for port, client in self._clients.idle(self._loop.time() - IDLE_SECONDS):
            self._clients.leave(port, client)
            client.port.forget(client)
        self._loop.call_later(IDLE_SECONDS / 3, self._forget_idle)


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
