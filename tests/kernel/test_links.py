"""Links: names that follow, the legacy variables, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.errors import Gone, InvalidValue, NetdeckError, NotFound
from tests.running_helper import RunningHelper
from tests.waiting import until

pytest_plugins = ("tests.kernel.helper_fixtures",)
pytestmark = pytest.mark.req("B5")


def run(helper: RunningHelper, name: str, *links: str, networks: tuple[str, ...] = (), **args: Any) -> dict[str, Any]:
    found: dict[str, Any] = helper.call("container.run", command=["sleep", "600"], name=name, networks=networks, links=links, detach=True,
                                        **args)
    return found


def address(helper: RunningHelper, name: str) -> str:
    networks = helper.call("container.inspect", names=[name])[0]["NetworkSettings"]["Networks"]
    return str(next(iter(networks.values()))["IPAddress"])


def hosts(helper: RunningHelper, name: str) -> list[list[str]]:
    """The lines of a container's /etc/hosts that say what others are called."""
    lines = [line.split() for line in helper.command("exec", name, "cat", "/etc/hosts").splitlines()]
    own = helper.call("container.inspect", names=[name])[0]["Config"]["Hostname"]
    return [words for words in lines if words[1:] != [own] and not words[0].startswith(("127.", "::1", "fe00", "ff0"))]


def test_a_link_on_the_default_bridge_gives_names_and_variables_and_follows(helper: RunningHelper) -> None:
    db = run(helper, "db", env={"MODE": "live", "PATH": "/bin"}, expose=["5432"], publish=["127.0.0.1:8053:53/udp"])["container"]
    run(helper, "web", "db:my-db", "db", env={"MY_DB_ENV_MODE": "mine"})
    first = address(helper, "db")
    assert hosts(helper, "web") == [[first, "my-db", db["id"][:12], "db"]]
    assert "1 received" in helper.command("exec", "web", "ping", "-c", "1", "-W", "5", "my-db")
    pid = helper.call("container.inspect", names=["web"])[0]["State"]["Pid"]
    environment = dict(item.partition("=")[::2] for item in helper.host.run(f"tr '\\0' '\\n' < /proc/{pid}/environ").splitlines())
    assert environment["MY_DB_NAME"] == "/web/my-db" and environment["DB_NAME"] == "/web/db" and environment["DB_ENV_MODE"] == "live"
    assert environment["DB_PORT"] == f"tcp://{first}:5432" and environment["DB_PORT_53_UDP"] == f"udp://{first}:53"
    assert environment["MY_DB_ENV_MODE"] == "mine" and "DB_ENV_PATH" not in environment
    assert helper.call("container.inspect", names=["web"])[0]["HostConfig"]["Links"] == ["/db:/web/my-db", "/db:/web/db"]
    # The one linked to goes and comes back with another address.
    helper.call("container.remove", name="db", force=True)
    until(lambda: hosts(helper, "web") == [])
    again = run(helper, "db")["container"]
    second = address(helper, "db")
    assert second != first and hosts(helper, "web") == [[second, "my-db", again["id"][:12], "db"]]
    helper.kill()
    helper.start()
    assert hosts(helper, "web") == [[second, "my-db", again["id"][:12], "db"]]


def test_on_a_user_defined_network_a_link_is_an_alias_only(helper: RunningHelper) -> None:
    helper.call("network.create", name="a", ipv6=True)
    run(helper, "db", networks=("a",), env={"MODE": "live"})
    run(helper, "web", "db:store", networks=("a",))
    run(helper, "other", networks=("a",))
    assert [words[1] for words in hosts(helper, "web")] == ["store", "store"] and hosts(helper, "other") == []
    assert "STORE" not in helper.command("exec", "web", "env")
    assert "1 received" in helper.command("exec", "web", "ping", "-c", "1", "-W", "5", "store")


def test_bad_links_are_refused_and_leave_nothing(helper: RunningHelper) -> None:
    helper.call("network.create", name="a")
    run(helper, "db")
    run(helper, "web", "db")
    run(helper, "far", networks=("a",))
    run(helper, "ended")
    helper.call("container.stop", name="ended", timeout=0.1)
    helper.call("container.remove", name="db", force=True)
    before = helper.call("container.list", all=True), helper.host.run("ip -br link")
    bad: list[tuple[str, tuple[str, ...], dict[str, Any], type[NetdeckError], str]] = [
        ("x", ("nothere",), {}, NotFound, "no container 'nothere'"), ("x", ("wbe",), {}, NotFound, "did you mean 'web'"),
        ("x", ("x",), {}, InvalidValue, "not linked to itself"), ("x", ("far",), {}, InvalidValue, "not on network bridge, it is on a"),
        ("x", ("ended",), {}, Gone, "does not run"), ("x", ("web:bad alias",), {}, InvalidValue, "alias"),
        ("x", ("web:",), {}, InvalidValue, "alias"), ("x", ("web:y", "far:y"), {"networks": ("bridge", "a")}, InvalidValue, "two links"),
        ("db", ("web",), {}, NetdeckError, "circle of links: db -> web -> db"),
        ("x", ("web",), {"networks": ("none",)}, InvalidValue, "no links"),
        ("x", ("web",), {"networks": ("host",)}, InvalidValue, "no links")]
    for name, links, args, kind, words in bad:
        with pytest.raises(kind, match=words):
            run(helper, name, *links, **args)
        assert (helper.call("container.list", all=True), helper.host.run("ip -br link")) == before, (name, links)


def test_the_command_line_and_a_link_that_opens_nothing(helper: RunningHelper) -> None:
    helper.call("network.create", name="shut", options={"icc": "false"})
    helper.command("run", "-d", "--name", "db", "--network", "shut", "sleep", "600")
    out = helper.command("run", "-d", "--name", "web", "--network", "shut", "--link", "db:d", "sleep", "600", check=False)
    assert "icc is off on network shut: the link names db, but no packet passes" in out
    assert [words[1] for words in hosts(helper, "web")] == ["d"]
