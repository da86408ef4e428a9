"""The bridge of a network deleted behind the helper's back, or another's put in its place."""

from __future__ import annotations

import pytest

from protocol.errors import Conflict
from tests.running_helper import RunningHelper
from tests.waiting import until

pytest_plugins = ("tests.kernel.helper_fixtures",)
pytestmark = pytest.mark.req("W3", "X9")


def problem(helper: RunningHelper, name: str) -> str:
    found: str = helper.call("network.inspect", names=[name])[0]["Netdeck"]["Problem"]
    return found


def bridge_of(helper: RunningHelper, name: str) -> str:
    link: str = helper.call("network.inspect", names=[name])[0]["Netdeck"]["Link"]
    return link


def told(helper: RunningHelper, name: str) -> list[tuple[str, str]]:
    return [(row["action"], row["level"]) for row in helper.call("event.list") if row["kind"] == "network" and row["subject"] == name]


def test_a_bridge_that_was_deleted_is_shown_and_put_back(helper: RunningHelper) -> None:
    host = helper.host
    for name in ("c1", "c2"):
        host.add_namespace(name)
    helper.call("network.create", name="a", subnets=[{"subnet": "10.7.0.0/24"}])
    helper.call("network.connect", network="a", container="netns:c1")
    link = bridge_of(helper, "a")
    assert problem(helper, "a") == ""
    host.run(f"ip link del {link}")
    until(lambda: "is gone" in problem(helper, "a"))
    until(lambda: ("damaged", "warning") in told(helper, "a"))
    assert "damaged" in next(line for line in helper.command("network", "ls").splitlines() if f" {'a':4}" in line)
    tried = helper.call("network.connect", network="a", container="netns:c2", dry_run=True)
    assert "is made again first" in tried["warnings"][0] and link not in host.run("ip -br link")
    made = helper.call("network.connect", network="a", container="netns:c2")
    assert "was made again first" in made["warnings"][0]
    host.run("ping -c 1 -W 3 10.7.0.2", netns="c2")
    host.run("ping -c 1 -W 3 10.7.0.1", netns="c1")
    until(lambda: problem(helper, "a") == "" and told(helper, "a")[-1] == ("mended", "notice"))


def test_a_strangers_bridge_in_its_place_is_left_alone(helper: RunningHelper) -> None:
    host = helper.host
    for name in ("c1", "c2"):
        host.add_namespace(name)
    helper.call("network.create", name="a")
    helper.call("network.connect", network="a", container="netns:c1")
    link = bridge_of(helper, "a")
    host.run(f"ip link del {link} && ip link add {link} type bridge && ip link set {link} addrgenmode none && "
             f"ip link set {link} up && ip addr add 10.66.0.1/24 dev {link}")
    before = host.run(f"ip addr show {link}; ip link show master {link}")
    until(lambda: f"its bridge {link} was replaced by a bridge that is not netdeck's" in problem(helper, "a"))
    for dry_run in (True, False):
        with pytest.raises(Conflict, match=f"network a is damaged: its bridge {link} was replaced"):
            helper.call("network.connect", network="a", container="netns:c2", dry_run=dry_run)
    with pytest.raises(Conflict, match="network a is damaged"):
        helper.call("container.run", command=["true"], networks=["a"])
    assert host.run(f"ip addr show {link}; ip link show master {link}") == before
    assert "eth0" not in host.run("ip -br link", netns="c2")
    helper.restart()
    assert "replaced" in problem(helper, "a")
    assert host.run(f"ip addr show {link}; ip link show master {link}") == before
    host.run(f"ip link del {link}")
    until(lambda: "is gone" in problem(helper, "a"))
    helper.call("network.connect", network="a", container="netns:c2")
    until(lambda: problem(helper, "a") == "")


def test_a_stranger_who_is_quicker_than_the_news_is_found_out_by_the_kernel(helper: RunningHelper) -> None:
    """What the monitor has not heard yet is seen when the change is looked at again, and it is taken back."""
    host = helper.host
    host.add_namespace("c1")
    helper.call("network.create", name="a")
    link = bridge_of(helper, "a")
    for _ in range(5):
        host.run(f"ip link del {link} && ip link add {link} type bridge")
        with pytest.raises(Conflict, match=link):
            helper.call("network.connect", network="a", container="netns:c1")
        assert "eth0" not in host.run("ip -br link", netns="c1")
        assert host.run(f"ip -br link show master {link}") == ""
        host.run(f"ip link del {link}")
        helper.call("network.connect", network="a", container="netns:c1")
        helper.call("network.disconnect", network="a", container="netns:c1")


def test_a_bridge_that_was_not_ours_and_is_gone(helper: RunningHelper) -> None:
    host = helper.host
    host.add_namespace("c1")
    host.run("ip link add shared0 type bridge && ip link set shared0 up")
    until(lambda: any(row["link"]["name"] == "shared0" for row in helper.call("interface.list")))
    helper.call("network.create", name="a", options={"name": "shared0"})
    helper.call("network.connect", network="a", container="netns:c1")
    helper.call("network.disconnect", network="a", container="netns:c1")
    host.run("ip link del shared0")
    until(lambda: "was not netdeck's" in problem(helper, "a"))
    with pytest.raises(Conflict, match="make it again"):
        helper.call("network.connect", network="a", container="netns:c1")
    assert "shared0" not in host.run("ip -br link")


def test_a_change_in_place_puts_a_lost_bridge_back_and_keeps_off_a_strangers(helper: RunningHelper) -> None:
    helper.call("network.create", name="a")
    link = bridge_of(helper, "a")
    helper.host.run(f"ip link del {link}")
    until(lambda: "is gone" in problem(helper, "a"))
    told = helper.call("network.update", name="a", options={"mtu": "1400"})["warnings"]
    assert "made again first" in told[0]
    assert "mtu 1400" in helper.host.run(f"ip link show {link}")
    until(lambda: problem(helper, "a") == "")
    helper.host.run(f"ip link del {link} && ip link add {link} type bridge")
    until(lambda: "replaced" in problem(helper, "a"))
    with pytest.raises(Conflict, match="network a is damaged"):
        helper.call("network.update", name="a", options={"mtu": "1300"})
    assert "replaced" in problem(helper, "a") and "mtu 1500" in helper.host.run(f"ip link show {link}")
