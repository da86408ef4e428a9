"""Keys that come in one write: what follows a key that opens something goes there, and is no command for the list."""

from __future__ import annotations

import asyncio
import time

import pytest

from protocol.errors import Unavailable
from tests.running_lab import NETDECK, Lab
from tests.tui.opened_workstation import opened, until
from tests.tui.pty_session import PtySession
from tests.tui.station import station
from tui.screens.doctor import DoctorScreen
from tui.screens.forms.create_network import CreateNetwork
from tui.screens.help import HelpScreen

pytestmark = pytest.mark.req("W5", "W6")

SLOW = [0.0, 0.3]


async def stall(seconds: float) -> None:
    """Nothing else runs for that time, as on a busy machine."""
    await asyncio.sleep(0)
    time.sleep(seconds)  # noqa: ASYNC251


@pytest.mark.parametrize("seconds", SLOW, ids=["at once", "busy"])
async def test_the_field_gets_what_follows_the_key_that_opens_it(module_lab: Lab, seconds: float) -> None:
    async with station(module_lab.socket) as user:
        app = user.app

        async def send(*keys: str) -> None:
            busy = asyncio.create_task(stall(seconds))
            await user.keys(*keys)
            await busy

        for view, line in (("2", "/nginx"), ("1", "/web"), ("3", "/detach")):
            await user.press(view)
            await send(line)
            await user.until(lambda: app.prompt.input.has_focus and app.prompt.input.value[-2:] in ("nx", "eb", "ch"), "it is typed")
            await user.until(lambda: app.view.model.filter_text == app.prompt.input.value, "it filters")
            assert app.prompt.sign + app.prompt.input.value == line and len(app.screen_stack) == 1
            await send("escape", "tab")
            await user.until(lambda: not app.prompt.is_open and not app.view.model.filter_text, "the filter is gone")
        await user.press("1")
        await send("/net", "enter", "/bridge", "enter", "j")
        await user.until(lambda: app.view.model.filter_text == "netbridge" and not app.prompt.is_open, "both were typed")
        await send("escape", ":doctor", "enter", "?")
        await user.until(lambda: isinstance(app.screen, DoctorScreen) and app.focused, "the doctor is open")
        await user.press("escape")
        await user.until(lambda: len(app.screen_stack) == 1, "it is closed")
        await send("cweb", "tab")
        await user.until(lambda: isinstance(app.screen, CreateNetwork) and app.screen._named.text == "web", "the name is typed")
        await user.press("escape")
        await user.until(lambda: len(app.screen_stack) == 1, "the form is closed")
        await send("?", "escape", "2", ":networks", "enter", "/x")
        await user.until(lambda: app.prompt.input.value == "x" and app.view_name == "networks", "each in its turn")
        assert not isinstance(app.screen, HelpScreen)
        assert {text.partition(":")[0] for text in user.said} <= {"no details are open"}, "escape, where nothing is open"


async def test_what_does_not_open_takes_its_keys_with_it() -> None:
    async with opened() as (app, helper, pilot):
        helper.answers["driver.list"] = Unavailable("not now")
        before = app.theme
        for key in "ctq":
            app.simulate_key(key)
        await until(pilot, lambda: any("not now" in note.message for note in app._notifications))
        await pilot.pause(0.1)
        assert app.theme == before and app.is_running and len(app.screen_stack) == 1 and not app._exit
        await pilot.press("t")
        await until(pilot, lambda: app.theme != before)


async def test_keys_wait_for_a_slow_helper_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.keys_in_order.PATIENCE", 0.5)
    async with opened() as (app, helper, pilot):
        never = asyncio.Event()

        async def call(op: str, args: object = None, **options: object) -> None:
            await never.wait()

        monkeypatch.setattr(helper, "call", call)
        before = app.theme
        for key in "ct":
            app.simulate_key(key)
        await until(pilot, lambda: any("passed over" in note.message for note in app._notifications), 20)
        assert app.theme == before
        await pilot.press("t")
        await until(pilot, lambda: app.theme != before)


def test_one_write_into_a_terminal(lab: Lab) -> None:
    lab.netdeck("network", "create", "xweb")
    lab.netdeck("run", "-d", "--name", "visitors", "--network", "xweb", "sleep", "100")
    with PtySession(lab._inside(NETDECK, ""), columns=120, lines=36, env={"NETDECK_LINK": "lan"}) as session:

        def wait_for(*texts: str) -> None:
            assert session.pump(60, until=lambda: all(session.shows(text) for text in texts)), (texts, session.screen.display)

        wait_for("● live", "xweb")
        session.send(b"2")
        wait_for("visitors")
        session.send(b"/nginx")
        wait_for("nothing matches nginx")
        session.send(b"\x1b")
        session.settle(5)
        wait_for("visitors")
        session.send(b":addresses\r")
        wait_for("Addresses")
        assert not session.shows("Attach")
        session.send(b"\x1b")
        session.settle(5)
        session.send(b"1")
        wait_for("xweb")
        session.send(b"/web")
        wait_for("1 of ", "/web")
        session.send(b"\x1b")
        session.settle(5)
        session.send(b":doctor\r")
        wait_for("Doctor")
        assert not session.shows("New network")
        session.send(b"\x1b")
        session.settle(5)
        session.send(b"cwebs")
        wait_for("New network", "webs")
        session.send(b"\x1b")
        session.settle(5)
        session.send(b"q")
        assert session.wait_exit() == 0
    assert "visitors" in lab.netdeck("network", "inspect", "xweb").stdout, "it is still attached"
