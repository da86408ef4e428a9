"""An interface that is looked at moves ten times a second, on links that are short enough; drops of what is on the screen are right
within seconds."""

from __future__ import annotations

import asyncio

import pytest

from tests.running_lab import Lab
from tests.tui.opened_workstation import opened, screen_text, until
from tests.tui.played_helper import WEB, PlayedHelper, counters
from tests.tui.station import station
from tui.close_look import PERIOD, SCREEN_PERIOD
from tui.terminal.link_profile import PROFILES
from tui.workstation import FAR, Workstation

pytestmark = [pytest.mark.req("W5"), pytest.mark.req("W6")]
NOBODY_TAKES = r"""
import socket, sys
sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sock.bind((sys.argv[1], 0))
for _ in range(9):
    sock.send(b"\xff" * 6 + b"\2\0\0\0\0\1" + b"\x88\xb5" + bytes(46))
"""
ETH0 = f"{WEB}/2"


def asked(helper: PlayedHelper, period: float) -> list[tuple[tuple[int, int], ...]]:
    return [links for watch in helper.watches for links, pace in watch.asked if pace == period]


async def test_it_is_watched_while_its_page_is_open_and_only_then() -> None:
    async with opened() as (app, helper, pilot):
        await pilot.press("3")
        app.go_to("interface", ETH0)
        await pilot.press("enter")
        await until(pilot, lambda: asked(helper, PERIOD)[-1:] == [((WEB, 2),)])
        helper.count({(WEB, 2): (100, 0)})
        watch = next(watch for watch in helper.watches if any(pace == PERIOD for _, pace in watch.asked))
        for step in range(1, 6):
            watch.queue.put_nowait(counters(500 + step / 10, {(WEB, 2): [1000 * step, 0, step, 0, 0, 0, 7, 0]}))
        await until(pilot, lambda: "10kB/s" in screen_text(app) and "tenths" in screen_text(app))
        assert "5.0kB in" in screen_text(app) and "drops    7" in screen_text(app)
        for leave, back in (("right", "left"), ("question_mark", "escape"), ("escape", "enter")):
            await pilot.press(leave)
            helper.count({(WEB, 2): (100, 0)})
            await until(pilot, lambda: asked(helper, PERIOD)[-1] == ())
            await pilot.press(back)
            helper.count({(WEB, 2): (100, 0)})
            await until(pilot, lambda: asked(helper, PERIOD)[-1] == ((WEB, 2),))


async def test_a_slow_link_is_left_alone() -> None:
    async with opened(profile=PROFILES["slow"]) as (app, helper, pilot):
        await pilot.press("3")
        app.go_to("interface", ETH0)
        await pilot.press("enter")
        helper.count({(WEB, 2): (100, 0)})
        await until(pilot, lambda: "Traffic" in screen_text(app))
        assert not asked(helper, PERIOD)


@pytest.mark.parametrize(("profile", "round_trip", "paced", "close"), [
    ("lan", None, True, True), ("wan", None, True, False), ("wan", 0.04, True, True), ("wan", FAR * 2, True, False),
    ("lan", FAR * 2, True, False), ("slow", 0.001, True, False),
])
async def test_the_round_trip_decides(
    profile: str, round_trip: float | None, paced: bool, close: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Workstation, "round_trip", property(lambda app: round_trip))
    monkeypatch.setattr(Workstation, "paced", property(lambda app: paced))
    async with opened(profile=PROFILES[profile]) as (app, _, pilot):
        await pilot.press("3")
        app.go_to("interface", ETH0)
        await pilot.press("enter")
        await until(pilot, lambda: app.details.looked_at == ETH0)
        assert app.look.key == (ETH0 if close else None)
        assert app.data_interval == (min(PERIOD, PROFILES[profile].data_interval) if close else PROFILES[profile].data_interval)
        await pilot.press("escape")
        assert app.look.key is None and app.data_interval == PROFILES[profile].data_interval


async def test_what_is_on_the_screen_is_asked_for_and_no_more() -> None:
    async with opened(size=(80, 8)) as (app, helper, pilot):
        helper.count({(WEB, 2): (100, 0)})
        await pilot.pause()
        assert not asked(helper, SCREEN_PERIOD), "only where errors and drops are shown"
        await pilot.press("3")
        helper.count({(WEB, 2): (100, 0)})
        await until(pilot, lambda: len(asked(helper, SCREEN_PERIOD)[-1:]) == 1)
        rows = app.view.table.keys_on_screen
        assert 0 < len(rows) < len(app.feed.links)
        assert [f"{inode}/{index}" for inode, index in asked(helper, SCREEN_PERIOD)[-1]] == list(rows)
        await pilot.press("1")
        helper.count({(WEB, 2): (100, 0)})
        await until(pilot, lambda: asked(helper, SCREEN_PERIOD)[-1] == ())


@pytest.mark.req("X18")
async def test_on_a_real_helper(lab: Lab) -> None:
    await asyncio.to_thread(lab.netdeck, "network", "create", "--subnet", "10.20.0.0/24", "web")
    await asyncio.to_thread(lab.netdeck, "run", "-d", "--name", "shop", "--network", "web", "--ip", "10.20.0.10", "sleep", "600")
    async with station(lab.socket) as ui:
        app = ui.app
        await ui.press("3")
        await ui.until(lambda: any(link.container == "shop" and link.name == "eth0" for link in app.feed.links.values()))
        key = next(key for key, link in app.feed.links.items() if link.container == "shop" and link.name == "eth0")
        app.go_to("interface", key)
        await ui.press("enter")
        pinging = asyncio.create_task(asyncio.to_thread(lab.run, "ping -q -c 100 -i 0.05 10.20.0.10"))
        seen: set[int] = set()

        def moved() -> bool:
            look = app.look.see(key)
            if look is not None:
                seen.add(look.counts[0])
            return len(seen) > 20

        await ui.until(moved, "far more numbers than seconds", seconds=15)
        await ui.until(lambda: ui.shows("tenths"), "they are shown")
        await pinging
        link = app.feed.links[key]
        near = next(other for other in app.feed.links.values() if (other.peer_inode, other.peer_ifindex) == (link.inode, link.ifindex))
        await ui.press("escape")

        await asyncio.to_thread(lab.python, NOBODY_TAKES, near.name)
        await ui.until(lambda: (rates := app.feed.rates.of(key)) is not None and rates.drops >= 9, "drops of an inner end", seconds=20)
