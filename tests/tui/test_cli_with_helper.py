"""The command line against a real helper in a lab: what it prints, and what it refuses."""

from __future__ import annotations

import json
import shlex
import subprocess
import time

import pytest

from tests.running_lab import NETDECK, Lab, environment, running_lab
from tests.simulated_host import ROOT
from tests.tui.pty_session import PtySession


def ids(lab: Lab, *options: str) -> list[str]:
    return lab.netdeck("network", "ls", "-q", *options).stdout.split()


@pytest.mark.req("B1", "B2")
def test_a_network_from_create_to_rm(module_lab: Lab) -> None:
    done = module_lab.netdeck(
        "network", "create", "-d", "bridge", "--subnet", "10.61.0.0/16", "--subnet", "fd00:61::/64", "--ip-range", "10.61.5.0/24",
        "--gateway", "10.61.5.254", "--gateway", "fd00:61::fe", "--aux-addresses", "nas=10.61.5.9",
        "-o", "com.docker.network.driver.mtu=1400", "--label", "stage=test", "--label", "bare", "--internal=false", "whole",
    )
    ident = done.stdout.strip()
    assert len(ident) == 64 and done.stderr == ""
    (found,) = module_lab.ask("network", "inspect", ident[:10])
    assert [found[key] for key in ("Name", "Id", "Driver", "Internal", "EnableIPv6")] == ["whole", ident, "bridge", False, True]
    assert found["IPAM"]["Config"][0] == {
        "Subnet": "10.61.0.0/16", "IPRange": "10.61.5.0/24", "Gateway": "10.61.5.254", "AuxiliaryAddresses": {"nas": "10.61.5.9"}}
    assert found["IPAM"]["Config"][1]["Gateway"] == "fd00:61::fe"
    assert found["Labels"] == {"stage": "test", "bare": ""}
    table = module_lab.netdeck("network", "ls").stdout
    assert table.startswith("NETWORK ID     NAME") and f"{ident[:12]}   whole" in table
    assert ids(module_lab, "--filter", "label=stage=test") == [ident[:12]]
    assert ids(module_lab, "--filter", "name=hol", "--no-trunc") == [ident]
    assert ident[:12] not in ids(module_lab, "--filter", "type=builtin") and len(ids(module_lab, "-f", "type=builtin")) == 3
    assert module_lab.netdeck("network", "rm", "whole").stdout == "whole\n"
    assert ident[:12] not in ids(module_lab)


def test_rm_goes_on_after_an_error(module_lab: Lab) -> None:
    module_lab.netdeck("network", "create", "first")
    module_lab.netdeck("network", "create", "second")
    done = module_lab.netdeck("network", "rm", "first", "nowhere", "second", code=1)
    assert done.stdout == "first\nsecond\n"
    assert done.stderr.startswith("netdeck: ") and done.stderr.count("\n") == 1 and "nowhere" in done.stderr


def test_dry_run_changes_nothing_and_shows_commands(module_lab: Lab) -> None:
    # Without what changes by itself: carriers, which the kernel tells of late, and counters.
    state = "ip -br link | awk '{print $1}'; ip -o address | awk '{print $2, $4}'; nft -s list ruleset"
    before = module_lab.run(state)
    said = module_lab.netdeck("network", "create", "--dry-run", "--subnet", "10.62.0.0/24", "planned").stdout
    assert said.startswith("Steps:\n  + ") and "\nCommands:\n" in said and "ip link add" in said
    plan = module_lab.ask("network", "create", "--dry-run", "--format", "json", "--subnet", "10.62.0.0/24", "planned")["plan"]
    assert len(plan["steps"]) > 2 and plan["commands"]
    assert module_lab.run(state) == before
    module_lab.netdeck("network", "inspect", "planned", code=1)


@pytest.mark.req("B6", "D4")
def test_a_container_joins_and_leaves(module_lab: Lab) -> None:
    module_lab.netdeck("network", "create", "--subnet", "10.63.0.0/24", "one")
    module_lab.netdeck("network", "create", "--subnet", "10.64.0.0/24", "--ipv6", "two")
    ident = module_lab.netdeck("run", "-d", "--name", "member", "--network", "one", "sleep", "600").stdout.strip()
    plan = module_lab.netdeck("network", "connect", "--dry-run", "two", "member").stdout
    assert plan.startswith("Steps:\n")
    assert module_lab.netdeck("network", "connect", "--ip", "10.64.0.77", "--alias", "db", "two", "member").stdout == ""
    assert "10.64.0.77/24" in module_lab.netdeck("exec", "member", "ip", "-o", "-4", "address").stdout
    (found,) = module_lab.ask("network", "inspect", "two")
    assert found["Containers"][ident]["IPv4Address"] == "10.64.0.77/24"
    refused = module_lab.netdeck("network", "rm", "two", code=1)
    assert "member" in refused.stderr and refused.stderr.count("\n") == 1
    module_lab.netdeck("network", "disconnect", "two", "member")
    assert "10.64.0.77" not in module_lab.netdeck("exec", "member", "ip", "-o", "-4", "address").stdout
    table = module_lab.netdeck("ps").stdout
    assert table.startswith("CONTAINER ID") and f"{ident[:12]}   member" in table
    assert module_lab.netdeck("ps", "-q").stdout.split() == [ident[:12]]
    interfaces = module_lab.netdeck("interfaces").stdout
    assert interfaces.startswith("WHERE") and "member" in interfaces and "eth1" in interfaces
    rows = module_lab.ask("interfaces", "--format", "json")
    assert {row["link"]["container"] for row in rows} >= {"member"} and all("rx_bytes" in row["counters"] for row in rows)
    assert module_lab.ask("inspect", "member")
    done = module_lab.netdeck("rm", "-fv", "member")
    assert (done.stdout, done.stderr) == ("member\n", ""), "-v is of scripts for docker"
    assert set(module_lab.netdeck("network", "prune", "--force").stdout.split()) == {"one", "two"}


def test_prune_asks_only_where_somebody_can_answer(module_lab: Lab) -> None:
    assert "add --force" in module_lab.netdeck("network", "prune", code=1).stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("network", "create", "--subnet", "192.168.1.0/25", "bad"), ("192.168.1",)),
        (("network", "create", "-d", "brigde", "bad"), ("brigde", "bridge")),
        (("network", "create", "-o", "mtuu=1", "bad"), ("mtuu", "mtu")),
        (("network", "create", "-o", "mtu=9", "bad"), ("mtu", "9")),
        (("network", "create", "no/slash"), ("no/slash",)),
        (("network", "create", "bridge"), ("bridge",)),
        (("network", "rm", "bridge"), ("bridge",)),
        (("network", "connect", "bridge", "nobody"), ("nobody",)),
        (("network", "connect", "bridge", "/proc/1/ns/net"), ("/proc/1/ns/net",)),
        (("network", "inspect", "\x1b[31mred"), ("\\x1b[31mred",)),
        (("inspect", "nobody"), ("nobody",)),
        (("call", "network.create", '{"name": "x", "colour": "red"}'), ("colour",)),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(module_lab: Lab, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    before = module_lab.run("ip -o link")
    done = module_lab.netdeck(*arguments, code=1)
    assert done.stdout == "" and done.stderr.count("\n") == 1 and "\x1b" not in done.stderr
    assert all(word in done.stderr or word in json.loads(done.stderr)["error"]["message"] for word in words)
    assert module_lab.run("ip -o link") == before


def test_events_are_listed_and_followed(module_lab: Lab) -> None:
    module_lab.netdeck("network", "create", "--subnet", "10.65.0.0/24", "eventful")
    listed = module_lab.netdeck("events", "--since", "1m", "--no-follow").stdout
    assert any("network created eventful" in line for line in listed.splitlines())
    follower = module_lab.popen([*NETDECK, "events", "--format", "json", "--since", "1m"], env=environment(), stderr=subprocess.PIPE)
    assert follower.stdout is not None
    entries = [json.loads(follower.stdout.readline())]  # it is there, and follows
    module_lab.netdeck("network", "rm", "eventful")
    while (entries[-1]["action"], entries[-1]["subject"]) != ("removed", "eventful"):
        entries.append(json.loads(follower.stdout.readline()))
    follower.terminate()
    assert follower.communicate(timeout=60)[1] == ""
    assert "eventful" in module_lab.netdeck("events", "--since", "1m", "--until", str(time.time() + 1)).stdout  # it ends by itself
    ours = [(entry["action"], entry["time"]) for entry in entries if entry["kind"] == "network" and entry["subject"] == "eventful"]
    assert [action for action, _ in ours] == ["created", "removed"]
    assert sorted(entry["seq"] for entry in entries) == [entry["seq"] for entry in entries]
    assert len({entry["seq"] for entry in entries}) == len(entries)
    # By level: a link that goes down is worth a notice.
    module_lab.run("ip link add pulled type veth peer name far && ip link set pulled up && ip link set far up && ip link set far down && "
                   "ip link del far")
    both = [[json.loads(line) for line in module_lab.netdeck("events", "--no-follow", "--format", "json", *more).stdout.splitlines()]
            for more in ((), ("--level", "notice"))]
    wanted = [entry for entry in both[0] if entry["level"] != "info"]
    assert both[1][:len(wanted)] == wanted and {entry["level"] for entry in both[1]} <= {"notice", "warning", "error"}
    assert any((entry["action"], entry["subject"]) == ("down", "pulled") for entry in both[1])


def test_completion_knows_networks_and_containers(module_lab: Lab) -> None:
    module_lab.netdeck("network", "create", "completed")

    def complete(words: str) -> set[str]:
        script = '_NETDECK_COMPLETE=bash_complete COMP_WORDS="$1" COMP_CWORD="$2" exec "${@:3}"'
        said = module_lab.run(["env", f"PYTHONPATH={ROOT}", "bash", "-c", script, "bash", words, str(len(words.split(" ")) - 1), *NETDECK])
        return {line.split(",", 1)[1] for line in said.splitlines() if line}

    assert complete("netdeck network rm comp") == {"completed"}
    assert "netns:outside" in complete("netdeck network connect completed ")
    module_lab.netdeck("network", "rm", "completed")


@pytest.mark.req("W8")
def test_the_words_of_docker_that_look(module_lab: Lab) -> None:
    network = module_lab.netdeck("network", "create", "--subnet", "10.77.0.0/24", "looked-at").stdout.strip()
    module_lab.netdeck("run", "-d", "--name", "looker", "--network", "name=looked-at,ip=10.77.0.9", "--entrypoint", "sleep", "600")
    assert module_lab.netdeck("network", "ls", "-f", "name=looked", "--format", "{{.ID}} {{.Name}} {{.Scope}}", "--no-trunc").stdout == (
        f"{network} looked-at local\n")
    assert module_lab.netdeck("ps", "-f", "name=looker", "--format", "table {{.Names}}\\t{{.Networks}}").stdout.splitlines() == [
        "NAMES    NETWORKS", "looker   looked-at"]
    # On a terminal that is too narrow nothing is lost: it wraps.
    typed = module_lab.popen(["script", "-qec", f"stty cols 40; {shlex.join(NETDECK)} ps --no-trunc; {shlex.join(NETDECK)} network ls",
                              "/dev/null"], env=environment(), stderr=subprocess.PIPE)
    shown, _ = typed.communicate(timeout=60)
    assert "looked-at" in shown and "sleep 600" in shown and "10.77.0.0/24" in shown and network[:12] in shown and "…" not in shown
    assert len(module_lab.netdeck("ps", "-q", "--no-trunc", "-f", "network=looked-at").stdout.strip()) == 64
    told = module_lab.netdeck("inspect", "-f", "{{.Name}}", "nothing", "looked-at", "looker", code=1)
    assert (told.stdout, "no container and no network 'nothing'" in told.stderr) == ("looked-at\nlooker\n", True)
    path = "{{.NetworkSettings.Networks.looked-at.Gateway}}"
    assert module_lab.netdeck("inspect", "--type", "container", "-f", path, "looker").stdout == "10.77.0.1\n"
    path = "{{.NetworkSettings.Networks.looked-at.IPAddress}}"
    assert module_lab.netdeck("inspect", "-f", path, "looker").stdout == "10.77.0.9\n"
    assert "no field 'nmae'" in module_lab.netdeck("network", "inspect", "-f", "{{.nmae}}", "looked-at", code=2).stderr
    assert module_lab.ask("version", "--format", "json")["Server"]["Protocol"] == 1
    assert module_lab.ask("info", "--format", "json")["ContainersRunning"] >= 1
    refused = module_lab.netdeck("network", "create", "-d", "overlay", "o", code=1).stderr
    assert "overlay (one network on several hosts) is not there yet" in refused
    assert module_lab.netdeck("kill", "looker").stdout == "looker\n"
    module_lab.netdeck("rm", "looker")
    module_lab.netdeck("network", "rm", "looked-at")
    assert module_lab.netdeck("network", "rm", "-f", "looked-at").stdout == ""


def test_call_is_what_a_script_gets(module_lab: Lab) -> None:
    assert [row["name"] for row in module_lab.ask("call", "network.list")][:3] == ["bridge", "host", "none"]
    made = json.loads(module_lab.netdeck("call", "network.create", "-", input='{"name": "piped"}').stdout)
    assert made["network"]["name"] == "piped"
    error = json.loads(module_lab.netdeck("call", "network.create", '{"name": "piped"}', code=1).stderr)["error"]
    assert error["code"] == "conflict"
    module_lab.netdeck("network", "rm", "piped")


def test_without_a_command_it_is_the_workstation_on_the_helper_that_answers(module_lab: Lab) -> None:
    module_lab.netdeck("network", "create", "on-screen")
    with PtySession(module_lab._inside([*NETDECK, "--ascii"], ""), columns=120, lines=30) as session:
        assert session.pump(60, lambda: session.shows("on-screen"))
        assert all(line.isascii() for line in session.screen.display)
        session.send(b"q")
        assert session.wait_exit() == 0
    module_lab.netdeck("network", "rm", "on-screen")


def test_without_a_helper_it_is_the_workstation_on_a_lab() -> None:
    # A path that nobody serves: the default one of this machine, which the test must not use.
    with running_lab() as lab:
        lab.netdeck("helper", "--stop")
        with PtySession(lab._inside([*NETDECK], ""), columns=120, lines=30) as session:
            assert session.pump(60, lambda: session.shows("web") and session.shows("LAB"))
            session.send(b"q")
            assert session.wait_exit() == 0


def test_the_helper_is_asked_stopped_and_started(lab: Lab) -> None:
    info = lab.ask("helper", "--status", "--format", "json")
    assert "pid" in lab.netdeck("helper", "--status").stdout
    assert "runs already" in lab.netdeck("helper", "--detach", code=1).stderr
    lab.netdeck("network", "create", "stays")
    lab.netdeck("helper", "--stop")
    assert lab.netdeck("network", "ls", code=1).stderr.startswith("netdeck: ")
    lab.netdeck("helper", "--status", code=1)
    said = lab.netdeck("helper", "--detach", "--state-dir", "/run/netdeck/state", "--run-dir", "/run/netdeck").stdout
    assert int(said) != info["pid"]
    assert "stays" in lab.netdeck("network", "ls").stdout


def test_what_a_detached_container_prints_is_followed_until_ctrl_c(module_lab: Lab) -> None:
    module_lab.netdeck("run", "-d", "--name", "ticker", "--network", "none", "sh", "-c", "while echo tick; do sleep 0.1; done")
    with PtySession(module_lab._inside([*NETDECK, "logs", "-f", "-n", "1", "ticker"], ""), columns=60, lines=12) as session:
        assert session.pump(60, lambda: sum("tick" in line for line in session.screen.display) > 2)
        session.send(b"\x03")
        assert session.wait_exit(60) is not None  # by the signal: what enters the lab's namespaces for the test gets it too
        assert b"Traceback" not in session.output
    assert module_lab.netdeck("logs", "--tail", "2", "ticker").stdout == "tick\ntick\n"
    assert "no number of lines" in module_lab.netdeck("logs", "--tail", "x", "ticker", code=2).stderr
    module_lab.netdeck("rm", "-f", "ticker")
