"""What a user with a role, a stranger on the host, or bad luck may try on the helper, and what comes of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from helperd import cgroups
from helperd.discovery import Discovery
from helperd.event_log import EventLog
from helperd.runtime_names import RuntimeNames
from protocol.errors import NetdeckError, Unavailable
from tests.kernel.test_roles import OPERATE, ask
from tests.running_helper import RunningHelper
from tests.simulated_host import HostError, SimulatedHost
from tests.waiting import until

CONFIG = f'[roles]\nuids = {{{OPERATE} = "operate"}}\n'


@pytest.fixture
def prepared(host: SimulatedHost, tmp_path: Path) -> RunningHelper:
    """A helper with a user of the role `operate`, not started yet."""
    (tmp_path / "config.toml").write_text(CONFIG)
    return RunningHelper(host, tmp_path)


@contextlib.contextmanager
def started(helper: RunningHelper) -> Any:
    try:
        helper.start()
        os.chmod(helper.socket, 0o666)
        yield helper
    finally:
        helper.close()


def members(helper: RunningHelper, network: str) -> list[str]:
    return [row["Name"] for row in helper.call("network.inspect", names=[network])[0]["Containers"].values()]


def statuses(helper: RunningHelper) -> dict[str, str]:
    return {row["name"]: row["status"] for row in helper.call("container.list", all=True) if row["runtime"] == "netdeck"}


def executed(helper: RunningHelper, container: str, script: str) -> str:
    """What a command prints that root executes."""
    return helper.command("exec", container, "sh", "-c", script, check=False)


# Rights ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.req("W3")
def test_root_lends_its_rights_to_no_program_of_a_users(prepared: RunningHelper) -> None:
    """The root directory of a container is its owner's: `sh` in it may be any program."""
    busybox = shutil.which("busybox")
    assert busybox is not None, "apt-get install busybox-static"
    place = Path(tempfile.mkdtemp(prefix="netdeck-test-"))
    place.chmod(0o755)
    root = place / "rootfs"
    (root / "bin").mkdir(parents=True)
    (root / "etc").mkdir()
    shutil.copy(busybox, root / "bin/busybox")
    for name in ("sh", "id", "mknod", "grep", "sleep"):
        (root / "bin" / name).symlink_to("busybox")
    for name in ("hosts", "resolv.conf", "hostname"):
        (root / "etc" / name).write_text("")
    subprocess.run(["chown", "-R", f"{OPERATE}:{OPERATE}", str(root)], check=True)
    try:
        with started(prepared) as helper:
            run: dict[str, Any] = {"command": ["sleep", "300"], "name": "theirs", "rootfs": str(root), "detach": True}
            assert ask(helper, OPERATE, {"container.run": run})["container.run"] == ["done", ""]
            said = executed(helper, "theirs", "id -u; id -g; grep CapEff /proc/self/status; mknod /disk b 254 0")
            assert said.split()[:4] == [str(OPERATE), str(OPERATE), "CapEff:", "0" * 16], said
            assert "not permitted" in said.lower() and not (root / "disk").exists()
    finally:
        shutil.rmtree(place)


@pytest.mark.req("W3")
def test_root_executes_in_a_strangers_user_namespace_as_its_root(prepared: RunningHelper) -> None:
    with started(prepared) as helper:
        helper.host.popen(["setpriv", "--reuid", str(OPERATE), "--regid", str(OPERATE), "--clear-groups",
                           "unshare", "-Urnm", "sleep", "300"])
        found: list[str] = []

        def seen() -> bool:
            found[:] = [row["ref"] for row in helper.call("container.list") if row["runtime"] == "process"]
            return bool(found)

        until(seen)
        said = executed(helper, found[0], "id -u; cat /proc/self/uid_map; mknod /tmp/netdeck-disk b 254 0; cat /etc/shadow")
        assert said.split()[:4] == ["0", "0", str(OPERATE), "1"], said
        assert said.lower().count("not permitted") == said.lower().count("permission denied") == 1, said
        helper.call("network.connect", network="bridge", container=found[0])
        assert "172.17.0.2/16" in executed(helper, found[0], "ip -br address")


def test_a_name_of_docker_is_not_to_be_had_by_a_control_group(tmp_path: Path) -> None:
    ident, other = "ab" * 32, "cd" * 32
    config = tmp_path / "containers" / ident
    config.mkdir(parents=True)
    (config / "config.v2.json").write_text(f'{{"ID": "{ident}", "Name": "/web"}}')
    discovery = Discovery(names=RuntimeNames((str(tmp_path),), ()))
    called = discovery._called
    assert called(cgroups.identify(f"0::/system.slice/docker-{ident}.scope\n")) == "web"
    assert called(cgroups.identify(f"0::/docker/{ident}/sub\n")) == "web"
    for path in (f"/user.slice/user-1000.slice/user@1000.service/app.slice/docker-{ident}.scope",
                 f"/machine.slice/libpod-{other}.scope/container/docker-{ident}.scope"):
        assert called(cgroups.identify(f"0::{path}\n")) == ident[:12]


# The host -------------------------------------------------------------------------------------------------------------------


@pytest.mark.req("X9")
def test_a_table_of_somebody_elses_is_left(prepared: RunningHelper) -> None:
    prepared.host.run("nft 'add table inet netdeck; add chain inet netdeck mine { type filter hook input priority 0; }; "
                      "add rule inet netdeck mine tcp dport 9 drop'")
    before = prepared.host.run("nft -s list ruleset")
    with pytest.raises(HostError, match="a firewall table inet netdeck that netdeck did not make"):
        prepared.start()
    prepared.close()
    assert prepared.host.run("nft -s list ruleset") == before


@pytest.mark.req("X9")
def test_two_helpers_that_want_one_table_do_not_fight_without_end(prepared: RunningHelper, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    second = RunningHelper(prepared.host, tmp_path / "second")

    def restored() -> int:
        return sum(row["action"] == "restored" for row in prepared.call("event.list"))

    with started(prepared), started(second):
        until(restored)
        time.sleep(2)
        before, began = restored(), time.monotonic()
        time.sleep(3)
        assert restored() - before <= 1 + (time.monotonic() - began)
    # Alone again, it has the table back at once.
    prepared.start()
    try:
        prepared.host.run("nft delete table inet netdeck")
        until(lambda: "forward-to" in prepared.host.run("nft list tables; nft list table inet netdeck", check=False))
    finally:
        prepared.close()


def test_a_flood_of_kernel_news_does_not_wash_away_who_did_what() -> None:
    log = EventLog(kept=10)
    log.add("network", "removed", "shop", actor="mallory")
    for number in range(1000):
        log.add("address", "new", f"10.9.9.{number % 250}", "namespace 7")
    assert [entry.actor for entry in log.since() if entry.kind == "network"] == ["mallory"]
    assert [entry.seq for entry in log.since()] == [1, *range(992, 1002)]


# Bad luck -------------------------------------------------------------------------------------------------------------------


@pytest.mark.req("W3")
def test_a_full_disk_is_told_and_got_over(prepared: RunningHelper) -> None:
    state = prepared.folder / "state"
    state.mkdir()
    prepared.host.run(f"mount -t tmpfs -o size=512k none {state}")
    with started(prepared) as helper:
        helper.host.add_namespace("c1")
        helper.call("network.create", name="a")
        helper.call("network.connect", network="a", container="netns:c1")
        helper.call("container.run", command=["sleep", "2"], name="short", networks=["a"], detach=True)
        helper.host.run(f"cat /dev/zero > {state}/fill", check=False)
        links = helper.host.run("ip -br link show type bridge")
        for _ in range(3):
            with pytest.raises(Unavailable, match="can't be written: database or disk is full"):
                helper.call("network.create", name="b")
        assert helper.host.run("ip -br link show type bridge") == links
        # Endings can't be written down now; they are made good later.
        helper.host.run("ip netns del c1")
        time.sleep(4)
        assert helper.call("info")["networks"] == 4
        helper.host.run(f"rm {state}/fill")
        until(lambda: statuses(helper) == {"short": "exited"} and not members(helper, "a"))
        helper.call("network.create", name="b")
        helper.call("network.remove", name="a")
        assert "Traceback" not in helper.log()


@pytest.mark.req("W3")
def test_a_restart_of_the_machine(prepared: RunningHelper) -> None:
    """The run directory is empty then, and numbers of namespaces and processes may mean others."""
    with started(prepared) as helper:
        helper.host.add_namespace("c1")
        helper.call("network.create", name="a")
        helper.call("network.connect", network="a", container="netns:c1")
        helper.call("container.run", command=["sleep", "300"], name="kept", networks=["a"], detach=True)
        helper.call("container.run", command=["sleep", "300"], name="gone", networks=["a"], detach=True, auto_remove=True)
        helper.kill()
        helper.host.run("pkill -9 -x sleep; sleep 0.5", check=False)
        shutil.rmtree(helper.folder / "run")
        with contextlib.closing(sqlite3.connect(helper.folder / "state" / "state.db")) as db, db:
            assert db.execute("DELETE FROM meta WHERE name LIKE 'boot %'").rowcount == 1
        helper.start()
        assert statuses(helper) == {"kept": "exited"} and members(helper, "a") == []
        assert "eth0" not in helper.host.run("ip -n c1 -br link")
        helper.call("network.connect", network="a", container="netns:c1")
        helper.restart()
        assert members(helper, "a") == ["netns:c1"]


@pytest.mark.req("W3")
def test_what_cannot_be_released_does_not_keep_the_helper_from_starting(prepared: RunningHelper) -> None:
    with started(prepared) as helper:
        helper.host.add_namespace("c1")
        helper.host.add_namespace("c2")
        taken, _ = [helper.call("network.connect", network="bridge", container=f"netns:{name}")["endpoint"]["host_link"]
                 for name in ("c1", "c2")]
        helper.call("container.run", command=["sleep", "300"], name="box", detach=True)
        box = next(row for row in helper.call("network.inspect", names=["bridge"])[0]["Containers"].values() if row["Name"] == "box")
        helper.kill()
        helper.host.run("pkill -9 -x sleep; ip netns del c1; ip netns del c2; sleep 0.5", check=False)
        for number, link in enumerate((taken, box["HostInterface"])):
            helper.host.run(f"ip link add {link} type veth peer name his{number}")
        helper.start()
        until(lambda: members(helper, "bridge") == ["netns:c1", "box"])
        with pytest.raises(NetdeckError, match="without netdeck's mark"):
            helper.call("container.remove", name="box", force=True)
        helper.host.run(f"ip link del {taken}; ip link del {box['HostInterface']}")
        until(lambda: members(helper, "bridge") == [] and statuses(helper) == {"box": "exited"})
