"""The model of a live table: order, filter, freezing, marks, and what is kept still under the reader."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.filter import FilterError
from tui.widgets.table_columns import Align, Column, Kind, lay_out, short_number
from tui.widgets.table_model import TableModel, natural_key
from tui.widgets.table_store import TableStore

pytestmark = pytest.mark.req("W5")

COLUMNS = (
    Column("name", "NAME", 10, stretch=True),
    Column("rx", "RX/s", 6, Kind.RATE),
    Column("total", "TOTAL", 6, Kind.BYTES, priority=2),
    Column("state", "STATE", 8, Kind.STATE, priority=1),
    Column("spark", "", 10, Kind.SPARKLINE, priority=3, source="rx"),
)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def make(clock: Clock | None = None) -> TableModel:
    model = TableModel(COLUMNS, clock=clock or Clock())
    for name in ("veth10", "veth2", "eth0"):
        model.put(name, {"name": name, "rx": 1.0, "state": "up"})
    model.refresh_order()
    return model


def test_names_sort_as_people_count() -> None:
    assert make().shown_keys() == ["eth0", "veth2", "veth10"]
    assert natural_key("a2") < natural_key("A10")


def test_sorting_by_a_rate_waits_for_its_time_and_a_resting_cursor() -> None:
    clock = Clock()
    model = make(clock)
    model.set_sort("rx", reverse=True)
    assert not model.refresh_order() or model.shown_keys()
    model.put("veth10", {"rx": 50.0})
    assert not model.refresh_order()
    clock.now += 1.9
    assert not model.refresh_order() and model.unsettled
    model.cursor_moved()
    clock.now += 1.0
    assert not model.refresh_order()
    clock.now += 1.1
    assert model.refresh_order()
    assert model.shown_keys()[0] == "veth10" and not model.unsettled


def test_equal_rows_keep_their_places() -> None:
    model = make()
    model.set_sort("rx")
    model.refresh_order()
    assert model.shown_keys() == ["eth0", "veth2", "veth10"]


def test_rows_come_and_go_at_once_without_moving_others() -> None:
    clock = Clock()
    model = make(clock)
    model.cursor_moved()
    model.put("aaa", {"name": "aaa"})
    model.remove("veth2")
    assert model.refresh_order()
    assert model.shown_keys() == ["eth0", "veth10", "aaa"]
    clock.now += 3
    assert model.refresh_order()
    assert model.shown_keys() == ["aaa", "eth0", "veth10"]


def test_a_slot_used_again_is_another_row() -> None:
    model = make()
    version = model.rows.versions[model.slot("veth2") or 0]
    slot = model.slot("veth2")
    model.put_numbers([slot or 0], {"rx": [9.0]})
    model.push_samples()
    model.remove("veth2")
    model.refresh_order()
    assert model.put("new", {"name": "new"}) == slot
    assert model.value("new", "rx") != model.value("new", "rx")  # NaN: no value
    assert model.rows.versions[slot or 0] > version and model.rows.rings["rx"].last(slot or 0, 1) == [0.0]


def test_filter_works_at_once_and_a_wrong_one_changes_nothing() -> None:
    model = make()
    model.set_filter("veth")
    assert model.refresh_order() and len(model.order) == 2 and len(model.rows) == 3
    with pytest.raises(FilterError, match="rx"):
        model.set_filter("rxx>1")
    assert model.filter_text == "veth"
    model.put("veth7", {"name": "veth7"})
    model.put("lo", {"name": "lo"})
    assert model.refresh_order() and "lo" not in model.shown_keys() and "veth7" in model.shown_keys()


def test_frozen_rows_stay_while_collecting_goes_on() -> None:
    clock = Clock()
    model = make(clock)
    model.freeze()
    model.put("eth0", {"rx": 77.0, "state": "down"})
    model.put_numbers([model.slot("veth2") or 0], {"rx": [5.0]})
    model.remove("veth10")
    model.put("new", {"name": "new"})
    clock.now += 42
    assert not model.refresh_order()
    assert (model.frozen_for, model.waiting) == (42, 4)
    assert model.value("eth0", "rx") == 1.0 and model.value("veth10", "state") == "up"
    assert model.shown_keys() == ["eth0", "veth2", "veth10"]
    model.set_sort("name", reverse=True)
    assert model.refresh_order() and model.shown_keys() == ["veth10", "veth2", "eth0"]
    model.thaw()
    assert model.refresh_order() and not model.frozen and model.waiting == 0
    assert model.value("eth0", "rx") == 77.0 and model.shown_keys() == ["veth2", "new", "eth0"]


def test_marks_go_with_their_rows() -> None:
    model = make()
    model.toggle_mark("eth0")
    model.toggle_mark("veth2")
    model.toggle_mark("veth2")
    assert model.marks == {"eth0"}
    model.remove("eth0")
    assert model.marks == set()


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["put", "remove", "tick", "freeze", "thaw", "sort"])), max_size=60))
def test_order_is_always_the_rows_there_are(steps: list[tuple[str, str]]) -> None:
    clock = Clock()
    model = TableModel(COLUMNS, clock=clock)
    expected: set[str] = set()
    shown: set[str] = set()
    for key, step in steps:
        if step == "put":
            expected.add(key)
            model.put(key, {"name": key, "rx": float(ord(key))})
        elif step == "remove":
            expected.discard(key)
            model.remove(key)
        elif step == "sort":
            model.move_sort(1)
        elif step == "freeze" and not model.frozen:
            model.refresh_order()
            shown = set(expected)
            model.freeze()
        elif step == "thaw":
            model.thaw()
        clock.now += 1.0
        model.refresh_order()
        keys = model.shown_keys()
        assert len(keys) == len(set(keys)) == len(model.order)
        assert set(keys) == (shown if model.frozen else expected)
        assert all(model.value(name, "name") == name for name in keys)


def test_columns_go_by_priority_and_the_name_stretches() -> None:
    wide = lay_out(COLUMNS, 80)
    assert [place.column.id for place in wide] == ["name", "rx", "total", "state", "spark"]
    assert wide[-1].x + wide[-1].width == 80
    narrow = lay_out(COLUMNS, 30, left=2)
    assert [place.column.id for place in narrow] == ["name", "rx", "state"]
    tiny = lay_out(COLUMNS, 8, left=2)
    assert [(place.column.id, place.x + place.width) for place in tiny] == [("name", 8)]
    assert all(place.x + place.width <= 30 for place in narrow)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        *[(0, "0"), (0.25, "0.2"), (999, "999"), (999.6, "1.0k")],
        *[(1500, "1.5k"), (9960, "10k"), (1.2e6, "1.2M"), (999_600, "1.0M")],
        *[(2**64, "18E"), (-1500, "-1.5k"), (math.nan, "")],
    ],
)
def test_short_numbers(number: float, text: str) -> None:
    assert short_number(number) == text


@given(st.floats(min_value=0, max_value=1e20))
def test_short_numbers_are_short(number: float) -> None:
    assert len(short_number(number)) <= 6


def test_hostile_text_is_escaped_whatever_the_formatter() -> None:
    column = Column("name", "NAME", 10, formatter=lambda value: f"<{value}>")
    assert "\x1b" not in column.text("a\x1b[2J") and "\x1b" not in Column("x", "X", 3).text("\x1b]0;x\x07")
    assert Column("x", "X", 3).text("[red]x") == "[red]x"
    assert "\x1b" not in Column("s", "S", 3, Kind.STATE).text("\x1bup")


def test_align() -> None:
    assert Column("a", "A", 3, Kind.RATE).right and not Column("a", "A", 3, Kind.RATE, align=Align.LEFT).right


def test_store_takes_what_fits_the_kind() -> None:
    store = TableStore(COLUMNS)
    store.put("x", {"total": 2**70, "rx": None, "name": None, "nonsense": 1})
    assert (store.cell(0, "total"), store.cell(0, "name")) == (2**64 - 1, "")
    _, changed = store.put("x", {"rx": None, "total": -4})
    assert changed == {"total"}
