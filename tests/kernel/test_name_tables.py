"""Tables `ip netdeck-names` that a container made or changed: nothing in them is parsed, and what is not ours stays."""

from __future__ import annotations

import json
import struct
import sys

import pytest

from helperd.kernel.name_table import NameTable, comment
from helperd.kernel.netlink import attribute, message
from protocol.errors import NetdeckError
from tests.kernel.names_host import NamesHost
from tests.simulated_host import SimulatedHost
from tests.waiting import until

pytest_plugins = ("tests.kernel.name_fixtures",)
NESTED = 0x8000
SEND = """
import socket, struct, sys
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
s.send(bytes.fromhex(sys.argv[1]))
assert struct.unpack_from("=i", s.recv(65536), 16) == (0,)
"""


def big(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("!I", value))


def expression(name: bytes, *attrs: bytes) -> bytes:
    return attribute(1 | NESTED, attribute(1, name + b"\0") + attribute(2 | NESTED, b"".join(attrs)))


def add_rule_that_ends_libnftables(host: SimulatedHost, netns: str) -> None:
    """A rule of the chain `output` at which a listing as JSON aborts the whole process (libnftables 1.0.6): an extension header of
    a kind that it does not know."""
    loaded = expression(b"exthdr", big(1, 8), attribute(2, b"f"), big(3, 12), big(4, 12), big(5, 0), big(6, 0))
    compared = expression(b"cmp", big(1, 8), big(2, 1), attribute(3 | NESTED, attribute(1, b"\0" * 12)))
    head = struct.pack("=BBH", 2, 0, 0)
    body = head + attribute(1, b"netdeck-names\0") + attribute(2, b"output\0") + attribute(4 | NESTED, loaded + compared)
    edge = struct.pack("=BB", 0, 0) + struct.pack("!H", 10)
    batch = message(0x10, 1, 0, edge) + message(0xA06, 0xC05, 1, body) + message(0x11, 1, 0, edge)
    host.run([sys.executable, "-c", SEND, batch.hex()], netns=netns)


def findings(names: NamesHost) -> str:
    return json.dumps(names.helper.call("doctor.list"), default=str)


@pytest.mark.req("B4", "X9")
def test_a_rule_that_libnftables_can_not_bear_and_a_large_set(names: NamesHost) -> None:
    names.helper.call("network.create", name="web")
    first = names.attach("web", "c1")
    names.attach("web", "c2")
    table = "ip netdeck-names"
    elements = ", ".join(f"10.{number >> 8}.{number & 255}.1" for number in range(10_000))
    names.host.run(["nft", f"add set {table} large {{ type ipv4_addr; }}; add element {table} large {{ {elements} }}"], netns="c1")
    names.helper.restart()
    names.until("c2", "c1", (first,))
    names.until("c1", "c1", (first,))
    assert [item["chain"]["name"] for item in names.table("c1") if "chain" in item] == ["output", "answers"]
    assert not any("set" in item for item in names.table("c1"))  # a table with our mark is made anew as a whole
    add_rule_that_ends_libnftables(names.host, "c1")
    assert "netdeck-names" in findings(names)
    names.helper.call("network.create", name="other")
    names.attach("other", "c1")
    add_rule_that_ends_libnftables(names.host, "c1")
    names.helper.restart()
    names.until("c2", "c1", (first,))
    assert names.helper.process is not None and names.helper.process.poll() is None
    names.helper.call("network.disconnect", network="web", container="netns:c1")
    names.helper.call("network.disconnect", network="other", container="netns:c1")
    assert names.table("c1") == []


STRANGE = {
    "rules": "add table ip netdeck-names; add chain ip netdeck-names output; add rule ip netdeck-names output counter",
    "no rules": "add table ip netdeck-names; add chain ip netdeck-names output { type filter hook output priority 0; policy drop; }",
    "empty": "add table ip netdeck-names",
    "comment": 'add table ip netdeck-names { comment "netdeck:1:00000000:names:c1:1.2"; }; add chain ip netdeck-names output',
}


@pytest.mark.req("B4", "X9")
@pytest.mark.parametrize("made", STRANGE)
def test_a_table_of_that_name_that_is_somebody_elses_stays(names: NamesHost, made: str) -> None:
    helper = names.helper
    helper.call("network.create", name="web")
    names.host.add_namespace("c1")
    names.host.run(["nft", STRANGE[made]], netns="c1")
    if made == "rules":
        add_rule_that_ends_libnftables(names.host, "c1")
    look = "nft -s list ruleset; ip link; ss -Hlnut"
    before = names.host.run(look, netns="c1")
    with pytest.raises(NetdeckError, match="netdeck-names that this netdeck did not make"):
        names.attach("web", "c1")
    assert names.host.run(look, netns="c1") == before
    assert helper.call("network.inspect", names=["web"])[0]["Containers"] == {}


@pytest.mark.req("B4", "X9")
def test_a_container_that_replaces_or_changes_our_table_is_shown(names: NamesHost) -> None:
    names.helper.call("network.create", name="web")
    names.attach("web", "c1")
    assert "netdeck-names" not in findings(names)
    names.host.run("nft flush table ip netdeck-names", netns="c1")
    assert "netdeck-names" in findings(names)
    names.host.run("nft delete table ip netdeck-names", netns="c1")
    assert "netdeck-names" in findings(names)
    names.host.run(["nft", STRANGE["no rules"]], netns="c1")
    assert "netdeck-names" in findings(names)
    before = names.host.run("nft -s list ruleset", netns="c1")
    names.helper.restart()
    assert "netdeck-names" in findings(names)
    names.helper.call("network.disconnect", network="web", container="netns:c1")
    assert names.host.run("nft -s list ruleset", netns="c1") == before


@pytest.mark.req("B4")
def test_a_comment_is_ours_only_when_it_is_exactly_of_our_form() -> None:
    mark = "netdeck:1:0123abcd:names:" + "f" * 64
    assert NameTable(1, comment(mark, (65535, 1)), (2, 3), False)[:2] == (1, mark + ":65535.1")
    table = NameTable(1, comment(mark, (65535, 1)), (2, 3), False)
    assert (table.mark, table.ports, table.whole) == (mark, (65535, 1), True) and len(table.comment) <= 127
    for text in ("", mark, mark + ":", mark + ":1", mark + ":1.2.3", mark + ":01.2", mark + ":1.2\n", mark + ":\u0661.2", mark + ":1.-2"):
        assert (NameTable(1, text, (2, 3), False).mark, NameTable(1, text, (2, 3), False).ports) == ("", (0, 0)), text
    assert not NameTable(1, "", (2, 0), False).whole and not NameTable(1, "", (2, 3), True).whole


OWN_SERVER = """
import selectors, socket
select = selectors.DefaultSelector()
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    sock = socket.socket(socket.AF_INET, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("0.0.0.0", 53))
    if kind == socket.SOCK_STREAM: sock.listen()
    select.register(sock, selectors.EVENT_READ, kind)
print("ready", flush=True)
while True:
    for key, _ in select.select():
        if key.data == socket.SOCK_STREAM:
            with key.fileobj.accept()[0] as peer: peer.sendall(b"own")
        else:
            key.fileobj.sendto(b"own", key.fileobj.recvfrom(1000)[1])
"""
ASK_OWN = """
import socket, sys
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.settimeout(10); sock.connect((sys.argv[1], 53)); sock.send(b"?"); print(sock.recv(9).decode())
"""
# What a container may have that trusts nothing but what it knows, its own loopback not either.
STRICT = """table inet own {
 chain in { type filter hook input priority 0; policy drop; ct state invalid counter drop; ct state established accept;
  tcp dport { 53, 1024-65535 } ct state new accept
  udp dport { 53, 1024-65535 } ct state new accept
  icmp type destination-unreachable ct state related accept
 }
 chain out { type filter hook output priority 0; policy drop; ct state invalid counter drop;
  ct state { new, related, established } accept
 }
}
"""


@pytest.mark.req("B4")
def test_no_connection_of_a_container_is_tracked_and_its_own_rules_and_servers_go_on(names: NamesHost) -> None:
    names.helper.call("network.create", name="web")
    first = names.attach("web", "c1")
    names.attach("web", "c2")
    own = names.host.popen([sys.executable, "-c", OWN_SERVER], netns="c1")
    assert own.stdout is not None and own.stdout.readline() == "ready\n"

    def answered() -> bool:
        return all(names.dig("c1", transport, "c1").data == (first,) for transport in ("+notcp", "+tcp"))

    assert answered()
    assert names.host.run([sys.executable, "-c", ASK_OWN, first], netns="c2").split() == ["own", "own"]
    assert names.host.run("cat /proc/sys/net/netfilter/nf_conntrack_count", netns="c1") == "0\n"
    assert not any("ct" in expr or "nat" in expr for item in names.table("c1") for expr in item.get("rule", {}).get("expr", ()))
    # One that tracks and trusts nobody sees one connection, with nothing strange about it.
    names.host.run(["nft", "-f", "-"], netns="c1", input=STRICT)
    assert answered()
    assert names.host.run([sys.executable, "-c", ASK_OWN, first], netns="c2").split() == ["own", "own"]
    assert names.host.run("nft list table inet own", netns="c1").count("invalid counter packets 0 ") == 2
    # Where nobody listens, whoever asks is told at once.
    names.helper.kill()
    until(lambda: not names.at_name_address("c1"))
    for transport in ("+notcp", "+tcp"):
        assert "connection refused" in names.dig("c1", transport, "c1", seconds=30).text


@pytest.mark.req("B4")
def test_a_table_as_netdeck_made_it_before_is_replaced(names: NamesHost) -> None:
    """One with NAT, left by an older helper."""
    names.helper.call("network.create", name="web")
    first = names.attach("web", "c1")
    mark, _, ports = names.host.run("nft list table ip netdeck-names", netns="c1").split('"')[1].rpartition(":")
    names.helper.kill()
    rules = "; ".join(f"add rule ip netdeck-names output ip daddr 127.0.0.11 {protocol} dport 53 counter dnat to 127.0.0.11:{port}"
                      for protocol, port in zip(("udp", "tcp"), ports.split("."), strict=True))
    names.host.run(["nft", f'delete table ip netdeck-names; add table ip netdeck-names {{ comment "{mark}:{ports}"; }}; add chain ip '
                    f"netdeck-names output {{ type nat hook output priority -100; policy accept; }}; {rules}"], netns="c1")
    names.helper.start()
    names.until("c1", "c1", (first,))
    assert [item["chain"]["type"] for item in names.table("c1") if "chain" in item] == ["filter", "filter"]
    assert "netdeck-names" not in findings(names)
