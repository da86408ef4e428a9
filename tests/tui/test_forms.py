"""The forms on a real helper: keys go into the workstation, and the kernel of the lab is looked at."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import pytest
from textual.widgets import Button, Input

from tests.running_lab import Lab, environment
from tests.tui.pty_session import ROOT, PtySession
from tests.tui.station import Station, station
from tui.screens.forms.attach import Attach
from tui.screens.forms.confirm import Confirm
from tui.screens.forms.create_network import CreateNetwork
from tui.screens.forms.detach import Detach
from tui.screens.forms.form_dialog import DEBOUNCE, FormDialog

pytestmark = pytest.mark.req("W5")


def bridges(lab: Lab) -> set[str]:
    return {link["ifname"] for link in json.loads(lab.run("ip -j link show type bridge"))}


def inspected(lab: Lab, name: str) -> dict[str, Any]:
    found: dict[str, Any] = lab.ask("network", "inspect", name)[0]
    return found


def inside(lab: Lab, container: str) -> dict[str, dict[str, Any]]:
    """Interfaces of a container as the kernel has them, without lo."""
    links = json.loads(lab.netdeck("exec", container, "ip", "-j", "address").stdout)
    return {link["ifname"]: link for link in links if link["ifname"] != "lo"}


def addresses(link: dict[str, Any]) -> set[str]:
    return {f"{item['local']}/{item['prefixlen']}" for item in link["addr_info"] if item["scope"] == "global"}


async def open_create(user: Station) -> CreateNetwork:
    await user.press("1", "c")
    await user.until(lambda: isinstance(user.app.screen, CreateNetwork) and user.app.focused, "the form is open")
    form = user.app.screen
    assert isinstance(form, CreateNetwork)
    return form


async def go_to(user: Station, name: str) -> None:
    """Put the cursor on what has this name."""
    await user.until(lambda: user.app.find(name), f"{name} is known")
    found = user.app.find(name)
    assert found is not None

    def is_there() -> bool:
        selected = user.app.selected()
        if selected is not None and selected.key == found.key:
            return True
        user.app.go_to(found.kind, found.key)
        return False

    await user.until(is_there, f"the cursor is on {name}")


async def go_into(user: Station, ident: str) -> None:
    """Tab to the field of that id."""
    for _ in range(60):
        if user.app.focused is not None and user.app.focused.id == ident:
            return
        await user.tab()
    raise AssertionError(f"tab never comes to {ident}")


async def planned(user: Station) -> None:
    form = user.app.screen
    assert isinstance(form, FormDialog)
    await user.until(lambda: form.plan.shown is not None, "a plan is shown")


@pytest.mark.req("B2", "X1")
@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 50)], ids=["80x24", "120x40", "200x50"])
async def test_create_a_network_by_keys(module_lab: Lab, size: tuple[int, int]) -> None:
    name = f"made{size[0]}"
    before = bridges(module_lab)
    async with station(module_lab.socket, size) as user:
        await open_create(user)
        await user.type(name)
        await go_into(user, "labels")
        await user.type("team=web 'full name=the web'")
        await go_into(user, "subnet-0")
        await user.type(f"10.{size[0]}.0.0/24")
        await go_into(user, "aux-0")
        await user.type(f"nas=10.{size[0]}.0.9")
        await go_into(user, "subnet-1")
        await user.type(f"fd00:{size[0]}::/64")
        await go_into(user, "option-mtu")
        await user.type("1400")
        await go_into(user, "option-icc")
        await user.press("space")
        await user.until(lambda: user.errors(), "a label with a blank in its name is refused")
        assert "full name" in user.errors()["labels"]
        await go_into(user, "labels")
        await user.press("ctrl+u")
        await user.type("team='the web'")
        await planned(user)
        await user.until(lambda: not user.errors(), "nothing is wrong any more")
        # The plan, the command and the commands of the kernel's own tools are seen before anything is made.
        await user.until(lambda: user.shows("netdeck network create --subnet"), "the command is shown")
        await user.press("ctrl+t")
        await user.until(lambda: user.shows("ip link add name br-"), "the commands are shown")
        assert bridges(module_lab) == before
        await user.press("ctrl+s")
        await user.until(lambda: user.app.feed.network_named(name), "the network is there")
        await user.until(lambda: (chosen := user.app.selected()) is not None and chosen.name == name, "the cursor is on it")
        assert user.said == [f"network {name} was created · u takes it back"]
    assert len(bridges(module_lab) - before) == 1
    network = inspected(module_lab, name)
    assert [pool["Subnet"] for pool in network["IPAM"]["Config"]] == [f"10.{size[0]}.0.0/24", f"fd00:{size[0]}::/64"]
    assert network["Labels"] == {"team": "the web"}
    link = json.loads(module_lab.run(f"ip -j address show {next(iter(bridges(module_lab) - before))}"))[0]
    assert link["mtu"] == 1400
    assert addresses(link) == {f"10.{size[0]}.0.1/24", f"fd00:{size[0]}::1/64"}


@pytest.mark.req("X1")
async def test_the_command_that_is_shown_makes_the_same(module_lab: Lab) -> None:
    async with station(module_lab.socket) as user:
        form = await open_create(user)
        await user.type("same")
        await go_into(user, "subnet-0")
        await user.type("10.77.0.0/16")
        await go_into(user, "gateway-0")
        await user.type("10.77.0.254")
        await go_into(user, "range-0")
        await user.type("10.77.128.0/17")
        await go_into(user, "option-masquerade")
        await user.press("space")
        await planned(user)
        await user.until(lambda: "--gateway" in form.plan.command and "masquerade" in form.plan.command, "all of it is in the command")
        words = form.plan.command.split()
        await user.press("ctrl+s")
        await user.until(lambda: user.app.feed.network_named("same"), "the network is there")
    shown = {key: value for key, value in inspected(module_lab, "same").items() if key not in ("Id", "Created", "Name")}
    module_lab.netdeck("network", "rm", "same")
    assert words[0] == "netdeck"
    module_lab.netdeck(*words[1:])
    again = {key: value for key, value in inspected(module_lab, "same").items() if key not in ("Id", "Created", "Name")}
    for key in ("IPAM", "Options", "Labels", "Internal", "EnableIPv6", "Driver"):
        assert again[key] == shown[key]


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
async def test_every_field_can_be_reached_and_is_in_sight(module_lab: Lab, size: tuple[int, int]) -> None:
    async with station(module_lab.socket, size) as user:
        form = await open_create(user)
        form.query_one("#option-uplink", Input).value = "eth9"  # some have a meaning only with it
        await user.until(lambda: form.query_one("#ipam").display and form.query_one("#option-address_probe").region, "they are there")
        seen = set()
        for _ in range(60):
            focused = user.app.focused
            assert focused is not None
            await user.pilot.pause()
            where = form.find_widget(focused).visible_region
            assert where.height >= 1 and where.width > 3, f"{focused.id} is out of sight"
            assert where.size == focused.outer_size, f"{focused.id} is partly out of sight"
            seen.add(focused.id)
            await user.tab()
        options = {f"option-{option.name}" for option in form.info.options}
        assert seen >= {"name", "driver", "ipv4", "ipv6", "internal", "ipam", "labels", "subnet-0", "submit", "cancel", *options}


BAD = (
    ("name", "bridge", "name", "exists already"),
    ("name", "a/b", "name", "is not allowed"),
    ("labels", "=ops", "labels", "NAME=VALUE"),
    ("subnet-0", "10.1.2", "subnet:0", "expected an address and a prefix length"),
    ("subnet-0", "192.168.1.0/24", "subnet:0", "eth0"),
    ("subnet-0", "172.17.128.0/24", "subnet:0", "network bridge"),
    ("subnet-0", "127.0.0.0/24", "subnet:0", "loopback"),
    ("gateway-0", "10.0.0.1", "subnet:0", "needs a subnet"),
    ("option-mtu", "70000", "option:mtu", "from 68 to 65535"),
    ("option-mtu", "big", "option:mtu", "whole number"),
    ("option-name", "eth0", "option:name", "not a bridge"),
    ("option-host_ipv4", "1.2.3", "option:host_ipv4", "not an address"),
)


@pytest.mark.req("B2")
@pytest.mark.parametrize("field, text, place, words", BAD, ids=[f"{field}-{text}".replace("/", "_") for field, text, _, _ in BAD])
async def test_bad_input_is_said_under_its_field_and_changes_nothing(
    module_lab: Lab, field: str, text: str, place: str, words: str
) -> None:
    before = (bridges(module_lab), module_lab.run("nft -s list ruleset"), module_lab.netdeck("network", "ls", "-q").stdout)
    async with station(module_lab.socket, (80, 24)) as user:
        form = await open_create(user)
        if field != "name":
            await user.type("bad")
        await go_into(user, field)
        await user.type(text)
        await user.until(lambda: words in user.errors().get(place, ""), "it is refused")
        assert set(user.errors()) == {place}
        await user.press("ctrl+s")
        await user.until(lambda: not form._busy and user.errors(), "it stays refused")
        assert user.app.screen is form
        assert words in user.errors()[place]
    assert before == (bridges(module_lab), module_lab.run("nft -s list ruleset"), module_lab.netdeck("network", "ls", "-q").stdout)


async def test_an_empty_name_is_asked_for_only_when_one_wants_to_create(module_lab: Lab) -> None:
    async with station(module_lab.socket) as user:
        form = await open_create(user)
        await user.until(lambda: user.shows("Type a name"), "the form says what to begin with")
        assert not user.errors()
        await user.press("ctrl+s")
        await user.until(lambda: "name" in user.errors(), "the name is asked for")
        assert user.app.focused is form.query_one("#name", Input)
        await user.press("escape")
        await user.until(lambda: user.app.screen is not form, "escape leaves")


async def test_an_address_in_v6_switches_v6_on(module_lab: Lab) -> None:
    async with station(module_lab.socket) as user:
        form = await open_create(user)
        await user.type("six")
        await go_into(user, "subnet-0")
        await user.type("fd00:66::/64")
        await user.until(lambda: form.entry.ipv6, "the address wants it")
        await go_into(user, "ipv4")
        await user.press("space")
        await user.until(lambda: "--no-ipv4" in form.plan.command, "v6 alone is asked for")
        await go_into(user, "ipv6")
        await user.press("space")
        await user.until(lambda: "families" in user.errors(), "a network needs one of them")


@pytest.mark.req("B6")
async def test_attach_detach_and_take_it_back(module_lab: Lab) -> None:
    module_lab.netdeck("network", "create", "--subnet", "10.81.0.0/24", "--subnet", "fd00:81::/64", "move")
    module_lab.netdeck("run", "-d", "--name", "mover", "sleep", "600")
    async with station(module_lab.socket) as user:
        await go_to(user, "move")
        await user.press("a")
        await user.until(lambda: isinstance(user.app.screen, Attach), "the form is open")
        form = user.app.screen
        assert isinstance(form, Attach)
        await user.type("mover")
        await planned(user)
        await go_into(user, "ip")
        await user.type("10.82.0.7")
        await user.until(lambda: "ip" in user.errors(), "an address outside is refused")
        assert "outside network move" in user.errors()["ip"]
        await user.press("ctrl+u")
        await user.type("10.81.0.7")
        await go_into(user, "mac_address" if form.query("#mac_address") else "mac")
        await user.type("02:42:00:00:81:07")
        await go_into(user, "aliases")
        await user.type("truck")
        await user.until(lambda: "--alias truck" in form.plan.command, "the command is shown")
        assert "eth1" not in inside(module_lab, "mover")
        await user.press("ctrl+s")
        await user.until(lambda: user.app.screen is not form, "it is attached")
        first = inside(module_lab, "mover")["eth1"]
        assert first["address"] == "02:42:00:00:81:07"
        assert "10.81.0.7/24" in addresses(first)
        endpoint = next(iter(inspected(module_lab, "move")["Containers"].values()))

        await go_to(user, "mover")
        await user.press("x")
        await user.until(lambda: isinstance(user.app.screen, Detach), "it is asked which of two")
        await user.type("network=move")
        await user.until(lambda: user.shows("network disconnect move mover"), "the command is shown")
        await user.press("ctrl+s")
        await user.until(lambda: any(text == "mover detached from move · u takes it back" for text in user.said), "it is detached")
        assert list(inside(module_lab, "mover")) == ["eth0"]

        await user.take_back("network connect --ip 10.81.0.7")
        await user.until(lambda: any("attached again" in text for text in user.said), "it is attached again")
        again = inside(module_lab, "mover")["eth1"]
        assert (again["address"], addresses(again)) == (first["address"], addresses(first))
        later = next(iter(inspected(module_lab, "move")["Containers"].values()))
        for key in ("Name", "IPv4Address", "IPv6Address", "MacAddress", "Aliases"):
            assert later[key] == endpoint[key]
        await user.press("u")
        await user.until(lambda: user.said[-1] == "there is nothing to take back", "once is enough")


@pytest.mark.req("B6")
async def test_several_at_once_each_with_its_result(module_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    module_lab.netdeck("network", "create", "--subnet", "10.83.0.0/29", "--gateway", "10.83.0.1", "--ip-range", "10.83.0.4/31", "few")
    for name in ("few-a", "few-b", "few-c"):
        module_lab.netdeck("run", "-d", "--name", name, "sleep", "600")
    async with station(module_lab.socket) as user:
        await go_to(user, "few")
        await user.press("a")
        await user.until(lambda: isinstance(user.app.screen, Attach), "the form is open")
        form = user.app.screen
        assert isinstance(form, Attach)
        await user.type("few-")
        await user.until(lambda: len(form.pairs()) == 1, "the list is filtered")
        for _ in range(3):
            await user.press("ctrl+@")
        await user.until(lambda: len(form.pairs()) == 3, "three are marked")
        assert form.query_one("#ip", Input).disabled
        await planned(user)
        await user.until(lambda: user.shows("first of 3"), "the plan says that there are more")
        call = user.app.client.call

        async def slow(operation: str, *arguments: Any, **named: Any) -> Any:
            """The list shrinks while the others are still being attached."""
            answer = await call(operation, *arguments, **named)
            await asyncio.sleep(DEBOUNCE / 2)
            return answer

        monkeypatch.setattr(user.app.client, "call", slow)
        await user.press("ctrl+s")
        await user.until(lambda: user.shows("2 of 3 attached"), "two found an address")
        monkeypatch.undo()
        await asyncio.sleep(2 * DEBOUNCE)
        assert user.shows("2 of 3 attached")
        assert user.shows("few-a: attached with 10.83.0.") and user.shows("few-b: attached with 10.83.0.")
        assert user.shows("! few-c: ")
        await user.press("escape")
        await user.until(lambda: user.said == ["few-a, few-b attached to few · u takes it back"], "what was done is told")
        assert len(inspected(module_lab, "few")["Containers"]) == 2
        await user.take_back("few-a, few-b attached to few")
        await user.until(lambda: user.said[1:] == ["few-a, few-b detached again"], "what was done can be taken back")
    assert not inspected(module_lab, "few")["Containers"]


@pytest.mark.req("B2")
async def test_removing_is_refused_with_names_and_else_asked_with_cancel_first(module_lab: Lab) -> None:
    module_lab.netdeck("network", "create", "busy")
    module_lab.netdeck("network", "create", "idle")
    module_lab.netdeck("run", "-d", "--name", "worker", "--network", "busy", "sleep", "600")
    before = bridges(module_lab)
    async with station(module_lab.socket) as user:
        await go_to(user, "busy")
        await user.press("D")
        await user.until(lambda: isinstance(user.app.screen, Confirm) and user.shows("worker"), "it is refused, with names")
        assert not user.app.screen.query("#agree")
        await user.press("enter")
        await user.until(lambda: not isinstance(user.app.screen, Confirm), "there is only a way out")
        assert bridges(module_lab) == before

        await go_to(user, "idle")
        await user.press("delete")
        await user.until(lambda: isinstance(user.app.screen, Confirm) and user.shows("netdeck network rm idle"), "the plan is shown")
        assert user.app.focused is user.app.screen.query_one("#cancel", Button)
        await user.press("enter")
        await user.until(lambda: not isinstance(user.app.screen, Confirm), "cancel is the default")
        assert bridges(module_lab) == before

        await user.press("D")
        await user.until(lambda: isinstance(user.app.screen, Confirm) and user.shows("ctrl+s remove"), "it is asked again")
        await user.press("ctrl+s")
        await user.until(lambda: user.app.feed.network_named("idle") is None, "it is gone")
        assert "idle removed" in user.said
    assert len(before - bridges(module_lab)) == 1


async def test_removing_a_container_that_runs_is_asked_with_cancel_first(module_lab: Lab) -> None:
    module_lab.netdeck("run", "-d", "--name", "victim", "sleep", "600")
    async with station(module_lab.socket) as user:
        await user.press("2")
        await go_to(user, "victim")
        await user.press("D")
        await user.until(lambda: isinstance(user.app.screen, Confirm) and user.shows("victim") and user.shows("It runs."), "it is named")
        await user.press("enter")
        await user.until(lambda: not isinstance(user.app.screen, Confirm), "cancel is the default")
        assert "victim" in module_lab.netdeck("ps").stdout
        await user.press("D")
        await user.until(lambda: isinstance(user.app.screen, Confirm), "it is asked again")
        await user.press("right", "enter")
        await user.until(lambda: "victim removed" in user.said, "it is gone")
    assert "victim" not in module_lab.netdeck("ps", "-a").stdout


async def test_marked_networks_go_together(module_lab: Lab) -> None:
    for name in ("pair-a", "pair-b"):
        module_lab.netdeck("network", "create", name)
    async with station(module_lab.socket) as user:
        await user.until(lambda: user.app.feed.network_named("pair-b"), "both are known")
        user.app.show_view("networks", "name:pair- | name=bridge")
        await user.pilot.pause()
        await user.press("home", "m", "m", "m")
        await user.until(lambda: len(user.app.chosen()) == 3, "three are marked")
        await user.press("D")
        await user.until(lambda: isinstance(user.app.screen, Confirm) and user.shows("Remove 2"), "two can go")
        assert user.shows("predefined")
        await user.press("tab", "enter")
        await user.until(lambda: "pair-a, pair-b removed" in user.said, "both went")
    assert "pair-" not in module_lab.netdeck("network", "ls").stdout


@pytest.mark.req("B2")
def test_a_network_made_by_keystrokes_in_a_real_terminal(module_lab: Lab) -> None:
    before = bridges(module_lab)
    env = {**environment(), "NETDECK_SOCKET": module_lab.socket, "LANG": "C.UTF-8"}
    with PtySession([sys.executable, "-P", "-m", "tui"], columns=80, lines=24, env={**env, "PYTHONPATH": str(ROOT)}) as session:
        assert session.pump(60, lambda: session.shows("172.17.0.0/16")), "\n".join(session.screen.display)
        session.send(b"c")
        assert session.pump(60, lambda: session.shows("New network")), "\n".join(session.screen.display)
        session.send(b"typed\t\t\t\t\t\t10.91.0.0/24")
        assert session.pump(60, lambda: session.shows("network create --subnet 10.91.0.0/24 typed")), "\n".join(session.screen.display)
        assert bridges(module_lab) == before
        session.send(b"\x13")
        assert session.pump(60, lambda: session.shows("typed") and not session.shows("New network")), "\n".join(session.screen.display)
        session.send(b"q")
        assert session.wait_exit() is not None
    assert len(bridges(module_lab) - before) == 1
    assert inspected(module_lab, "typed")["IPAM"]["Config"][0]["Subnet"] == "10.91.0.0/24"
