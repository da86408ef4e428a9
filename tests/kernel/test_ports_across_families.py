"""Published ports that lead from one family into the other, with real packets: who reaches them, who must not, and what remains."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from drivers.objects import HOST, PortSocket
from helperd import relay_process
from protocol.errors import KernelRefused
from protocol.requests import NetworkConnect, NetworkCreate, PortPublish, SubnetRequest
from tests.kernel.core_in_host import core_in, do
from tests.kernel.port_traffic import ask, eventually, serve
from tests.kernel.test_networks import attach
from tests.kernel.test_published_ports import FOUR, SHUT, SIX, published, tries
from tests.running_helper import RunningHelper
from tests.simulated_host import SimulatedHost
from tests.waiting import until

pytest_plugins = ("tests.kernel.helper_fixtures",)


@pytest.mark.req("B9", "B10")
def test_from_everywhere_but_internal_networks(helper: RunningHelper) -> None:
    host = helper.host
    host.run("sysctl -qw net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1")
    helper.call("network.create", name="a", subnets=[{"subnet": "10.61.0.0/24"}])
    helper.call("network.create", name="s", ipv4=False, ipv6=True, subnets=[{"subnet": "fd00:61::/64"}])
    helper.call("network.create", name="b", ipv6=True)
    helper.call("network.create", name="closed", ipv6=True, internal=True)
    for network, name in (("a", "four"), ("s", "six"), ("b", "other"), ("closed", "shut"), ("closed", "twin")):
        attach(helper, network, name)
    for name in ("four", "six", "twin"):
        serve(host, name, name, 80, 8080)
    serve(host, "", "host", 7070)
    four = published(helper, "four", "8080:80", "8080:80/udp", f"[{SIX}]:9000:80", "[::1]:9001:80", "[::1]:9001:80/udp")
    assert [item["host"] for item in four] == ["0.0.0.0", "::", "0.0.0.0", "::", SIX, "::1", "::1"]
    six = published(helper, "six", "0.0.0.0:8081:80", "0.0.0.0:8081:80/udp", "127.0.0.1:9002:80")
    assert {row["address"] for row in helper.call("port.list")} == {"10.61.0.2", "fd00:61::2"} and len(six) == 3

    # Who asks is seen as this host, where the family changes, and as who it is where not.
    across, back = tries(SIX), tries(FOUR, port=8081)
    own = [*tries("::1"), *tries("127.0.0.1", port=8081), *tries("::1", port=9001), ("tcp", "127.0.0.1", 9002), ("tcp", SIX, 9000)]
    assert ask(host, "outside", [*across, *back, *tries(FOUR)]) == [
        *["four 10.61.0.1"] * 2, *["six fd00:61::1"] * 2, *["four 192.0.2.1"] * 2]
    assert [answer and answer.split()[0] for answer in ask(host, "", [*across, *back, *own])] == [
        *["four"] * 2, *["six"] * 2, *["four"] * 2, *["six"] * 2, *["four"] * 2, "six", "four"]
    assert all(ask(host, "other", [*across, *back])) and all(ask(host, "six", across)) and all(ask(host, "four", back))
    near = host.run("ip -6 -o address show dev eth0 scope link").split()[3].partition("/")[0]
    eventually(host, "outside", tries(f"{near}%up0"), ["four", "four"])  # the kernel may still see whether it is alone with its address
    shut = [*tries(SIX, port=9001), *tries("127.0.0.1", port=8081), ("tcp", FOUR, 9002), ("tcp", "::1", 9000)]
    assert not any(ask(host, "outside", shut, SHUT))
    # A link of the host's that lets packets to 127.0.0.1 in lets none through the relay.
    host.run("sysctl -qw net.ipv4.conf.eth0.route_localnet=1")
    host.run("sysctl -qw net.ipv4.conf.up0.route_localnet=1; ip addr del 127.0.0.1/8 dev lo; ip rule add pref 1 lookup main; "
             f"ip rule del pref 0; ip rule add pref 2 lookup local; ip route add 127.0.0.1 via {FOUR} dev up0", netns="outside")
    assert not any(ask(host, "outside", [*tries("127.0.0.1", port=8081), ("tcp", "127.0.0.1", 9002)], SHUT))

    # An internal network gets out neither by the host's addresses nor by its own bridge's; its own ports of that number are reached.
    seen = helper.call("network.inspect", names=["closed"])[0]
    inner = [item["Gateway"] for item in seen["IPAM"]["Config"] if item.get("Gateway")]
    bridge = next(row["link"] for row in helper.call("network.list") if row["name"] == "closed")
    local = host.run(f"ip -6 -o address show dev {bridge} scope link").split()[3].partition("/")[0]
    host.run("ip -n shut route add default dev eth0 && ip -n shut -6 route add default dev eth0")
    twin = helper.call("container.inspect", names=["netns:twin"])[0]["NetworkSettings"]["Networks"]["closed"]
    eventually(host, "shut", [*tries(f"{local}%eth0", port=7070), *tries(twin["IPAddress"], twin["GlobalIPv6Address"])],
               [*["host"] * 2, *["twin"] * 4])
    assert not any(ask(host, "shut", [item for port in (8080, 8081) for item in tries(*inner, FOUR, SIX, f"{local}%eth0", port=port)],
                       SHUT))
    # Nor by those that are not one host's: all routers', all hosts'.
    nets = [ipaddress.ip_network(item["Subnet"]) for item in seen["IPAM"]["Config"]]
    all_routers, all_hosts = (str(net[0] if net.version == 6 else net[-1]) for net in sorted(nets, key=lambda net: -net.version))
    assert not any(ask(host, "shut", [("all", all_routers, 8080), ("all", "fe80::%eth0", 8080), ("all", all_hosts, 8081)], SHUT))
    assert "packets 0 " not in next(line for line in host.run("nft list chain inet netdeck relayed").splitlines() if "@relayed-6" in line)

    # Nothing is left when they are withdrawn.
    helper.call("port.withdraw", container="netns:four", ports=["80"])
    helper.call("port.withdraw", container="netns:four", ports=["80/udp"])
    helper.call("port.withdraw", container="netns:six", all=True)
    assert not any(ask(host, "", [*across, *back, *own], SHUT))
    assert not re.search(r"\b(808[01]|900[0-2])\b", host.run("ss -Hltnu; nft list table inet netdeck"))


@pytest.mark.req("B9", "X1")
def test_it_is_told_beforehand_and_comes_back_after_each_end(helper: RunningHelper) -> None:
    host = helper.host
    helper.call("network.create", name="a", subnets=[{"subnet": "10.61.0.0/24"}])
    helper.call("network.create", name="dual", ipv6=True)
    attach(helper, "a", "web")
    serve(host, "web", "web", 80)
    told = helper.call("port.publish", container="netns:web", ports=["8080:80", "8080:80/udp"], dry_run=True)
    words = [step["text"] for step in told["plan"]["steps"]]
    assert any("port [::]:8080/udp" in text and text.endswith("relayed to 10.61.0.2:80") for text in words), words
    assert helper.call("port.list") == [] and not host.run("pgrep -f helperd[.]relay || true")
    published(helper, "web", "8080:80", "8080:80/udp")
    assert all(ask(host, "outside", tries(SIX)))
    pid = host.run(["pgrep", "-f", "helperd[.]relay"]).strip()
    status = host.run(f"cat /proc/{pid}/status")
    assert "CapEff:\t0000000000000000" in status and "NoNewPrivs:\t1" in status and "Uid:\t0\t" not in status
    host.run(f"kill -9 {pid}")
    eventually(host, "outside", tries(SIX), ["web", "web"])
    helper.kill()
    until(lambda: "8080" not in host.run("ss -Hltnu"))
    helper.start()
    eventually(host, "outside", tries(SIX), ["web", "web"])
    # With a network of its own family the kernel leads there, and tells who asks; without it the relay does again.
    attach(helper, "dual", "web")
    assert ask(host, "outside", tries(SIX)) == ["web 2001:db8::1"] * 2
    assert helper.call("network.disconnect", network="dual", container="netns:web")["warnings"] == []
    assert ask(host, "outside", tries(SIX)) == ["web 10.61.0.1"] * 2


@pytest.mark.req("B9", "W3")
def test_a_relay_that_cant_be_started_leaves_all_as_before(host: SimulatedHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host.add_namespace("four")

    def refused(*args: Any, **more: Any) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    async def inside() -> tuple[list[str], int, int]:
        async with core_in(tmp_path) as core:
            await do(core, NetworkCreate(name="a", subnets=(SubnetRequest("10.61.0.0/24"),)))
            await do(core, NetworkConnect(network="a", container="netns:four"))
            before, said = core.sockets.objects(), []
            with monkeypatch.context() as faulty:
                faulty.setattr(relay_process, "subprocess", SimpleNamespace(Popen=refused, DEVNULL=subprocess.DEVNULL))
                for _ in range(2):
                    with pytest.raises(KernelRefused) as error:
                        await do(core, PortPublish("netns:four", ("8080:80",)))
                    said.append(error.value.message)
                    with socket.create_server(("::", 8080), family=socket.AF_INET6):  # nobody keeps it
                        pass
                assert core.sockets.objects() == before
                assert not [item for item in core.records.endpoints.values() if item.ports]
                # One that is held and gets another target.
                led = PortSocket(HOST, "tcp", "::", 9090)
                core.sockets.hold(led)
                with pytest.raises(KernelRefused):
                    core.sockets.hold(PortSocket(HOST, "tcp", "::", 9090, "10.61.0.2", 80))
                assert led in core.sockets.objects()
                core.sockets.release(led)
            none = core.sockets.relay.pid
            await do(core, PortPublish("netns:four", ("8080:80",)))
            return said, none, core.sockets.relay.pid

    said, none, running = host.call(inside)
    assert none == 0 and running > 0
    assert "port 8080/tcp can't lead to 10.61.0.2: the relay that carries it can't be started: Resource temporarily unavailable" in said[1]


@pytest.mark.req("X9", "B9")
def test_a_rule_of_others_about_the_host_that_stops_a_relayed_port_is_found(helper: RunningHelper) -> None:
    host = helper.host
    helper.call("network.create", name="a", subnets=[{"subnet": "10.61.0.0/24"}])
    attach(helper, "a", "four")
    serve(host, "four", "four", 80)
    published(helper, "four", "8080:80", "8080:80/udp")

    def found() -> list[dict[str, Any]]:
        return [item for item in helper.call("doctor.list") if item["id"].startswith("foreign-drop")]

    host.run("nft -f -", input="""table inet theirs {
        chain input { type filter hook input priority 0; policy drop; iif lo accept; ct state established,related accept
                      meta l4proto ipv6-icmp accept; tcp dport { 22, 443 } accept; }
        chain output { type filter hook output priority 0; oifname "br-*" ip protocol tcp reject; }
    }""")
    until(lambda: any(row["action"] == "blocked" and "to ports 8080/tcp, 8080/udp, which the relay" in row["text"]
                      for row in helper.call("event.list")))
    warned = helper.call("port.publish", container="netns:four", ports=["8081:80"])["warnings"]
    words = "to ports 8080/tcp, 8080/udp, 8081/tcp, which the relay carries, by eth0 are dropped by the policy drop of the chain"
    assert any(words in text for text in warned), warned
    assert not any(ask(host, "outside", tries(SIX), SHUT)) and ask(host, "outside", [("tcp", FOUR, 8080)]) == ["four 192.0.2.1"]
    ident = "foreign-drop.inet.theirs."
    both = {item["id"].removeprefix(ident).partition(".")[0]: item for item in found()}
    assert both.keys() == {"input", "output"}, "what is forwarded is not stopped by them"
    assert both["input"]["severity"] == "warning" and "8081/tcp, which the relay carries, by eth0 (IPv6)" in str(both["input"]["details"])
    assert "ends on this host" in both["input"]["why"] and not both["input"]["automatic"]
    for item in both.values():
        host.run("; ".join(item["commands"]))
    assert not found() and ask(host, "outside", tries(SIX)) == ["four 10.61.0.1"] * 2
