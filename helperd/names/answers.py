"""What a container gets for its question: an answer from the tables, a question for an upstream server, or nothing. Pure but for
the order of addresses, which is shuffled.

Sources: RFC 1035 (messages), 2308 (empty answers), 6891 (EDNS), 8482 (ANY), 8914 (extended errors), 9619 (one question); moby
libnetwork/resolver.go for what is forwarded.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Sequence
from typing import NamedTuple

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.reversename
import dns.rrset
from dns.rdata import Rdata
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA

from helperd.names.frames import ContainerPut
from helperd.names.tables import Address, Tables

HEADER = 12  # bytes
LONGEST = 1_024  # bytes of a question: a name has 255, the rest is for options
SMALLEST, LARGEST = 512, 4096  # bytes of an answer by UDP: without EDNS, and at the most (RFC 6891, 6.2.5)
_TRANSFERS = frozenset((dns.rdatatype.AXFR, dns.rdatatype.IXFR, dns.rdatatype.MAILA, dns.rdatatype.MAILB))
_VERSIONS = {dns.rdatatype.A: 4, dns.rdatatype.AAAA: 6}
_REVERSE = (dns.name.from_text("in-addr.arpa."), dns.name.from_text("ip6.arpa."))


class Reply(NamedTuple):
    """An answer. `lasting`: the same question has the same answer until the tables change. `query`: what was asked, where that
    could be read."""

    wire: bytes
    rcode: dns.rcode.Rcode
    lasting: bool = False
    query: dns.message.Message | None = None
    answers: tuple[str, ...] = ()


class Forward(NamedTuple):
    """A question for an upstream server."""

    query: dns.message.Message


class Drop(NamedTuple):
    """No answer: it would go to somebody who did not ask."""

    why: str


Outcome = Reply | Forward | Drop


def answer(wire: bytes, asker: ContainerPut, tables: Tables, ttl: int, *, udp: bool) -> Outcome:
    """What `asker` gets for `wire`, which may be anything. Never raises."""
    if len(wire) < HEADER:
        return Drop("short")
    if wire[2] & 0x80:
        return Drop("an answer")
    if wire[2] & 0x78:
        return _bare(wire, dns.rcode.NOTIMP)
    if len(wire) > LONGEST or wire[4:11] != b"\0\1\0\0\0\0\0" or wire[11] > 1:
        # More than one question and one record with options (RFC 9619, 6891): to parse many records takes up to a second.
        return malformed(wire)
    try:
        query = dns.message.from_wire(wire)
        return _answer(query, asker, tables, ttl, limit_of(query) if udp else 65_535)
    except dns.message.BadEDNS:
        return malformed(wire)
    except Exception:  # a parser that meets what its authors didn't think of: hostile input is its whole life
        return malformed(wire)


def limit_of(query: dns.message.Message) -> int:
    """How many bytes an answer by UDP may have."""
    return max(SMALLEST, min(query.payload, LARGEST)) if query.edns >= 0 else SMALLEST


def malformed(wire: bytes) -> Reply:
    """FORMERR with the id and opcode of `wire` (at least a header) and nothing else."""
    return _bare(wire, dns.rcode.FORMERR)


def _bare(wire: bytes, rcode: dns.rcode.Rcode) -> Reply:
    return Reply(wire[:2] + bytes((0x80 | wire[2] & 0x79, rcode)) + bytes(8), rcode)


def _answer(query: dns.message.Message, asker: ContainerPut, tables: Tables, ttl: int, limit: int) -> Outcome:
    if query.edns > 0:
        return reply(query, dns.rcode.BADVERS, limit)
    question = query.question[0]
    if question.rdclass not in (dns.rdataclass.IN, dns.rdataclass.ANY) or question.rdtype in _TRANSFERS:
        return reply(query, dns.rcode.REFUSED, limit)
    if any(question.name.is_subdomain(zone) for zone in _REVERSE):
        found = _pointer(query, asker, tables, ttl, limit)
    else:
        found = _name(query, asker, tables, ttl, limit)
    if found is not None:
        return found
    if not (asker.servers or asker.outside):
        return reply(query, dns.rcode.REFUSED, limit, why="the container is on internal networks only")
    if not asker.bare and len(question.name.labels) == 2:
        return reply(query, dns.rcode.NXDOMAIN, limit)
    return Forward(query)


def _name(query: dns.message.Message, asker: ContainerPut, tables: Tables, ttl: int, limit: int) -> Reply | None:
    question = query.question[0]
    name = question.name.to_text(omit_final_dot=True)
    version = _VERSIONS.get(question.rdtype)
    if version is None and question.rdtype != dns.rdatatype.ANY:
        return reply(query, dns.rcode.NOERROR, limit, lasting=True) if tables.knows(asker.networks, name) else None
    found: tuple[Address, ...] | None = None
    for each in (4, 6) if version is None else (version,):
        some = tables.find(asker.networks, name, each)
        found = some if found is None else found + (some or ())
    if found is None:
        return None
    return _addresses(query, found, ttl, limit)


def _addresses(query: dns.message.Message, addresses: Sequence[Address], ttl: int, limit: int) -> Reply:
    name = query.question[0].name
    mixed = random.sample(addresses, len(addresses))
    sets = []
    for version, rdtype, kind in ((4, dns.rdatatype.A, A), (6, dns.rdatatype.AAAA, AAAA)):
        rdatas: list[Rdata] = [kind(dns.rdataclass.IN, rdtype, str(address)) for address in mixed if address.version == version]
        if rdatas:
            sets.append(dns.rrset.from_rdata_list(name, ttl, rdatas))
    return reply(query, dns.rcode.NOERROR, limit, sets, lasting=len(addresses) < 2, shown=tuple(map(str, mixed)))


def _pointer(query: dns.message.Message, asker: ContainerPut, tables: Tables, ttl: int, limit: int) -> Reply | None:
    question = query.question[0]
    try:
        address = dns.reversename.to_address(question.name)
    except dns.exception.DNSException:  # of a zone above addresses
        return None
    found = tables.name_of(asker.networks, ipaddress.ip_address(address))
    if found is None:
        return None
    if not found:
        return reply(query, dns.rcode.NXDOMAIN, limit, lasting=True)
    sets = []
    if question.rdtype in (dns.rdatatype.PTR, dns.rdatatype.ANY):
        sets.append(dns.rrset.from_text(question.name, ttl, dns.rdataclass.IN, dns.rdatatype.PTR, f"{found}."))
    return reply(query, dns.rcode.NOERROR, limit, sets, lasting=True, shown=(found,) if sets else ())


def reply(query: dns.message.Message, rcode: dns.rcode.Rcode, limit: int, sets: Sequence[dns.rrset.RRset] = (), *, why: str = "",
          lasting: bool = False, shown: tuple[str, ...] = ()) -> Reply:
    """An answer of our own with `rcode`; what has no room in `limit` bytes is left out and the answer says so (TC)."""
    made = dns.message.make_response(query, recursion_available=True, our_payload=LARGEST)
    made.set_rcode(rcode)
    if rcode == dns.rcode.NOERROR:
        made.flags |= dns.flags.AA
    made.answer.extend(sets)
    if why and made.edns >= 0:
        made.use_edns(0, made.ednsflags, made.payload, options=[dns.edns.EDEOption(dns.edns.EDECode.PROHIBITED, why)])
        made.set_rcode(rcode)
    return Reply(made.to_wire(max_size=limit, prefer_truncation=True), rcode, lasting, query, shown)


def fits(query: dns.message.Message, wire: bytes, *, udp: bool) -> bytes:
    """The answer of an upstream server as the asker takes it: as it is, or where that is too long, its beginning with TC."""
    limit = limit_of(query) if udp else 65_535
    if len(wire) <= limit:
        return wire
    made = dns.message.make_response(query, recursion_available=True, our_payload=LARGEST)
    made.flags |= dns.flags.TC
    return made.to_wire(max_size=limit)
