"""Plain tables: alignment, what is cut, and that no cell acts on a terminal."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.tables import as_json, cell_width, cut, plan_text, size, table


def test_columns_are_aligned_by_cells_and_not_by_characters() -> None:
    assert table(("A", "NAME", "END"), [("1", "端口", "x"), ("22", "ab", "")]) == (
        "A    NAME   END\n"
        "1    端口   x\n"
        "22   ab\n")


def test_counts_stand_at_the_right_end_of_their_column() -> None:
    assert table(("NAME", "RX", "END"), [("a", "5B", "x"), ("b", "1000kB", "y")], numbers=("RX",)) == (
        "NAME       RX   END\n"
        "a          5B   x\n"
        "b      1000kB   y\n")


def test_hostile_text_is_escaped() -> None:
    text = table(("NAME",), [("a\x1b[2J\nb\u202e",)])
    assert text == "NAME\na\\x1b[2J\\x0ab\\u202e\n"
    assert "\x1b" not in as_json({"name": "\x1b\u202e\x9b"}) and as_json({"name": "\u202e"}).isascii()


@given(st.lists(st.tuples(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60)), max_size=6), st.integers(30, 120))
def test_a_line_fits_the_terminal(rows: list[tuple[str, str, str]], width: int) -> None:
    lines = table(("ONE", "TWO", "THREE"), rows, width).splitlines()
    assert len(lines) == len(rows) + 1
    assert all(cell_width(line) <= width for line in lines)


def test_the_widest_column_gives_way_first() -> None:
    text = table(("ID", "LONG"), [("abcdef", "x" * 50)], 30)
    assert text.splitlines()[1] == "abcdef   " + "x" * 20 + "…"


def test_whole_columns_are_not_cut() -> None:
    text = table(("WHERE", "MAC", "NAME"), [("w" * 30, "m" * 17, "n" * 15)], 40, whole=("WHERE", "NAME"))
    assert text.splitlines()[1] == "w" * 30 + "   mmmmmmmmmmmmmmmmm   " + "n" * 15  # not enough: nothing is cut
    assert table(("A", "B"), [("a" * 20, "b" * 20)], 33, whole=("A",)).splitlines()[1] == "a" * 20 + "   " + "b" * 9 + "…"


@given(st.text(max_size=40), st.integers(1, 40))
def test_cut_never_exceeds(text: str, width: int) -> None:
    assert cell_width(cut(text, width)) <= width


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0B"), (999, "999B"), (1000, "1kB"), (1_234_567, "1.23MB"), (12_345_678_901, "12.3GB"), (10**17, "100PB")]
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


def test_bytes_have_a_form_in_json() -> None:
    assert json.loads(as_json({"data": b"\x00\xff"})) == {"data": "AP8="}
    with pytest.raises(TypeError):
        as_json({"data": object()})


def test_a_plan_for_people() -> None:
    plan = {"steps": [{"action": "create", "text": "bridge br-1"}, {"action": "delete", "text": "route \x1b"}],
            "commands": ["ip link add br-1 type bridge", "nft -f - <<EOF\nadd rule\nEOF"]}
    assert plan_text(plan) == (
        "Steps:\n  + bridge br-1\n  - route \\x1b\nCommands:\n  ip link add br-1 type bridge\n  nft -f - <<EOF\n  add rule\n  EOF\n")
    assert plan_text({"steps": [], "commands": []}) == "Steps:\n  nothing to do\n"
