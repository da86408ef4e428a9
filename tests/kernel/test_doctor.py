"""`netdeck doctor` on a real kernel: each thing that goes wrong is found, told, and mended after it was shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protocol.errors import Conflict, InvalidValue, KernelRefused, NotFound
from tests.kernel.test_networks import attach, reaches
from tests.running_helper import RunningHelper
from tests.waiting import until

pytest_plugins = ("tests.kernel.helper_fixtures",)


@pytest.fixture
def kept(helper: RunningHelper, tmp_path: Path) -> Iterator[Path]:
    """The host's /etc/sysctl.d, which is its own and empty."""
    folder = tmp_path / "sysctl.d"
    folder.mkdir()
    helper.stop()
    helper.host.run(f"mount --bind {folder} /etc/sysctl.d")
    helper.start()
    yield folder


def findings(helper: RunningHelper) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in helper.call("doctor.list")}


def setting(helper: RunningHelper, name: str) -> str:
    return helper.host.run(["sysctl", "-n", name]).strip()


def carried_out(helper: RunningHelper, commands: list[str]) -> None:
    """The commands as they were shown."""
    for command in commands:
        helper.host.run(command)


@pytest.mark.req("B11")
def test_a_host_with_nothing_wrong(helper: RunningHelper) -> None:
    helper.call("network.create", name="a", ipv6=True)
    attach(helper, "a", "c1")
    assert helper.call("doctor.list") == []
    assert helper.command("doctor") == "nothing is wrong\n"
    with pytest.raises(NotFound, match="nothing is wrong now"):
        helper.call("doctor.fix", id="forwarding-ipv4")
    with pytest.raises(NotFound, match="docker-user"):
        helper.call("doctor.fix", id="docker-user", undo=True)


@pytest.mark.req("B11")
@pytest.mark.parametrize(("family", "name"), [(4, "net.ipv4.ip_forward"), (6, "net.ipv6.conf.all.forwarding")])
def test_forwarding_is_switched_on_and_stays_on(helper: RunningHelper, kept: Path, family: int, name: str) -> None:
    helper.call("network.create", name="a", ipv6=True)
    attach(helper, "a", "c1")
    helper.host.run(f"sysctl -qw {name}=0")
    outside = "192.0.2.1" if family == 4 else "2001:db8::1"
    assert not reaches(helper, "c1", outside)
    ident = f"forwarding-ipv{family}"
    # Whoever makes or joins a network is told, with the remedy.
    told = helper.call("network.create", name="b", ipv6=True)["warnings"]
    told += helper.call("network.connect", network="b", container="netns:c1")["warnings"]
    assert sum(f"netdeck doctor --fix {ident}" in text for text in told) == 2
    finding = findings(helper)[ident]
    assert finding["severity"] == "error" and name in finding["what"] and finding["networks"][-2:] == ["a", "b"]
    # Shown, refused by who is asked, refused where nobody can be asked: nothing was done.
    for words in (["doctor"], ["doctor", "--fix", ident]):
        assert name in helper.command(*words, check=False)
    assert "add --yes" in helper.command("doctor", "--fix", ident, check=False)
    helper.call("doctor.fix", id=ident, dry_run=True)
    with pytest.raises(Conflict, match="changed since it was shown"):
        helper.call("doctor.fix", id=ident, commands=["something else"])
    assert setting(helper, name) == "0" and not list(kept.iterdir())
    out = helper.command("doctor", "--fix", ident, "--yes")
    assert f"{ident} mended\n  was   {finding['what']}\n" in out and f"  done  $ {finding['commands'][0]}" in out
    assert setting(helper, name) == "1" and reaches(helper, "c1", outside)
    assert f"{name} = 1" in (kept / "90-netdeck.conf").read_text().splitlines()
    assert findings(helper) == {}
    assert any(entry["action"] == "mended" for entry in helper.call("event.list"))
    # After a restart of the host, sysctl reads the file.
    helper.host.run(f"sysctl -qw {name}=0; sysctl -qp /etc/sysctl.d/90-netdeck.conf")
    assert setting(helper, name) == "1"
    carried_out(helper, finding["undo"])
    assert setting(helper, name) == "0" and name not in (kept / "90-netdeck.conf").read_text()


@pytest.mark.req("B11")
def test_the_shown_commands_do_the_same(helper: RunningHelper, kept: Path) -> None:
    helper.host.run("sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0")
    for finding in findings(helper).values():
        carried_out(helper, finding["commands"])
    assert findings(helper) == {}
    by_hand = (kept / "90-netdeck.conf").read_text()
    helper.host.run("sysctl -qw net.ipv4.ip_forward=0; rm /etc/sysctl.d/90-netdeck.conf")
    helper.call("doctor.fix", id="forwarding-ipv4")
    assert set((kept / "90-netdeck.conf").read_text().splitlines()[1:]) <= set(by_hand.splitlines())


@pytest.mark.req("B11")
def test_a_setting_that_cannot_be_kept_is_not_made(helper: RunningHelper, kept: Path) -> None:
    helper.host.run("sysctl -qw net.ipv4.ip_forward=0; mount -t tmpfs -o size=4k,nr_inodes=1 none /etc/sysctl.d")
    out = helper.command("doctor", "--fix", "forwarding-ipv4", "--yes", check=False)
    assert "/etc/sysctl.d/90-netdeck.conf can't be written" in out and "Traceback" not in out
    assert setting(helper, "net.ipv4.ip_forward") == "0"


@pytest.mark.req("B11")
def test_a_default_route_that_was_advertised_outlives_forwarding(helper: RunningHelper, kept: Path) -> None:
    helper.call("network.create", name="a", ipv6=True)
    helper.host.run("sysctl -qw net.ipv6.conf.all.forwarding=0 net.ipv6.conf.eth0.accept_ra=1; ip -6 route del default; "
                    "ip -6 route add default via 2001:db8::1 proto ra")
    until(lambda: any("accept_ra=2" in command for command in findings(helper)["forwarding-ipv6"]["commands"]))
    helper.call("doctor.fix", id="forwarding-ipv6")
    assert setting(helper, "net.ipv6.conf.eth0.accept_ra") == "2" and setting(helper, "net.ipv6.conf.all.forwarding") == "1"
    assert "net/ipv6/conf/eth0/accept_ra = 2" in (kept / "90-netdeck.conf").read_text()


@pytest.mark.req("B11")
def test_one_link_without_forwarding_and_a_strict_filter_on_a_second_way_out(helper: RunningHelper, kept: Path) -> None:
    helper.host.run("ip link add eth1 type veth peer name up1 netns outside; ip link set eth1 up; ip -n outside link set up1 up; "
                    "ip addr add 203.0.113.2/24 dev eth1; ip route add 198.51.100.0/24 via 203.0.113.1; "
                    "sysctl -qw net.ipv4.conf.eth1.rp_filter=1 net.ipv4.conf.eth1.forwarding=0")
    until(lambda: {"forwarding-ipv4.eth1", "rp-filter.eth1"} <= set(findings(helper)))
    found = findings(helper)
    assert set(found) == {"forwarding-ipv4.eth1", "rp-filter.eth1"}
    assert "eth0, eth1" in found["rp-filter.eth1"]["what"]
    for ident in found:
        helper.call("doctor.fix", id=ident)
    assert findings(helper) == {}
    assert setting(helper, "net.ipv4.conf.eth1.rp_filter") == "2" and setting(helper, "net.ipv4.conf.eth1.forwarding") == "1"
    for finding in found.values():
        carried_out(helper, finding["undo"])
    assert set(findings(helper)) == set(found)


@pytest.mark.req("X14")
def test_links_of_a_path_that_disagree_are_named_with_their_values(helper: RunningHelper) -> None:
    helper.call("network.create", name="a")
    endpoint = attach(helper, "a", "c1")
    network = next(row for row in helper.call("network.list") if row["name"] == "a")
    helper.host.run("ip -n c1 link set eth0 mtu 1400")
    until(lambda: "mtu.a" in findings(helper))
    finding = findings(helper)["mtu.a"]
    assert finding["details"] == [f"eth0 in netns:c1, behind the port {endpoint['host_link']}, has 1400"]
    helper.host.run(f"ip link set {endpoint['host_link']} mtu 1300; ip link set {network['link']} mtu 1200")
    until(lambda: len(findings(helper)["mtu.a"]["details"]) == 3)
    finding = findings(helper)["mtu.a"]
    assert "(MTU 1500) disagree" in finding["what"]
    assert {f"the bridge {network['link']} has 1200", f"its port {endpoint['host_link']} has 1300"} < set(finding["details"])
    # What netdeck made is listed as changed too, and put right.
    assert findings(helper)["changed"]["automatic"]
    helper.call("doctor.fix", id="changed")
    helper.host.run("ip -n c1 link set eth0 mtu 1500")
    until(lambda: findings(helper) == {})


@pytest.mark.req("X14")
def test_an_uplink_that_takes_less_than_the_networks(helper: RunningHelper) -> None:
    helper.call("network.create", name="a", options={"mtu": "1400"})
    helper.call("network.create", name="b", internal=True)
    helper.host.run("ip link set eth0 mtu 1420")
    until(lambda: "mtu.bridge.eth0" in findings(helper))
    found = findings(helper)
    assert set(found) == {"mtu.bridge.eth0"}
    assert "1500" in found["mtu.bridge.eth0"]["what"] and "takes 1420" in found["mtu.bridge.eth0"]["what"]
    assert "mtu = 1420 in the configuration file" in found["mtu.bridge.eth0"]["remedy"]
    assert not found["mtu.bridge.eth0"]["automatic"]


@pytest.mark.req("X8", "B11")
def test_overlaps_with_routes_that_came_later_and_pools_that_run_out(helper: RunningHelper) -> None:
    helper.call("network.create", name="vpn", subnets=[{"subnet": "10.8.0.0/16"}])
    helper.call("network.create", name="tiny", subnets=[{"subnet": "10.9.0.0/29"}])
    assert findings(helper) == {}
    helper.host.run("ip route add 10.8.4.0/24 via 192.0.2.1")
    for number in range(5):
        attach(helper, "tiny", f"c{number}")
    until(lambda: "overlap.vpn.10.8.0.0/16" in findings(helper))
    found = findings(helper)
    assert set(found) == {"overlap.vpn.10.8.0.0/16", "pool.tiny.10.9.0.0/29"}
    assert "the host's route 10.8.4.0/24 via 192.0.2.1 on eth0" in found["overlap.vpn.10.8.0.0/16"]["what"]
    assert found["pool.tiny.10.9.0.0/29"]["severity"] == "error" and "5 addresses" in found["pool.tiny.10.9.0.0/29"]["what"]
    helper.call("network.disconnect", network="tiny", container="netns:c0")
    assert "pool.tiny.10.9.0.0/29" not in findings(helper)


def test_orphans_and_what_was_changed_behind_netdecks_back(helper: RunningHelper) -> None:
    helper.call("network.create", name="a", ipv6=True)
    attach(helper, "a", "c1")
    network = next(row for row in helper.call("network.list") if row["name"] == "a")
    instance = helper.call("info")["instance"]
    before = helper.host.run("ip -br link; ip -br addr; nft -s list table inet netdeck")
    gateway = network["subnets"][0]["gateway"]
    # The group and the alias that netdeck marks its links with.
    helper.host.run(f"ip link add orphan type bridge; ip link set orphan group 28260 alias netdeck:1:{instance}:network:{'0' * 64}; "
                    f"ip addr del {gateway}/16 dev {network['link']}; sysctl -qw net.ipv6.conf.{network['link']}.accept_ra=2")
    found = findings(helper)
    assert set(found) == {"orphans", "changed"}
    assert any("orphan" in line for line in found["orphans"]["details"])
    words = " ".join(found["changed"]["details"])
    assert gateway in words and "accept_ra" in words
    assert not reaches(helper, "c1", gateway)
    document = json.loads(helper.command("doctor", "--format", "json", check=False))
    assert {row["id"] for row in document} == set(found)
    # Each takes in hand what it names, and no more; what can't be taken back is no command to type.
    helper.host.run("ip -n c1 route del default")
    assert "delete" not in " ".join(findings(helper)["changed"]["details"])
    shown = helper.command("doctor", "--fix", "changed", "--yes", check=False)
    assert "create route 0.0.0.0/0 via" in shown and "by eth0 in netns:c1" in shown and "ip -n c1 route add" in shown
    assert "undo" not in shown and "There is nothing to take back" in shown
    assert set(findings(helper)) == {"orphans"} and "orphan" in helper.host.run("ip link show orphan")
    helper.host.run(f"ip addr del {gateway}/16 dev {network['link']}")
    helper.command("doctor", "--fix", "orphans", "--yes")
    assert set(findings(helper)) == {"changed"}
    helper.call("doctor.fix", id="changed")
    assert findings(helper) == {}
    assert helper.host.run("ip -br link; ip -br addr; nft -s list table inet netdeck").split() == before.split()
    assert setting(helper, f"net.ipv6.conf.{network['link']}.accept_ra") == "0"
    until(lambda: reaches(helper, "c1", gateway))  # the container has yet to find out that its gateway is there again


def test_what_cannot_be_mended_is_told(helper: RunningHelper) -> None:
    """Somebody else's link has the name of ours: it is left, and the finding stays."""
    helper.call("network.create", name="a", options={"name": "web0"})
    helper.host.run("ip link del web0; ip link add web0 type veth peer name other0")
    assert "changed" in findings(helper)
    with pytest.raises(KernelRefused, match="was not mended"):
        helper.call("doctor.fix", id="changed")
    assert "changed" in findings(helper)
    assert "other0" in helper.host.run("ip link show web0")
    helper.host.run("ip link del web0")
    helper.call("doctor.fix", id="changed")
    assert "changed" not in findings(helper)


def test_what_is_not_netdecks_is_not_mended_by_it(helper: RunningHelper) -> None:
    helper.host.run("ip link set eth0 mtu 1420")
    until(lambda: "mtu.bridge.eth0" in findings(helper))
    with pytest.raises(InvalidValue, match="by hand"):
        helper.call("doctor.fix", id="mtu.bridge.eth0")
    assert "mtu 1420" in helper.host.run("ip link show eth0")
