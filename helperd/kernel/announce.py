"""Telling the neighbours where an address is now: gratuitous ARP (RFC 5227, section 3; RFC 826) for v4, unsolicited neighbour
advertisements (RFC 4861, sections 4.4 and 7.2.6) for v6.

The frames are sent on a packet socket in the namespace of the link (packet(7); needs CAP_NET_RAW), opened for each round and
closed at once, so that nothing holds the namespace. Rounds that are due at about the same time go in one piece of work.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import math
import socket
import struct
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from helperd.kernel.namespaces import NamespaceGone, NamespaceRef, NamespaceThread, in_namespace
from protocol.names import mac_address

ETH_P_IP, ETH_P_ARP, ETH_P_IPV6 = 0x0800, 0x0806, 0x86DD
_BROADCAST = b"\xff" * 6
_ALL_NODES = ipaddress.IPv6Address("ff02::1")
_ALL_NODES_MAC = bytes.fromhex("333300000001")
_ICMPV6, _NEIGHBOUR_ADVERTISEMENT, _TARGET_LINK_ADDRESS = 58, 136, 2
_OVERRIDE = 0x20000000

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

GRID = 0.05  # seconds: rounds wait for the next multiple, so that those of many endpoints come together
CLOSERS = 4
MOST_OPEN = 64  # sockets that wait to be closed


def gratuitous_arp(mac: bytes, address: ipaddress.IPv4Address) -> bytes:
    """An Ethernet frame with an ARP announcement: a request whose sender and target address are both `address`."""
    packed = address.packed
    arp = struct.pack("!HHBBH6s4s6s4s", 1, ETH_P_IP, 6, 4, 1, mac, packed, b"\0" * 6, packed)
    return _BROADCAST + mac + struct.pack("!H", ETH_P_ARP) + arp


def neighbour_advertisement(mac: bytes, address: ipaddress.IPv6Address) -> bytes:
    """An Ethernet frame with an unsolicited neighbour advertisement to all nodes, with the override flag."""
    option = struct.pack("!BB6s", _TARGET_LINK_ADDRESS, 1, mac)
    body = struct.pack("!BBHI", _NEIGHBOUR_ADVERTISEMENT, 0, 0, _OVERRIDE) + address.packed + option
    pseudo = address.packed + _ALL_NODES.packed + struct.pack("!II", len(body), _ICMPV6)
    body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
    header = struct.pack("!IHBB", 6 << 28, len(body), _ICMPV6, 255) + address.packed + _ALL_NODES.packed
    return _ALL_NODES_MAC + mac + struct.pack("!H", ETH_P_IPV6) + header + body


class _Round(NamedTuple):
    place: NamespaceRef
    link: str
    mac: bytes
    addresses: Sequence[Address]
    sent: asyncio.Future[None]


class Announcer:
    """Announces the addresses of any number of endpoints; belongs to the event loop that it is first used in."""

    def __init__(self) -> None:
        # A thread of its own, so that the writer does not queue behind it.
        self._thread = NamespaceThread("announce")
        # To close a packet socket takes up to tens of ms (the kernel waits for all its readers, synchronize_net), idle ones.
        self._closers = ThreadPoolExecutor(CLOSERS, "announced")
        self._room = threading.Semaphore(MOST_OPEN)
        self._due: list[_Round] = []

    def close(self) -> None:
        """End the threads when what is under way is done."""
        self._thread.close()
        self._closers.shutdown(wait=False)

    async def announce(
        self, place: NamespaceRef, link: str, mac: str, addresses: Iterable[str], *, count: int = 3, interval: float = 1.0
    ) -> int:
        """Announce `addresses` (prefixes or bare) on `link` in `place`: `count` rounds, `interval` seconds apart, the first at
        once. `mac` "" is the address that the link has. Returns how many rounds were sent: a namespace or link that goes meanwhile ends it.

        Raises InvalidValue for what is no MAC address, and PermissionError without CAP_NET_RAW.
        """
        hardware = bytes.fromhex(mac_address(mac).replace(":", "")) if mac else b""
        wanted = [ipaddress.ip_interface(text).ip for text in addresses]
        loop = asyncio.get_running_loop()
        start, sent = loop.time(), 0
        while wanted and sent < count:
            if sent:
                await asyncio.sleep(_on_grid(start + sent * interval) - loop.time())
            try:
                await self._round(loop, place, link, hardware, wanted)
            except PermissionError:
                raise
            except (OSError, NamespaceGone):
                break
            sent += 1
        return sent

    async def _round(self, loop: asyncio.AbstractEventLoop, place: NamespaceRef, link: str, mac: bytes,
                     addresses: Sequence[Address]) -> None:
        sent: asyncio.Future[None] = loop.create_future()
        self._due.append(_Round(place, link, mac, addresses, sent))
        if len(self._due) == 1:
            loop.call_soon(self._begin, loop)
        await sent

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        rounds, self._due = self._due, []
        self._thread.submit(None, lambda: self._send_all(loop, rounds))

    def _send_all(self, loop: asyncio.AbstractEventLoop, rounds: Sequence[_Round]) -> None:
        """Runs in the thread."""
        outcomes: list[Exception | None] = []
        for place, link, mac, addresses, _ in rounds:
            try:
                self._let_go(in_namespace(place, functools.partial(_send, link, mac, addresses)))
                outcomes.append(None)
            except Exception as error:
                outcomes.append(error)
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(_tell, rounds, outcomes)

    def _let_go(self, sock: socket.socket) -> None:
        if self._room.acquire(blocking=False):
            self._closers.submit(self._close, sock)
        else:
            sock.close()

    def _close(self, sock: socket.socket) -> None:
        sock.close()
        self._room.release()


def _on_grid(moment: float) -> float:
    return math.ceil(moment / GRID) * GRID


def _tell(rounds: Sequence[_Round], outcomes: Sequence[Exception | None]) -> None:
    for item, outcome in zip(rounds, outcomes, strict=True):
        if item.sent.done():
            continue
        if outcome is None:
            item.sent.set_result(None)
        else:
            item.sent.set_exception(outcome)


def _frame(mac: bytes, address: Address) -> bytes:
    return (
        gratuitous_arp(mac, address)
        if isinstance(address, ipaddress.IPv4Address)
        else neighbour_advertisement(mac, address)
    )


def _send(link: str, mac: bytes, addresses: Sequence[Address]) -> socket.socket:
    """Runs inside the namespace; the socket is the caller's to close."""
    # Protocol 0: the socket receives nothing.
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    try:
        sock.bind((link, 0))
        own = mac or sock.getsockname()[4]
        for address in addresses:
            sock.send(_frame(own, address))
    except BaseException:
        sock.close()
        raise
    return sock


def checksum(data: bytes) -> int:
    """That of the Internet protocols (RFC 1071); `data` has an even length."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
