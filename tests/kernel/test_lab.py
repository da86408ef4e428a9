"""The lab: the host it makes, the command it runs, and that nothing of it is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helperd.lab_host import Forbidder, forbidden_because
from tests.running_lab import Lab, environment, running_lab
from tests.tui.pty_session import PtySession
from tests.waiting import LONGEST_SECONDS, until

LAB = (sys.executable, "-P", "-m", "helperd.lab")
AS_ANYBODY = ("setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", "--")


def in_lab(*command: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*before, *LAB, "--", *command], capture_output=True, text=True, check=False, timeout=60,
                          env=environment(), stdin=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("command", "code"),
    [(("true",), 0), (("sh", "-c", "exit 7"), 7), (("sh", "-c", "kill -TERM $$"), 143), (("no-such-command",), 127), (("/",), 126)],
)
def test_the_exit_code_is_the_commands(command: tuple[str, ...], code: int) -> None:
    assert in_lab(*command).returncode == code


def test_wrong_usage() -> None:
    assert subprocess.run(LAB, capture_output=True, check=False, env=environment()).returncode == 2


def test_the_host_has_two_cables_to_a_router(module_lab: Lab) -> None:
    def addresses(netns: str = "") -> dict[str, set[str]]:
        links = json.loads(module_lab.run(["ip", "-j", "address"], netns=netns))
        return {link["ifname"]: {f"{each['local']}/{each['prefixlen']}" for each in link["addr_info"] if each["scope"] == "global"}
                for link in links}

    inside, outside = addresses(), addresses("outside")
    assert inside["eth0"] == {"192.168.1.250/24", "2001:db8:1::250/64"} and inside["eth1"] == {"10.0.1.250/24"}
    assert outside["lan0"] == {"192.168.1.1/24", "2001:db8:1::1/64"} and outside["lan1"] == {"10.0.1.1/24"}
    for address in ("192.168.1.1", "2001:db8:1::1", "10.0.1.1", "203.0.113.1", "2001:db8:ffff::1"):
        module_lab.run(["ping", "-c", "1", "-W", "2", address])
    for address in ("192.168.1.250", "2001:db8:1::250", "10.0.1.250"):
        module_lab.run(["ping", "-c", "1", "-W", "2", address], netns="outside")
    for netns in ("", "outside"):
        said = module_lab.run("cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding", netns="")
        assert said.split() == ["1", "1"], netns


def test_outside_serves(module_lab: Lab) -> None:
    server = module_lab.popen("exec python3 -c 'import socket; s = socket.create_server((\"203.0.113.1\", 80)); "
                              "print(\"up\", flush=True); s.accept()[0].sendall(b\"hello\")'", netns="outside")
    assert server.stdout is not None and server.stdout.readline() == "up\n"
    code = "import socket; print(socket.create_connection(('203.0.113.1', 80), 5).recv(9))"
    assert module_lab.python(code) == "b'hello'\n"
    assert server.wait(LONGEST_SECONDS) == 0


def test_the_lab_sees_only_itself(module_lab: Lab) -> None:
    assert set(os.listdir(module_lab.root / "sys/class/net")) >= {"lo", "eth0", "eth1"}
    assert module_lab.run("ls /run/netns").split() == ["outside"]
    assert module_lab.run("hostname").strip() == "lab"
    assert int(module_lab.run("ls /proc | grep -c '^[0-9]'")) < 20
    # What else is in /run stays reachable.
    assert set(module_lab.run("ls /run").split()) >= set(os.listdir("/run"))


@pytest.mark.req("B1")
def test_its_helper_answers_at_the_usual_place(module_lab: Lab) -> None:
    names = [row["name"] for row in module_lab.ask("network", "ls", "--format", "json")]
    assert names == ["bridge", "host", "none"]
    assert module_lab.ask("helper", "--status", "--format", "json")["lab"] is True


def state_of_the_machine() -> tuple[str, ...]:
    commands = (["ip", "-o", "link"], ["ip", "route"], ["nft", "list", "tables"], ["sysctl", "net.ipv4.ip_forward"], ["ls", "-a", "/run"],
                ["cat", "/proc/self/mountinfo"])
    found = [subprocess.run(command, capture_output=True, text=True, check=False).stdout for command in commands]
    return (*found, os.uname().nodename)


def test_nothing_is_left_on_the_machine() -> None:
    before = state_of_the_machine()
    with running_lab() as lab:
        lab.netdeck("network", "create", "web")
        lab.netdeck("run", "-d", "--network", "web", "sleep", "600")
        # The processes of the lab, as the machine sees them.
        inner = lab.run("cat /proc/[0-9]*/status | grep -c ^Pid:")
        namespace = os.stat(f"/proc/{lab.pid}/ns/pid").st_ino
        assert int(inner) > 3
        assert state_of_the_machine() == before
    assert state_of_the_machine() == before
    assert namespace not in {inode for path in Path("/proc").glob("[0-9]*/ns/pid") if (inode := pid_namespace(path))}


def pid_namespace(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_signal_to_the_lab_ends_it(sent: signal.Signals, code: int) -> None:
    process = subprocess.Popen([*LAB, "--", "sh", "-c", "echo $(cut -d' ' -f1 /proc/self/stat); exec sleep 300"],
                               stdout=subprocess.PIPE, text=True, env=environment(), start_new_session=True)
    assert process.stdout is not None and process.stdout.readline()
    init = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
    process.send_signal(sent)
    assert process.wait(LONGEST_SECONDS) == code
    process.stdout.close()
    until(lambda: not Path(f"/proc/{init}").exists(), "the lab's first process lives on")


def test_a_key_at_the_terminal_reaches_the_command_only() -> None:
    script = "trap 'echo caught' INT; echo up; until read line; do :; done; echo \"read $line\"; exit 3"
    with PtySession([*LAB, "--", "sh", "-c", script]) as session:
        assert session.pump(60, lambda: session.shows("up"))
        session.send(b"\x03")
        assert session.pump(60, lambda: session.shows("caught"))
        session.send(b"word\r")
        assert session.pump(60, lambda: session.shows("read word"))
        assert session.wait_exit() == 3 << 8


def test_it_needs_no_root() -> None:
    script = f"{sys.executable} -P -m tui network create --subnet 10.9.0.0/24 web && " \
             f"{sys.executable} -P -m tui run --network web ip -o -4 address show dev eth0 && id -u && " \
             "ip netns exec outside ping -q -c 1 192.168.1.250"
    done = in_lab("sh", "-c", script, before=AS_ANYBODY)
    assert done.returncode == 0, done.stderr
    assert "10.9.0.2/24" in done.stdout and "\n0\n" in done.stdout


def test_a_lab_in_a_lab(module_lab: Lab) -> None:
    module_lab.netdeck("network", "create", "outer")
    said = module_lab.netdeck("lab", "--", *(sys.executable, "-P", "-m", "tui"), "network", "ls", "--format", "json")
    assert "outer" not in said.stdout and "bridge" in said.stdout
    module_lab.netdeck("network", "rm", "outer")


def test_the_command_may_be_the_command_line() -> None:
    done = subprocess.run([sys.executable, "-P", "-m", "tui", "lab", "--", sys.executable, "-P", "-m", "tui", "network", "ls", "-q"],
                          capture_output=True, text=True, check=False, env=environment(), timeout=60)
    assert done.returncode == 0 and len(done.stdout.split()) == 3


def test_where_namespaces_are_forbidden_it_says_which_setting(tmp_path: Path) -> None:
    # The limit holds in the user namespace that unshare makes, not on the machine.
    shell = 'echo 0 > /proc/sys/user/max_net_namespaces && exec "$@"'
    done = in_lab("true", before=("unshare", "--user", "--map-root-user", "sh", "-c", shell, "sh"))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "user.max_net_namespaces is 0" in done.stderr

    setting = tmp_path / "setting"
    setting.write_text("1\n")
    assert "remedy" in forbidden_because([Forbidder(str(setting), "1", "the remedy")])
    assert "sudo" in forbidden_because([Forbidder(str(setting), "0", "the remedy"), Forbidder("/nonexistent", "1", "x")])


def test_a_helper_that_cannot_start_is_told_with_its_words() -> None:
    script = "import sys, helperd.lab as lab; lab.lab_host.STATE_DIR = '/proc/none'; sys.exit(lab.main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-P", "-c", script, "--", "true"], capture_output=True, text=True, check=False,
                          env=environment(), timeout=60)
    assert done.returncode == 1 and done.stderr.startswith("netdeck: ") and done.stderr.count("\n") == 1
