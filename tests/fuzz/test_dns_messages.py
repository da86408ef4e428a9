"""Whatever a container or a name server sends, the parser of names answers or drops it, and never raises."""

from __future__ import annotations

import dns.message
import dns.rrset
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helperd.child_frames import PacketError
from helperd.names.answers import Drop, Forward, Reply, answer, fits
from helperd.names.frames import ContainerPut, EndpointPut, NetworkPut, from_resolver
from helperd.names.tables import Tables
from helperd.names.told import is_answer, shown

pytestmark = pytest.mark.req("B4")
TABLES = Tables()
TABLES.put_network(NetworkPut("n", "web", ("10.0.0.0/24", "fd00::/64")))
TABLES.put_endpoint(EndpointPut("e", "n", ("db",), ("10.0.0.2", "fd00::2")))
ASKER = ContainerPut("c", "web", 1, ("n",))

labels = st.binary(max_size=70).map(lambda text: bytes((len(text) & 0xFF,)) + text)
names = st.lists(labels | st.sampled_from((b"\x02db", b"\xc0\x0c", b"\xc0\xff", b"\x40", b"\x03web")), max_size=6).map(b"".join)
headers = st.builds(lambda ident, flags, counts: ident + flags + counts, st.binary(min_size=2, max_size=2),
                    st.binary(min_size=2, max_size=2) | st.just(b"\1\0"),
                    st.binary(min_size=8, max_size=8) | st.sampled_from((b"\0\1" + bytes(6), b"\0\1" + bytes(5) + b"\1")))
kinds = st.binary(max_size=4) | st.sampled_from((
    b"\0\1\0\1", b"\0\x1c\0\1", b"\0\x0c\0\1", b"\0\xff\0\1", b"\0\xfa\0\xff", b"\0\x29\x10\0"))
whole = st.builds(lambda *parts: b"".join(parts), headers, names, st.just(b"\0"), kinds, st.binary(max_size=40))
messages = whole | st.binary(max_size=600)
GOOD = dns.message.make_query("db", "A", use_edns=0).to_wire()
flipped = st.builds(lambda spots: bytes(byte ^ spots.get(number, 0) for number, byte in enumerate(GOOD)),
                    st.dictionaries(st.integers(0, len(GOOD) - 1), st.integers(0, 255), max_size=4))


@given(messages | flipped, st.booleans())
@settings(max_examples=600, deadline=None)
def test_any_question(wire: bytes, udp: bool) -> None:
    found = answer(wire, ASKER, TABLES, 5, udp=udp)
    match found:
        case Reply(wire=told):
            assert told[:2] == wire[:2] and told[2] & 0x80 and len(told) <= (4096 if udp else 65_535)
            assert dns.message.from_wire(told).id == int.from_bytes(wire[:2], "big")
        case Forward(query=query):
            assert query.to_wire()[:2] == wire[:2]
        case Drop():
            assert len(wire) < 12 or wire[2] & 0x80


ANSWER = dns.message.make_response(dns.message.from_wire(GOOD))
ANSWER.answer.append(dns.rrset.from_text("db.", 5, "IN", "A", "10.0.0.2", "10.0.0.3"))
WIRE = ANSWER.to_wire()
spoilt = st.builds(lambda spots, end, more: bytes(byte ^ spots.get(number, 0) for number, byte in enumerate(WIRE))[:end] + more,
                   st.dictionaries(st.integers(0, len(WIRE) - 1), st.integers(0, 255), max_size=3),
                   st.integers(0, len(WIRE)) | st.none(), st.just(b"") | st.binary(max_size=20))


@given(messages | flipped | spoilt)
@settings(max_examples=600, deadline=None)
def test_any_answer_of_a_server(wire: bytes) -> None:
    query = dns.message.from_wire(GOOD)
    found = is_answer(GOOD, wire)
    if found is not None:
        assert wire[:2] == GOOD[:2] and all(len(text) <= 200 for text in shown(GOOD, wire))
    try:
        parsed = dns.message.from_wire(wire)
    except Exception:
        parsed = None
    if parsed is not None and parsed.question == query.question and parsed.id == query.id and parsed.flags >> 11 == 16:
        assert found == parsed.rcode()
    assert len(fits(query, wire, udp=True)) <= 4096


values = st.recursive(
    st.none() | st.integers(-5, 70_000) | st.text(max_size=9) | st.just("queries"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(("frame", "rows", "counts", "x")), inner, max_size=4))


@given(st.binary(max_size=300) | values.map(msgspec.msgpack.encode))
def test_any_packet_of_the_resolver(body: bytes) -> None:
    try:
        from_resolver(body)
    except PacketError as error:
        assert "packet" in str(error)
