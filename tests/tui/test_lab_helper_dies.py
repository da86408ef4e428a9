"""A lab starts its dead helper again: networks and containers come back, and whoever watched goes on watching."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psutil
import pytest

from helperd import lab as lab_module
from helperd.lab import FIRST_PAUSE, LIVED, LONGEST_PAUSE, Helper
from tests.running_lab import Lab
from tests.tui.station import station

pytestmark = [pytest.mark.req("X18"), pytest.mark.timeout(300)]


def helper_of(lab: Lab) -> psutil.Process:
    """The core: the child of the lab's first process that runs ``helperd --lab``."""
    return next(child for child in psutil.Process(lab.pid).children() if "--lab" in child.cmdline() and "helperd" in child.cmdline())


async def test_a_killed_helper_is_started_again_and_the_workstation_comes_back(lab: Lab) -> None:
    await asyncio.to_thread(lab.netdeck, "network", "create", "--subnet", "10.20.0.0/24", "web")
    await asyncio.to_thread(lab.netdeck, "run", "-d", "--name", "shop", "--network", "web", "--ip", "10.20.0.10", "sleep", "600")
    async with station(lab.socket) as ui:
        await ui.until(lambda: ui.app.find("shop") is not None and ui.shows("● live"), "the container is known")
        for _ in range(2):
            before = helper_of(lab)
            before.kill()
            await ui.until(lambda: ui.shows("HELPER LOST"), "the loss is told")
            lab.run(["ping", "-c", "1", "-W", "2", "10.20.0.10"])
            await ui.until(lambda: ui.shows("● live") and not ui.shows("HELPER LOST"), "it reconnects by itself", seconds=40)
            assert helper_of(lab).pid != before.pid
        await ui.until(lambda: ui.app.find("web") is not None and ui.app.find("shop") is not None, "what was there is there")
    networks = await asyncio.to_thread(lab.ask, "network", "inspect", "web")
    assert [member["IPv4Address"] for member in networks[0]["Containers"].values()] == ["10.20.0.10/24"]
    lab.run(["ping", "-c", "1", "-W", "2", "10.20.0.10"])
    assert "netdeck lab: WARNING the helper ended with exit code 137: it is started again in 0.5 s" in lab.helper_log()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_pause_grows_while_it_dies_at_once_and_is_short_again_after_one_that_lived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "helper.log"
    monkeypatch.setattr(lab_module, "HELPER_LOG", str(log))
    clock = Clock()
    started: list[float] = []

    def start() -> int:
        started.append(clock.now)
        if len(started) == 3:
            raise OSError(12, "Cannot allocate memory")
        return 100 + len(started)

    helper = Helper(100, start, clock)
    pauses: list[float] = []
    for _ in range(10):
        assert helper.waits is None
        helper.ended(1)
        while (waits := helper.waits) is not None:
            pauses.append(waits)
            clock.now += waits / 2
            helper.start_again_if_due()
            assert helper.waits, "not before its time"
            clock.now += waits / 2
            helper.start_again_if_due()
    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE] and pauses[-1] == LONGEST_PAUSE
    assert helper.pid == 100 + len(started)
    clock.now += LIVED + 1
    helper.ended(1)
    assert helper.waits == FIRST_PAUSE
    clock.now += FIRST_PAUSE
    helper.start_again_if_due()
    helper.ended(0)
    assert helper.waits is None and helper.pid == 0, "one that was stopped stays so"
    text = log.read_text()
    assert "can't be started: Cannot allocate memory" in text and "again in 30 s" in text
