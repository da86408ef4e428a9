"""Packages with drivers that are broken: left out and told, what they made left in peace."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from protocol.errors import NetdeckError, NotFound, Unavailable
from tests.running_helper import ROOT, RunningHelper
from tests.unit.test_contributing import example
from tests.waiting import until

pytest_plugins = ("tests.kernel.helper_fixtures",)
pytestmark = pytest.mark.req("D1")

PACKAGES = {
    "boom": "raise RuntimeError('no \\x1b[31mworld')",
    "quits": "raise SystemExit(3)",
    "bridge": "DRIVER = object()",
    "empty": "DRIVER = object()",
    "half": "from protocol.model import DriverInfo\nclass D:\n    name = 'half'\n    info = DriverInfo(name='half', help='')\n"
            "    def check(self, *args): ...\nDRIVER = D()",
    "alias": "from drivers.none import DRIVER",
}


def register(site: Path, name: str, module: str, code: str) -> None:
    """As pip leaves an installed package."""
    info = site / f"netdeck_{module}-1.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: netdeck-{module}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[netdeck.drivers]\n{name} = {module}:DRIVER\n")
    (site / f"{module}.py").write_text(code)


def path(site: Path) -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join((str(ROOT), str(site)))}


def test_broken_packages_are_left_out_and_told(helper: RunningHelper, tmp_path: Path) -> None:
    site = tmp_path / "site"
    for name, code in PACKAGES.items():
        register(site, name, f"pkg_{name}", code)
    helper.stop()
    helper.start(path(site))
    found = {row["name"]: row["problem"] for row in helper.call("driver.list")}
    assert found["bridge"] == found["host"] == found["none"] == ""
    assert found["pkg_bridge:DRIVER"] == "the name 'bridge' is that of another driver"
    assert found["boom"] == "RuntimeError: no \\x1b[31mworld (package pkg_boom:DRIVER)"
    assert "SystemExit: 3" in found["quits"] and "its info is not" in found["empty"]
    assert "it has no network_objects, check_endpoint, endpoint_objects, default_routes" in found["half"]
    assert "it calls itself 'none'" in found["alias"]
    assert "driver boom can't be used: RuntimeError" in helper.log()
    assert "driver boom" in {row["subject"] for row in helper.call("event.list") if row["action"] == "unusable"}
    with pytest.raises(Unavailable, match=r"driver boom can't be used: RuntimeError.*start the helper again"):
        helper.call("network.create", name="x", driver="boom")
    with pytest.raises(NotFound):
        helper.call("network.create", name="x", driver="brige")
    helper.call("network.create", name="x")


@pytest.mark.parametrize("automatic", [True, False])
def test_whether_a_subnet_gets_a_gateway_unasked_is_the_drivers_word(helper: RunningHelper, tmp_path: Path, automatic: bool) -> None:
    code = example("netdeck_segment.py").replace("segment", "bare").replace("gateway=None", "aux={}")
    register(tmp_path / "site", "bare", "pkg_bare", code.replace("internal=False,", f"internal=False, automatic_gateway={automatic},"))
    helper.stop()
    helper.start(path(tmp_path / "site"))
    subnets = [{"subnet": "10.7.0.0/24"}, {"subnet": "10.8.0.0/24", "gateway": "10.8.0.9"}]
    made = helper.call("network.create", name="x", driver="bare", subnets=subnets, dry_run=True)["network"]
    assert [row["gateway"] for row in made["subnets"]] == ["10.7.0.1" if automatic else None, "10.8.0.9"]


def test_networks_of_a_driver_that_broke_stay(helper: RunningHelper, tmp_path: Path) -> None:
    host, site = helper.host, tmp_path / "site"
    segment = example("netdeck_segment.py")
    register(site, "segment", "netdeck_segment", segment)
    helper.stop()
    helper.start(path(site))
    for name in ("c1", "c2", "c3"):
        host.add_namespace(name)
    helper.call("network.create", name="quiet", driver="segment", subnets=[{"subnet": "10.7.0.0/24"}])
    link = helper.call("network.inspect", names=["quiet"])[0]["Netdeck"]["Link"]
    for name in ("c1", "c2"):
        helper.call("network.connect", network="quiet", container=f"netns:{name}")
    helper.call("network.connect", network="bridge", container="netns:c1")
    addresses = {row["Name"]: row["IPv4Address"].partition("/")[0]
                 for row in helper.call("network.inspect", names=["quiet"])[0]["Containers"].values()}
    links = host.run("ip -br link; ip -n c1 -br addr; ip -n c1 route; ip -n c2 -br addr")
    fails = segment.replace("        link = network.link\n", "        raise KeyError(network.name)\n")
    assert fails != segment
    for code, why in (("import nothing_like_that", "ModuleNotFoundError"), (fails, "it fails at network quiet: KeyError: 'quiet'"),
                      (None, "no package that is installed has it")):
        helper.stop()
        if code is None:
            helper.start()
        else:
            register(site, "segment", "netdeck_segment", code)
            helper.start(path(site))
        row = next(row for row in helper.call("network.list") if row["name"] == "quiet")
        assert why in row["problem"] and "its driver segment can't be used" in row["problem"]
        assert "damaged" in next(line for line in helper.command("network", "ls").splitlines() if " quiet " in line)
        assert host.run("ip -br link; ip -n c1 -br addr; ip -n c1 route; ip -n c2 -br addr") == links
        host.run(f"ping -c 1 -W 3 {addresses['netns:c2']}", netns="c1")
        assert f"closed-{link}" in host.run("nft list table inet netdeck")
        for operation, arguments in (("network.connect", {"network": "quiet", "container": "netns:c3"}),
                                     ("network.disconnect", {"network": "quiet", "container": "netns:c1"}),
                                     ("network.remove", {"name": "quiet"})):
            with pytest.raises(Unavailable, match="driver segment can't be used"):
                helper.call(operation, **arguments)
        with pytest.raises(NetdeckError, match="driver segment can't be used"):
            helper.call("container.run", command=["true"], networks=["quiet"])
        assert helper.call("network.prune")["removed"] == []
        # What else its containers have is still theirs to change.
        helper.call("network.disconnect", network="bridge", container="netns:c1")
        helper.call("network.connect", network="bridge", container="netns:c1")
        links = host.run("ip -br link; ip -n c1 -br addr; ip -n c1 route; ip -n c2 -br addr")
    host.run("ip netns del c2")
    until(lambda: len(helper.call("network.inspect", names=["quiet"])[0]["Containers"]) == 1)
    register(site, "segment", "netdeck_segment", segment)
    helper.stop()
    helper.start(path(site))
    assert helper.call("network.inspect", names=["quiet"])[0]["Netdeck"]["Problem"] == ""
    assert "closed-" not in host.run("nft list table inet netdeck")
    helper.call("network.connect", network="quiet", container="netns:c3")
    helper.call("network.disconnect", network="quiet", container="netns:c1")
    helper.call("network.disconnect", network="quiet", container="netns:c3")
    helper.call("network.remove", name="quiet")
