"""The Doctor in the workstation, on the helper of a lab: it lists, shows, asks and mends."""

from __future__ import annotations

import asyncio

import pytest

from tests.running_lab import Lab
from tests.tui.station import station
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
            # What is not netdeck's to mend has no button for it.
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
            for _ in range(100):  # the kernel's news may come behind the look
                await user.press("r")
                await asyncio.sleep(0.1)
                if user.shows("Nothing is wrong."):
                    break
            assert user.shows("Nothing is wrong.") and user.shows("Doctor · nothing wrong")
            await user.press("escape")
            await user.until(lambda: not isinstance(user.app.screen, DoctorScreen), "it is closed")
    finally:
        lab.run("sysctl -qw net.ipv4.ip_forward=1; ip link set eth0 mtu 1500")
