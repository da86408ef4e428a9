"""Whatever comes from a netlink socket, decoding ends in records or in `DecodeError`."""

from __future__ import annotations

import struct

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helperd.kernel.link_statistics import StatisticsDump
from helperd.kernel.netlink import DecodeError, Message, attribute, attributes, message, messages
from helperd.kernel.rtnetlink import Record, decode

KINDS = (16, 17, 20, 21, 24, 25, 28, 29, 32, 33)
HEADERS = {16: 16, 17: 16, 20: 8, 21: 8, 24: 12, 25: 12, 28: 12, 29: 12, 32: 12, 33: 12}

payloads = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"\0", b"eth0\0", b"\xff\xfe\x1b[31m\0", b"veth\0", b"vlan\0", b"bridge\0", b"\x01\0\0\0", bytes(4), bytes(16)]),
)
attribute_lists = st.recursive(
    st.lists(st.tuples(st.integers(0, 60), payloads), max_size=8).map(
        lambda items: b"".join(attribute(kind, payload) for kind, payload in items)
    ),
    lambda inner: st.lists(st.tuples(st.sampled_from([1, 2, 4, 5, 9, 18, 22]), inner), max_size=3).map(
        lambda items: b"".join(attribute(kind, payload) for kind, payload in items)
    ),
    max_leaves=6,
)


def _decode(kind: int, body: bytes) -> list[Record]:
    data = message(kind, 0, 1, body)
    return [record for found in messages(data) for record in decode(data, found, 4026531840)]


def _check(kind: int, body: bytes) -> None:
    try:
        records = _decode(kind, body)
    except DecodeError:
        return
    for record in records:
        assert record.key.startswith("4026531840/")
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(record.value), type=type(record.value)) == record.value
        record.key.encode()


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(KINDS), st.binary(max_size=300))
def test_any_bytes(kind: int, body: bytes) -> None:
    _check(kind, body)


@settings(max_examples=1500, deadline=None)
@given(st.sampled_from(KINDS), st.sampled_from([0, 2, 7, 10]), st.binary(min_size=16, max_size=16), attribute_lists,
       st.integers(0, 400))
def test_well_formed_attributes_of_any_content_cut_anywhere(
    kind: int, family: int, header: bytes, attrs: bytes, cut: int
) -> None:
    body = bytes([family]) + header[1 : HEADERS[kind]] + attrs
    _check(kind, body)
    _check(kind, body[:cut])


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=200))
def test_framing(data: bytes) -> None:
    try:
        for found in messages(data):
            assert 16 <= found.start <= found.end <= len(data)
            attributes(data, found.start, found.end)
    except DecodeError:
        pass


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([92, 16, 3]), st.binary(max_size=260)), max_size=4), st.integers(0, 600))
def test_statistics(parts: list[tuple[int, bytes]], cut: int) -> None:
    class Socket:
        def send(self, data: bytes) -> int:
            return len(data)

        def recv(self, size: int) -> bytes:
            if not answers:
                raise TimeoutError
            return answers.pop(0)

    data = b"".join(message(kind, 0, 1, body + bytes(-len(body) % 4)) for kind, body in parts)
    answers = [data[:cut], data[cut:], message(3, 0, 1, bytes(4))]
    try:
        for index, raw in StatisticsDump().read(Socket()):  # type: ignore[arg-type]
            assert 0 <= index < 1 << 32 and len(raw) == 64
    except (DecodeError, OSError):
        pass


def test_hostile_names_can_be_sent_on() -> None:
    (record,) = _decode(16, struct.pack("=BxHiII", 0, 1, 7, 0, 0) + attribute(3, b"\xff\x1b[31mred\0") + attribute(20, b"a\nb\0"))
    assert record.value.name == "\\xff\x1b[31mred"  # type: ignore[union-attr]
    msgspec.msgpack.encode(record.value)


def test_too_short_a_number_is_refused() -> None:
    body = struct.pack("=BxHiII", 0, 1, 7, 0, 0) + attribute(4, b"\x05")
    data = message(16, 0, 1, body)
    with pytest.raises(DecodeError):
        decode(data, Message(16, 0, 1, 0, 16, len(data)), 1)
