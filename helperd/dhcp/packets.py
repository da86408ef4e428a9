"""DHCP messages in Ethernet frames: those of a client are made, those of servers read. Pure.

Whatever is on the wire may have sent what is read: every length is looked at before it is used, what is twice there counts as RFC 3396
says, and what is not a reply as RFC 2131 and RFC 2132 have it is none. The UDP checksum is not looked at: where it is left to the
hardware (as between the ends of a veth) it is not there yet.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Sequence

import msgspec

LONGEST = 1_514  # bytes of a frame that is read
DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE = 1, 2, 3, 4, 5, 6, 7
BROADCAST_MAC, BROADCAST = "ff:ff:ff:ff:ff:ff", "255.255.255.255"
INFINITE = 0xFFFFFFFF  # seconds of a lease that never ends

_SERVER_PORT, _CLIENT_PORT = 67, 68
_COOKIE = b"\x63\x82\x53\x63"
_ETHERNET = struct.Struct("!6s6sH")
_IP = struct.Struct("!BBHHHBBH4s4s")
_UDP = struct.Struct("!HHHH")
_BOOTP = struct.Struct("!BBBBIHH4s4s4s4s16s64s128s4s")
_MASK, _ROUTER, _DNS, _HOSTNAME, _DOMAIN, _ADDRESS, _SECONDS, _OVERLOAD = 1, 3, 6, 12, 15, 50, 51, 52
_KIND, _SERVER, _WANTED, _LARGEST, _T1, _T2, _CLIENT, _END = 53, 54, 55, 57, 58, 59, 61, 255
_SERVERS = 3  # name servers that are kept
_NAME = re.compile(rb"\A[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?\Z")


class Reply(msgspec.Struct, frozen=True):
    """What a server said, as it stands there: nothing of it has been judged. "" and None: not said."""

    kind: int  # OFFER, ACK, NAK
    xid: int
    mac: str  # of the client that it is for
    server_mac: str  # of who sent the frame: the server, or the relay before it
    address: str = ""
    server: str = ""
    prefix_length: int | None = None
    gateway: str = ""
    dns: tuple[str, ...] = ()
    domain: str = ""
    seconds: int | None = None
    t1: int | None = None
    t2: int | None = None


def read(frame: bytes) -> Reply | None:
    """The reply of a server that is in `frame`, None where there is none."""
    if not _ETHERNET.size + _IP.size <= len(frame) <= LONGEST:
        return None
    _, sender, ethertype = _ETHERNET.unpack_from(frame)
    body = _udp_body(frame[_ETHERNET.size:]) if ethertype == 0x0800 else None
    if body is None or len(body) < _BOOTP.size:
        return None
    op, htype, hlen, _, xid, _, _, _, yours, _, _, chaddr, sname, file, cookie = _BOOTP.unpack_from(body)
    if (op, htype, hlen, cookie) != (2, 1, 6, _COOKIE):
        return None
    options = _options(body[_BOOTP.size:])
    for number, area in ((1, file), (2, sname)):
        if options is not None and len(options.get(_OVERLOAD, b"")) == 1 and options[_OVERLOAD][0] & number:
            more = _options(area)
            options = None if more is None else {**more, **options}
    if options is None or len(options.get(_KIND, b"")) != 1 or options[_KIND][0] not in (OFFER, ACK, NAK):
        return None
    length = _prefix_length(options.get(_MASK, b""))
    if length is None and _MASK in options:
        return None
    domain = options.get(_DOMAIN, b"").rstrip(b"\0")
    return Reply(
        kind=options[_KIND][0], xid=xid, mac=chaddr[:6].hex(":"), server_mac=sender.hex(":"), address=socket.inet_ntoa(yours),
        server=next(iter(_addresses(options.get(_SERVER, b""))), ""), prefix_length=length,
        gateway=next(iter(_addresses(options.get(_ROUTER, b""))), ""), dns=_addresses(options.get(_DNS, b""))[:_SERVERS],
        domain=domain.decode("ascii") if _NAME.match(domain) else "",
        seconds=_number(options.get(_SECONDS)), t1=_number(options.get(_T1)), t2=_number(options.get(_T2)))


def message(kind: int, xid: int, mac: str, *, seconds: int = 0, own: str = "0.0.0.0", wanted: str = "", server: str = "",
            hostname: str = "", client_id: bytes = b"", to: tuple[str, str] = (BROADCAST_MAC, BROADCAST)) -> bytes:
    """The frame of a client's message. `own` is the address that it has, `wanted` one that it asks for, `to` whom it is sent (MAC and
    IPv4 address). The answer is wanted as a broadcast unless the client has an address: it is heard on a link that has none."""
    hardware = bytes.fromhex(mac.replace(":", ""))
    options = bytes((_KIND, 1, kind))
    if client_id:
        options += bytes((_CLIENT, len(client_id))) + client_id
    for code, text in ((_ADDRESS, wanted), (_SERVER, server)):
        options += bytes((code, 4)) + socket.inet_aton(text) if text else b""
    if kind in (DISCOVER, REQUEST):
        options += bytes((_LARGEST, 2)) + (LONGEST - _ETHERNET.size).to_bytes(2, "big")
        asked = bytes((_MASK, _ROUTER, _DNS, _DOMAIN, _SECONDS, _T1, _T2))
        options += bytes((_WANTED, len(asked))) + asked
        name = hostname.encode("ascii", "ignore")[:63]
        options += bytes((_HOSTNAME, len(name))) + name if _NAME.match(name) else b""
    flags = 0x8000 if own == "0.0.0.0" else 0
    body = _BOOTP.pack(1, 1, 6, 0, xid, min(seconds, 0xFFFF), flags, socket.inet_aton(own), bytes(4), bytes(4), bytes(4),
                       hardware + bytes(10), b"", b"", _COOKIE) + options + bytes((_END,))
    body = body.ljust(300, b"\0")  # of RFC 1542, 2.1: some relays drop what is shorter
    source, target = socket.inet_aton(own), socket.inet_aton(to[1])
    udp = _UDP.pack(_CLIENT_PORT, _SERVER_PORT, _UDP.size + len(body), 0)
    pseudo = source + target + struct.pack("!BBH", 0, socket.IPPROTO_UDP, _UDP.size + len(body))
    udp = _UDP.pack(_CLIENT_PORT, _SERVER_PORT, _UDP.size + len(body), _checksum(pseudo + udp + body) or 0xFFFF)
    parts = (0x45, 0x10, _IP.size + len(udp) + len(body), 0, 0, 64, socket.IPPROTO_UDP)
    header = _IP.pack(*parts, 0, source, target)
    header = _IP.pack(*parts, _checksum(header), source, target)
    return _ETHERNET.pack(bytes.fromhex(to[0].replace(":", "")), hardware, 0x0800) + header + udp + body


def _udp_body(packet: bytes) -> bytes | None:
    """What an IPv4 packet brings from the port of DHCP servers to that of clients."""
    first, _, total, _, fragment, _, protocol, _, _, _ = _IP.unpack_from(packet)
    size = (first & 0xF) * 4
    whole = first >> 4 == 4 and size >= _IP.size and size + _UDP.size <= total <= len(packet) and not fragment & 0x3FFF
    if not whole or protocol != socket.IPPROTO_UDP or _checksum(packet[:size]) != 0:
        return None
    source, target, length, _ = _UDP.unpack_from(packet, size)
    if (source, target) != (_SERVER_PORT, _CLIENT_PORT) or not _UDP.size <= length <= total - size:
        return None
    return packet[size + _UDP.size:size + length]


def _options(area: bytes) -> dict[int, bytes] | None:
    """The options by their code, parts of one joined (RFC 3396); None where a length leads out of the area."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(area) and area[at] != _END:
        if area[at] == 0:
            at += 1
            continue
        if at + 1 >= len(area) or at + 2 + area[at + 1] > len(area):
            return None
        found[area[at]] = found.get(area[at], b"") + area[at + 2:at + 2 + area[at + 1]]
        at += 2 + area[at + 1]
    return found


def _addresses(raw: bytes) -> tuple[str, ...]:
    return tuple(socket.inet_ntoa(raw[at:at + 4]) for at in range(0, len(raw), 4)) if raw and len(raw) % 4 == 0 else ()


def _number(raw: bytes | None) -> int | None:
    return int.from_bytes(raw, "big") if raw is not None and len(raw) == 4 else None


def _prefix_length(raw: bytes) -> int | None:
    """Of a mask whose ones are all on the left."""
    if len(raw) != 4:
        return None
    value = int.from_bytes(raw, "big")
    length = value.bit_count()
    return length if value == (0xFFFFFFFF << (32 - length)) & 0xFFFFFFFF else None


def _checksum(data: Sequence[int]) -> int:
    """RFC 1071."""
    raw = bytes(data) + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(raw) // 2}H", raw))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
