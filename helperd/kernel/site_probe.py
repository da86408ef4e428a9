"""Whether anybody on a link answers for an address, or is about to take it: ARP probes (RFC 5227, 2.1.1) for v4, solicitations as for
duplicate address detection (RFC 4862, 5.4.2) for v6. They are sent from the host's link with no sender's address, so nobody's neighbour
table changes by them. Who sends the same for the same address at the same time means to have it too.

Nothing of what strangers send is parsed here. A filter in the kernel lets through what has just the form of an answer or of such a
question, and of that a few fields at fixed places are taken: addresses, which are compared, and a MAC address, which is shown as a number.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
from collections.abc import Callable, Iterable, Sequence

from helperd.kernel.announce import ETH_P_ARP, ETH_P_IP, ETH_P_IPV6, checksum
from helperd.kernel.packet_filter import (
    ACCEPT,
    DROP,
    JEQ,
    LDB_ABS,
    LDH_ABS,
    LDW_ABS,
    Line,
    in_vlan,
    incoming,
    open_filtered,
    require,
    tagged,
)

MOST = 256  # frames that are looked at for one question: who floods the link gets no more
_BROADCAST = b"\xff" * 6
_ALL_NODES_MAC = bytes.fromhex("333300000001")
_ICMPV6, _SOLICITATION, _ADVERTISEMENT = 58, 135, 136
_TYPE_AT = 54  # of an ICMPv6 message
_SOL_PACKET, _ADD_MEMBERSHIP, _MULTICAST = 263, 1, 0  # linux/if_packet.h

# Ethernet, ARP for IPv4 over Ethernet; a whole neighbour advertisement, or a solicitation of one who has no address yet.
_ARP: tuple[Line, ...] = (*incoming(), *require(LDH_ABS, 12, ETH_P_ARP), *require(LDW_ABS, 14, 0x00010800), *require(LDH_ABS, 18, 0x0604),
                          (LDW_ABS, 0, 0, 38), ACCEPT)
_NDP: tuple[Line, ...] = (*incoming(), *require(LDH_ABS, 12, ETH_P_IPV6), *require(LDB_ABS, 20, _ICMPV6), *require(LDB_ABS, 21, 255),
                          (LDB_ABS, 0, 0, _TYPE_AT), (JEQ, 14, 0, _ADVERTISEMENT), (JEQ, 1, 0, _SOLICITATION), DROP,
                          *(line for at in (22, 26, 30, 34) for line in require(LDW_ABS, at, 0)), (LDW_ABS, 0, 0, 74), ACCEPT)
_MAC_AT = {4: 22, 6: 6}


def _about(frame: bytes, family: int) -> tuple[bytes, bool]:
    """Which address a frame is about that came through the filter, and whether its sender only asks for it, to take it."""
    if family == 6:
        return frame[62:78], frame[_TYPE_AT] == _SOLICITATION
    asks = frame[20:22] == b"\0\1" and frame[28:32] == bytes(4)
    return frame[38:42] if asks else frame[28:32], asks


def arp_probe(mac: bytes, address: ipaddress.IPv4Address) -> bytes:
    """An Ethernet frame that asks all who has `address`, from one who has none."""
    arp = struct.pack("!HHBBH6s4s6s4s", 1, ETH_P_IP, 6, 4, 1, mac, bytes(4), bytes(6), address.packed)
    return _BROADCAST + mac + struct.pack("!H", ETH_P_ARP) + arp


def solicited_node(address: ipaddress.IPv6Address) -> bytes:
    """The group that whoever has `address` hears (RFC 4291, 2.7.1)."""
    return ipaddress.IPv6Address("ff02::1:ff00:0").packed[:13] + address.packed[13:]


def solicitation(mac: bytes, address: ipaddress.IPv6Address) -> bytes:
    """An Ethernet frame that asks for `address` as whoever is about to use it does; the answer goes to all nodes."""
    group = solicited_node(address)
    body = struct.pack("!BBHI", _SOLICITATION, 0, 0, 0) + address.packed
    pseudo = bytes(16) + group + struct.pack("!II", len(body), _ICMPV6)
    body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
    header = struct.pack("!IHBB", 6 << 28, len(body), _ICMPV6, 255) + bytes(16) + group
    return b"\x33\x33" + group[12:] + mac + struct.pack("!H", ETH_P_IPV6) + header + body


class Question:
    """Who has any of some addresses on one link; belongs to the event loop. `found` fills up meanwhile with those who count. `answered`
    is called with address, MAC address, and whether that one only asks for it, to take it; returns whether it counts."""

    def __init__(self, link: str, addresses: Iterable[str], vlan: int, answered: Callable[[str, str, bool], bool]) -> None:
        self._link, self._vlan, self._answered = link, vlan, answered
        parsed = [ipaddress.ip_address(text) for text in addresses]
        self._wanted = {item.packed: item for item in parsed}
        self._ears: dict[int, tuple[socket.socket, bytes]] = {}  # family → its socket, the link's own MAC address
        self._left = MOST
        self.found: set[str] = set()
        self.sent, self.all_found = asyncio.Event(), asyncio.Event()

    async def ask(self, pauses: Sequence[float]) -> None:
        """Ask as often as there are pauses, and listen for so many seconds after each. Raises OSError where the link can't be used."""
        loop = asyncio.get_running_loop()
        try:
            # In a thread: to join the group of all nodes waits for the kernel's lock, to close for all its readers.
            self._ears = await asyncio.to_thread(self._open)
            for family, (sock, _) in self._ears.items():
                loop.add_reader(sock, self._read, family, sock)
            for pause in pauses:
                self._send()
                self.sent.set()
                await asyncio.sleep(pause)
        finally:
            socks, self._ears = [sock for sock, _ in self._ears.values()], {}
            for sock in socks:
                loop.remove_reader(sock)
            if socks:
                loop.run_in_executor(None, _close, socks)

    def listen(self) -> None:
        """Take now what has come."""
        for family, (sock, _) in self._ears.items():
            self._read(family, sock)

    def _open(self) -> dict[int, tuple[socket.socket, bytes]]:
        opened: dict[int, tuple[socket.socket, bytes]] = {}
        try:
            for family in sorted({item.version for item in self._wanted.values()}):
                sock = open_filtered(self._link, (*in_vlan(self._vlan), *(_ARP if family == 4 else _NDP)))
                opened[family] = sock, sock.getsockname()[4]
                if family == 6:
                    groups = {b"\x33\x33" + solicited_node(item)[12:] for item in self._wanted.values() if item.version == 6}
                    for group in (_ALL_NODES_MAC, *groups):
                        request = struct.pack("iHH8s", socket.if_nametoindex(self._link), _MULTICAST, 6, group)
                        sock.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, request)
        except BaseException:
            _close([sock for sock, _ in opened.values()])
            raise
        return opened

    def _send(self) -> None:
        for item in self._wanted.values():
            if str(item) not in self.found:
                sock, mac = self._ears[item.version]
                frame = arp_probe(mac, item) if isinstance(item, ipaddress.IPv4Address) else solicitation(mac, item)
                try:
                    sock.send(tagged(frame, self._vlan))
                except BlockingIOError:
                    return

    def _read(self, family: int, sock: socket.socket) -> None:
        for _ in range(min(16, self._left)):
            try:
                frame = sock.recv(128)
            except BlockingIOError:
                return
            except OSError:  # the link went
                asyncio.get_running_loop().remove_reader(sock)
                return
            self._left -= 1
            if self._left == 0:
                asyncio.get_running_loop().remove_reader(sock)
            about, asks = _about(frame, family)
            item = self._wanted.get(about)
            mac = frame[_MAC_AT[family]:][:6]  # the link's own where a switch sends back what it was sent
            if item is not None and mac != self._ears[family][1] and str(item) not in self.found and \
                    self._answered(str(item), mac.hex(":"), asks):
                self.found.add(str(item))
                if len(self.found) == len(self._wanted):
                    self.all_found.set()


def _close(socks: Iterable[socket.socket]) -> None:
    for sock in socks:
        sock.close()
