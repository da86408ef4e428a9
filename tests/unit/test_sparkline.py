"""Sparklines and their ring of samples."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.widgets.glyphs import ASCII, UNICODE
from tui.widgets.sparkline import SampleRing, sparkline

pytestmark = pytest.mark.req("W5")


def test_shape() -> None:
    assert sparkline([0, 1, 4, 8], 4, UNICODE.bars) == " ▁▄█"
    assert sparkline([0, 1, 4, 8], 4, ASCII.bars) == " .=%"
    assert sparkline([5], 4, UNICODE.bars) == "   █"
    assert sparkline([], 3, UNICODE.bars) == "   "
    assert sparkline([1, 2], 0, UNICODE.bars) == ""
    assert sparkline([1, 9, 2, 3], 2, UNICODE.bars, top=9) == "█▂"


@given(st.lists(st.floats(min_value=0) | st.just(math.nan), max_size=80), st.integers(1, 70))
def test_width_and_what_is_not_zero_shows(values: list[float], width: int) -> None:
    drawn = sparkline(values, width, UNICODE.bars)
    assert len(drawn) == width and set(drawn) <= set(UNICODE.bars)
    if any(value > 0 and not math.isnan(value) for value in values):
        assert drawn.strip()


@given(st.lists(st.lists(st.tuples(st.integers(0, 4), st.floats(0, 1e9)), max_size=5), max_size=90))
def test_ring_keeps_the_last_minute(ticks: list[list[tuple[int, float]]]) -> None:
    ring = SampleRing()
    ring.grow(2)
    ring.grow(5)
    history: list[list[float]] = [[0.0] * 60 for _ in range(5)]
    for tick in ticks:
        ring.push(tick)
        for slot, values in enumerate(history):
            values.append(dict(tick).get(slot, 0.0))
    assert [ring.last(slot) for slot in range(5)] == [values[-60:] for values in history]
    ring.clear(1)
    assert ring.last(1, 10) == [0.0] * 10
    assert ring.last(0) == history[0][-60:]
