"""Forgets what connection tracking knows of a UDP port that was just published or withdrawn.

UDP has no end: a client that keeps sending would keep going where its first packet went, to a container that is gone or to the
host itself. Only entries of that port and address are deleted. Sources: linux/netfilter/nfnetlink_conntrack.h,
net/netfilter/nf_conntrack_netlink.c.
"""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Iterable

from drivers.objects import HOST, Published
from helperd.kernel.link_state import all_addresses
from helperd.kernel.namespaces import netlink_socket
from helperd.kernel.netlink import DecodeError, DumpInterrupted, attribute, attributes, dump, nested, request
from helperd.kernel.open_places import OpenPlaces

log = logging.getLogger("netdeck.conntrack")

NETLINK_NETFILTER = 12
_GET, _DELETE = 0x101, 0x102  # NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET, _DELETE
_NESTED = 0x8000  # NLA_F_NESTED
_CTA_TUPLE_ORIG, _CTA_TUPLE_REPLY, _CTA_ID, _CTA_ZONE, _CTA_FILTER = 1, 2, 12, 18, 25
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_SOURCE, _TARGET = {4: 1, 6: 3}, {4: 2, 6: 4}  # CTA_IP_V4_SRC, _DST, CTA_IP_V6_SRC, _DST
_PROTO_NUM, _PROTO_SPORT, _PROTO_DPORT = 1, 2, 3
_FILTER_ORIG, _FILTER_REPLY = 1, 2
_BY_NUMBER, _BY_TARGET_PORT = 1 << 3, 1 << 5  # CTA_FILTER_F_CTA_PROTO_NUM, CTA_FILTER_F_CTA_PROTO_DST_PORT
_UDP = 17
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


def forget(places: OpenPlaces, items: Iterable[Published]) -> int:
    """Delete the entries of the UDP ports among `items`, and return how many there were. What fails is told in the log."""
    wanted = [item for item in items if item.protocol == "udp" and item.place == HOST]
    if not wanted:
        return 0
    count = 0
    try:
        local = {state.prefix.partition("/")[0] for state in all_addresses(places.socket(HOST))}
        with netlink_socket(places.descriptor(HOST), NETLINK_NETFILTER) as sock:
            for item in wanted:
                count += _forget(sock, item, local)
    except (OSError, DecodeError, DumpInterrupted) as error:
        log.warning("connection tracking keeps entries of a port that was published or withdrawn: %s", error)
    return count


def _forget(sock: socket.socket, item: Published, local: set[str]) -> int:
    version = 6 if ":" in item.address else 4
    head = struct.pack("=BBH", _FAMILIES[version], 0, 0)
    ports = attribute(_PROTO_NUM, bytes((_UDP,))) + attribute(_PROTO_DPORT, struct.pack("!H", item.host_port))
    body = head + attribute(_CTA_TUPLE_ORIG | _NESTED, attribute(_TUPLE_PROTO | _NESTED, ports))
    flags = struct.pack("=I", _BY_NUMBER | _BY_TARGET_PORT)
    body += attribute(_CTA_FILTER | _NESTED, attribute(_FILTER_ORIG, flags) + attribute(_FILTER_REPLY, b"\0" * 4))
    count = 0
    for _, answer in dump(sock, _GET, body):
        found = attributes(answer, 4, len(answer))
        if _concerns(found, item, version, local):
            same = b"".join(attribute(kind, found[kind]) for kind in (_CTA_ID, _CTA_ZONE) if kind in found)
            try:
                request(sock, _DELETE, 0, head + attribute(_CTA_TUPLE_ORIG | _NESTED, found[_CTA_TUPLE_ORIG]) + same)
                count += 1
            except FileNotFoundError:
                continue
    return count


def _concerns(found: dict[int, bytes], item: Published, version: int, local: set[str]) -> bool:
    """Whether an entry is of the port: to this host's address, or to what the port led to."""
    if _CTA_TUPLE_ORIG not in found or _CTA_TUPLE_REPLY not in found:
        return False
    _, target, protocol, _, port = _tuple(found[_CTA_TUPLE_ORIG], version)
    answering, _, _, answering_port, _ = _tuple(found[_CTA_TUPLE_REPLY], version)
    if (protocol, port) != (_UDP, item.host_port):
        return False
    if (answering, answering_port) == (item.target, item.port):
        return True
    if item.address not in ("0.0.0.0", "::"):
        return target == item.address
    return target in local or target.startswith("127.")


def _tuple(payload: bytes, version: int) -> tuple[str, str, int, int, int]:
    """(source, target, protocol, source port, target port)."""
    parts = nested(payload)
    addresses, proto = nested(parts.get(_TUPLE_IP, b"")), nested(parts.get(_TUPLE_PROTO, b""))
    source, target = addresses.get(_SOURCE[version], b""), addresses.get(_TARGET[version], b"")
    return (_text(source), _text(target), int.from_bytes(proto.get(_PROTO_NUM, b""), "big"),
            int.from_bytes(proto.get(_PROTO_SPORT, b""), "big"), int.from_bytes(proto.get(_PROTO_DPORT, b""), "big"))


def _text(packed: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed) if packed else ""
