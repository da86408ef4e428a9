"""Who has a role gets to the socket, in whatever way he has it, and nobody else."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from helperd.listener import open_listener
from helperd.roles import Roles
from helperd.socket_access import Admitted, has_list
from tests.kernel.test_roles import ASK
from tests.running_helper import ROOT, RunningHelper
from tests.simulated_host import SimulatedHost

pytestmark = pytest.mark.req("W3")
USER, OTHER, GROUP = 4242, 4243, 4250


@pytest.fixture
def place() -> Iterator[Path]:
    """A short folder that everybody may enter."""
    folder = Path(tempfile.mkdtemp(prefix="nd-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def connects(path: Path, uid: int, gid: int = 60_000) -> bool:
    script = f"import socket; socket.socket(socket.AF_UNIX).connect({str(path)!r})"
    done = subprocess.run(["setpriv", "--reuid", str(uid), "--regid", str(gid), "--clear-groups", sys.executable, "-c", script],
                          capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0 or "PermissionError" in done.stderr, done.stderr
    return done.returncode == 0


def test_users_and_groups_are_let_in_and_out_again(place: Path) -> None:
    path = place / "netdeck" / "helper.sock"
    for admitted, inside in (
        (Admitted(), set()),
        (Admitted(users=(USER,)), {USER}),
        (Admitted(groups=(GROUP,)), {GROUP}),
        (Admitted(users=(USER,), groups=(GROUP,)), {USER, GROUP}),
        (Admitted(everybody=True), {USER, GROUP, OTHER}),
        (Admitted(users=(OTHER,)), {OTHER}),
        (Admitted(), set()),
    ):
        with open_listener(path, admitted=admitted) as listener:
            assert listener.warnings == ()
            found = {number for number, gid in ((USER, 60_000), (OTHER, 60_000), (GROUP, GROUP)) if connects(path, number, gid)}
            assert found == inside, admitted
            # Entering is all that they may do there.
            listed = subprocess.run(["setpriv", "--reuid", str(USER), "--regid", "60000", "--clear-groups", "ls", str(path.parent)],
                                    capture_output=True, timeout=30, check=False)
            assert listed.returncode != 0
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o750 and not has_list(path.parent)


def test_a_directory_that_is_not_netdecks_is_never_opened(place: Path) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    with open_listener(closed / "helper.sock", admitted=Admitted(users=(USER, OTHER))) as listener:
        assert len(listener.warnings) == 1
        assert f"users {USER}, {OTHER} can't reach the socket" in listener.warnings[0] and "--socket" in listener.warnings[0]
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700 and not has_list(closed)
    theirs = closed / "netdeck"
    with open_listener(theirs / "helper.sock", admitted=Admitted(users=(USER,))) as listener:
        assert f"{closed} lets only its owner and group in" in listener.warnings[0]
    place.joinpath("open").mkdir(mode=0o755)
    with open_listener(place / "open" / "helper.sock", admitted=Admitted(users=(USER,))) as listener:
        assert listener.warnings == () and connects(place / "open" / "helper.sock", USER)
        assert not connects(place / "open" / "helper.sock", OTHER)


def test_a_file_system_without_access_lists_is_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **named: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "setxattr", refuse)
    with open_listener(place / "run" / "helper.sock", admitted=Admitted(users=(USER,))) as listener:
        assert "its file system has no access lists" in listener.warnings[0] and "[roles] groups" in listener.warnings[0]


def test_who_is_admitted() -> None:
    roles = Roles.from_config({"uids": {"0": "view", "65534": "view", "7": "none", "9": "admin", "8": "view"},
                               "groups": {"netdeck": "admin", "daemon": "view", "adm": "none", "no-such-group": "view"}})
    assert Admitted.by(roles) == Admitted(users=(8, 9), groups=(1,))
    assert Admitted.by(Roles.from_config({"default": "view"})).everybody
    assert Admitted.by(Roles()) == Admitted()


def test_a_user_of_the_configuration_works_with_the_helper(host: SimulatedHost, tmp_path: Path, place: Path) -> None:
    (tmp_path / "config.toml").write_text(f'[roles]\nuids = {{{USER} = "operate"}}\n')
    helper = RunningHelper(host, tmp_path)
    helper.socket = str(place / "netdeck" / "helper.sock")
    try:
        helper.start()
        for uid, role in ((USER, "operate"), (OTHER, None)):
            done = subprocess.run(
                ["setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups", sys.executable, "-c", ASK],
                input=json.dumps({"network.list": {}}), env={"NETDECK_SOCKET": helper.socket, "PYTHONPATH": str(ROOT)},
                capture_output=True, text=True, timeout=60, check=False)
            if role is None:
                assert json.loads(done.stdout)["refused"][0] == "forbidden"
            else:
                told = json.loads(done.stdout)
                assert told["role"] == role and told["network.list"][0] == "done"
    finally:
        helper.close()
