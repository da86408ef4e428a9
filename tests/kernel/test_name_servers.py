"""What containers ask that is not known here: the host's servers, their own (`--dns`), and servers that are silent, wrong or lie."""

from __future__ import annotations

import time

import pytest

from tests.kernel.names_host import NamesHost
from tests.waiting import until

pytest_plugins = ("tests.kernel.name_fixtures",)
GOOD = ("203.0.113.7",)


@pytest.mark.req("B4")
def test_the_hosts_own_loopback_server_and_a_resolv_conf_that_changes(names: NamesHost) -> None:
    names.helper.call("network.create", name="web")
    names.attach("web", "c1")
    assert names.dig("c1", "example.org").status == "SERVFAIL"  # nobody is there: told at once
    names.serve()
    assert names.dig("c1", "example.org").data == GOOD
    assert names.dig("c1", "+tcp", "example.org").data == GOOD
    assert names.dig("c1", "nowhere.example").status == "NXDOMAIN"
    assert len(names.dig("c1", "long.example").data) == 200  # too long for a datagram: the answer says so, dig comes by TCP
    assert "tc" in names.dig("c1", "+ignore", "long.example").flags
    names.resolv_conf("nameserver 127.0.0.54\n")
    until(lambda: names.dig("c1", "example.org").status == "SERVFAIL")
    names.serve("127.0.0.54")
    assert names.dig("c1", "example.org").data == GOOD


@pytest.mark.req("B4")
def test_a_silent_server_is_not_waited_for_and_the_next_is_asked(names: NamesHost) -> None:
    names.serve("127.0.0.53", "silent")
    names.serve("127.0.0.54", "servfail")
    names.helper.call("network.create", name="web")
    names.attach("web", "c1")
    names.attach("web", "c2")
    names.resolv_conf("nameserver 127.0.0.53\n")
    began = time.monotonic()
    assert names.dig("c1", "one.example", seconds=20).status == "SERVFAIL"
    waited = time.monotonic() - began
    assert waited > 3.5
    names.resolv_conf("nameserver 127.0.0.53\nnameserver 127.0.0.54\nnameserver 127.0.0.55\n")
    names.serve("127.0.0.55")
    until(lambda: names.dig("c1", "two.example").data == GOOD)
    began = time.monotonic()
    assert names.dig("c1", "three.example").data == GOOD  # the silent one is asked last now
    assert time.monotonic() - began < waited / 2
    assert names.dig("c2", "c1").status == "NOERROR"


@pytest.mark.req("B4")
def test_a_server_that_lies_is_not_believed(names: NamesHost) -> None:
    names.serve(mode="lying")
    names.helper.call("network.create", name="web")
    names.attach("web", "c1")
    for number in range(5):
        assert names.dig("c1", f"n{number}.example").data == GOOD


@pytest.mark.req("B4", "B7")
def test_an_internal_network_forwards_nothing(names: NamesHost) -> None:
    server = names.serve()
    names.helper.call("network.create", name="inner", internal=True)
    names.attach("inner", "c1")
    address = names.attach("inner", "c2")
    told = names.dig("c1", "example.org")
    assert told.status == "REFUSED" and "internal" in told.text
    assert names.dig("c1", "c2").data == (address,)
    names.helper.call("network.create", name="open")
    names.attach("open", "c1")
    assert names.dig("c1", "example.org").data == GOOD and names.dig("c2", "example.org").status == "REFUSED"
    server.kill()
    assert len(server.communicate()[0].splitlines()) == 1


@pytest.mark.req("B4")
def test_servers_of_a_containers_own_are_asked_from_inside_it(names: NamesHost) -> None:
    hosts = names.serve()
    helper = names.helper
    helper.call("network.create", name="web", subnets=[{"subnet": "10.9.0.0/24"}])
    names.attach("web", "server", ip="10.9.0.53")
    own = names.serve("10.9.0.53", netns="server")
    helper.command("run", "-d", "--name", "c1", "--network", "web", "--ip", "10.9.0.9", "--dns", "10.9.0.99", "--dns", "10.9.0.53",
                   "--dns-search", "lan.example", "--dns-opt", "ndots:1", "sleep", "300")

    def ask(*words: str) -> str:
        return helper.command("exec", "c1", "dig", "+short", "+tries=1", "+time=8", *words, check=False)

    assert helper.command("exec", "c1", "cat", "/etc/resolv.conf") == "nameserver 127.0.0.11\nsearch lan.example\noptions ndots:1\n"
    for number in range(10):  # more than one handful of sockets
        assert ask(f"n{number}.example").split() == list(GOOD)
    assert len(ask("long.example").split()) == 200  # by TCP, from inside as well
    assert ask("server").split() == ["10.9.0.53"]
    assert ask("bare").split() == []  # --dns-option ndots says what names without a dot mean
    own.kill()
    lines = [line.split() for line in own.communicate()[0].splitlines()]
    assert {line[0] for line in lines} == {"10.9.0.9"} and len({line[1] for line in lines}) > 8
    hosts.kill()
    assert hosts.communicate()[0] == ""
    helper.command("rm", "-f", "c1")


@pytest.mark.req("B4", "B6")
def test_the_files_of_a_container_of_ours_follow_its_networks(names: NamesHost) -> None:
    helper = names.helper
    names.resolv_conf("nameserver 127.0.0.53\nnameserver 192.0.2.53\nsearch corp.example\noptions edns0 ndots:4\n")
    helper.command("run", "-d", "--name", "c1", "--hostname", "box", "--add-host", "db:10.1.1.1", "--add-host", "six=fd00::1",
                   "--add-host", "me:host-gateway", "sleep", "300")

    def text(path: str) -> str:
        return helper.command("exec", "c1", "cat", path)

    outside = "nameserver 192.0.2.53\nsearch corp.example\noptions edns0 ndots:4\n"
    inside = "nameserver 127.0.0.11\nsearch corp.example\noptions edns0 ndots:0\n"
    until(lambda: text("/etc/resolv.conf") == outside)
    gateway = helper.call("network.inspect", names=["bridge"])[0]["IPAM"]["Config"][0]["Gateway"]
    hosts = text("/etc/hosts").splitlines()
    assert {"10.1.1.1\tdb", "fd00::1\tsix", f"{gateway}\tme"} <= set(hosts) and any(line.endswith("\tbox") for line in hosts)
    helper.call("network.create", name="web")
    helper.command("network", "connect", "web", "c1")
    assert text("/etc/resolv.conf") == inside
    address = names.attach("web", "c2")
    assert helper.command("exec", "c1", "getent", "ahosts", "c2").split()[0] == address
    assert names.dig("c2", "box").data == names.dig("c2", "c1").data != ()
    helper.command("network", "disconnect", "web", "c1")
    assert text("/etc/resolv.conf") == outside
    helper.command("exec", "c1", "sh", "-c", "echo nameserver 192.0.2.99 > /etc/resolv.conf")
    helper.command("network", "connect", "web", "c1")
    assert text("/etc/resolv.conf") == "nameserver 192.0.2.99\n"  # edited in there: it stays
    helper.command("rm", "-f", "c1")


@pytest.mark.req("B4")
@pytest.mark.parametrize(("words", "complaint"), [
    (("--dns", "nonsense"), "expected an IPv4 or IPv6 address"), (("--dns-search", "a b"), "expected a domain"),
    (("--dns-option", "x\ny"), "resolv.conf"), (("--add-host", "db"), "has no address: expected NAME:ADDRESS"),
    (("--add-host", "d b:1.2.3.4"), "NAME:ADDRESS"), (("--add-host", "db:300.1.1.1"), "'300.1.1.1'")])
def test_bad_words_start_nothing(names: NamesHost, words: tuple[str, ...], complaint: str) -> None:
    out = names.helper.command("run", "-d", *words, "sleep", "300", check=False)
    assert complaint in out and out.count("\n") == 1
    assert names.helper.call("container.list", all=True, foreign=False) == []
