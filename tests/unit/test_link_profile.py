"""Which settings suit which link, and that the private parts they rest on are as expected."""

from __future__ import annotations

import pytest

from tui.terminal.check import check_terminal, problems
from tui.terminal.link_profile import PROFILES, apply, chosen

pytestmark = pytest.mark.req("W6")


def test_ssh_means_a_thinner_profile() -> None:
    assert chosen({}).name == "lan"
    assert chosen({"SSH_CONNECTION": "10.0.0.1 1 10.0.0.2 22"}).name == "wan"
    assert chosen({"SSH_TTY": "/dev/pts/1", "NETDECK_LINK": "slow"}).name == "slow"
    assert chosen({"NETDECK_LINK": "slow"}, "lan").name == "lan"
    with pytest.raises(ValueError, match="lan, wan, slow"):
        chosen({}, "modem")


def test_what_the_user_set_stays() -> None:
    environ = {"TEXTUAL_FPS": "7"}
    assert apply(environ, "slow") is PROFILES["slow"]
    assert environ == {"TEXTUAL_FPS": "7", "TEXTUAL_ANIMATIONS": "none", "TEXTUAL_COLOR_SYSTEM": "standard"}


def test_private_parts_are_as_expected() -> None:
    assert problems() == []
    assert check_terminal({}).usable


def test_another_textual_switches_everything_off() -> None:
    assert any("99.0" in reason for reason in problems("99.0"))


def test_the_user_can_switch_it_off() -> None:
    check = check_terminal({"NETDECK_STOCK_OUTPUT": "1"})
    assert not check.usable and "NETDECK_STOCK_OUTPUT" in check.reasons[0]
