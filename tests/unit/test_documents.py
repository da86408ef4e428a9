"""Pages, charts, exports and the status line: text laid out, nothing lost, nothing that acts."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.documents import Page, plain_text, wrap
from tui.export import as_csv, as_json, as_markdown
from tui.tables import cell_width
from tui.widgets.chart import chart
from tui.widgets.glyphs import UNICODE
from tui.widgets.status_bar import compose_line
from tui.widgets.status_piece import Piece
from tui.widgets.table_columns import Cell

pytestmark = pytest.mark.req("W1")


@given(st.text(max_size=80), st.integers(2, 40))
def test_wrapping_loses_nothing_but_blanks(text: str, width: int) -> None:
    lines = wrap(text, width)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(cell_width(line) <= width for line in lines)


@given(st.text(max_size=60), st.text(max_size=60), st.integers(20, 60))
def test_pages_hold_no_control_characters(label: str, value: str, width: int) -> None:
    page = Page(width)
    page.heading(value, label)
    page.field("name", value)
    page.text(value)
    page.json({label: [value, 1, None, True]})
    assert plain_text(page.lines).replace("\n", "").isprintable()


@given(st.lists(st.floats(0, 1e12), max_size=60), st.integers(1, 100), st.integers(1, 6))
def test_charts_are_as_large_as_asked_and_show_what_is_there(values: list[float], width: int, height: int) -> None:
    lines = chart(values, width, height, UNICODE.bars)
    assert len(lines) == height and all(len(line) == width for line in lines)
    assert any(value > 0 for value in values) == any(line.strip() for line in lines)


def test_exports_quote_what_their_format_needs() -> None:
    names = ["name", "rx"]
    rows: list[list[Cell | None]] = [['a"b,c', 1], ["x|y*[z]", None]]
    assert list(csv.reader(io.StringIO(as_csv(names, rows)))) == [["name", "rx"], ['a"b,c', "1"], ["x|y*[z]", ""]]
    assert json.loads(as_json(names, rows)) == [{"name": 'a"b,c', "rx": 1}, {"name": "x|y*[z]", "rx": None}]
    assert as_markdown(names, rows).splitlines()[3] == "| x\\|y\\*\\[z\\] |  |"


@given(st.integers(1, 200))
def test_the_status_line_fits_and_keeps_its_last_piece_longest(width: int) -> None:
    tabs = [("1", "Networks", True), ("2", "Containers", False)]
    line = compose_line(tabs, [Piece("host", priority=2), Piece("link 10 ms", priority=4), Piece("live")], width)
    assert line.cell_length <= width
    if width >= 40:
        assert line.plain.rstrip().endswith("live")


JSON = st.recursive(st.text(max_size=90) | st.integers(), lambda one: st.dictionaries(st.text(max_size=30), one, max_size=3), max_leaves=5)


@given(JSON, st.integers(10, 60))
def test_json_that_is_too_wide_goes_on_below_and_loses_nothing(value: object, width: int) -> None:
    page, wide = Page(width), Page(1000)
    page.json(value)
    wide.json(value)
    texts = ["".join(span.text for span in line) for line in page.lines]
    assert all(len(text) <= width for text in texts)
    assert "".join(texts).replace(" ", "") == plain_text(wide.lines).replace(" ", "").replace("\n", "")
