"""Many clients at once, some of which give up: every call is answered, and kernel and store agree in the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random

import pytest

from drivers.bridge import PREDEFINED_LINK
from protocol.client import Client
from protocol.errors import Internal, NetdeckError
from tests.running_helper import RunningHelper
from tests.waiting import LONGEST_SECONDS

pytest_plugins = ("tests.kernel.helper_fixtures",)
CLIENTS, CALLS = 6, 25


async def work(helper: RunningHelper, seed: int, told: list[NetdeckError]) -> int:
    dice = random.Random(seed)
    done = 0
    async with Client(helper.socket) as client:
        for number in range(CALLS):
            network, container = f"n{dice.randrange(3)}", f"netns:c{dice.randrange(3)}"
            name = f"s{seed}-{dice.randrange(2)}"
            operation, arguments = dice.choice((
                ("network.create", {"name": network, "ipv6": dice.random() < 0.5}),
                ("network.create", {"name": network, "options": {"icc": "false"}}),
                ("network.connect", {"network": network, "container": container}),
                ("network.connect", {"network": network, "container": container}),
                ("network.disconnect", {"network": network, "container": container}),
                ("network.connect", {"network": network, "container": name}),
                ("network.remove", {"name": network}),
                ("container.run", {"command": ["sleep", "600"], "name": name, "networks": [network], "detach": True}),
                ("container.run", {"command": ["true"], "networks": [network, "bridge"], "auto_remove": True}),
                ("container.stop", {"name": name, "timeout": 0}),
                ("container.remove", {"name": name, "force": True}),
                ("network.list", {}),
            ))
            task = asyncio.create_task(client.call(operation, arguments, key=f"{seed}-{number}" if operation.startswith("network")
                                                   else None, deadline=dice.choice((None, None, 0.01, 5.0))))
            if dice.random() < 0.15:
                await asyncio.sleep(dice.random() * 0.03)
                task.cancel()
            try:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait_for(task, LONGEST_SECONDS)
                    done += 1
            except NetdeckError as error:
                told.append(error)
    return done


@pytest.mark.req("W3", "W8", "B6")
@pytest.mark.parametrize("seed", [1, 2])
async def test_kernel_and_store_agree_after_many_at_once(helper: RunningHelper, seed: int) -> None:
    for number in range(3):
        helper.host.add_namespace(f"c{number}")
    told: list[NetdeckError] = []
    done = await asyncio.gather(*(work(helper, seed * 100 + number, told) for number in range(CLIENTS)))
    assert sum(done) > CALLS
    assert not [error.message for error in told if isinstance(error, Internal)], helper.log()
    # A restart plans from what is stored to what is seen: there is nothing to do.
    await asyncio.to_thread(helper.restart)
    events = helper.call("event.list")
    assert not [(row["action"], row["subject"], row["text"]) for row in events if row["action"].startswith(("repair", "recovered"))]
    assert "repair" not in helper.log() and "Traceback" not in helper.log(), helper.log()
    for row in helper.call("container.list", all=True, foreign=False):
        assert row["status"] in ("running", "exited")
        if row["runtime"] == "netdeck":
            helper.call("container.remove", name=row["name"], force=True)
    for row in helper.call("network.list"):
        for member in helper.call("network.inspect", names=[row["name"]])[0]["Containers"].values():
            helper.call("network.disconnect", network=row["name"], container=member["Name"])
    helper.call("network.prune")
    assert {row["ifname"] for row in json.loads(helper.host.run("ip -j link"))} == {"lo", "eth0", PREDEFINED_LINK}
    assert "sleep" not in helper.host.run("ps -eo comm")
    assert helper.host.run("nft list table inet netdeck").count("chain to-") == 1
