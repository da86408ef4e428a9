"""./netdeck and ./test without a network: copies of them in a folder of their own, with stand-ins for what they call.

The stand-in Python makes a `.venv` whose own Python notes each call in a file, so that a test can see what was run.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.waiting import LONGEST_SECONDS

pytestmark = pytest.mark.timed

ROOT = Path(__file__).resolve().parents[2]

# Stands for both the system's Python and the one in .venv: notes its arguments, makes .venv, fails where told to.
PYTHON = """#!/bin/sh
echo "$@" >> "$NOTES"
case "$*" in
*"version_info"*) exit 0 ;;
*"import ensurepip"*) [ ! -e "$NO_VENV" ] ;;
*"-m venv"*) for last; do :; done; rm -rf "$last"; mkdir -p "$last/bin"; cp "$0" "$last/bin/python" ;;
*"pip install"*)
    echo '  Downloading sample-1.2-py3-none-any.whl (3 kB)'
    [ ! -e "$NO_NETWORK" ] || { echo 'ERROR: no route'; exit 1; } ;;
*"-m tui"*) echo "started $*" ;;
esac
"""


TOOLS = (
    *("sh", "env", "bash", "awk", "cat", "chown", "cp", "dirname", "find", "flock", "grep", "id", "mkdir", "mktemp"),
    *("mv", "readlink", "rm", "sed", "sha256sum", "stat", "tail", "tee", "tr"),
)


@dataclass
class Checkout:
    """A copy of the launcher and of pyproject.toml; `bin` is the whole PATH of what is started."""

    folder: Path
    bin: Path
    notes: Path
    no_venv: Path
    no_network: Path

    def start(self, *arguments: str, script: str = "netdeck", **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.folder / script, *arguments],
            env=self.environment() | environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def environment(self) -> dict[str, str]:
        return {
            "PATH": str(self.bin),
            "NOTES": str(self.notes),
            "NO_VENV": str(self.no_venv),
            "NO_NETWORK": str(self.no_network),
            "NETDECK_PYTHON": str(self.bin / "stand-in-python"),
        }

    def calls(self) -> list[str]:
        """What the stand-in Pythons were asked to do since the last time."""
        lines = self.notes.read_text().splitlines() if self.notes.exists() else []
        self.notes.unlink(missing_ok=True)
        return lines

    def executable(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    made = Checkout(
        tmp_path / "a checkout", tmp_path / "bin", tmp_path / "notes", tmp_path / "no-venv", tmp_path / "no-network"
    )
    made.folder.mkdir()
    made.bin.mkdir()
    for name in ("netdeck", "test", "pyproject.toml"):
        shutil.copy2(ROOT / name, made.folder / name)
    for tool in TOOLS:
        path = shutil.which(tool)
        assert path, tool
        (made.bin / tool).symlink_to(path)
    made.executable("stand-in-python", PYTHON)
    # Present, so that no Debian package is asked for. libnftables is looked for where the linker keeps it.
    for tool in ("ping", "nft", "ip", "arping", "tmux", "dig", "tcpdump", "ps", "nsenter"):
        made.executable(tool, "#!/bin/sh\n")
    made.executable("apt-get", "#!/bin/sh\nexit 0\n")
    made.executable("sudo", '#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done; shift; "$@"\n')
    return made


def test_first_start_sets_up_and_runs_the_second_only_runs(checkout: Checkout) -> None:
    first = checkout.start("network", "ls")
    assert (first.returncode, first.stdout) == (0, "started -P -m tui network ls\n"), first.stderr
    assert "sample-1.2 (3 kB)" in first.stderr
    assert any("pip install" in call for call in checkout.calls())

    second = checkout.start("network", "ls", "a b")
    assert (second.returncode, second.stdout, second.stderr) == (0, "started -P -m tui network ls a b\n", "")
    assert checkout.calls() == ["-P -m tui network ls a b"]


def test_second_start_calls_nothing_but_a_hash(checkout: Checkout) -> None:
    checkout.start()
    for tool in checkout.bin.iterdir():
        if tool.name != "sha256sum":
            tool.unlink()
    second = checkout.start("ps")
    assert (second.returncode, second.stdout, second.stderr) == (0, "started -P -m tui ps\n", "")


def test_from_anywhere_and_through_a_link(checkout: Checkout, tmp_path: Path) -> None:
    checkout.start()
    link = tmp_path / "links/deeper"
    link.mkdir(parents=True)
    (link / "deck").symlink_to(checkout.folder / "netdeck")
    done = subprocess.run(
        ["./deck", "ps"], cwd=link, env=checkout.environment(), capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("started -P -m tui ps\n", "")


@pytest.mark.parametrize("damage", ["changed pyproject", "dangling python", "half made", "moved"])
def test_what_no_longer_fits_is_set_up_again(checkout: Checkout, damage: str) -> None:
    checkout.start()
    checkout.calls()
    venv = checkout.folder / ".venv"
    match damage:
        case "changed pyproject":
            (checkout.folder / "pyproject.toml").write_text("# other")
        case "dangling python":
            (venv / "bin/python").unlink()
            (venv / "bin/python").symlink_to("/nonexistent/python")
        case "half made":
            (venv / "netdeck.stamp").unlink()
            (venv / "bin/python").write_text("#!/bin/sh\nexit 1\n")
        case "moved":
            checkout.folder = checkout.folder.rename(checkout.folder.with_name("elsewhere"))
    again = checkout.start("ps")
    assert (again.returncode, again.stdout) == (0, "started -P -m tui ps\n"), again.stderr
    calls = checkout.calls()
    assert any("pip install" in call for call in calls)
    assert any("-m venv" in call for call in calls) == (damage != "changed pyproject")
    assert checkout.start("ps").stderr == ""


def test_an_environment_of_another_checkout_is_left_alone(checkout: Checkout) -> None:
    checkout.start()
    other = checkout.folder.with_name("another")
    shutil.copytree(checkout.folder, other, ignore=shutil.ignore_patterns(".venv"))
    (other / ".venv").symlink_to(checkout.folder / ".venv")
    checkout.calls()
    before = sorted(checkout.folder.rglob("*")), (checkout.folder / ".venv/netdeck.stamp").read_text()
    mine = checkout.folder
    checkout.folder = other
    refused = checkout.start("ps")
    assert refused.returncode == 1 and f"symbolic link to {mine}/.venv" in refused.stderr and "rm '" in refused.stderr
    assert checkout.start("--set-up", "test").returncode == 1 and not [call for call in checkout.calls() if "install" in call]
    assert (sorted(mine.rglob("*")), (mine / ".venv/netdeck.stamp").read_text()) == before
    # A link to a place that was set up for this checkout is its user's choice.
    (other / ".venv").unlink()
    assert checkout.start("ps").returncode == 0
    (other / ".venv").rename(other.with_name("kept"))
    (other / ".venv").symlink_to(other.with_name("kept"))
    (other / "pyproject.toml").write_text("# other")
    assert checkout.start("ps").stdout == "started -P -m tui ps\n"


def test_no_network_says_what_to_do_and_the_next_start_tries_again(checkout: Checkout) -> None:
    checkout.no_network.touch()
    failed = checkout.start("ps")
    assert failed.returncode == 1
    assert "ERROR: no route" in failed.stderr
    assert "run by hand" in failed.stderr
    assert "Traceback" not in failed.stderr
    checkout.no_network.unlink()
    assert checkout.start("ps").returncode == 0


def test_a_failed_package_is_named_and_the_program_starts_all_the_same(checkout: Checkout) -> None:
    (checkout.bin / "ping").unlink()
    checkout.executable("apt-get", "#!/bin/sh\necho 'E: Temporary failure resolving'\nexit 100\n")
    if shutil.which("ping", path="/usr/sbin:/sbin"):
        pytest.fail("ping is not expected in an sbin folder")
    done = checkout.start("ps")
    assert done.stdout == "started -P -m tui ps\n"
    assert "could not install: iputils-ping" in done.stderr
    assert "Temporary failure resolving" in done.stderr
    assert "apt-get update && apt-get install iputils-ping" in done.stderr


def test_what_the_tests_need_must_be_there(checkout: Checkout) -> None:
    (checkout.bin / "tmux").unlink()
    checkout.executable("apt-get", "#!/bin/sh\nexit 100\n")
    done = checkout.start("--set-up", "test")
    assert done.returncode == 1
    assert "could not install: tmux" in done.stderr


def test_a_python_without_venv_gets_its_package(checkout: Checkout) -> None:
    checkout.no_venv.touch()
    checkout.executable("apt-get", '#!/bin/sh\necho "apt-get $*" >> "$NOTES"; rm -f "$NO_VENV"\n')
    assert checkout.start("ps").stdout == "started -P -m tui ps\n"
    assert "apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=120 python3-venv" in checkout.calls()


def test_a_python_without_venv_and_no_way_to_get_it(checkout: Checkout) -> None:
    checkout.no_venv.touch()
    checkout.executable("apt-get", "#!/bin/sh\nexit 100\n")
    done = checkout.start("ps")
    assert done.returncode == 1
    assert "apt-get install python3-venv" in done.stderr


def test_no_python(checkout: Checkout) -> None:
    (checkout.bin / "stand-in-python").unlink()
    done = checkout.start("ps")
    assert done.returncode == 1
    assert "needs Python 3.11 or newer" in done.stderr


def test_two_first_starts_set_up_once(checkout: Checkout) -> None:
    lock = os.open(checkout.folder, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    starts = [
        subprocess.Popen(
            [checkout.folder / "netdeck", "ps"],
            env=checkout.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for start in starts:
        assert start.stderr is not None
        assert "waiting" in start.stderr.readline()
    os.close(lock)
    assert [start.communicate(timeout=30)[0] for start in starts] == ["started -P -m tui ps\n"] * 2
    assert sum("pip install" in call for call in checkout.calls()) == 1


def test_the_lock_is_not_kept_by_the_program(checkout: Checkout) -> None:
    checkout.executable("stand-in-python", PYTHON.replace('echo "started $*"', "exec /bin/sleep 30"))
    running = subprocess.Popen([checkout.folder / "netdeck"], env=checkout.environment(), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + LONGEST_SECONDS
    while not (checkout.folder / ".venv/netdeck.stamp").exists() or "-P -m tui" not in checkout.notes.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    lock = os.open(checkout.folder, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(lock)
    running.kill()
    running.wait()


def test_unknown_set_up(checkout: Checkout) -> None:
    done = checkout.start("--set-up", "tets")
    assert (done.returncode, checkout.calls()) == (2, [])
    assert "tets" in done.stderr


def test_test_without_root_says_so(checkout: Checkout) -> None:
    (checkout.bin / "sudo").unlink()
    (checkout.bin / "id").unlink()
    checkout.executable("id", "#!/bin/sh\necho 1000\n")
    done = checkout.start(script="test")
    assert done.returncode == 2
    assert "./test --fast" in done.stderr


def test_a_folder_that_cannot_be_written_names_the_remedy(checkout: Checkout) -> None:
    unprivileged = shutil.which("setpriv")
    if os.geteuid() == 0 and unprivileged:
        for folder in (checkout.folder, *checkout.folder.parents):
            if folder.stat().st_uid == 0 and folder != Path("/") and str(folder).startswith("/tmp/"):
                folder.chmod(0o755)
        command = [unprivileged, "--reuid=65534", "--regid=65534", "--clear-groups", str(checkout.folder / "netdeck")]
    else:
        checkout.folder.chmod(0o555)
        command = [str(checkout.folder / "netdeck")]
    done = subprocess.run(command, env=checkout.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "run once: sudo" in done.stderr
