"""A plan says which container it is about by the name that people use; its commands say it as a shell needs it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.running_lab import Lab

pytestmark = [pytest.mark.req("X1"), pytest.mark.timeout(300)]


def plan(lab: Lab, *arguments: str) -> dict[str, Any]:
    place = arguments.index("--dry-run")
    answer = lab.ask(*arguments[:place], "--format", "json", *arguments[place:])
    found: dict[str, Any] = answer["plan"]
    return found


def test_steps_name_the_container_and_commands_reach_it(lab: Lab) -> None:
    lab.netdeck("network", "create", "--subnet", "10.20.0.0/24", "web")
    lab.netdeck("network", "create", "--subnet", "10.30.0.0/24", "db")
    lab.netdeck("run", "-d", "--name", "shop", "--network", "web", "sleep", "600")
    lab.run("ip netns add old")
    shop = next(item for item in lab.ask("ps", "--format", "json") if item["name"] == "shop")
    names = (("shop", "shop", f"-t {shop['pid']} "), (shop["id"][:12], "shop", f"-t {shop['pid']} "),
             (f"pid:{shop['pid']}", "shop", f"-t {shop['pid']} "), ("netns:old", "netns:old", "ip -n old "))
    for given, shown, way in names:
        found = plan(lab, "network", "connect", "--dry-run", "db", given)
        texts = " ".join(step["text"] for step in found["steps"])
        assert f" in {shown}" in texts and "pid:" not in texts and shop["id"][:12] not in texts, texts
        assert any(way in command for command in found["commands"]), found["commands"]
    lab.netdeck("network", "connect", "db", "shop")
    texts = " ".join(step["text"] for step in plan(lab, "network", "disconnect", "--dry-run", "db", "shop")["steps"])
    assert " in shop" in texts and "pid:" not in texts


def test_commands_for_a_container_that_is_not_there_yet_begin_with_its_namespace(lab: Lab) -> None:
    lab.netdeck("network", "create", "--subnet", "10.20.0.0/24", "web")
    found = plan(lab, "run", "--dry-run", "--name", "fresh", "--network", "web", "--ip", "10.20.0.9", "sleep", "5")
    assert all(" in fresh" in step["text"] or "on the host" in step["text"] for step in found["steps"])
    assert found["commands"][0] == "ip netns add fresh"
    lab.run("set -e\n" + "\n".join(command for command in found["commands"] if not command.startswith("nft")))
    assert "10.20.0.9/24" in lab.run("ip -brief address show dev eth0", netns="fresh")
    lab.run("ping -c 1 -W 2 10.20.0.9")
