"""Published ports with real packets: protocol, family and where from; what stays shut; what is refused."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from protocol.errors import Conflict, InvalidValue, NetdeckError
from tests.kernel.port_traffic import Try, ask, serve
from tests.kernel.test_networks import address, attach
from tests.running_helper import RunningHelper
from tests.waiting import until

pytest_plugins = ("tests.kernel.helper_fixtures",)
FOUR, SIX = "192.0.2.2", "2001:db8::2"
SHUT = 1.0  # seconds for a packet that must not arrive


def published(helper: RunningHelper, name: str, *ports: str, **more: Any) -> list[dict[str, Any]]:
    answer = helper.call("port.publish", container=f"netns:{name}", ports=list(ports), **more)
    return list(answer["ports"])


def tries(*addresses: str, port: int = 8080) -> list[Try]:
    return [(protocol, item, port) for item in addresses for protocol in ("tcp", "udp")]


@pytest.mark.req("B9", "B10")
@pytest.mark.parametrize("bridged", [0, 1], ids=["plain", "with br_netfilter"])
def test_from_everywhere_over_both_families_and_protocols(helper: RunningHelper, bridged: int) -> None:
    host = helper.host
    host.run(f"sysctl -qw net.bridge.bridge-nf-call-iptables={bridged} net.bridge.bridge-nf-call-ip6tables={bridged}")
    helper.call("network.create", name="a", ipv6=True)
    helper.call("network.create", name="b", ipv6=True)
    helper.call("network.create", name="closed", ipv6=True, internal=True)
    web = attach(helper, "a", "web")
    attach(helper, "a", "peer")
    attach(helper, "b", "other")
    attach(helper, "closed", "shut")
    serve(host, "web", "web", 80, 81)
    ports = published(helper, "web", "8080:80", "8080:80/udp")
    assert {(item["protocol"], item["host"]) for item in ports} == {
        (protocol, every) for protocol in ("tcp", "udp") for every in ("0.0.0.0", "::")}
    gateways = [item["Gateway"] for item in helper.call("network.inspect", names=["a"])[0]["IPAM"]["Config"]]
    everywhere = tries(FOUR, SIX)

    for netns, targets in (("outside", everywhere), ("", [*everywhere, *tries("127.0.0.1", "127.9.9.9", "::1", *gateways)]),
                           ("peer", everywhere), ("other", everywhere), ("web", everywhere)):
        told = ask(host, netns, targets)
        assert all(answer and answer.startswith("web ") for answer in told), (netns, list(zip(targets, told, strict=True)))
    # A client outside is seen as who it is.
    assert ask(host, "outside", everywhere) == ["web 192.0.2.1"] * 2 + ["web 2001:db8::1"] * 2

    # What is not published stays shut, and the container's own addresses do from everywhere but its network.
    host.run("ip -n outside route add 172.16.0.0/12 via 192.0.2.2 && ip -n outside -6 route add fd00::/8 via 2001:db8::2")
    direct = [item for port in (80, 81, 8080) for item in tries(address(web), address(web, 6), port=port)]
    assert ask(host, "peer", direct[:8])[:4] == [f"web {item}" for item in _seen(helper, "peer")]
    for netns in ("outside", "other", "shut"):
        assert ask(host, netns, [*direct, *tries(FOUR, SIX, port=81)], SHUT) == [None] * (len(direct) + 4), netns
    # An internal network does not get out through a port that another one publishes.
    inner = [item["Gateway"] for item in helper.call("network.inspect", names=["closed"])[0]["IPAM"]["Config"] if item.get("Gateway")]
    host.run("ip -n shut route add default dev eth0 && ip -n shut -6 route add default dev eth0")
    assert not any(ask(host, "shut", [*tries(*inner), *everywhere], SHUT))
    # Nor by the link-local address of its bridge, where a socket of the host's listens for ::1.
    bridge = helper.call("network.list")[-1]["link"]
    near = host.run(f"ip -6 -o address show dev {bridge} scope link").split()[3].partition("/")[0]
    serve(host, "", "host", 7070)
    assert all(ask(host, "shut", tries(f"{near}%eth0", port=7070)))
    assert not any(ask(host, "shut", tries(f"{near}%eth0"), SHUT))

    assert helper.call("port.withdraw", container="netns:web", ports=["80", "8080:80/udp"])["ports"]
    assert ask(host, "outside", everywhere, SHUT) == [None] * 4
    assert helper.call("port.list") == []


def _seen(helper: RunningHelper, name: str) -> list[str]:
    found = helper.call("container.inspect", names=[f"netns:{name}"])[0]["NetworkSettings"]["Networks"]["a"]
    return [found["IPAddress"]] * 2 + [found["GlobalIPv6Address"]] * 2


@pytest.mark.req("B9", "B7")
def test_without_icc_a_published_port_is_reached_by_the_hosts_address(helper: RunningHelper) -> None:
    helper.host.run("sysctl -qw net.bridge.bridge-nf-call-iptables=0")
    helper.call("network.create", name="a", options={"icc": "false"})
    web = attach(helper, "a", "web")
    attach(helper, "a", "peer")
    serve(helper.host, "web", "web", 80)
    published(helper, "web", "8080:80", "8080:80/udp")
    assert all(ask(helper.host, "peer", tries(FOUR)))
    assert not any(ask(helper.host, "peer", tries(address(web), port=80), SHUT))


@pytest.mark.req("B9")
def test_what_is_published_on_the_loopback_stays_there(helper: RunningHelper) -> None:
    """A neighbour on the wire that sends to 127.0.0.1 by our hardware address, and a container that does."""
    host = helper.host
    helper.call("network.create", name="a", ipv6=True)
    attach(helper, "a", "web")
    serve(host, "web", "web", 80)
    serve(host, "", "host", 7070)
    published(helper, "web", "127.0.0.1:8080:80", "127.0.0.1:8080:80/udp")
    assert all(ask(host, "", tries("127.0.0.1")))
    assert not any(ask(host, "", tries(FOUR), SHUT))
    assert not any(ask(host, "outside", tries(FOUR), SHUT))
    # The kernel of whoever sends is told to let it out.
    for netns, link, target in (("outside", "up0", FOUR), ("web", "eth0", None)):
        host.run(f"sysctl -qw net.ipv4.conf.{link}.route_localnet=1", netns=netns)
        host.run("ip addr del 127.0.0.1/8 dev lo; ip rule add pref 1 lookup main; ip rule del pref 0; ip rule add pref 2 lookup local; "
                 f"ip route add 127.0.0.1 via {target or '172.18.0.1'} dev {link}", netns=netns)
        assert not any(ask(host, netns, [*tries("127.0.0.1"), *tries("127.0.0.1", port=7070)], SHUT)), netns
        sent = host.run(["ip", "-s", "-j", "link", "show", "dev", link], netns=netns)
        assert '"packets":0' not in sent.partition('"tx"')[2][:60]  # it did go out
    drops = [item for item in host.run("nft list chain inet netdeck arrive-$(ip -br link show type bridge | cut -d' ' -f1 | grep br-)")
             .splitlines() if "127.0.0.0/8" in item]
    assert drops and "packets 0 " not in drops[0]


@pytest.mark.req("B9")
def test_one_address_of_the_host_and_the_networks_default(helper: RunningHelper) -> None:
    host = helper.host
    host.run("ip addr add 192.0.2.77/24 dev eth0")
    helper.call("network.create", name="a", ipv6=True, options={"host_binding_ipv4": "192.0.2.77"})
    attach(helper, "a", "web")
    attach(helper, "a", "peer")
    serve(host, "web", "web", 80)
    serve(host, "peer", "peer", 80)
    assert [item["host"] for item in published(helper, "web", "8080:80", "8080:80/udp")] == ["192.0.2.77"] * 2
    published(helper, "peer", f"{FOUR}:8080:80", f"{FOUR}:8080:80/udp", f"[{SIX}]:8080:80", f"[{SIX}]:8080:80/udp")
    names = [answer and answer.split()[0] for answer in ask(host, "outside", tries("192.0.2.77", FOUR, SIX))]
    assert names == ["web"] * 2 + ["peer"] * 4
    with pytest.raises(Conflict, match="published for container netns:peer already"):
        published(helper, "web", "[::]:8080:80")


@pytest.mark.req("B9")
def test_a_container_that_answers_by_another_way(helper: RunningHelper) -> None:
    """One of another runtime keeps its default route; it is still reached from everywhere."""
    host = helper.host
    host.add_namespace("own")
    host.run("ip link add own0 type veth peer name up1 netns own && ip addr add 198.51.100.1/24 dev own0 && ip link set own0 up && "
             "ip -n own addr add 198.51.100.2/24 dev up1 && ip -n own link set up1 up && ip -n own route add default via 198.51.100.1 && "
             "sysctl -qw net.ipv4.conf.all.rp_filter=1")
    helper.call("network.create", name="a")
    attach(helper, "a", "own")
    serve(host, "own", "own", 80)
    published(helper, "own", "8080:80", "8080:80/udp")
    assert all(answer and answer.startswith("own ") for answer in ask(host, "outside", tries(FOUR)))


@pytest.mark.req("B9", "B6")
def test_ports_follow_the_network_that_gives_the_default_route(helper: RunningHelper) -> None:
    for name in ("m", "a"):
        helper.call("network.create", name=name)
    attach(helper, "m", "web")
    serve(helper.host, "web", "web", 80)
    published(helper, "web", "8080:80", "8080:80/udp")

    def through() -> set[str]:
        assert all(ask(helper.host, "outside", tries(FOUR)))
        return {row["network"] for row in helper.call("port.list", container="netns:web")}

    assert through() == {"m"}
    attach(helper, "a", "web")
    assert through() == {"a"}
    assert helper.call("network.disconnect", network="a", container="netns:web")["warnings"] == []
    assert through() == {"m"}
    said = helper.call("network.disconnect", network="m", container="netns:web")["warnings"]
    assert said == ["published ports are withdrawn, no other network of netns:web leads to them: "
                    "0.0.0.0:8080->80/tcp, 0.0.0.0:8080->80/udp, [::]:8080->80/tcp, [::]:8080->80/udp. To publish them again once one "
                    "does: netdeck port publish netns:web 0.0.0.0:8080:80/tcp 0.0.0.0:8080:80/udp '[::]:8080:80/tcp' '[::]:8080:80/udp'"]
    assert helper.call("port.list") == []


@pytest.mark.req("B9")
def test_a_port_is_kept_from_others_while_it_is_published(helper: RunningHelper) -> None:
    helper.call("network.create", name="a", ipv6=True)
    attach(helper, "a", "web")
    published(helper, "web", "8080:80", "8080:80/udp")
    binding = ("import socket,sys\nfor f,a in ((socket.AF_INET,'0.0.0.0'),(socket.AF_INET,'127.0.0.1'),(socket.AF_INET6,'::')):\n"
               "  for k in (socket.SOCK_STREAM,socket.SOCK_DGRAM):\n    s=socket.socket(f,k)\n"
               "    s.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,k==socket.SOCK_STREAM)\n    s.setsockopt(41,26,1) if f==10 else 0\n"
               "    try: s.bind((a,8080)); print('had it')\n    except OSError as e: print(e.errno)\n")
    assert helper.host.python(binding).split() == ["98"] * 6
    helper.kill()
    until(lambda: helper.host.python(binding).split() == ["had", "it"] * 6)  # the relay ends with it
    helper.start()
    until(lambda: helper.host.python(binding).split() == ["98"] * 6)
    assert all(row["held"] for row in helper.call("port.list"))
    # Somebody takes it while the helper is away: that is told, and the rest comes up.
    helper.kill()
    until(lambda: "8080" not in helper.host.run("ss -Hltnu"))
    thief = serve(helper.host, "", "thief", 8080)
    helper.start()
    assert not any(row["held"] for row in helper.call("port.list"))
    told = [entry for entry in helper.call("event.list") if entry["level"] == "error"]
    assert told and "taken on this host by python" in told[0]["text"], told
    attach(helper, "a", "late")
    thief.kill()
    thief.wait()
    until(lambda: all(row["held"] for row in helper.call("port.list")))
    helper.call("port.withdraw", container="netns:web", all=True)
    assert helper.host.python(binding).split() == ["had", "it"] * 6


@pytest.mark.req("B9")
def test_bad_input_is_one_clear_line_and_changes_nothing(helper: RunningHelper) -> None:
    host = helper.host
    helper.call("network.create", name="a")
    helper.call("network.create", name="shut", internal=True)
    attach(helper, "a", "web")
    attach(helper, "a", "first")
    attach(helper, "shut", "inside")
    host.add_namespace("lone")
    serve(host, "", "host", 7070)
    process = host.popen(["setpriv", "--reuid", "4242", "--clear-groups", "/usr/bin/python3", "-c", "import socket,time;"
                          "s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);s.bind(('127.0.0.1',5353));print('ready',flush=True);"
                          "time.sleep(300)"])
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    published(helper, "first", "8080:80")
    before = host.run("nft -s list table inet netdeck; ss -Hltnu"), helper.call("port.list")
    cases: list[tuple[str, list[str], type[NetdeckError], str]] = [
        ("netns:web", ["7070:80"], Conflict, "port 7070/tcp is taken on this host by python"),
        ("netns:web", ["81:81", "5353:80/udp"], Conflict, "port 5353/udp is taken on this host by python3 (pid "),
        ("netns:web", ["8080:80"], Conflict, "published for container netns:first already"),
        ("netns:web", ["9000-9004:80-82"], InvalidValue, "give both the same number"),
        ("netns:web", ["9000:80/icmp"], InvalidValue, "expected tcp, udp or sctp"),
        ("netns:web", ["203.0.113.9:9000:80"], InvalidValue, "203.0.113.9 is not an address of this host"),
        ("netns:web", [f"[{SIX}]:9000:80/sctp"], InvalidValue, "only tcp and udp are carried"),
        ("netns:web", ["[2001:db8::99]:9000:80"], InvalidValue, "2001:db8::99 is not an address of this host"),
        ("netns:web", ["0:80"], InvalidValue, "port 0 does not exist"),
        ("netns:web", ["80:65536"], InvalidValue, "port 65536 does not exist"),
        ("netns:web", ["9000:80", "9000:81"], Conflict, "asked for twice"),
        ("netns:lone", ["9000:80"], InvalidValue, "on no network of netdeck's"),
        ("netns:inside", ["9000:80"], InvalidValue, "only on shut (internal)"),
    ]
    for container, ports, error, words in cases:
        with pytest.raises(error) as caught:
            helper.call("port.publish", container=container, ports=ports)
        assert words in caught.value.message and caught.value.message.isprintable(), caught.value.message
    for networks, words in ((["none"], "nothing leads there"), (["shut"], "only on shut")):
        with pytest.raises(InvalidValue, match=words):
            helper.call("container.run", command=["true"], networks=networks, publish=["9000:80"], detach=True)
    with pytest.raises(Conflict, match="taken on this host"):
        helper.call("container.run", command=["true"], networks=["a"], publish=["7070:80"], detach=True)
    assert (host.run("nft -s list table inet netdeck; ss -Hltnu"), helper.call("port.list")) == before
    assert helper.call("container.list", all=True, foreign=False)[0]["ref"].startswith("netns:")


@pytest.mark.req("B9")
def test_connection_tracking_forgets_a_udp_port(helper: RunningHelper) -> None:
    """One socket that goes on sending is served by whoever has the port now, and entries of others stay."""
    host = helper.host
    helper.call("network.create", name="a")
    for name in ("one", "two"):
        attach(helper, "a", name)
        serve(host, name, name, 53)
    asking = ("import socket,sys\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\ns.settimeout(0.3)\n"
              "s.connect(('192.0.2.2',5300))\nfor line in sys.stdin:\n  said='nobody'\n  for _ in range(20):\n"
              "    try:\n      s.send(b'?');said=s.recv(99).decode()\n"
              "      break\n    except OSError: pass\n    if line=='none\\n': break\n  print(said.split()[0],flush=True)\n")
    client = host.popen(["python3", "-c", asking], netns="outside", stdin=-1)
    assert client.stdin is not None and client.stdout is not None

    def asked(how: str = "any") -> str:
        assert client.stdin is not None and client.stdout is not None
        client.stdin.write(how + "\n")
        client.stdin.flush()
        return client.stdout.readline().strip()

    assert asked("none") == "nobody"  # the host's own conntrack entry is of before the port was published
    published(helper, "one", "5300:53/udp", "5301:53/udp")
    assert asked() == "one"
    helper.call("port.withdraw", container="netns:one", ports=["5300:53/udp"])
    published(helper, "two", "5300:53/udp")
    assert asked() == "two"


@pytest.mark.req("B9")
def test_automatic_ports_and_all_that_is_exposed(helper: RunningHelper) -> None:
    host = helper.host
    host.run("sysctl -qw net.ipv4.ip_local_port_range='40000 40009' net.ipv4.ip_local_reserved_ports=40001")
    serve(host, "", "host", 40000)
    helper.call("network.create", name="a", ipv6=True)
    helper.call("container.run", command=["sleep", "100"], name="web", networks=["a"], expose=["80", "53/udp", "90-91"],
                publish=["8090:90"], publish_all=True, detach=True)
    rows = {(row["port"], row["protocol"], row["host"]): row["host_port"] for row in helper.call("port.list", container="web")}
    assert rows[90, "tcp", "::"] == 8090
    assert rows[80, "tcp", "0.0.0.0"] == rows[80, "tcp", "::"] == 40002
    assert {rows[53, "udp", "::"], rows[91, "tcp", "::"]} == {40003, 40004}
    bindings = helper.call("container.inspect", names=["web"])[0]
    assert bindings["NetworkSettings"]["Ports"]["80/tcp"] == [{"HostIp": "0.0.0.0", "HostPort": "40002"},
                                                             {"HostIp": "::", "HostPort": "40002"}]
    assert bindings["HostConfig"]["PortBindings"] == bindings["NetworkSettings"]["Ports"]
    assert [item["host_port"] for item in helper.call("port.publish", container="web", ports=["127.0.0.1:8000-8002:99"])["ports"]] == [8000]
    assert [item["host_port"] for item in helper.call("port.publish", container="web", ports=["8000-8002:98"])["ports"]] == [8001] * 2
    with pytest.raises(NetdeckError, match="no port of the host is free"):
        helper.call("port.publish", container="web", ports=[f"{port}" for port in range(200, 210)])
    helper.call("container.remove", name="web", force=True)
    assert helper.call("port.list") == []
    assert "8090" not in host.run("ss -Hltn; nft list table inet netdeck")


@pytest.mark.req("B9")
def test_the_relay_has_no_privilege_and_is_started_anew(helper: RunningHelper) -> None:
    host = helper.host
    host.run("ip link add shared0 type bridge && ip link set shared0 up && ip addr add 10.77.0.1/24 dev shared0")

    def created() -> bool:
        """Once the helper has heard of the bridge's address."""
        try:
            return bool(helper.call("network.create", name="a", ipv6=True, options={"name": "shared0"}, subnets=[
                {"subnet": "10.77.0.0/24", "gateway": "10.77.0.1"}, {"subnet": "fd00:77::/64"}]))
        except Conflict:
            return False

    until(created)
    attach(helper, "a", "web")
    serve(host, "web", "web", 80)
    published(helper, "web", "8080:80", "8080:80/udp")
    # A bridge that was there keeps its settings: there the relay serves 127.0.0.1 too.
    own = tries("127.0.0.1", "::1")
    assert all(ask(host, "", own)) and all(ask(host, "outside", tries(FOUR, SIX)))
    assert host.run("cat /proc/sys/net/ipv4/conf/shared0/route_localnet") == "0\n"
    pid = host.run(["pgrep", "-f", "helperd[.]relay"]).strip()
    status = host.run(f"cat /proc/{pid}/status")
    assert "CapEff:\t0000000000000000" in status and "CapBnd:\t0000000000000000" in status and "NoNewPrivs:\t1" in status
    assert "Uid:\t0\t" not in status
    # Half-closed connections and more than a buffer's worth both ways.
    host.popen([sys.executable, "-c", _ECHO], netns="web")
    published(helper, "web", "[::1]:9090:90")
    until(lambda: host.python(_ECHOED) == "1000000\n")
    host.run(f"kill -9 {pid}")
    until(lambda: all(ask(host, "", own, 1.0)))
    assert host.run(["pgrep", "-f", "helperd[.]relay"]).strip() != pid
    # Where a container is that a port leads to changes with its networks; a withdrawn port is free at once.
    helper.call("port.withdraw", container="netns:web", all=True)
    assert "8080" not in host.run("ss -Hltnu")


_ECHO = """
import socket
server = socket.create_server(("::", 90), family=socket.AF_INET6)
while True:
    peer, _ = server.accept()
    found = b""
    while data := peer.recv(65536):
        found += data
    peer.sendall(found)
    peer.close()
"""
_ECHOED = """
import socket, threading
try:
    with socket.create_connection(("::1", 9090), 10) as sock:
        threading.Thread(target=lambda: (sock.sendall(b"x" * 1000000), sock.shutdown(socket.SHUT_WR))).start()
        count = 0
        while data := sock.recv(65536):
            count += len(data)
    print(count)
except OSError as error:
    print(error)
"""


_CRC32C = """
def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
"""
_SCTP_INIT = _CRC32C + """
import socket, struct, sys
# RFC 9260, sections 3.1 and 3.3.2: common header, then an INIT chunk.
chunk = struct.pack("!BBHIIHHI", 1, 0, 20, 7, 65536, 1, 1, 9)
head = struct.pack("!HHI", 4000, 8080, 0)
check = struct.pack("<I", crc32c(head + b"\\0" * 4 + chunk))
for family, address in ((socket.AF_INET, sys.argv[1]), (socket.AF_INET6, sys.argv[2])):
    with socket.socket(family, socket.SOCK_RAW, 132) as sock:
        sock.sendto(head + check + chunk, (address, 0))
"""
_SCTP_SEEN = """
import select, socket, struct
socks = [socket.socket(family, socket.SOCK_RAW, 132) for family in (socket.AF_INET, socket.AF_INET6)]
print("ready", flush=True)
seen = set()
while len(seen) < 2:
    for sock in select.select(socks, [], [])[0]:
        data = sock.recv(2000)
        body = data[20:] if sock.family == socket.AF_INET else data
        seen.add((sock.family == socket.AF_INET6, struct.unpack_from("!HH", body)[1]))
print(sorted(seen), flush=True)
"""


@pytest.mark.req("B9")
def test_sctp_reaches_the_container_where_the_kernel_has_no_sctp_sockets_too(helper: RunningHelper) -> None:
    """Connection tracking knows SCTP in every kernel; sockets of it are seldom there, so the packets are made by hand."""
    helper.call("network.create", name="a", ipv6=True)
    attach(helper, "a", "web")
    published(helper, "web", "8080:8443/sctp")
    assert {row["protocol"] for row in helper.call("port.list")} == {"sctp"}
    seen = helper.host.popen([sys.executable, "-c", _SCTP_SEEN], netns="web")
    assert seen.stdout is not None and seen.stdout.readline() == "ready\n"
    helper.host.run([sys.executable, "-c", _SCTP_INIT, FOUR, SIX], netns="outside")
    assert seen.stdout.readline() == "[(False, 8443), (True, 8443)]\n"
