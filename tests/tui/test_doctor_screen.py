"""The Doctor in the workstation, on the helper of a lab: it lists, shows, asks and mends."""

from __future__ import annotations

import asyncio
import time

import pytest

from protocol.findings import Finding
from tests.running_lab import Lab
from tests.tui.station import station
from tests.waiting import LONGEST_SECONDS
from tui.rows.findings import asks_for_nothing, next_step
from tui.screens.doctor import DoctorScreen
from tui.screens.forms.confirm import Confirm

pytestmark = pytest.mark.req("B11", "X14", "W1")


async def test_findings_are_listed_explained_and_mended(lab: Lab) -> None:
    lab.run("sysctl -qw net.ipv4.ip_forward=0; ip link set eth0 mtu 1400")
    try:
        async with station(lab.socket) as user:
            await user.press("exclamation_mark")
            await user.until(lambda: isinstance(user.app.screen, DoctorScreen), "the Doctor is open")
            screen = user.app.screen
            assert isinstance(screen, DoctorScreen)
            await user.until(lambda: screen.findings.keys() == {"forwarding-ipv4", "mtu.bridge.eth0"}, "it has looked")
            await user.until(lambda: user.shows("Doctor · 2 wrong"), "it says how many")
            while screen.finding is None or screen.finding.id != "mtu.bridge.eth0":
                await user.press("down")
                assert screen.finding is not None
            await user.until(lambda: user.shows("takes 1400") and user.shows("Why it matters"), "the page is of what is selected")
            # enter goes to the page, and says what there is to do; what is not netdeck's to mend has no button for it.
            await user.press("enter")
            await user.until(lambda: user.said == ["mtu.bridge.eth0: this is for you to mend, as said below: netdeck changes only what is "
                                                   "its own"], "it is said")
            await user.press("tab")
            await user.press("f")
            await user.until(lambda: isinstance(user.app.screen, Confirm) and user.shows("for you to do"), "the commands are shown")
            assert not user.shows("Do it")
            await user.press("escape", "home")
            await user.until(lambda: screen.finding is not None and screen.finding.id == "forwarding-ipv4", "the other is selected")
            # Cancel is what enter does.
            await user.press("f")
            await user.until(lambda: isinstance(user.app.screen, Confirm) and user.shows("sysctl -w net.ipv4.ip_forward=1"), "it is shown")
            await user.press("enter")
            await user.until(lambda: user.app.screen is screen, "it was cancelled")
            assert lab.run("sysctl -n net.ipv4.ip_forward").strip() == "0"
            await user.press("f")
            await user.until(lambda: isinstance(user.app.screen, Confirm) and user.shows("Do it"), "it is shown again")
            await user.press("tab", "enter")
            await user.until(lambda: "forwarding-ipv4" not in screen.findings, "it is mended")
            assert lab.run("sysctl -n net.ipv4.ip_forward").strip() == "1"
            assert "forwarding-ipv4 mended" in user.said
            lab.run("ip link set eth0 mtu 1500")
            end = time.monotonic() + LONGEST_SECONDS
            while not user.shows("Nothing is wrong.") and time.monotonic() < end:  # the kernel's news may come behind the look
                await user.press("r")
                await asyncio.sleep(0.1)
            assert user.shows("Nothing is wrong.") and user.shows("Doctor · nothing wrong")
            await user.press("escape")
            await user.until(lambda: not isinstance(user.app.screen, DoctorScreen), "it is closed")
    finally:
        lab.run("sysctl -qw net.ipv4.ip_forward=1; ip link set eth0 mtu 1500")


def test_each_finding_says_its_next_step() -> None:
    notice = Finding("limits.lan", "notice", "what network lan can't do", "", "")
    assert asks_for_nothing(notice) and "nothing is to be mended" in next_step(notice)
    assert "f mends it" in next_step(Finding("a", "error", "", "", "", automatic=True, commands=("sysctl",)))
    assert "f shows the commands" in next_step(Finding("a", "notice", "", "", "", commands=("firewall-cmd",)))
    assert "f takes it back" in next_step(Finding("a", "notice", "", "", "", undo=("netdeck doctor --undo a",)))
    wrong = Finding("a", "warning", "", "", "")
    assert not asks_for_nothing(wrong) and "for you to mend" in next_step(wrong)
