"""Property tests: whatever the bytes, decoding ends in a message or in one clear error."""

from __future__ import annotations

from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.codec import decode_from_helper, encode
from protocol.errors import BadRequest, Internal, NetdeckError, from_wire, to_wire
from protocol.limits import check
from protocol.messages import (
    MAX_DEPTH,
    MAX_ITEMS,
    MAX_MESSAGE,
    Call,
    Cancel,
    ClientMessage,
    Credit,
    ErrorMessage,
    Hello,
    Input,
    Ping,
    Progress,
    Result,
    Snapshot,
    Subscribe,
    Unsubscribe,
    Watch,
)
from protocol.strict import Refused, decode_from_client

pytestmark = pytest.mark.req("W2")

IDS = st.one_of(st.integers(0, 2**64 - 1), st.text(min_size=1, max_size=64).filter(lambda text: text.isprintable()))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=40)
    | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=20,
)  # fmt: skip
LINKS = st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(1, 2**32 - 1)), max_size=5).map(tuple)
CLIENT_MESSAGES = st.one_of(
    st.builds(Hello, st.just(1), st.text(max_size=20)),
    st.builds(Call, IDS, st.text(min_size=1, max_size=30), st.dictionaries(st.text(max_size=10), PLAIN, max_size=4)),
    st.builds(Input, IDS, data=st.none() | st.binary(max_size=100), eof=st.booleans()),
    st.builds(Cancel, IDS),
    st.builds(Subscribe, IDS, st.just(("links", "counters")), st.integers(0, 1024), period=st.floats(0.1, 60.0), links=LINKS),
    st.builds(Unsubscribe, IDS),
    st.builds(Credit, IDS, st.integers(1, 1024)),
    st.builds(Watch, IDS, LINKS),
    st.just(Ping()),
)


@given(CLIENT_MESSAGES)
def test_messages_survive_the_wire(message: ClientMessage) -> None:
    """Encoded here, decoded by the strict side: the same message."""
    assert decode_from_client(encode(message)) == message  # type: ignore[arg-type]


@given(CLIENT_MESSAGES)
def test_the_wire_is_plain_msgpack(message: ClientMessage) -> None:
    """msgpack, which knows no struct of ours, reads and writes the same."""
    value = msgpack.unpackb(encode(message))  # type: ignore[arg-type]
    assert value["type"] == type(message).__struct_config__.tag
    assert decode_from_client(msgpack.packb(value)) == message


@given(st.binary(max_size=400))
@settings(max_examples=1000)
def test_any_bytes_end_in_a_message_or_one_error(body: bytes) -> None:
    refused_or_valid(body)


@given(PLAIN)
@settings(max_examples=500)
def test_any_value_ends_in_a_message_or_one_error(value: Any) -> None:
    refused_or_valid(msgpack.packb(value))


@given(CLIENT_MESSAGES, st.data())
@settings(max_examples=500)
def test_a_damaged_message_ends_in_a_message_or_one_error(message: ClientMessage, data: st.DataObject) -> None:
    body = bytearray(encode(message))  # type: ignore[arg-type]
    place = data.draw(st.integers(0, len(body) - 1))
    body[place] = data.draw(st.integers(0, 255))
    refused_or_valid(bytes(body[: data.draw(st.integers(0, len(body)))]))


def refused_or_valid(body: bytes) -> None:
    try:
        check(decode_from_client(body))
    except Refused as refused:
        assert refused.error.code in ("bad_request", "too_much")
        assert refused.error.message
        assert len(refused.error.message) < 500
        encode(ErrorMessage(refused.id, to_wire(refused.error)))


def nested(depth: int) -> bytes:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return bytes(msgpack.packb({"type": "call", "id": 1, "op": "x", "args": {"a": value}}))


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"\x91" * 100_000, "too_much"),
        (b"\x91" * 600 + b"\xc0", "too_much"),
        (nested(MAX_DEPTH - 1), "too_much"),
        (msgpack.packb([[[] for _ in range(4000)] for _ in range(60)]), "too_much"),
        (msgpack.packb([0] * (MAX_ITEMS + 1)), "too_much"),
        (msgpack.packb({"type": "call", "id": 1, "op": "x", "args": {"a": "x" * 65_537}}), "too_much"),
        (b"\xc0" * (MAX_MESSAGE + 1), "too_much"),
        (msgpack.packb(msgpack.ExtType(5, b"x")), "bad_request"),
        (msgpack.packb(msgpack.ExtType(5, b"")), "bad_request"),
        (msgpack.packb(msgpack.Timestamp(1)), "bad_request"),
        (b"\x82\xa1a\x01\xa1a\x02", "bad_request"),
        (b"\xa2\xff\xfe", "bad_request"),
        (b"\xc0\xc0", "bad_request"),
        (b"", "bad_request"),
        (b"\xc1", "bad_request"),
        (b"\x81\x01\x02", "bad_request"),
        (msgpack.packb({"type": "subscribe", "id": 1, "topics": ["links"], "period": float("nan")}), "bad_request"),
        (msgpack.packb({"type": "call", "id": True, "op": "x"}), "bad_request"),
        (msgpack.packb({"type": "credit", "id": 1, "n": 1.0}), "bad_request"),
        (msgpack.packb({"type": "input", "id": 1, "data": "aGk="}), "bad_request"),
    ],
)
def test_each_limit(body: bytes, code: str) -> None:
    with pytest.raises(Refused) as raised:
        decode_from_client(body)
    assert raised.value.error.code == code


def test_the_deepest_that_is_allowed() -> None:
    assert isinstance(decode_from_client(nested(MAX_DEPTH - 2)), Call)


@given(PLAIN)
def test_answers_survive_the_wire(value: Any) -> None:
    for message in (Result(1, value), Progress("a", "text", 1, 2), Snapshot(1, "e", 3, (("links", "1/2", value),))):
        assert msgspec.to_builtins(decode_from_helper(encode(message)), builtin_types=(bytes,)) == msgspec.to_builtins(
            message, builtin_types=(bytes,)
        )


def test_later_versions_may_add_fields() -> None:
    assert decode_from_helper(msgpack.packb({"type": "result", "id": 1, "value": 2, "new": 3})) == Result(1, 2)
    with pytest.raises(BadRequest):
        decode_from_helper(b"\xc1")


def test_what_has_no_msgpack_form_is_our_own_fault() -> None:
    for value in ("\ud800", 2**64, object()):
        with pytest.raises(Internal):
            encode(Result(1, value))


ON_THE_WIRE = [cls for cls in NetdeckError.__subclasses__() if cls.__module__ == "protocol.errors"]


@given(st.sampled_from(ON_THE_WIRE), st.text(max_size=30), st.dictionaries(st.text(max_size=5), PLAIN, max_size=3))
def test_errors_survive_the_wire(cls: type[NetdeckError], message: str, details: dict[str, Any]) -> None:
    error = cls(message)
    error.details = details
    back = from_wire(msgpack.unpackb(msgpack.packb(to_wire(error))))
    assert (type(back), back.message, back.details) == (cls, message, details)
