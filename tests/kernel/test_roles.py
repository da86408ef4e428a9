"""Every operation called by a real user of every role: refused exactly where the table says so, and nothing done then."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protocol.requests import OPERATIONS, ROLES
from tests.running_helper import RunningHelper
from tests.simulated_host import SimulatedHost

pytestmark = pytest.mark.req("W3", "W8")
ROOT = Path(__file__).resolve().parents[2]
VIEW, OPERATE, ADMIN, NONE = 4242, 4243, 4244, 4245
USERS = {0: "admin", VIEW: "view", OPERATE: "operate", ADMIN: "admin", NONE: "none"}

# Arguments that are whole, but mean things that are not there: a call that may go on ends with its own answer.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "network.create": {"name": "made", "dry_run": True},
    "network.inspect": {"names": ["bridge"]},
    "network.remove": {"name": "nothere"},
    "network.update": {"name": "nothere"},
    "network.host-access": {"name": "nothere", "on": True},
    "network.connect": {"network": "bridge", "container": "netns:nothere"},
    "network.disconnect": {"network": "bridge", "container": "netns:nothere"},
    "address.release": {"leaked": True, "dry_run": True},
    "container.run": {"command": ["true"], "networks": ["nothere"]},
    "container.exec": {"container": "nothere", "command": ["true"]},
    "container.logs": {"name": "nothere"},
    "container.inspect": {"names": ["nothere"]},
    "container.stop": {"name": "nothere"},
    "container.kill": {"name": "nothere"},
    "port.publish": {"container": "nothere", "ports": ["80"]},
    "port.withdraw": {"container": "nothere", "all": True},
    "container.remove": {"name": "nothere"},
    "doctor.fix": {"id": "nothere"},
    "driver.parents": {"driver": "macvlan"},
}

ASK = """
import json, sys
from protocol.blocking import BlockingClient
from protocol.errors import NetdeckError
told = {}
try:
    with BlockingClient() as client:
        told["role"], told["uid"] = client.welcome.role, client.welcome.uid
        for name, arguments in json.load(sys.stdin).items():
            try:
                client.call(name, arguments)
                told[name] = ["done", ""]
            except NetdeckError as error:
                told[name] = [error.code, error.message]
except NetdeckError as error:
    told["refused"] = [error.code, error.message]
print(json.dumps(told))
"""


@pytest.fixture
def helper(host: SimulatedHost, tmp_path: Path) -> Iterator[RunningHelper]:
    """A helper with a user of each role, its socket open to all: who gets in is for the roles to say, not for the file."""
    (tmp_path / "config.toml").write_text(f'[roles]\nuids = {{{VIEW} = "view", {OPERATE} = "operate", {ADMIN} = "admin"}}\n')
    running = RunningHelper(host, tmp_path)
    running.start()
    os.chmod(running.socket, 0o666)
    try:
        yield running
    finally:
        running.close()


def run_as(helper: RunningHelper, uid: int, script: str, stdin: str = "") -> str:
    """What a Python script prints that a process of `uid` runs."""
    done = subprocess.run(
        ["setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups", sys.executable, "-c", script], input=stdin,
        env={"PATH": os.environ["PATH"], "NETDECK_SOCKET": helper.socket, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def ask(helper: RunningHelper, uid: int, calls: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What a process of `uid` is told for each call."""
    told: dict[str, Any] = json.loads(run_as(helper, uid, ASK, json.dumps(calls)))
    return told


def test_operations_and_roles(helper: RunningHelper) -> None:
    calls = {name: ARGUMENTS.get(name, {}) for name in OPERATIONS}
    before = helper.call("network.list"), helper.call("event.list")
    for uid, role in USERS.items():
        told = ask(helper, uid, calls)
        if role == "none":
            assert told == {"refused": ["forbidden", told["refused"][1]]}
            assert str(uid) in told["refused"][1]
            continue
        assert (told["role"], told["uid"]) == (role, uid)
        for name, (_, least, _) in OPERATIONS.items():
            code, message = told[name]
            may = ROLES.index(role) >= ROLES.index(least)
            assert (code == "forbidden") == (not may), (name, role, code, message)
            if may:
                assert code in ("done", "not_found"), (name, role, code, message)
            else:
                assert least in message and role in message and "\n" not in message
    assert (helper.call("network.list"), helper.call("event.list")) == before


def test_a_containers_owner_and_root_alone_reach_into_it(helper: RunningHelper) -> None:
    run: dict[str, Any] = {"command": ["sleep", "300"], "name": "mine", "detach": True}
    assert ask(helper, OPERATE, {"container.run": run})["container.run"][0] == "done"
    assert helper.call("container.list")[-1]["uid"] == OPERATE
    reach: dict[str, dict[str, Any]] = {
        "container.exec": {"container": "mine", "command": ["true"]}, "container.logs": {"name": "mine"},
        "container.kill": {"name": "mine", "signal": "WINCH"}, "container.stop": {"name": "mine", "timeout": 0.1},
        "container.remove": {"name": "mine", "force": True}}
    told = ask(helper, ADMIN, reach)
    assert {told[name][0] for name in reach} == {"forbidden"}
    assert all("not yours" in told[name][1] for name in reach)
    assert {row["name"]: row["status"] for row in helper.call("container.list")}["mine"] == "running"
    # What belongs to other runtimes runs as root: only root gets in there.
    helper.host.add_namespace("c1")
    told = ask(helper, ADMIN, {"container.exec": {"container": "netns:c1", "command": ["true"]}})
    assert told["container.exec"][0] == "forbidden"
    assert {ask(helper, OPERATE, {name: reach[name]})[name][0] for name in reach} == {"done"}
    assert ask(helper, 0, {"container.exec": {"container": "netns:c1", "command": ["true"]}})["container.exec"][0] == "done"


FOLLOW = """
import asyncio, json
from protocol.client import Client

async def main():
    async with Client() as client:
        async for item in client.subscribe(("networks", "log")):
            return sorted({row[0] for row in item.state})

print(json.dumps(asyncio.run(main())))
"""


def test_subscriptions_are_for_all_who_may_view(helper: RunningHelper) -> None:
    for uid in (VIEW, OPERATE):
        assert json.loads(run_as(helper, uid, FOLLOW)) == ["log", "networks"]


LISTEN = """
import asyncio
from protocol.client import Client
from protocol.errors import Forbidden

async def main():
    async with Client() as client:
        async for item in client.subscribe(("queries",)):
            return "told"

try:
    print(asyncio.run(main()))
except Forbidden as error:
    print(error.message)
"""


def test_the_query_log_is_for_those_who_may_operate(helper: RunningHelper) -> None:
    assert run_as(helper, OPERATE, LISTEN) == "told\n"
    assert "needs the role operate" in run_as(helper, VIEW, LISTEN)
