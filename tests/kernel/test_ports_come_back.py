"""Published ports over disconnect and connect: those of a container of ours come back, as docker has it."""

from __future__ import annotations

import sys

import pytest

from tests.kernel.test_published_ports import FOUR
from tests.running_helper import RunningHelper
from tests.waiting import until

pytest_plugins = ("tests.kernel.helper_fixtures",)


@pytest.mark.req("B9", "B6")
def test_ports_of_a_container_of_ours_come_back_with_a_network(helper: RunningHelper) -> None:
    for name in ("a", "b"):
        helper.call("network.create", name=name)
    command = [sys.executable, "-m", "http.server", "80"]
    helper.call("container.run", command=command, name="shop", networks=["a"], publish=["0.0.0.0:8080:80", "0.0.0.0:8081:80"], detach=True)

    def bindings() -> list[str]:
        found = helper.call("container.inspect", names=["shop"])[0]["HostConfig"]["PortBindings"].get("80/tcp", [])
        return [item["HostPort"] for item in found]

    gone = helper.call("network.disconnect", network="a", container="shop")
    assert gone["waiting"] == gone["withdrawn"] and len(gone["waiting"]) == 2 and "come back" in gone["warnings"][0]
    assert helper.call("port.list") == [] and "808" not in helper.host.run("ss -Hltn") and bindings() == ["8080", "8081"]
    # One that somebody took meanwhile is told with the command that publishes it, and waits on; the rest is there again.
    with helper.host.popen([sys.executable, "-m", "http.server", "8081"]) as taker:
        until(lambda: "8081" in helper.host.run("ss -Hltn"))
        back = helper.call("network.connect", network="b", container="shop")["warnings"]
        assert len(back) == 1 and "8081" in back[0] and "netdeck port publish shop 0.0.0.0:8081:80/tcp" in back[0]
        assert [row["host_port"] for row in helper.call("port.list")] == [8080]
        taker.kill()
    get = f"import urllib.request; print(urllib.request.urlopen('http://{FOUR}:8080/', timeout=2).status)"
    until(lambda: "200" in helper.host.run([sys.executable, "-c", get], netns="outside", check=False).split())
    helper.call("network.disconnect", network="b", container="shop")
    helper.call("port.withdraw", container="shop", ports=["8081:80"])
    assert helper.call("network.connect", network="a", container="shop")["warnings"] == []
    assert [row["host_port"] for row in helper.call("port.list")] == [8080] and bindings() == ["8080"]
    helper.call("container.remove", name="shop", force=True)
