"""``--network container:NAME``, and signals to containers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helperd.changes import CallContext
from helperd.containers.sandbox import Sandbox
from helperd.containers.spec import Join, SandboxSpec
from protocol.errors import Gone, InvalidValue, NotFound
from protocol.requests import ContainerRemove, ContainerRun
from tests.kernel.core_in_host import STREAM, core_in
from tests.kernel.lan import attach
from tests.kernel.test_containers import Said, run, start
from tests.running_helper import RunningHelper
from tests.simulated_host import SimulatedHost
from tests.waiting import until

pytest_plugins = ("tests.kernel.helper_fixtures", "tests.kernel.lan_fixtures")


@pytest.mark.req("D4", "W7")
def test_one_container_shares_the_network_of_another(helper: RunningHelper) -> None:
    helper.call("network.create", name="a", subnets=[{"subnet": "10.8.0.0/24"}])
    shop = start(helper, "shop", "a", ip="10.8.0.9")
    beside = run(helper, "sh", "-c", "ip -br addr; hostname; getent hosts shop", networks=["container:shop"])
    assert "10.8.0.9/24" in beside.out and shop["hostname"] in beside.out and "10.8.0.9        shop" in beside.out
    side = start(helper, "side", "container:shop")
    assert (side["mode"], side["networks"], side["inode"]) == (f"container:{shop['id']}", ["container:shop"], 0)
    # Whose the namespace is stays so, and nothing is connected or published by way of the other.
    refs = {row["inode"]: row["container"] for row in (entry["link"] for entry in helper.call("interface.list"))}
    assert refs[shop["inode"]] == "shop"
    for operation, arguments in (("network.connect", {"network": "bridge", "container": "side"}),
                                 ("port.publish", {"container": "side", "ports": ["80"]}),
                                 ("container.run", {"command": ["true"], "networks": ["container:side"]}),
                                 ("container.run", {"command": ["true"], "networks": ["container:shop", "a"]}),
                                 ("container.run", {"command": ["true"], "networks": ["container:shop"], "publish": ["80"]})):
        with pytest.raises(InvalidValue, match="shop"):
            helper.call(operation, **arguments)
    with pytest.raises(NotFound, match="no container 'shpo'"):
        helper.call("container.run", command=["true"], networks=["container:shpo"])
    # The one that shares lives on without the other, with what is left there.
    helper.call("container.remove", name="shop", force=True)
    assert "10.8.0.9" not in Said(helper, "container.exec", container="side", command=["ip", "-br", "addr"]).out
    helper.call("container.remove", name="side", force=True)
    # Of other runtimes too.
    helper.host.add_namespace("c1")
    helper.host.run("ip -n c1 link add name mark0 type bridge")
    assert "mark0" in run(helper, "ip", "-br", "link", networks=["container:netns:c1"]).out
    helper.call("network.remove", name="a")


def removed(helper: RunningHelper, shop: dict[str, Any]) -> None:
    helper.call("container.remove", name="shop", force=True)


def killed(helper: RunningHelper, shop: dict[str, Any]) -> None:
    helper.call("container.kill", name="shop")


def ended_unseen(helper: RunningHelper, shop: dict[str, Any]) -> None:
    helper.kill()
    helper.host.run(["kill", "-9", str(shop["pid"])])
    helper.start()


@pytest.mark.req("D4", "W7", "M1", "I15")
def test_what_a_container_had_goes_with_it_though_others_share_its_namespace(lan: RunningHelper) -> None:
    """A link that hangs on one of the host's would live as long as its namespace."""
    lan.call("network.create", name="mv", driver="macvlan", options={"parent": "eth0"}, subnets=[{"subnet": "192.168.1.0/24"}])
    lan.call("network.create", name="br", subnets=[{"subnet": "10.8.0.0/24"}])
    networks = {"mv": "192.168.1.130", "br": "10.8.0.9"}

    def inside(pid: int, *command: str) -> str:
        return lan.host.run(["nsenter", "-t", str(pid), "-n", *command])

    def check(network: str, end: Callable[[RunningHelper, dict[str, Any]], None], auto_remove: bool) -> None:
        shop = start(lan, "shop", network, ip=networks[network], auto_remove=auto_remove)
        start(lan, "first", "container:shop")
        side = start(lan, "side", "container:shop")
        lan.host.run(["kill", "-9", str(lan.call("container.inspect", names=["first"])[0]["State"]["Pid"])])  # it is of no use any more
        assert networks[network] in inside(side["pid"], "ip", "addr") and "netdeck-names" in inside(side["pid"], "nft", "list", "tables")
        end(lan, shop)
        assert [row["ifname"] for row in json.loads(inside(side["pid"], "ip", "-j", "link"))] == ["lo"]
        assert inside(side["pid"], "nft", "list", "tables") == ""
        # It has the namespace to itself, and no network.
        until(lambda: {row["ref"] for row in lan.call("container.list") if row["inode"] == shop["inode"]} == {"side"})
        rows = {row["ref"]: row for row in lan.call("container.list")}
        assert (rows["side"]["mode"], rows["side"]["networks"]) == ("none", ["none"])
        document = lan.call("container.inspect", names=["side"])[0]
        assert document["HostConfig"]["NetworkMode"] == "none" and document["NetworkSettings"]["Networks"] == {}
        with pytest.raises(InvalidValue, match="'none'"):
            lan.call("network.connect", network=network, container="side")
        # Its address is anybody's.
        assert lan.call("network.inspect", names=[network])[0]["Containers"] == {}
        start(lan, "other", network, ip=networks[network])
        for name in {row["name"] for row in lan.call("container.list", all=True, foreign=False)}:
            lan.call("container.remove", name=name, force=True)

    check("mv", removed, auto_remove=False)
    check("mv", killed, auto_remove=True)
    check("br", killed, auto_remove=False)
    check("mv", ended_unseen, auto_remove=False)
    # One of another runtime has its address until its namespace ends, or till it is disconnected.
    attach(lan, "mv", "c1")
    side = start(lan, "side", "container:netns:c1")
    lan.host.run("ip netns del c1")
    lan.call("network.disconnect", network="mv", container="netns:c1")
    assert [row["ifname"] for row in json.loads(inside(side["pid"], "ip", "-j", "link"))] == ["lo"]
    for network in networks:
        lan.call("network.remove", name=network)


@pytest.mark.req("D4", "W3")
def test_nobody_shares_the_network_of_one_that_ends_meanwhile(host: SimulatedHost, tmp_path: Path,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    call = CallContext(user="root")

    async def scenario() -> list[str]:
        async with core_in(tmp_path) as core:
            begin = Sandbox.start

            async def late(spec: SandboxSpec) -> Sandbox:
                sandbox = await begin(spec)
                if isinstance(spec.network, Join):
                    await core.runs.remove(ContainerRemove(name="shop", force=True), call, STREAM)
                return sandbox

            monkeypatch.setattr(Sandbox, "start", late)
            sleeps = ("sleep", "600")
            await core.runs.run(ContainerRun(command=sleeps, name="shop", detach=True), call, STREAM)
            with pytest.raises(Gone, match="shop ended while"):
                await core.runs.run(ContainerRun(command=sleeps, name="side", networks=("container:shop",), detach=True), call, STREAM)
            return [*core.records.containers, *core.records.endpoints]

    assert host.call(scenario) == []


@pytest.mark.req("W3")
def test_signals_reach_the_first_process_of_a_container(helper: RunningHelper) -> None:
    helper.call("container.run", command=["sh", "-c", "trap 'exit 5' USR1; while :; do sleep 0.05; done"], name="heeds", detach=True)
    with pytest.raises(InvalidValue, match="no signal is called 'NOPE'"):
        helper.call("container.kill", name="heeds", signal="NOPE")

    def ended() -> bool:
        try:
            helper.call("container.kill", name="heeds", signal="SIGUSR1")  # again: the shell may not have set its trap yet
        except Gone:
            return True
        return False

    until(ended)
    ours = {row["name"]: row for row in helper.call("container.list", all=True, foreign=False)}
    assert ours["heeds"]["exit_code"] in (5, 138)
    start(helper, "deaf")
    assert helper.call("container.kill", name="deaf")["container"]["exit_code"] == 137
    for name in ("heeds", "deaf"):
        helper.call("container.remove", name=name)
