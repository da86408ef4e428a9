"""Which words of a choice stand in which line: all are in sight, whatever the width."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.screens.forms.fields import choice_lines

pytestmark = pytest.mark.req("W5")


@given(st.lists(st.text("abc", min_size=1, max_size=12), min_size=1, max_size=8), st.integers(16, 80))
def test_every_word_is_there_once_in_order_and_fits(words: list[str], width: int) -> None:
    lines = choice_lines(words, width)
    assert [index for line in lines for index in line] == list(range(len(words)))
    for line in lines:
        assert line and len(" ".join(f"( ) {words[index]}" for index in line)) <= width


def test_what_fits_stays_in_one_line() -> None:
    assert choice_lines(("bridge", "vepa", "private", "passthru"), 200) == [[0, 1, 2, 3]]
    assert choice_lines(("l2", "l3", "l3s"), 21) == [[0, 1, 2]]
