"""Ports published and withdrawn by keys in the workstation, on a real helper; where each is reachable stands in the details."""

from __future__ import annotations

import json
from typing import Any

import pytest

from protocol.model import Port
from protocol.ports import exact, exact_ranges, parse_all
from tests.running_lab import Lab
from tests.tui.station import station
from tests.tui.test_forms import go_to, planned
from tui.screens.forms.ports import Publish, Withdraw

pytestmark = pytest.mark.req("W5", "B9")


def ports(lab: Lab, container: str) -> list[str]:
    rows: list[dict[str, Any]] = lab.ask("call", "port.list", json.dumps({"container": container}))
    return [f"{row['host']}:{row['host_port']}->{row['port']}/{row['protocol']}" for row in rows]


@pytest.mark.req("X1")
async def test_publish_withdraw_and_take_both_back(module_lab: Lab) -> None:
    module_lab.netdeck("run", "-d", "--name", "server", "--expose", "9", "sleep", "600")
    async with station(module_lab.socket, (120, 40)) as user:
        await user.press("2")
        await go_to(user, "server")
        await user.press("p")
        await user.until(lambda: isinstance(user.app.screen, Publish) and user.app.focused, "the form is open")
        await user.until(lambda: user.shows("Type a port"), "it says what to begin with")
        await user.type("8080:80 8081:x 70000:1 127.0.0.1:5353:53/udp")
        await user.until(lambda: user.errors(), "what is wrong is said")
        assert "8081:x" in user.errors()["ports"] and "70000" in user.errors()["ports"], "each that is wrong, at once"
        await user.press("ctrl+u")
        await user.type("8080-8081:80-81 127.0.0.1:5353:53/udp")
        await planned(user)
        await user.until(lambda: user.shows("netdeck port publish server") and not user.errors(), "the command is shown")
        await user.until(lambda: user.shows("0.0.0.0:8080-8081->80-81/tcp"), "what will be published is shown")
        assert ports(module_lab, "server") == []
        await user.press("ctrl+s")
        await user.until(lambda: user.said, "it is told")
        made = ports(module_lab, "server")
        assert {"0.0.0.0:8080->80/tcp", "0.0.0.0:8081->81/tcp", "127.0.0.1:5353->53/udp"} <= set(made)

        await user.press("enter", "right", "right")
        await user.until(lambda: user.shows("192.168.1.250:8080") and user.shows("127.0.0.1:8080"), "where it is reachable is shown")
        await user.until(lambda: user.shows("from this host alone") and user.shows("(not published)"), "and what is not")
        await user.press("escape")

        await user.press("w")
        await user.until(lambda: isinstance(user.app.screen, Withdraw) and user.shows("127.0.0.1:5353"), "the ports are listed")
        await user.type("5353")
        await user.until(lambda: user.shows("127.0.0.1:5353:53/udp") and user.shows("netdeck port withdraw server"), "the command is shown")
        await planned(user)
        await user.press("ctrl+s")
        await user.until(lambda: len(user.said) == 2, "it is told")
        assert set(made) - set(ports(module_lab, "server")) == {"127.0.0.1:5353->53/udp"}
        await user.take_back("netdeck port publish server")
        await user.until(lambda: len(user.said) == 3, "it is taken back")
        assert sorted(ports(module_lab, "server")) == sorted(made)

        user.app.run_line("publish server 8080:80")
        await user.until(lambda: "published for container server already" in user.errors().get("ports", ""), "the helper refuses it")
        assert set(user.errors()) == {"ports"}
        await user.press("ctrl+u")
        await user.type("90")
        await planned(user)
        await user.press("ctrl+s")
        await user.until(lambda: len(user.said) == 4 and user.said[3].startswith("server publishes 0.0.0.0:"), "a free port was chosen")
        await user.take_back("netdeck port withdraw server")
        await user.until(lambda: len(user.said) == 5, "it is taken back")
        assert sorted(ports(module_lab, "server")) == sorted(made)

        await user.press("x")
        await user.until(lambda: len(user.said) == 6, "it is detached, and its ports with it")
        assert user.said[5].startswith("server detached from bridge") and not module_lab.ask("call", "port.list")
        await user.take_back("server detached from bridge")
        await user.until(lambda: user.said[6:] == ["server attached again as before"], "it is as before")
        assert sorted(ports(module_lab, "server")) == sorted(made)
        assert "no longer publishes 0.0.0.0:" in user.said[4]


def test_a_port_is_named_so_that_it_and_no_other_is_meant() -> None:
    found = [Port("tcp", "0.0.0.0", 8000, 80), Port("tcp", "0.0.0.0", 8001, 81), Port("udp", "::", 53, 53)]
    assert exact(found[2]) == "[::]:53:53/udp"
    assert exact_ranges(found) == ("0.0.0.0:8000-8001:80-81/tcp", "[::]:53:53/udp")
    again = [(wish.protocol, wish.host, wish.host_ports and wish.host_ports[0], wish.port) for wish in parse_all(exact_ranges(found))]
    assert again == [(item.protocol, item.host, item.host_port, item.port) for item in found]
