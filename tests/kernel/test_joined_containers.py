"""``--network container:NAME``, and signals to containers."""

from __future__ import annotations

import pytest

from protocol.errors import Gone, InvalidValue, NotFound
from tests.kernel.test_containers import Said, run, start, until
from tests.running_helper import RunningHelper

pytest_plugins = ("tests.kernel.helper_fixtures",)


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

    until(ended, 30)
    ours = {row["name"]: row for row in helper.call("container.list", all=True, foreign=False)}
    assert ours["heeds"]["exit_code"] in (5, 138)
    start(helper, "deaf")
    assert helper.call("container.kill", name="deaf")["container"]["exit_code"] == 137
    for name in ("heeds", "deaf"):
        helper.call("container.remove", name=name)
