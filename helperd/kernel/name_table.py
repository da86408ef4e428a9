"""The nftables table in a container that leads its questions for names to us, read and written by raw nfnetlink.

A container may hold CAP_NET_ADMIN over its own namespace, and put there what it likes: no library parses any of it as root. Of
one table, by its name, the kernel is asked for what is of fixed size: handle, flags, comment, and how many rules our chains have.
What is ours is told by the table's own comment, and made and deleted whole, in one transaction.

The rules write ports into packets, and no NAT is used: that would have the kernel track every connection of the container, on top of
what the host does. Questions are changed before the container's own connection tracking sees them, if it has any, and answers
behind it, so that it sees one and the same connection. A refusal (ICMP) is changed too, so that a client learns at once
that nobody listens; the word of it that nothing uses takes up the difference, and the checksum stays as it is.
Sources: linux/netfilter/nf_tables.h, nfnetlink.h, net/netfilter/nf_tables_api.c, nft_payload.c, libnftnl's udata.h, RFC 792.
"""

from __future__ import annotations

import errno
import re
import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple

from drivers.objects import NAME_ADDRESS, NAME_TABLE
from helperd.kernel.namespaces import netlink_socket
from helperd.kernel.netlink import (
    NLM_F_ACK,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_REQUEST,
    NLMSG_ERROR,
    DecodeError,
    attribute,
    attributes,
    error_of,
    message,
    messages,
)

COMMENT_LIMIT = 127  # bytes that nft(8) takes for a comment (NFTNL_UDATA_COMMENT_MAXLEN)
_NETLINK_NETFILTER = 12
_PATIENCE = 5  # seconds for each of the kernel's answers
_RECEIVE = 1 << 14
_NLM_F_EXCL = 0x200
_BATCH_BEGIN, _BATCH_END, _SUBSYSTEM = 0x10, 0x11, 10  # NFNL_MSG_BATCH_BEGIN, _END, NFNL_SUBSYS_NFTABLES
_NEW_TABLE, _GET_TABLE, _DELETE_TABLE, _NEW_CHAIN, _GET_CHAIN, _NEW_RULE = ((_SUBSYSTEM << 8) + kind for kind in (0, 1, 2, 3, 4, 6))
_NESTED = 0x8000  # NLA_F_NESTED
_TABLE_NAME, _TABLE_FLAGS, _TABLE_HANDLE, _TABLE_USERDATA = 1, 2, 4, 6
_CHAIN_TABLE, _CHAIN_NAME, _CHAIN_HOOK, _CHAIN_POLICY, _CHAIN_USE, _CHAIN_TYPE = 1, 3, 4, 5, 6, 7
_RULE_TABLE, _RULE_CHAIN, _RULE_EXPRESSIONS = 1, 2, 4
_UDATA_COMMENT = 0  # NFTNL_UDATA_TABLE_COMMENT
_LOCAL_OUT = 3  # NF_INET_LOCAL_OUT
_CHAINS = {"output": -300, "answers": 100}  # of questions and of answers, with the priority: connection tracking has -200
_PROTOCOLS = (17, 6)  # UDP, TCP
_CHECKSUMS = {17: 6, 6: 16}  # where the header has it
_RULES = (2, 3)  # of each chain
_PORTS = re.compile(r"(0|[1-9][0-9]{0,4})\.(0|[1-9][0-9]{0,4})\Z", re.ASCII)


class NameTable(NamedTuple):
    """A container's table of the name `NAME_TABLE`: its handle, its comment ('' where it has none or no text), the number of rules in
    each of our chains, and whether it has flags, which ours never has."""

    handle: int
    comment: str
    rules: tuple[int, ...]
    flagged: bool

    @property
    def mark(self) -> str:
        """The mark in the comment; '' where the comment is not of our form."""
        mark, _, ports = self.comment.rpartition(":")
        return mark if _PORTS.match(ports) else ""

    @property
    def ports(self) -> tuple[int, int]:
        """The UDP and the TCP port that the comment names; 0 where it names none."""
        found = _PORTS.match(self.comment.rpartition(":")[2])
        return (int(found[1]), int(found[2])) if found else (0, 0)

    @property
    def whole(self) -> bool:
        """Whether it can work as it was made."""
        return self.rules == _RULES and not self.flagged


def comment(mark: str, ports: tuple[int, int]) -> str:
    """The comment of a table with `mark` that leads to a UDP and a TCP port."""
    return f"{mark}:{ports[0]}.{ports[1]}"


class NameTables:
    """The table of the namespace that this thread is in, through a socket of its own, until `close`."""

    def __init__(self) -> None:
        self._sock = netlink_socket(None, _NETLINK_NETFILTER)
        try:
            self._sock.connect((0, 0))  # the kernel alone may send to it, and nobody in the container
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", _PATIENCE, 0))
        except BaseException:
            self._sock.close()
            raise
        self._sequence = 0

    def close(self) -> None:
        self._sock.close()

    def read(self) -> NameTable | None:
        """The table, None where there is none. Raises OSError."""
        found = self._get(_GET_TABLE, _TABLE_BODY)
        if found is None:
            return None
        chains = [self._get(_GET_CHAIN, _chain_named(name)) or {} for name in _CHAINS]
        number = int.from_bytes
        return NameTable(number(found.get(_TABLE_HANDLE, b""), "big"), _comment_in(found.get(_TABLE_USERDATA, b"")),
                         tuple(number(chain.get(_CHAIN_USE, b""), "big") for chain in chains),
                         bool(number(found.get(_TABLE_FLAGS, b""), "big")))

    def make(self, mark: str, ports: tuple[int, int], instead_of: NameTable | None) -> None:
        """Make the table, in the same transaction in which `instead_of` goes. Raises OSError with the kernel's words."""
        text = comment(mark, ports).encode()
        if len(text) > COMMENT_LIMIT:
            raise ValueError(f"a comment of {len(text)} bytes: at most {COMMENT_LIMIT}")
        userdata = attribute(_TABLE_USERDATA, bytes((_UDATA_COMMENT, len(text) + 1)) + text + b"\0")
        self._transaction([
            *(() if instead_of is None else (_deletion(instead_of),)),
            (_NEW_TABLE, _NLM_F_EXCL | NLM_F_CREATE, _TABLE_BODY + _big(_TABLE_FLAGS, 0) + userdata),
            *((_NEW_CHAIN, NLM_F_CREATE, body) for body in _CHAIN_BODIES),
            *((_NEW_RULE, NLM_F_CREATE | NLM_F_APPEND, rule) for rule in _rules(ports)),
        ])

    def delete(self, table: NameTable) -> None:
        """Delete this very table. Raises OSError."""
        self._transaction([_deletion(table)])

    def _get(self, kind: int, body: bytes) -> dict[int, bytes] | None:
        """The attributes of one object, by name; None where there is none."""
        self._sequence += 1
        self._sock.send(message(kind, NLM_F_REQUEST, self._sequence, _head(socket.AF_INET) + body))
        try:
            return self._answers({self._sequence})[0]
        except FileNotFoundError:
            return None

    def _transaction(self, requests: Sequence[tuple[int, int, bytes]]) -> None:
        first = self._sequence + 1
        self._sequence += len(requests)
        parts = [message(_BATCH_BEGIN, NLM_F_REQUEST, 0, _head(0, _SUBSYSTEM))]
        parts += [message(kind, NLM_F_REQUEST | NLM_F_ACK | flags, sequence, _head(socket.AF_INET) + body)
                  for sequence, (kind, flags, body) in enumerate(requests, first)]
        self._sock.send(b"".join([*parts, message(_BATCH_END, NLM_F_REQUEST, 0, _head(0, _SUBSYSTEM))]))
        self._answers(set(range(first, self._sequence + 1)))

    def _answers(self, awaited: set[int]) -> list[dict[int, bytes]]:
        """What came until all of `awaited` had an answer or an acknowledgement. Raises OSError at the first that was refused."""
        answers: list[dict[int, bytes]] = []
        while awaited:
            data, sender = self._sock.recvfrom(_RECEIVE)
            if sender[0] != 0:
                continue
            try:
                for found in messages(data):
                    if found.sequence not in awaited:
                        continue
                    awaited.discard(found.sequence)
                    if found.kind != NLMSG_ERROR:
                        answers.append(attributes(data, found.start + 4, found.end))
                    elif (refusal := error_of(data, found)) is not None:
                        raise refusal
            except DecodeError as error:
                raise OSError(errno.EPROTO, f"the kernel's answer can't be read: {error}") from error
        return answers


def _comment_in(userdata: bytes) -> str:
    """The comment in a table's user data, which whoever made the table wrote: pairs of type and length, each with its bytes."""
    while len(userdata) >= 2:
        kind, length = userdata[0], userdata[1]
        value, userdata = userdata[2:2 + length], userdata[2 + length:]
        if kind == _UDATA_COMMENT and len(value) == length:
            return value.removesuffix(b"\0").decode("ascii", "backslashreplace")
    return ""


def _deletion(table: NameTable) -> tuple[int, int, bytes]:
    return _DELETE_TABLE, 0, attribute(_TABLE_HANDLE, struct.pack("!Q", table.handle))


def _head(family: int, resource: int = 0) -> bytes:
    return struct.pack("=BB", family, 0) + struct.pack("!H", resource)  # struct nfgenmsg


def _string(kind: int, text: str) -> bytes:
    return attribute(kind, text.encode() + b"\0")


def _big(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("!I", value & 0xFFFFFFFF))


def _expression(name: str, *attrs: bytes) -> bytes:
    return attribute(1 | _NESTED, _string(1, name) + attribute(2 | _NESTED, b"".join(attrs)))  # NFTA_LIST_ELEM, NFTA_EXPR_NAME, _DATA


def _equal(value: bytes) -> bytes:
    return _expression("cmp", _big(1, 1), _big(2, 0), attribute(3 | _NESTED, attribute(1, value)))  # register 1, NFT_CMP_EQ


def _payload(base: int, offset: int, length: int) -> bytes:
    return _expression("payload", _big(1, 1), _big(2, base), _big(3, offset), _big(4, length))


def _immediate(register: int, value: bytes) -> bytes:
    return _expression("immediate", _big(1, register), attribute(2 | _NESTED, attribute(1, value)))


def _is(protocol: int) -> bytes:
    """meta l4proto <protocol>"""
    return _expression("meta", _big(2, 16), _big(1, 1)) + _equal(bytes((protocol,)))  # NFT_META_L4PROTO


def _write(offset: int, value: int, checksum: int | None = None) -> bytes:
    """Two bytes of the transport header; `checksum` is where that has one to be kept right."""
    sums = () if checksum is None else (_big(6, 1), _big(7, checksum))  # NFT_PAYLOAD_CSUM_INET
    return _immediate(1, struct.pack("!H", value)) + _expression("payload", _big(5, 1), _big(2, 2), _big(3, offset), _big(4, 2), *sums)


def _chain_named(name: str) -> bytes:
    return _string(_CHAIN_TABLE, NAME_TABLE) + _string(_CHAIN_NAME, name)


def _chain_body(name: str) -> bytes:
    hook = attribute(_CHAIN_HOOK | _NESTED, _big(1, _LOCAL_OUT) + _big(2, _CHAINS[name]))
    return _chain_named(name) + hook + _big(_CHAIN_POLICY, 1) + _string(_CHAIN_TYPE, "filter")


# What is the same in all containers is encoded once: it takes longer than the kernel's part.
_ADDRESS = socket.inet_aton(NAME_ADDRESS)
_COUNTER = _expression("counter")
_TO_US = _payload(1, 16, 4) + _equal(_ADDRESS)  # network header: destination address
_FROM_US = _payload(1, 12, 4) + _equal(_ADDRESS)
_53 = struct.pack("!H", 53)
_QUESTIONS = {protocol: _TO_US + _is(protocol) + _payload(2, 2, 2) + _equal(_53) + _COUNTER for protocol in _PROTOCOLS}
_ANSWERS = {protocol: _FROM_US + _is(protocol) + _payload(2, 0, 2) for protocol in _PROTOCOLS}
_AS_53 = {protocol: _COUNTER + _write(0, 53, _CHECKSUMS[protocol]) for protocol in _PROTOCOLS}
# Behind the header of 8 bytes is the datagram that is refused: protocol and destination in 20 bytes, then its ports.
_REFUSALS = b"".join((_FROM_US, _is(1), _payload(2, 0, 1), _equal(b"\x03"), _payload(2, 17, 1), _equal(b"\x11"), _payload(2, 24, 4),
                      _equal(_ADDRESS), _payload(2, 30, 2)))
_TABLE_BODY = _string(_TABLE_NAME, NAME_TABLE)
_CHAIN_BODIES = tuple(map(_chain_body, _CHAINS))


def _rules(ports: tuple[int, int]) -> list[bytes]:
    """ip daddr 127.0.0.11 <protocol> dport 53 counter <protocol> dport set <port>, and the other way round."""
    rules = [("output", _QUESTIONS[protocol] + _write(2, port, _CHECKSUMS[protocol]))
             for protocol, port in zip(_PROTOCOLS, ports, strict=True)]
    rules += [("answers", _ANSWERS[protocol] + _equal(struct.pack("!H", port)) + _AS_53[protocol])
              for protocol, port in zip(_PROTOCOLS, ports, strict=True)]
    udp = ports[0]
    rules.append(("answers", _REFUSALS + _equal(struct.pack("!H", udp)) + _COUNTER + _write(6, (udp - 53) % 0xFFFF) + _write(30, 53)))
    return [_string(_RULE_TABLE, NAME_TABLE) + _string(_RULE_CHAIN, chain) + attribute(_RULE_EXPRESSIONS | _NESTED, expressions)
            for chain, expressions in rules]
