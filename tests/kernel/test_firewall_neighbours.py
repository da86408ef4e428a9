"""Beside the real firewalld and the real ufw: what of theirs stops our packets is named, the commands that are shown help, our table
outlives their reloads, and nothing of theirs is changed by us."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kernel.firewalls import Firewalld, prepare_ufw
from tests.kernel.port_traffic import ask, serve
from tests.kernel.test_doctor import carried_out, findings
from tests.kernel.test_foreign_containers import rules_of_others
from tests.kernel.test_networks import attach
from tests.running_helper import RunningHelper
from tests.waiting import until

pytest_plugins = ("tests.kernel.helper_fixtures",)
pytestmark = [pytest.mark.engines, pytest.mark.req("X9", "B11")]
OUT = [("tcp", "192.0.2.1", 7000), ("tcp", "2001:db8::1", 7000)]
IN = [("tcp", "192.0.2.2", 8080), ("tcp", "2001:db8::2", 8080)]


@pytest.fixture
def busy(helper: RunningHelper) -> Iterator[RunningHelper]:
    """Two containers on a network of both families, one with a published port, and a server outside."""
    helper.call("network.create", name="a", ipv6=True)
    attach(helper, "a", "c1")
    attach(helper, "a", "c2")
    helper.call("port.publish", container="netns:c1", ports=["8080:80"])
    servers = [serve(helper.host, "c1", "c1", 80), serve(helper.host, "outside", "outside", 7000)]
    assert passes(helper) == {"out": True, "in": True}
    yield helper
    for server in servers:
        server.kill()
        server.wait()


def passes(helper: RunningHelper) -> dict[str, bool]:
    """Whether TCP of both families gets from a container to the outside, and from there to the published port."""
    found = {"out": ask(helper.host, "c2", OUT, 2.0), "in": ask(helper.host, "outside", IN, 2.0)}
    assert all(len({answer is None for answer in answers}) == 1 for answers in found.values()), found
    return {way: answers[0] is not None for way, answers in found.items()}


def table(helper: RunningHelper) -> list[str]:
    return sorted(helper.host.run("nft -s list table inet netdeck", check=False).splitlines())


def drops(helper: RunningHelper) -> dict[str, dict[str, object]]:
    """What is said to drop packets of network a."""
    return {ident: row for ident, row in findings(helper).items() if ident.startswith("foreign-drop") and "a" in row["networks"]}


def test_beside_firewalld(busy: RunningHelper) -> None:
    whole = table(busy)
    firewalld = Firewalld(busy.host)
    try:
        rules = rules_of_others(busy.host)
        until(lambda: passes(busy) == {"out": False, "in": True})  # what was translated for a published port, it lets through
        found = drops(busy)
        assert found and all(row["severity"] == "error" and not row["automatic"] for row in found.values())
        finding = next(iter(found.values()))
        assert "of the chain inet firewalld filter_" in str(finding["what"]) and "likely of firewalld" in str(finding["what"])
        assert not any("published" in str(line) for row in found.values() for line in row["details"])  # type: ignore[attr-defined]
        until(lambda: any(entry["action"] == "blocked" and entry["subject"] == "network a" for entry in busy.call("event.list")))
        assert rules_of_others(busy.host) == rules and table(busy) == whole
        carried_out(busy, finding["commands"])  # type: ignore[arg-type]
        assert passes(busy) == {"out": True, "in": True} and not drops(busy)
        # Both reloads, and the end of the daemon: our table stays, or is back at once.
        for reload in ("--reload", "--complete-reload"):
            assert firewalld(reload) == "success\n"
            until(lambda: table(busy) == whole)
            assert passes(busy) == {"out": True, "in": True} and not drops(busy)
        carried_out(busy, finding["undo"])  # type: ignore[arg-type]
        assert passes(busy)["out"] is False and drops(busy)
        # In panic nothing passes, and it is told what drops it.
        firewalld("--panic-on")
        assert passes(busy) == {"out": False, "in": False}
        assert any("firewalld_policy_drop" in ident for ident in drops(busy))
        firewalld("--panic-off")
    finally:
        firewalld.close()


def test_beside_ufw(busy: RunningHelper) -> None:
    host, whole = busy.host, table(busy)
    prepare_ufw(host)
    assert "active" in host.run("ufw --force enable")
    rules = rules_of_others(host)
    assert passes(busy) == {"out": False, "in": False}
    found = drops(busy)
    assert {"foreign-drop.ip.filter.FORWARD", "foreign-drop.ip6.filter.FORWARD"} == set(found)
    for row in found.values():
        assert row["severity"] == "error" and not row["automatic"] and "likely of ufw" in str(row["what"])
    told = busy.call("network.connect", network="a", container=f"netns:{host.add_namespace('c3')}")["warnings"]
    assert any("netdeck doctor --fix foreign-drop.ip.filter.FORWARD" in text for text in told)
    assert rules_of_others(host) == rules and table(busy) == whole
    # ufw's commands are for both families, so those of one finding are enough.
    carried_out(busy, found["foreign-drop.ip.filter.FORWARD"]["commands"])  # type: ignore[arg-type]
    assert passes(busy) == {"out": True, "in": True} and not drops(busy)
    for command in ("ufw reload", "ufw --force disable", "ufw --force enable"):
        host.run(command)
        until(lambda: table(busy) == whole)
        assert passes(busy) == {"out": True, "in": True} and not drops(busy), command
    carried_out(busy, found["foreign-drop.ip.filter.FORWARD"]["undo"])  # type: ignore[arg-type]
    assert passes(busy) == {"out": False, "in": False} and set(drops(busy)) == set(found)
