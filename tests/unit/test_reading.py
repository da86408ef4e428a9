"""Arguments that are no request are told in our own words: what, its value, what was expected, what to do."""

from __future__ import annotations

import math
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol.errors import BadRequest, InvalidValue
from protocol.names import SHOWN, alias_name, container_name, network_name
from protocol.reading import read_request
from protocol.requests import OPERATIONS
from protocol.strict import Refused, decode_from_client

pytestmark = pytest.mark.req("W8")

LONG = "x" * 300
BAD: list[tuple[str, dict[str, Any], str, str]] = [
    ("network.create", {"name": ""}, "name",
     "network name is empty: expected 1 to 63 of A-Z a-z 0-9 _ . - and a letter or digit first; give one"),
    ("network.create", {"name": LONG}, "name", f"network name '{'x' * SHOWN}...' has 300 characters: expected 1 to 63 of"),
    ("network.create", {}, "name", "network name is missing: expected 1 to 63 of"),
    ("network.create", {"name": 5}, "name", "network name 5 is a whole number: expected 1 to 63 of"),
    ("network.create", {"name": None}, "name", "network name is nothing: expected 1 to 63 of"),
    ("network.create", {"name": "a", "drver": "x"}, "drver", "`drver` is not known (did you mean 'driver'?): expected name, driver, "),
    ("network.create", {"name": "a", "driver": ""}, "driver", "driver is empty: expected the name of a driver; give one"),
    ("network.create", {"name": "a", "subnets": "10.0.0.0/8"}, "subnets",
     "`subnets` '10.0.0.0/8' is text: expected a list of at most 32 entries"),
    ("network.create", {"name": "a", "subnets": [{}] * 33}, "subnets",
     "`subnets` has 33 entries: expected a list of at most 32 entries; send fewer"),
    ("network.create", {"name": "a", "subnets": ["10.0.0.0/8"]}, "subnets[0]",
     "`subnets[0]` '10.0.0.0/8' is text: expected a map of subnet, gateway"),
    ("network.create", {"name": "a", "subnets": [{}, {"gateway": 7}]}, "subnets[1].gateway",
     "`subnets[1].gateway` 7 is a whole number: expected text"),
    ("network.create", {"name": "a", "subnets": [{"subnt": ""}]}, "subnets[0].subnt",
     "`subnets[0].subnt` is not known (did you mean 'subnet'?)"),
    ("network.create", {"name": "a", "options": {"mtu": 1500}}, "options.mtu", "`options.mtu` 1500 is a whole number: expected text"),
    ("network.create", {"name": "a", "options": {"": "x"}}, "options",
     "`options` has a key that is empty: expected text of 1 to 256 characters"),
    ("network.create", {"name": "a", "options": {LONG: "x"}}, "options", f"`options` has a key '{'x' * SHOWN}...' that has 300 characters"),
    ("network.create", {"name": "a", "labels": [1]}, "labels", "`labels` is a list of 1: expected a map of at most 64 entries"),
    ("network.create", {"name": "a", "internal": "yes"}, "internal", "`internal` 'yes' is text: expected true or false"),
    ("network.create", {"name": "a", "internal": 1}, "internal", "`internal` 1 is a whole number: expected true or false"),
    ("network.remove", {"name": ""}, "name", "network name is empty: expected the name or the id of a network; give one"),
    ("network.inspect", {"names": [""]}, "names[0]", "network name is empty"),
    ("network.inspect", {"names": "web"}, "names", "`names` 'web' is text: expected a list"),
    ("network.connect", {"network": "a", "container": ""}, "container",
     "container name is empty: expected the name or the id of a container, or docker:NAME"),
    ("network.connect", {"network": "", "container": "b"}, "network", "network name is empty: expected the name or the id of a network"),
    ("network.connect", {"network": "a", "container": "b", "aliases": [""]}, "aliases[0]", "alias is empty: expected 1 to 63 of A-Z"),
    ("network.connect", {"network": "a", "container": "b", "aliases": ["ok", LONG]}, "aliases[1]", "alias 'xxx"),
    ("network.connect", {"network": "a", "container": "b", "aliases": ["x"] * 300}, "aliases",
     "`aliases` has 300 entries: expected a list of at most 256"),
    ("network.connect", {"network": "a", "container": "b", "ip": 3}, "ip",
     "`ip` 3 is a whole number: expected text of at most 4096 characters or nothing"),
    ("network.connect", {"network": "a", "container": "b", "ip": "1" * 5000}, "ip", "`ip` '1111"),
    ("container.run", {"command": []}, "command", "`command` is empty: expected a list of 1 to 1024 entries; give at least one"),
    ("container.run", {"command": ["a"], "rows": 0}, "rows",
     "`rows` 0 is out of range: expected a whole number from 1 to 10000; choose one in the range"),
    ("container.run", {"command": ["a"], "rows": "24"}, "rows", "`rows` '24' is text: expected a whole number from 1 to 10000"),
    ("container.run", {"command": ["a"], "rows": 2.5}, "rows", "`rows` 2.5 is a number with a fraction"),
    ("container.run", {"command": ["a"], "rows": True}, "rows", "`rows` is true: expected a whole number"),
    ("container.run", {"command": ["a"], "name": "\x1b[31m" * 99}, "name", "container name '\\x1b[31m"),
    ("container.exec", {"container": LONG, "command": ["a"]}, "container", "container name 'xxx"),
    ("container.stop", {"name": "a", "timeout": -1}, "timeout", "`timeout` -1 is out of range: expected a number from 0 to 3600"),
    ("container.stop", {"name": "a", "timeout": math.nan}, "timeout", "`timeout` nan is out of range"),
    ("event.list", {"limit": 10**6}, "limit", "`limit` 1000000 is out of range"),
    ("info", {"x": 1}, "x", "`x` is not known: expected no arguments at all; leave it out"),
]


@pytest.mark.parametrize(("op", "args", "field", "words"), BAD)
def test_each_fault_is_told_in_our_words(op: str, args: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_request(op, args, OPERATIONS[op][0])
    error = caught.value
    assert error.message.startswith(f"{op}: {words}"), error.message
    assert error.details["field"] == field and error.details["operation"] == op and error.details["expected"]
    assert error.message.isprintable() and "; " in error.message.partition(": expected ")[2], "what to do stands at the end"
    assert len(error.message) < 400


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**64 - 1) | st.floats() | st.text(max_size=300) | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4), max_leaves=8,
)
FIELDS = sorted({name for request, _, _ in OPERATIONS.values() for name in request.__struct_fields__})


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.sampled_from(sorted(OPERATIONS)), st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=8), VALUES, max_size=6))
def test_whatever_is_sent_no_word_of_the_library_is_shown(op: str, args: dict[str, Any]) -> None:
    request = OPERATIONS[op][0]
    try:
        assert isinstance(read_request(op, args, request), request)
    except BadRequest as error:
        assert "field" in error.details, f"told in the library's words: {error.message}"
        assert ": expected " in error.message and error.message.isprintable()
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(args, request, strict=True)


@pytest.mark.parametrize(("message", "words"), [
    ({"type": "cal"}, "not a message of this wire: `type` 'cal' is not known (did you mean 'call'?): expected call, "),
    ({}, "not a message of this wire: `type` is missing: expected call, "),
    ({"type": 7}, "not a message of this wire: `type` '7' is not known: expected call, "),
    ({"type": "call", "id": 1}, "call: `op` is missing: expected text; give one"),
    ({"type": "call", "id": 1.5, "op": "info"}, "call: `id` 1.5 is a number with a fraction: expected a whole number or text"),
    ({"type": "watch", "id": 1, "links": [[1]]}, "watch: `links[0]` is a list of 1: expected a list of 2"),
    ({"type": "subscribe", "id": 1, "topics": "links"}, "subscribe: `topics` 'links' is text: expected a list"),
])
def test_messages_of_the_wire_too(message: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused) as caught:
        decode_from_client(msgpack.packb(message))
    assert caught.value.error.message.startswith(words)


@pytest.mark.parametrize("check", [network_name, container_name, alias_name])
@pytest.mark.parametrize("value", ["", "-", "x" * 256, "a b", "\x1b[2J" * 40, "é"])
def test_names_that_are_refused_are_told_shortly_and_with_the_rule(check: Any, value: str) -> None:
    with pytest.raises(InvalidValue, match=r"is not allowed: expected 1 to 63 of .*; choose another") as caught:
        check(value)
    assert len(caught.value.message) < 200 and caught.value.message.isprintable()
