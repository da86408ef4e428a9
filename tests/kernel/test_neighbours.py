"""Rules of others beside ours: what stops our packets is named exactly, and nothing of theirs is changed without a word."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from protocol.errors import InvalidValue
from tests.kernel.test_doctor import carried_out, findings
from tests.kernel.test_foreign_containers import engine_host, rules_of_others
from tests.kernel.test_networks import address, attach, reaches
from tests.running_helper import RunningHelper
from tests.simulated_host import SimulatedHost
from tests.waiting import until

__all__ = ["engine_host"]
pytest_plugins = ("tests.kernel.helper_fixtures",)
pytestmark = pytest.mark.req("X9")


def blocking(helper: RunningHelper, severity: str = "error") -> list[str]:
    return [ident for ident, row in findings(helper).items() if ident.startswith("foreign-drop") and row["severity"] == severity]


# A table of somebody else's, what is said to drop, and a part of the words. BR stands for the bridge, SUBNET for the network's.
FOREIGN: list[tuple[str, str, str]] = [
    ("table inet filter { chain forward { type filter hook forward priority 0; policy drop; } }",
     "foreign-drop.inet.filter.forward", "the policy drop of the chain inet filter forward"),
    ("table ip other { chain fw { type filter hook forward priority -5; iifname BR drop; } }",
     "foreign-drop.ip.other.fw.", "rule `iifname \"BR\" drop`"),
    ("table inet other { chain strict { ct state new reject; } chain fw { type filter hook forward priority 5; jump strict; } }",
     "foreign-drop.inet.other.strict.", "chain inet other strict"),
    ("table inet other { set nets { type ipv4_addr; flags interval; elements = { SUBNET, 203.0.113.0/24 }; } "
     "chain fw { type filter hook forward priority 5; ip saddr @nets counter drop; } }", "foreign-drop.inet.other.fw.", "ip saddr @nets"),
    ("table inet other { chain fw { type filter hook forward priority 5; policy drop; ct state vmap { established : accept, "
     "related : accept, invalid : drop }; iifname { lo, ethx } accept; } }", "foreign-drop.inet.other.fw", "policy drop"),
    ("table inet other { chain out { accept; } chain fw { type filter hook forward priority 5; policy drop; oifname eth0 goto out; "
     "iifname eth0 ct state established accept; } }", "", ""),
    ("table inet other { chain fw { type filter hook forward priority 5; ct state invalid drop; iifname ethx drop; "
     "ip saddr 203.0.113.0/24 drop; meta nfproto ipv6 drop; oifname BR ct state new drop; } }", "", ""),
    ("table inet other { chain fw { type filter hook forward priority 5; policy drop; ip daddr 198.51.100.1 return; "
     "iifname BR accept; oifname BR accept; } }", "", ""),
]


def load(host: SimulatedHost, text: str) -> None:
    """Load nft text of one line, which wants a line end behind each chain."""
    host.run(["nft", "-f", "-"], input=text.replace("; }", ";\n}\n"))


def bridged(host: SimulatedHost, on: bool) -> None:
    """Whether frames that cross a bridge meet the rules for routed packets; without br_netfilter they never do."""
    host.run(f"sysctl -qw net.bridge.bridge-nf-call-iptables={int(on)} net.bridge.bridge-nf-call-ip6tables={int(on)}", check=False)


@pytest.mark.parametrize(("table", "ident", "words"), FOREIGN, ids=[f"{number}" for number in range(len(FOREIGN))])
def test_what_is_said_to_drop_does_drop(helper: RunningHelper, table: str, ident: str, words: str) -> None:
    bridged(helper.host, False)
    network = helper.call("network.create", name="a")["network"]
    attach(helper, "a", "c1")
    assert reaches(helper, "c1", "192.0.2.1")
    filled = table.replace("BR", network["link"]).replace("SUBNET", network["subnets"][0]["subnet"])
    load(helper.host, filled)
    rules = rules_of_others(helper.host)
    assert reaches(helper, "c1", "192.0.2.1") == (ident == "")
    found = [row for row in findings(helper).values() if row["id"].startswith("foreign-drop") and "a" in row["networks"]]
    if not ident:
        assert not found
        return
    finding, = found
    assert finding["id"].startswith(ident) and finding["severity"] == "error"
    assert words.replace("BR", network["link"]) in finding["what"] and not finding["automatic"]
    # Whoever joins is told; the event was shown; netdeck changes nothing.
    until(lambda: any(entry["action"] == "blocked" and entry["subject"] == "network a" for entry in helper.call("event.list")))
    told = helper.call("network.connect", network="a", container=f"netns:{helper.host.add_namespace('c2')}")["warnings"]
    assert any(finding["id"] in text for text in told)
    with pytest.raises(InvalidValue, match="not netdeck's"):
        helper.call("doctor.fix", id=finding["id"])
    assert rules_of_others(helper.host) == rules
    # By hand, the commands help, and only as much as they should.
    carried_out(helper, finding["commands"])
    said = helper.call("network.update", name="a", labels={"mended": "yes"})["warnings"]
    assert not any(finding["id"] in text for text in said)  # nobody is warned of what is gone
    assert reaches(helper, "c1", "192.0.2.1")
    assert not [row for row in findings(helper).values() if "a" in row["networks"]]
    until(lambda: any(entry["action"] == "unblocked" and entry["subject"] == "network a" for entry in helper.call("event.list")))


def test_packets_between_containers_of_one_bridge(helper: RunningHelper) -> None:
    """They meet the rules of others only through br_netfilter; what is said is what happens, with it and without."""
    network = helper.call("network.create", name="a", internal=True)["network"]
    attach(helper, "a", "c1")
    second = attach(helper, "a", "c2")
    load(helper.host, f"table inet other {{ chain fw {{ type filter hook forward priority 5; iifname {network['link']} drop; }} }}")
    for on in (False, True):
        bridged(helper.host, on)
        listed = any("a" in row["networks"] for row in findings(helper).values())
        assert reaches(helper, "c1", address(second)) is not listed
        assert on or not listed


# What drops frames on bridges: the rules of a table, whether it stops c1 towards c2, and towards the outside.
FRAMES: list[tuple[str, bool, bool]] = [
    ("chain fw { type filter hook forward priority 0; policy drop; ether type arp accept; }", True, False),
    ("chain fw { type filter hook input priority 0; iifname VETH ether type ip drop; }", False, True),
    ("chain no { counter drop; } chain fw { type filter hook output priority 0; ether type ip jump no; }", False, True),
    ("chain fw { type filter hook prerouting priority -300; ether saddr MAC ether type ip drop; }", True, True),
    ("chain fw { type filter hook postrouting priority 0; ip daddr ADDRESS oifname VETH drop; }", True, True),
    ("chain fw { type filter hook forward priority 0; iifname ethx drop; ether type vlan drop; "
     "ip saddr 203.0.113.0/24 drop; ip protocol udp drop; ether saddr 02:00:00:00:00:01 drop; }", False, False),
]


def test_what_drops_frames_on_a_bridge(helper: RunningHelper) -> None:
    """Chains of the family bridge, and ebtables: what is said is what happens, and the commands help."""
    host = helper.host
    bridged(host, False)
    helper.call("network.create", name="a")
    first = attach(helper, "a", "c1")
    target = address(attach(helper, "a", "c2"))
    link = first["host_link"]
    names = {"VETH": link, "MAC": first["mac"], "ADDRESS": address(first)}

    def found() -> list[dict[str, Any]]:
        return [row for row in findings(helper).values() if "a" in row["networks"]]

    def checked(table: str, between: bool, out: bool) -> None:
        assert (not reaches(helper, "c1", target), not reaches(helper, "c1", "192.0.2.1")) == (between, out), table
        told = found()
        assert bool(told) == (between or out), (table, told)
        for row in told:
            assert row["id"].startswith("foreign-drop.bridge.") and row["severity"] == "error" and "bridge" in row["what"]
            assert between == any("between its containers" in text for text in row["details"])
            assert out == any("the host" in text for text in row["details"])
            carried_out(helper, row["commands"])
        assert reaches(helper, "c1", target) and reaches(helper, "c1", "192.0.2.1") and not found(), table

    for rules, between, out in FRAMES:
        for word, value in names.items():
            rules = re.sub(rf"\b{word}\b", value, rules)
        load(host, f"table bridge f {{ {rules} }}")
        checked(rules, between, out)
        host.run("nft delete table bridge f")
    if shutil.which("ebtables-nft"):
        host.run(f"ebtables-nft -A FORWARD -i {link} -j DROP")
        checked("ebtables", True, False)
        host.run("nft delete table bridge filter")
    # Whoever joins is told, and an event is shown.
    load(host, "table bridge f { chain fw { type filter hook forward priority 0; iifname veth* drop; } }")
    assert found() and any(entry["action"] == "blocked" for entry in helper.call("event.list"))
    told = helper.call("network.connect", network="a", container=f"netns:{host.add_namespace('c3')}")["warnings"]
    assert any("between its containers" in text and "foreign-drop.bridge.f.fw" in text for text in told), told


@pytest.mark.req("B9", "B11")
def test_what_keeps_clients_from_published_ports(helper: RunningHelper) -> None:
    bridged(helper.host, False)
    network = helper.call("network.create", name="a")["network"]
    attach(helper, "a", "c1")
    serve = "import socket; s = socket.create_server(('', 80)); [s.accept()[0].close() for _ in range(9)]"
    server = helper.host.popen([sys.executable, "-c", serve], netns="c1")
    ask = [sys.executable, "-c", "import socket; socket.create_connection(('192.0.2.2', 8080), 2)"]

    def answered() -> bool:
        return not helper.host.run(ask, netns="outside", check=False).strip()

    try:
        load(helper.host, f"table inet other {{ chain fw {{ type filter hook forward priority 5; "
                          f"oifname {network['link']} ct state new drop; }} }}")
        assert not [row for row in findings(helper).values() if "a" in row["networks"]]  # nothing is published, so nothing is missed
        helper.call("port.publish", container="netns:c1", ports=["8080:80"])
        assert not answered()
        finding, = (row for row in findings(helper).values() if "a" in row["networks"])
        assert "a: to its published ports by eth0 (IPv4)" in finding["details"]
        carried_out(helper, finding["commands"])
        until(answered)
        assert not [row for row in findings(helper).values() if "a" in row["networks"]]
    finally:
        server.kill()
        server.wait()


def test_a_rule_that_may_let_through_makes_the_drop_uncertain(helper: RunningHelper) -> None:
    load(helper.host, "table inet other { chain fw { type filter hook forward priority 5; policy drop; tcp dport 443 accept; } }")
    finding = findings(helper)["foreign-drop.inet.other.fw"]
    assert finding["severity"] == "notice" and "tcp dport 443 accept" in finding["why"]
    assert helper.call("network.create", name="a")["warnings"] == []


@pytest.mark.req("B11", "X14")
def test_ufw_and_firewalld_are_known_by_their_chains(helper: RunningHelper) -> None:
    helper.host.run("iptables -P FORWARD DROP; iptables -N ufw-before-forward; iptables -A FORWARD -j ufw-before-forward; "
                    "iptables -A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")
    load(helper.host, "table inet firewalld { chain filter_FORWARD { type filter hook forward priority 10; "
                      "ct state established,related accept; reject with icmpx admin-prohibited; } }")
    found = findings(helper)
    ufw = found["foreign-drop.ip.filter.FORWARD"]
    assert "likely of ufw" in ufw["what"] and "ufw route allow in on netdeck0 out on eth0" in ufw["commands"]
    assert "ufw route delete allow in on netdeck0 out on eth0" in ufw["undo"]
    firewalld = next(row for ident, row in found.items() if ident.startswith("foreign-drop.inet.firewalld.filter_FORWARD"))
    assert "likely of firewalld" in firewalld["what"]
    assert "firewall-cmd --permanent --zone=trusted --add-interface=netdeck0" in firewalld["commands"]
    assert not ufw["automatic"] and not firewalld["automatic"]


LOSSES = {
    "flush ruleset": "nft flush ruleset",
    "delete table": "nft delete table inet netdeck",
    "restart of nftables": "nft -f /run/nftables.conf",
    "reload of firewalld": "nft -f /run/firewalld.nft",
    "a rule more": "nft insert rule inet netdeck forward drop",
}


@pytest.mark.parametrize("way", LOSSES)
def test_our_table_is_back_at_once_with_its_counts(helper: RunningHelper, way: str) -> None:
    # What systemd does for nftables.service, and firewalld of before it left the tables of others alone.
    for file, other, hook in (("nftables.conf", "filter", "input"), ("firewalld.nft", "firewalld", "forward")):
        text = f"flush ruleset\ntable inet {other} {{\nchain fw {{\ntype filter hook {hook} priority 0\n}}\n}}\n"
        helper.host.run(f"cat > /run/{file}", input=text)
    helper.call("network.create", name="a")
    attach(helper, "a", "c1")
    assert reaches(helper, "c1", "192.0.2.1", count=3)

    def counted() -> dict[str, int]:
        return {row["comment"]: row["packets"] for row in helper.call("firewall.rules", network="a")}

    def table() -> list[str]:
        return sorted(helper.host.run("nft -s list table inet netdeck", check=False).splitlines())

    before, whole = counted(), table()
    assert before["a: from its containers"] == 3
    helper.host.run(LOSSES[way])
    until(lambda: table() == whole)
    assert counted() == before
    assert reaches(helper, "c1", "192.0.2.1")
    assert counted()["a: from its containers"] == 4
    until(lambda: any(entry["action"] == "restored" and "nft" in entry["text"] for entry in helper.call("event.list")))
    shown = helper.command("network", "inspect", "--firewall", "a")
    assert re.search(r"^from-br-\S+ +4 +336B +a: from its containers$", shown, re.MULTILINE)
    # They go on over a restart of the helper, too.
    helper.restart()
    assert counted()["a: from its containers"] >= 1
    assert "firewall-table" not in findings(helper)


def test_the_rules_of_one_network_and_of_all(helper: RunningHelper) -> None:
    helper.call("network.create", name="a")
    every = helper.call("firewall.rules")
    assert {row["network"] for row in every} == {"", "a", "bridge"}
    assert helper.call("firewall.rules", network="a") == [row for row in every if row["network"] == "a"]
    assert all(row["comment"] for row in every)


@pytest.mark.engines
@pytest.mark.req("X9", "B11")
def test_beside_a_docker_engine_that_drops_what_is_forwarded(helper: RunningHelper, engine_host: Path, tmp_path: Path) -> None:
    if not (shutil.which("dockerd") and Path("/usr/bin/docker").exists()):
        pytest.skip("docker.io is not installed")
    host, docker = helper.host, ["/usr/bin/docker"]
    helper.call("network.create", name="a", ipv6=True)
    first, second = attach(helper, "a", "c1"), attach(helper, "a", "c2")
    host.run("sysctl -qw net.ipv4.ip_forward=1")
    host.popen(["dockerd", "--storage-driver", "vfs"], stdout=(tmp_path / "dockerd.log").open("w"))
    until(lambda: "Server" in host.run([*docker, "version"], check=False))
    # Docker makes the policy DROP where it finds forwarding off, and so do many who harden it.
    host.run("iptables -P FORWARD DROP")
    rules = rules_of_others(host)
    ident = "foreign-drop.ip.filter.FORWARD"
    until(lambda: ident in findings(helper))
    assert not reaches(helper, "c1", "192.0.2.1")
    finding = findings(helper)[ident]
    assert "the policy drop of the chain ip filter FORWARD, likely of Docker," in finding["what"] and finding["automatic"]
    # Said and done are one: between containers of one bridge packets pass exactly where it is not listed.
    within = any("between its containers" in text and text.startswith("a:") for text in finding["details"])
    assert reaches(helper, "c1", address(second)) is not within
    assert rules_of_others(host) == rules

    host.run(f"tar -C {engine_host} -c . | docker import - box", timeout=60)
    host.run([*docker, "run", "-d", "--name", "web", "box", "sleep", "1000"], timeout=60)
    theirs = host.run([*docker, "inspect", "-f", "{{.NetworkSettings.IPAddress}}", "web"]).strip()
    rules = rules_of_others(host)
    helper.command("doctor", "--fix", ident, "--yes")
    assert reaches(helper, "c1", "192.0.2.1") and reaches(helper, "c1", address(second)) and reaches(helper, "c2", address(first))
    assert ident not in findings(helper)
    # The least: Docker's own containers stay closed to ours, and ours to them; all that was there is there.
    pid = host.run([*docker, "inspect", "-f", "{{.State.Pid}}", "web"]).strip()
    assert not reaches(helper, "c1", theirs)
    assert "1 received" not in host.run(f"nsenter -t {pid} -n ping -n -c 1 -W 1 {address(first)}", check=False)
    assert [line for line in rules_of_others(host) if "netdeck:1:" not in line] == rules
    # Networks to come are let through too, and after a restart of the helper and of Docker's chain.
    helper.call("network.create", name="later")
    attach(helper, "later", "c3")
    until(lambda: reaches(helper, "c3", "192.0.2.1"))
    helper.stop()
    host.run("iptables -F DOCKER-USER; iptables -A DOCKER-USER -j RETURN")
    helper.start()
    until(lambda: reaches(helper, "c3", "192.0.2.1"))
    host.run("iptables -F DOCKER-USER; iptables -A DOCKER-USER -j RETURN")
    until(lambda: reaches(helper, "c1", "192.0.2.1"))
    # Taken back, everything of theirs is as it was.
    helper.command("doctor", "--undo", "docker-user", "--yes")
    assert rules_of_others(host) == rules
    assert not reaches(helper, "c1", "192.0.2.1") and ident in findings(helper)


def test_hostile_names_of_tables_of_others(helper: RunningHelper) -> None:
    """A name is data: it comes out as text, and never into a command as one."""
    load(helper.host, "table inet ab { chain forward { type filter hook forward priority 0; policy drop; "
                      "iifname \"x$(id)\" accept comment \"[red]; flush ruleset\"; } }")
    found: dict[str, dict[str, Any]] = findings(helper)
    assert all(line.isprintable() for row in found.values() for line in (row["what"], *row["details"], *row["commands"]))
