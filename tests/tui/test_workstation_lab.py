"""The workstation on a real helper: what the kernel says shows, a killed helper is survived, and it starts quickly in a terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running_helper import RunningHelper
from tests.running_lab import NETDECK, Lab
from tests.simulated_host import SimulatedHost
from tests.tui.opened_workstation import line_with, screen_text, until
from tests.tui.pty_session import PtySession
from tests.tui.settled_pilot import under_pilot
from tui.workstation import Workstation

pytestmark = [pytest.mark.req("W1"), pytest.mark.req("W6")]


@pytest.fixture
def helper(host: SimulatedHost, tmp_path: Path) -> Iterator[RunningHelper]:
    running = RunningHelper(host, tmp_path)
    try:
        yield running.start()
    finally:
        running.close()


@pytest.mark.req("W2", "W4", "W5", "X10")
async def test_what_the_kernel_does_is_seen_and_a_killed_helper_is_survived(helper: RunningHelper) -> None:
    app = Workstation(helper.socket)
    async with under_pilot(app, (160, 40), notifications=True) as pilot:
        await until(pilot, lambda: "172.17.0.0/16" in screen_text(app) and "● live" in screen_text(app))
        await asyncio.to_thread(helper.call, "network.create", name="web", subnets=[{"subnet": "10.20.0.0/24"}])
        await until(pilot, lambda: "10.20.0.0/24" in screen_text(app))
        await asyncio.to_thread(helper.call, "container.run", name="shop", command=["sleep", "100"], networks=["web"], ip="10.20.0.10",
                                detach=True)
        await until(pilot, lambda: app.view.model.value(app.find("web").key, "containers") == 1.0)  # type: ignore[union-attr]

        await pilot.press("3")
        await asyncio.to_thread(helper.host.run, "ip link add seen type veth peer name unseen; ping -c 30 -i 0.05 -q 10.20.0.10")
        await until(pilot, lambda: "▼ DOWN" in line_with(app, " seen "))
        inner = next(key for key, link in app.feed.links.items() if link.container == "shop" and link.name == "eth0")
        await until(pilot, lambda: float(app.feed.rates.of(inner).rx_total) > 2000)  # type: ignore[union-attr]
        assert any(value > 0 for value in app.view.history(inner))
        assert app.view.model.value(inner, "network") == "web"

        helper.kill()
        await until(pilot, lambda: "HELPER LOST" in screen_text(app))
        assert app.view.table.dimmed and " seen " in screen_text(app)
        await asyncio.to_thread(helper.host.run, "ip link del seen")
        await asyncio.to_thread(helper.start)
        await until(pilot, lambda: "● live" in screen_text(app) and " seen " not in screen_text(app))
        assert app.find("web") is not None and app.find("shop") is not None
        await pilot.press("1")
        app.go_to("network", app.find("web").key)  # type: ignore[union-attr]
        await pilot.press("d", "right", "right")
        await until(pilot, lambda: '"Driver": "bridge"' in screen_text(app))


@pytest.mark.req("X18")
def test_it_opens_in_a_terminal(lab: Lab) -> None:
    argv = lab._inside(NETDECK, "")
    with PtySession(argv, columns=80, lines=24, env={"NETDECK_LINK": "lan"}) as session:
        assert session.pump(60, until=lambda: session.shows("1 Networks")), session.screen.display

        def ready() -> bool:
            return session.shows("● live") and session.shows("172.17.0.0/16")

        assert ready() or session.pump(60, until=ready), session.screen.display
        session.send(b"3")
        assert session.pump(60, until=lambda: session.shows("Interfaces") and session.shows("netns:outside")), session.screen.display
        session.send(b"q")
        assert session.wait_exit() == 0


def test_no_color_is_no_colour_and_the_cursor_is_seen_all_the_same(lab: Lab) -> None:
    with PtySession(lab._inside(NETDECK, ""), columns=80, lines=24, env={"NO_COLOR": "1"}) as session:
        assert session.pump(60, until=lambda: session.shows("172.17.0.0/16")), session.screen.display
        session.settle(3)
        cells = session.cells()
        assert {cell[1] for line in cells for cell in line} <= {"", "default"}
        assert {cell[2] for line in cells for cell in line} == {"default"}
        assert [y for y, line in enumerate(cells) if any(cell[4] for cell in line)] == [3], "the cursor's row is reversed"
        session.send(b"q")
        assert session.wait_exit() == 0
