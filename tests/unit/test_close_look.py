"""What is made of counters that come ten times a second, and only when something moved."""

from __future__ import annotations

import pytest

from tests.tui.played_helper import PlayedWatch, counters
from tui.close_look import PERIOD, SPAN, TENTHS, CloseLook, LinkId

pytestmark = pytest.mark.req("W5")
KEY, LINK = "7/2", (7, 2)


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


class Source:
    def subscribe(self, topics: tuple[str, ...], *, period: float = 1.0, links: tuple[LinkId, ...] | None = None) -> PlayedWatch:
        raise AssertionError("not in this test")


class Played:
    """A close look whose counters a test makes."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.changes = 0
        self.look = CloseLook(Source(), self._changed, self.clock)
        self.look.at(KEY)
        self.totals = [0] * 8

    def _changed(self) -> None:
        self.changes += 1

    def pass_by(self, seconds: float, bytes_in: int = 0, link: LinkId = LINK) -> None:
        self.clock.now += seconds
        if bytes_in:
            self.totals[0] += bytes_in
            self.totals[2] += 1
            self.look.take(counters(1000 + self.clock.now, {link: self.totals}))


async def test_rates_are_those_of_the_last_second_and_fall_when_nothing_comes() -> None:
    played = Played()
    assert played.look.see(KEY) is None
    played.pass_by(0.1, 100)
    assert played.look.see(KEY) is None, "one reading makes no rate"
    for _ in range(20):
        played.pass_by(0.1, 100)
    look = played.look.see(KEY)
    assert look is not None and look.rx == pytest.approx(1000) and look.rx_packets == pytest.approx(10) and look.tx == 0
    assert look.counts[0] == 2100 and look.tenths == (100.0,) * 20 and played.changes == 21
    played.pass_by(0.5)
    half = played.look.see(KEY)
    assert half is not None and 0 < half.rx < 1000 and half.tenths[-3:] == (0.0,) * 3
    played.pass_by(60)
    after = played.look.see(KEY)
    assert after is not None and after.rx == 0 and after.tenths == (0.0,) * TENTHS and after.counts[0] == 2100


async def test_a_gap_between_messages_is_time_in_which_nothing_moved() -> None:
    played = Played()
    played.pass_by(0.1, 100)
    played.pass_by(0.5, 700)
    look = played.look.see(KEY)
    assert look is not None and look.tenths == (0.0, 0.0, 0.0, 0.0, 700.0)
    for _ in range(2 * TENTHS):
        played.pass_by(0.1, 10)
    look = played.look.see(KEY)
    assert look is not None and len(look.tenths) == TENTHS and look.rx == pytest.approx(10 / PERIOD) and SPAN * PERIOD == 1


async def test_another_interface_begins_anew_and_what_is_still_under_way_is_passed_over() -> None:
    played = Played()
    for _ in range(3):
        played.pass_by(0.1, 100)
    played.look.at("7/3")
    assert played.look.see(KEY) is None and played.look.see("7/3") is None
    changes = played.changes
    played.pass_by(0.1, 100)
    assert played.changes == changes, "a message about the interface of before"
    played.pass_by(0.1, 100, (7, 3))
    played.pass_by(0.1, 100, (7, 3))
    assert played.look.see("7/3") is not None
    played.look.at(None)
    assert played.look.see("7/3") is None


async def test_an_interface_made_anew_under_its_number_has_no_negative_rate() -> None:
    played = Played()
    for _ in range(3):
        played.pass_by(0.1, 100)
    played.totals = [0] * 8
    played.pass_by(0.1, 10)
    assert played.look.see(KEY) is None
    played.pass_by(0.1, 10)
    look = played.look.see(KEY)
    assert look is not None and look.tenths == (10.0,)
