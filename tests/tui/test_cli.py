"""The command line without a helper: what it understands, what it refuses and how, what it loads."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from protocol.errors import InvalidValue
from tests.running_lab import NETDECK, environment
from tui.cli import COMMANDS, root, run
from tui.commands.network import matches
from tui.moments import seconds_since_epoch
from tui.network_words import Asked, spelled_out
from tui.raw_terminal import DetachScanner
from tui.subnets import pair

NOBODY = "/nonexistent/helper.sock"


@pytest.fixture(autouse=True)
def no_helper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETDECK_SOCKET", NOBODY)


@pytest.mark.parametrize("arguments", [[], ["lab"]])
def test_the_workstation_is_not_drawn_where_nobody_looks(arguments: list[str]) -> None:
    done = subprocess.run([*NETDECK, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, env=environment())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1 and "the workstation needs a terminal" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["netwrok"], "no command 'netwrok' (did you mean 'network'?)"),
        (["network", "create"], "network create: Missing argument 'NAME'"),
        (["network", "create", "--subent", "x", "n"], "No such option"),
        (["network", "create", "-o", "mtu", "n"], "'mtu' is not of the form KEY=VALUE"),
        (["network", "create", "--internal=maybe", "n"], "--internal takes true or false, not 'maybe'"),
        (["network", "create", "--aux-address", "10.0.0.1", "n"], "is not of the form KEY=VALUE"),
        (["network", "ls", "--filter", "nmae=x"], "no filter 'nmae' (did you mean 'name'?)"),
        (["network", "ls", "--filter", "type=odd"], "builtin or custom"),
        (["network", "ls", "--format", "yaml"], "'yaml' is not one of table, json, or a template"),
        (["ps", "--format", "{{range .}}"], "{{range .}} is not understood: expected {{.Field}}"),
        (["inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}", "shop"], "expected {{end}} behind it"),
        (["events", "--filter", "type=network"], "no option -f or --filter: --level warning takes what is wrong; netdeck events"),
        (["ps", "--filter", "nmae=x"], "no filter 'nmae' (did you mean 'name'?)"),
        (["attach", "shop"], "no command 'attach': netdeck logs -f CONTAINER"),
        (["exec", "-d", "shop", "true"], "no option -d or --detach: netdeck run -d --network container:NAME"),
        (["run", "--privileged", "true"], "no option --privileged: a container runs as you"),
        (["network", "create", "--attachable", "n"], "no option --attachable: every container may join"),
        (["ps", "-n", "3"], "no option -n or --last: netdeck ps -a --format"),
        (["ps", "-s"], "no option -s or --size: a container has this host's files"),
        (["inspect", "-s", "shop"], "no option -s or --size: a container has this host's files"),
        (["network", "connect", "--gw-priority", "1", "web", "shop"], "no option --gw-priority: the default route is by"),
        (["run", "--stop-signal", "INT", "true"], "no option --stop-signal: netdeck kill -s SIGNAL"),
        (["stop", "--signal", "INT", "shop"], "netdeck kill -s SIGNAL NAME sends another"),
        (["network", "prune", "--filter", "label=x"], "no option --filter: netdeck network rm $("),
        (["start", "shop"], "no command 'start': a container that has ended stays ended"),
        (["images"], "no command 'images': netdeck has no images"),
        (["run", "-d", "-v", "/srv:/srv", "true"], "no option -v or --volume or --mount: a container has this host's files"),
        (["run", "--user=0", "true"], "runs as you, with no privilege gained"),
        (["run"], "Missing argument 'COMMAND...'"),
        (["run", "-e", "=x", "true"], "is not of the form KEY or KEY=VALUE"),
        (["exec", "one"], "Missing argument 'COMMAND...'"),
        (["stop", "-t", "soon", "c"], "'soon' is not a valid float"),
        (["events", "--since", "yesterday"], "'yesterday' is no moment"),
        (["completion", "fish"], "'fish' is not one of"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("netdeck: ") and captured.err.count("\n") == 1
    assert said in captured.err and "--help)" in captured.err


@pytest.mark.parametrize("group", ["network", "dns", "config"])
def test_a_group_alone_shows_its_help(group: str, capfd: pytest.CaptureFixture[str]) -> None:
    run([group])
    shown = "".join(capfd.readouterr())
    assert shown.startswith(f"Usage: netdeck {group} ") and "\nCommands:\n" in shown


@pytest.mark.parametrize(("wrong", "near"), [("--env-fil", "--env"), ("--ipv", "--ip"), ("--cap-dorp", "")])
def test_only_options_that_there_are_get_proposed(wrong: str, near: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["run", wrong, "x", "true"]) == 2
    said = capsys.readouterr().err
    assert "No such option" in said and wrong in said and near in said
    refused = ("--env-file", "--ipc", "--cap-drop", "--cap-add")
    assert not any(name in said.replace(wrong, "") for name in refused)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["network", "create", "--subnet", "10.0.0.0", "n"], "subnet '10.0.0.0' is not one"),
        (["network", "create", "--gateway", "10.0.0.1", "n"], "gateway 10.0.0.1 needs a --subnet that contains it"),
        (["network", "create", "--subnet", "10.0.0.0/24", "--gateway", "10.0.1.1", "n"],
         "gateway 10.0.1.1 is in none of the subnets given: 10.0.0.0/24"),
        (["network", "create", "--subnet", "10.0.0.0/24", "--gateway", "\x1b[2Jx", "n"], "gateway '\\\\x1b[2Jx' is not an address"),
        (["network", "create", "--subnet", "10.0.0.0/24", "--ip-range", "10.0.0.0/23", "n"], "is in none of the subnets"),
        (["network", "create", "--subnet", "10.0.0.0/24", "--subnet", "10.0.0.0/25", "n"], "overlaps 10.0.0.0/24"),
        (["network", "create", "--subnet", "10.0.0.0/24", "--gateway", "10.0.0.1", "--gateway", "10.0.0.2", "n"],
         "is given two gateways: 10.0.0.1 and 10.0.0.2"),
        (["call", "network.lst"], "no operation 'network.lst' (did you mean 'network.list'?)"),
        (["call", "network.list", "{"], "the arguments are no JSON"),
        (["call", "network.list", "[]"], "must be a JSON object, not list"),
    ],
)
def test_values_that_cannot_be_are_exit_code_1(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and "\x1b" not in captured.err
    assert said in captured.err.replace('\\"', '"') or said.replace("\\\\", "\\") in captured.err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["network", "ls"], 1),
        (["network", "list"], 1),
        (["network", "remove", "web"], 1),
        (["network", "inspect", "bridge"], 1),
        (["ps"], 1),
        (["interfaces"], 1),
        (["events"], 1),
        (["helper", "--status"], 1),
        ([], 1),
        (["run", "true"], 125),
        (["--socket", NOBODY, "exec", "c", "true"], 125),
    ],
)
def test_no_helper_is_told_with_what_to_do(arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == code
    said = capsys.readouterr().err
    assert said.startswith(f"netdeck: no helper at {NOBODY}: ") and said.count("\n") == 1
    assert "netdeck helper" in said


@pytest.mark.root
def test_a_helper_that_is_not_for_us_is_no_reason_for_a_lab(tmp_path: Path) -> None:
    path = str(tmp_path / "helper.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        os.chmod(path, 0o600)
        for folder in (tmp_path, *tmp_path.parents[:3]):
            if folder.stat().st_uid == 0 and folder != Path("/"):
                os.chmod(folder, folder.stat().st_mode | 0o111)
        for command in ([], ["network", "ls"]):
            done = subprocess.run(
                ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", "--", *NETDECK, "--socket", path, *command],
                capture_output=True, text=True, check=False, timeout=30, env=environment())
            assert done.returncode == 1 and done.stderr.startswith("netdeck: you may not use the helper")


def test_an_error_is_json_where_json_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["network", "ls", "--format", "json"]) == 1
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["code"] == "unavailable" and error["details"] == {"path": NOBODY}
    assert run(["network", "create", "--format=json", "--bad", "n"]) == 2
    assert json.loads(capsys.readouterr().err)["error"]["code"] == "usage"


def test_each_address_belongs_to_the_subnet_that_contains_it() -> None:
    found = pair(
        ["192.168.1.0/24", "fd00:1::/64", "192.168.3.5/24"],
        ["192.168.3.128/25"],
        ["fd00:1::1", "192.168.3.254", "192.168.1.254"],
        [("nas", "192.168.1.9"), ("printer", "192.168.1.8"), ("nas", "fd00:1::9")],
    )
    assert found == [
        {"subnet": "192.168.1.0/24", "gateway": "192.168.1.254", "ip_range": None,
         "aux": {"nas": "192.168.1.9", "printer": "192.168.1.8"}},
        {"subnet": "fd00:1::/64", "gateway": "fd00:1::1", "ip_range": None, "aux": {"nas": "fd00:1::9"}},
        {"subnet": "192.168.3.0/24", "gateway": "192.168.3.254", "ip_range": "192.168.3.128/25", "aux": {}},
    ]


def test_two_subnets_of_any_place_may_be_asked_for() -> None:
    assert [each["subnet"] for each in pair(["0.0.0.0/26", "0.0.0.0/26", "::/64"], [], [], [])] == [
        "0.0.0.0/26", "0.0.0.0/26", "::/64"]


def test_an_aux_name_is_used_once_in_a_subnet() -> None:
    with pytest.raises(InvalidValue, match="'a' is given twice"):
        pair(["10.0.0.0/24"], [], [], [("a", "10.0.0.3"), ("a", "10.0.0.4")])


@pytest.mark.parametrize(
    ("filters", "passes"),
    [
        ([], True),
        ([("name", "eb")], True),
        ([("name", "db")], False),
        ([("name", "db"), ("name", "web")], True),
        ([("driver", "brid")], False),
        ([("driver", "bridge"), ("label", "stage")], True),
        ([("label", "stage=test")], True),
        ([("label", "stage=live")], False),
        ([("label", "stage"), ("label", "owner")], False),
        ([("type", "custom"), ("id", "abc")], True),
        ([("type", "builtin")], False),
        ([("dangling", "true")], False),
        ([("dangling", "0")], True),
    ],
)
def test_filters_of_network_ls(filters: list[tuple[str, str]], passes: bool) -> None:
    row = {"id": "abcdef", "name": "web", "driver": "bridge", "labels": {"stage": "test"}, "predefined": False, "containers": 1}
    assert matches(row, filters) is passes


def test_networks_that_nobody_uses() -> None:
    row = {"id": "abcdef", "name": "web", "predefined": False, "containers": 0}
    assert matches(row, [("dangling", "true")]) and not matches(row, [("dangling", "false")])
    assert not matches({**row, "predefined": True}, [("dangling", "1")]), "those can't be removed"


def test_a_network_of_run_in_dockers_long_form() -> None:
    plain = Asked(("web", "container:db"), None, None, None, ("a",))
    assert spelled_out(plain) == plain
    asked = Asked(("name=web,ip=10.20.0.50,ip6=fd00::5,mac-address=02:00:00:00:00:05,alias=b,alias=c",), None, None, None, ("a",))
    assert spelled_out(asked) == Asked(("web",), "10.20.0.50", "fd00::5", "02:00:00:00:00:05", ("a", "b", "c"))
    assert spelled_out(Asked(("name=web,ip=10.20.0.50", "name=db"), None, None, None, ())).networks == ("web", "db")


@pytest.mark.parametrize(("networks", "ip", "said"), [
    (["name=web,ipp=1"], None, r"'ipp=1' is not understood \(did you mean 'ip'\?\): expected KEY=VALUE,… with name, ip"),
    (["name=web,ip="], None, "'ip=' is not understood: expected"),
    (["name=web,db"], None, "'db' is not understood"),
    (["ip=10.0.0.2"], None, "names no network: expected name=NET"),
    (["name=web,name=db"], None, "name is given twice"),
    (["name=web,ip=10.0.0.2"], "10.0.0.3", "ip is given by --ip and by --network name=…,ip=…: give it once"),
    (["web", "name=db,ip=10.0.0.2"], None, "only the first can be given addresses. .* netdeck network connect --ip 10.0.0.2 db CONTAINER"),
    (["name=web,alias=x", "db"], None, "an alias holds in all of them"),
    (["name=web,gw-priority=1"], None, "there is no gw-priority: the default route"),
])
def test_what_the_long_form_can_not_be(networks: list[str], ip: str | None, said: str) -> None:
    with pytest.raises(InvalidValue, match=said):
        spelled_out(Asked(tuple(networks), ip, None, None, ()))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10m", 400.0), ("1h", -2600.0), ("1m30s", 910.0), ("500ms", 999.5), ("123.5", 123.5), ("1970-01-01T00:02:00+00:00", 120.0)],
)
def test_moments(text: str, seconds: float) -> None:
    assert seconds_since_epoch(text, 1000.0) == seconds


@pytest.mark.parametrize(
    ("typed", "sent", "detached"),
    [
        ([b"ls\n"], b"ls\n", False),
        ([b"a\x10", b"b"], b"a\x10b", False),
        ([b"\x10\x10\x11"], b"\x10", True),
        ([b"x\x10\x11rest"], b"x", True),
        ([b"x\x10", b"\x11"], b"x", True),
    ],
)
def test_the_detach_keys(typed: list[bytes], sent: bytes, detached: bool) -> None:
    scanner = DetachScanner()
    assert b"".join(map(scanner.feed, typed)) == sent
    assert scanner.detached is detached


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_scripts_are_accepted_by_their_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "_NETDECK_COMPLETE" in script
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize(
    ("words", "expected"),
    [("netdeck ", "network"), ("netdeck network ", "connect"), ("netdeck network create --", "--subnet"),
     ("netdeck call network.", "network.list"), ("netdeck network rm ", None)],
)
def test_completion_answers_and_is_silent_without_a_helper(words: str, expected: str | None) -> None:
    last = words.split(" ")[-1]
    done = subprocess.run(
        NETDECK, capture_output=True, text=True, check=False, timeout=30,
        env={**environment(), "NETDECK_SOCKET": NOBODY, "_NETDECK_COMPLETE": "bash_complete", "COMP_WORDS": words,
             "COMP_CWORD": str(len(words.split(" ")) - 1)},
    )
    found = [line.split(",")[1] for line in done.stdout.splitlines() if line]
    assert done.stderr == ""
    assert all(each.startswith(last) for each in found)
    assert found == [] if expected is None else expected in found


def loaded_by(*arguments: str) -> set[str]:
    """Names of the modules that a command line loads."""
    code = "import sys\nfrom tui.cli import run\nrun(sys.argv[1:])\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-P", "-c", code, *arguments], capture_output=True, text=True, check=True,
                          env={**environment(), "NETDECK_SOCKET": NOBODY}, timeout=60)
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("arguments", [("--help",), ("network", "ls"), ("ps",), ("network", "create", "--help")])
def test_a_command_loads_neither_the_workstation_nor_the_daemon(arguments: tuple[str, ...]) -> None:
    loaded = loaded_by(*arguments)
    assert not {name for name in loaded if name.split(".")[0] in ("textual", "rich", "helperd", "pyroute2")}


def test_the_overview_has_the_commands_own_words() -> None:
    context = root.make_context("netdeck", ["--help"], resilient_parsing=True)
    for name in COMMANDS:
        command = root.get_command(context, name)
        assert command is not None and command.name == name
        assert command.help and command.help.split("\n")[0].rstrip().endswith((".", ":", ",", "their"))


def test_output_into_a_closed_pipe_is_no_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"$@" 2> {tmp_path}/err | true', "sh", *NETDECK, "completion", "zsh"], check=False, env=environment())
    assert done.returncode == 0
    assert "Traceback" not in (tmp_path / "err").read_text()
