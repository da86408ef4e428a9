"""Telling the neighbours where an address is now: gratuitous ARP (RFC 5227, section 3; RFC 826) for v4, unsolicited neighbour
advertisements (RFC 4861, sections 4.4 and 7.2.6) for v6.

The frames are sent on a packet socket in the namespace of the link (packet(7); needs CAP_NET_RAW), opened for each round and
closed at once, so that nothing holds the namespace.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import struct
from collections.abc import Iterable, Sequence

from helperd.kernel.namespaces import NamespaceGone, NamespaceRef, NamespaceThread
from protocol.errors import InvalidValue
from protocol.names import mac_address

ETH_P_IP, ETH_P_ARP, ETH_P_IPV6 = 0x0800, 0x0806, 0x86DD
_BROADCAST = b"\xff" * 6
_ALL_NODES = ipaddress.IPv6Address("ff02::1")
_ALL_NODES_MAC = bytes.fromhex("333300000001")
_ICMPV6, _NEIGHBOUR_ADVERTISEMENT, _TARGET_LINK_ADDRESS = 58, 136, 2
_OVERRIDE = 0x20000000

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# A thread of its own: to close a packet socket takes up to tens of ms (the kernel waits for all its readers, synchronize_net),
# and the writer must not queue behind that.
_thread = NamespaceThread("announce")


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
    body = body[:2] + struct.pack("!H", _checksum(pseudo + body)) + body[4:]
    header = struct.pack("!IHBB", 6 << 28, len(body), _ICMPV6, 255) + address.packed + _ALL_NODES.packed
    return _ALL_NODES_MAC + mac + struct.pack("!H", ETH_P_IPV6) + header + body


async def announce(
    place: NamespaceRef, link: str, mac: str, addresses: Iterable[str], *, count: int = 3, interval: float = 1.0
) -> int:
    """Announce `addresses` (prefixes or bare) on `link` in `place`: `count` rounds (0 to 3), `interval` seconds (0.1 to 2)
    apart, the first at once. Returns how many rounds were sent: a namespace or link that goes meanwhile ends it.

    Raises InvalidValue, and PermissionError without CAP_NET_RAW.
    """
    if not 0 <= count <= 3:
        raise InvalidValue(f"{count} announcements: expected 0 to 3", field="count", value=count, expected="0 to 3")
    if not 0.1 <= interval <= 2.0:
        raise InvalidValue(
            f"announcements every {interval} s: expected 0.1 to 2",
            field="interval",
            value=interval,
            expected="0.1 to 2",
        )
    frames = [
        _frame(bytes.fromhex(mac_address(mac).replace(":", "")), ipaddress.ip_interface(text).ip) for text in addresses
    ]
    sent = 0
    while frames and sent < count:
        if sent:
            await asyncio.sleep(interval)
        try:
            await _thread.run_async(place, lambda: _send(link, frames))
        except PermissionError:
            raise
        except (OSError, NamespaceGone):
            break
        sent += 1
    return sent


def _frame(mac: bytes, address: Address) -> bytes:
    return (
        gratuitous_arp(mac, address)
        if isinstance(address, ipaddress.IPv4Address)
        else neighbour_advertisement(mac, address)
    )


def _send(link: str, frames: Sequence[bytes]) -> None:
    # Protocol 0: the socket receives nothing.
    with contextlib.closing(socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)) as sock:
        sock.bind((link, 0))
        for frame in frames:
            sock.send(frame)


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
