"""The filter language: what each form finds, and what is said about mistakes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.filter import Column, FieldKind, FilterError, compile_filter, parse, parse_number, unparse

pytestmark = [pytest.mark.req("W5"), pytest.mark.req("W7")]

FIELDS = {
    "name": FieldKind.TEXT,
    "driver": FieldKind.TEXT,
    "state": FieldKind.TEXT,
    "ns": FieldKind.TEXT,
    "mtu": FieldKind.NUMBER,
    "rx": FieldKind.NUMBER,
}
ROWS: list[dict[str, str | float]] = [
    {"name": "eth0", "driver": "host", "state": "up", "ns": "root", "mtu": 1500.0, "rx": 2_000_000.0},
    {"name": "veth1", "driver": "bridge", "state": "UP", "ns": "web-1", "mtu": 1400.0, "rx": 10.0},
    {"name": "mv0", "driver": "macvlan", "state": "down", "ns": "db", "mtu": 9000.0, "rx": math.nan},
    {"name": "a b|c", "driver": "ipvlan", "state": "unknown", "ns": 'quo"te', "mtu": math.nan, "rx": 0.0},
    {"name": "aa:bb:cc:00:11:22", "driver": "none", "state": "up", "ns": "fe80::1", "mtu": 1500.0, "rx": 1e9},
]


def found(text: str) -> list[int]:
    def column(field: str) -> Column:
        return lambda row: ROWS[row][field]

    texts = [column(field) for field, kind in FIELDS.items() if kind is FieldKind.TEXT]
    test = compile_filter(parse(text, FIELDS), column, texts)
    return [row for row in range(len(ROWS)) if test(row)]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("", [0, 1, 2, 3, 4]),
        ("   ", [0, 1, 2, 3, 4]),
        ("ETH", [0, 1]),
        ("/^eth/", [0]),
        (r"/^e.h\d$/", [0]),
        ("!eth", [2, 3, 4]),
        ("!!eth", [0, 1]),
        ("driver:macvlan", [2]),
        ("driver:vlan", [2, 3]),
        ("driver=vlan", []),
        ("driver:/^(mac|ip)vlan$/", [2, 3]),
        ("driver!=/vlan/", [0, 1, 4]),
        ("state!=up", [2, 3]),
        ("state=up", [0, 1, 4]),
        ("ns:web", [1]),
        ("NS:web", [1]),
        ("mtu<=1500", [0, 1, 4]),
        ("mtu!=1500", [1, 2, 3]),
        ("mtu:1500", [0, 4]),
        ("rx>1M", [0, 4]),
        ("rx>=2M rx<1G", [0]),
        ("rx>8Mbit", [0, 4]),
        ("rx<100", [1, 3]),
        ("eth | mv", [0, 1, 2]),
        ("veth state:up | driver:macvlan", [1, 2]),
        ('"a b|c"', [3]),
        (r'ns:"quo\"te"', [3]),
        ("fe80::1", [4]),
        ("aa:bb:cc", [4]),
    ],
)
def test_finds(text: str, rows: list[int]) -> None:
    assert found(text) == rows


@pytest.mark.parametrize(
    ("text", "position", "word"),
    [
        ("driverr:x", 0, "driver"),
        ("veth  stat=up", 6, "state"),
        ("nonsense:x", 0, "one of"),
        ("mtu>big", 4, "unit"),
        ("mtu>", 4, "number"),
        ("driver>3", 6, "one of"),
        ('"open', 0, "closing"),
        ("/open", 0, "closing"),
        ("/(/", 0, "regular expression"),
        ("a |", 3, "word"),
        ("| a", 0, "word"),
        ("!", 1, "negate"),
        ("x" * 1001, 1000, "1000"),
    ],
)
def test_mistakes_are_named_with_their_place(text: str, position: int, word: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse(text, FIELDS)
    assert caught.value.position == position
    assert word in caught.value.expected
    assert str(position + 1) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "number"),
    [("1500", 1500), ("1.5k", 1500), ("2Ki", 2048), ("10M", 10e6), ("8Mbit", 1e6), ("1GB/s", 1e9), (".5k", 500), ("x", None), ("1m", None)],
)
def test_numbers_and_units(text: str, number: float | None) -> None:
    assert parse_number(text) == number


@given(st.text(max_size=60))
def test_any_text_is_a_filter_or_a_named_mistake(text: str) -> None:
    try:
        node = parse(text, FIELDS)
    except FilterError as error:
        assert 0 <= error.position <= max(len(text), 1) and error.expected
    else:
        assert parse(unparse(node), FIELDS) == node


@given(st.text(alphabet='abe :=!<>|/"\\01kM', max_size=40))
def test_written_again_it_means_the_same(text: str) -> None:
    try:
        node = parse(text, FIELDS)
    except FilterError:
        return
    assert parse(unparse(node), FIELDS) == node
    assert found(unparse(node)) == found(text)


@given(st.text(min_size=1, max_size=20))
def test_quoted_text_is_found_as_it_is(text: str) -> None:
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    test = compile_filter(parse(quoted, FIELDS), lambda field: lambda row: text, [lambda row: text])
    assert test(0)
