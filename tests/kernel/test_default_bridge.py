"""The configuration file and the default network: carried out at the start, changed at the next, refused where it is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.steady import same_again, steady
from tests.kernel.test_networks import address, attach, reaches
from tests.running_helper import RunningHelper
from tests.simulated_host import HostError, SimulatedHost

pytest_plugins = ("tests.kernel.helper_fixtures",)
pytestmark = pytest.mark.req("B8")


@pytest.fixture
def stopped(host: SimulatedHost, tmp_path: Path) -> Iterator[RunningHelper]:
    """A helper that was not started yet."""
    host.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
    running = RunningHelper(host, tmp_path)
    try:
        yield running
    finally:
        running.close()


def configure(helper: RunningHelper, text: str) -> None:
    (helper.folder / "config.toml").write_text(text)


def bridge(helper: RunningHelper) -> dict[str, Any]:
    return dict(next(row for row in helper.call("network.list") if row["name"] == "bridge"))


def link(helper: RunningHelper) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(helper.host.run("ip -j addr show dev netdeck0"))
    return found[0]


def test_the_default_bridge_is_as_the_file_says(stopped: RunningHelper) -> None:
    configure(stopped, "\n".join([
        'bip = "10.20.0.1/16"', 'fixed-cidr = "10.20.5.0/24"', 'fixed-cidr-v6 = "fd00:20::/64"', 'default-gateway = "10.20.0.254"',
        'default-gateway-v6 = "fd00:20::fe"', "mtu = 1400", "icc = false", "ip-masq = false", 'dns = ["192.0.2.53"]',
        "[[default-address-pools]]", 'base = "10.64.0.0/12"', "size = 24"]))
    helper = stopped.start()
    found = bridge(helper)
    assert [(item["subnet"], item["gateway"], item["ip_range"]) for item in found["subnets"]] == [
        ("10.20.0.0/16", "10.20.0.1", "10.20.5.0/24"), ("fd00:20::/64", "fd00:20::1", None)]
    assert {name: found["options"][name] for name in ("mtu", "icc", "masquerade")} == {"mtu": "1400", "icc": "false", "masquerade": "false"}
    assert link(helper)["mtu"] == 1400
    endpoint = attach(helper, "bridge", "c1")
    assert address(endpoint).startswith("10.20.5.")
    assert "default via 10.20.0.254" in helper.host.run("ip route", netns="c1")
    assert "default via fd00:20::fe" in helper.host.run("ip -6 route", netns="c1")
    assert "nat-netdeck0" not in helper.host.run("nft list table inet netdeck")
    inside = helper.command("run", "--rm", "--", "cat", "/etc/resolv.conf")
    assert [line for line in inside.splitlines() if line.startswith("nameserver")] == ["nameserver 192.0.2.53"]
    # A network without a subnet of its own gets one of the file's pools.
    made = [helper.call("network.create", name=name)["network"]["subnets"][0]["subnet"] for name in ("a", "b")]
    assert made == ["10.64.0.0/24", "10.64.1.0/24"]
    before = bridge(helper)
    helper.restart()
    assert bridge(helper) == before and helper.call("doctor.list") == []


def test_a_change_of_the_file_takes_effect_at_the_restart(stopped: RunningHelper) -> None:
    helper = stopped.start()
    first, ident = bridge(helper), bridge(helper)["id"]
    configure(helper, 'bip = "10.21.0.1/24"\nmtu = 1300\n')
    helper.restart()
    found = bridge(helper)
    assert found["id"] == ident
    assert [(item["subnet"], item["gateway"]) for item in found["subnets"]] == [("10.21.0.0/24", "10.21.0.1")]
    assert [item["local"] for item in link(helper)["addr_info"] if item["family"] == "inet"] == ["10.21.0.1"]
    assert link(helper)["mtu"] == 1300
    assert "10.21.0.0/24" in helper.host.run("nft list chain inet netdeck nat-netdeck0")
    assert first["subnets"][0]["subnet"] not in helper.host.run("nft list table inet netdeck; ip route")
    # What is taken out of the file is as by default again; the subnet stays.
    configure(helper, "")
    helper.restart()
    assert link(helper)["mtu"] == 1500 and bridge(helper)["subnets"][0]["subnet"] == "10.21.0.0/24"
    assert "error" not in helper.log().lower()


def test_an_update_stays_until_the_file_changes(stopped: RunningHelper) -> None:
    configure(stopped, "mtu = 1400\n")
    helper = stopped.start()
    answer = helper.call("network.update", name="bridge", options={"mtu": "1300", "masquerade": "false"}, labels={"site": "x"})
    assert any("until the file is changed" in text for text in answer["warnings"])
    helper.restart()
    assert link(helper)["mtu"] == 1300 and bridge(helper)["options"]["masquerade"] == "false"
    configure(helper, "mtu = 1400\nicc = false\n")
    helper.restart()
    found = bridge(helper)
    assert link(helper)["mtu"] == 1400 and (found["options"]["masquerade"], found["options"]["icc"]) == ("true", "false")
    assert found["labels"] == {"site": "x"}  # the file says nothing of labels
    assert helper.call("network.update", name="bridge", options={"mtu": "1400"})["warnings"] == []


def test_with_containers_on_it_what_they_can_bear_changes_and_the_rest_is_told(stopped: RunningHelper) -> None:
    configure(stopped, 'bip = "10.22.0.1/16"\n')
    helper = stopped.start()
    endpoint = attach(helper, "bridge", "c1")
    attach(helper, "bridge", "c2")
    configure(helper, 'bip = "10.22.0.1/16"\nfixed-cidr = "10.22.7.0/24"\ndefault-gateway = "10.22.0.99"\nmtu = 1350\nicc = false\n')
    helper.restart()
    assert link(helper)["mtu"] == 1350
    inside = helper.host.run("ip -o link show eth0; ip route", netns="c1")
    assert "mtu 1350" in inside and "default via 10.22.0.99" in inside
    assert not reaches(helper, "c2", address(endpoint))
    assert address(attach(helper, "bridge", "c3")).startswith("10.22.7.")
    assert helper.call("doctor.list") == []
    def state() -> str:
        return helper.host.run("ip addr; ip -n c1 addr; ip -n c1 route")
    before, kernel = bridge(helper), steady(state)
    taken = f'bip = "10.22.0.1/16"\ndefault-gateway = "{address(endpoint)}"\n'
    for text, words in (('bip = "10.23.0.1/16"\n', "Disconnect them"), ('bip = "10.22.0.2/16"\n', "gateway 10.22.0.2"),
                        ("ipv6 = true\n", "Disconnect them"), (taken, "netns:c1")):
        configure(helper, text)
        helper.restart()
        assert bridge(helper) == before
        assert same_again(state, kernel) == kernel
        finding, = helper.call("doctor.list")
        assert finding["id"] == "default-bridge" and "netns:c1" in finding["what"] and words in finding["what"]
        assert "stays as it is" in helper.log()
    configure(helper, 'bip = "10.23.0.1/16"\n')
    for name in ("c1", "c2", "c3"):
        helper.call("network.disconnect", network="bridge", container=f"netns:{name}")
    helper.restart()
    assert bridge(helper)["subnets"][0]["gateway"] == "10.23.0.1" and helper.call("doctor.list") == []


def test_what_the_host_has_elsewhere_is_told_and_nothing_changes(stopped: RunningHelper) -> None:
    helper = stopped.start()
    before = bridge(helper)
    helper.host.run("ip link add up0 type veth peer name up1; ip addr add 10.24.0.5/16 dev up0; ip link set up0 up; ip link set up1 up")
    configure(helper, 'bip = "10.24.0.1/16"\n')
    helper.restart()
    assert bridge(helper) == before
    finding, = helper.call("doctor.list")
    assert finding["id"] == "default-bridge" and "10.24.0.0/16 on up0" in finding["what"]


def test_a_wrong_file_stops_the_start_and_changes_nothing(stopped: RunningHelper) -> None:
    helper = stopped.start()
    attach(helper, "bridge", "c1")
    helper.stop()
    def state() -> str:
        return helper.host.run("ip addr; ip route; nft -s list ruleset; sysctl -a 2>/dev/null | grep -F netdeck0")
    before = steady(state)
    stored = (helper.folder / "state" / "state.db").read_bytes()
    configure(helper, 'bip = "10.20.0.0/16"\nmtu = "x"\n\n[roles]\ndefault = "boss"\nbib = 3\n')
    with pytest.raises(HostError) as caught:
        helper.start()
    said = str(caught.value)
    file = helper.folder / "config.toml"
    for line, key in ((1, "bip"), (2, "mtu"), (5, "roles.default"), (6, "roles.bib")):
        assert f"netdeck helper: {file}:{line}: {key}: " in said
    assert "has 4 errors, so the helper does not start and nothing was changed" in said and "Traceback" not in said
    assert same_again(state, before) == before
    assert (helper.folder / "state" / "state.db").read_bytes() == stored
    configure(helper, "")
    helper.start()
    assert reaches(helper, "c1", bridge(helper)["subnets"][0]["gateway"])
