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
    assert [item["chain"]["name"] for item in names.table("c1") if "chain" in item] == ["output"]
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
    look = "nft list ruleset; ip link; ss -Hlnut"
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
    before = names.host.run("nft list ruleset", netns="c1")
    names.helper.restart()
    assert "netdeck-names" in findings(names)
    names.helper.call("network.disconnect", network="web", container="netns:c1")
    assert names.host.run("nft list ruleset", netns="c1") == before


@pytest.mark.req("B4")
def test_a_comment_is_ours_only_when_it_is_exactly_of_our_form() -> None:
    mark = "netdeck:1:0123abcd:names:" + "f" * 64
    assert NameTable(1, comment(mark, (65535, 1)), 2, False)[:2] == (1, mark + ":65535.1")
    table = NameTable(1, comment(mark, (65535, 1)), 2, False)
    assert (table.mark, table.ports, table.whole) == (mark, (65535, 1), True) and len(table.comment) <= 127
    for text in ("", mark, mark + ":", mark + ":1", mark + ":1.2.3", mark + ":01.2", mark + ":1.2\n", mark + ":\u0661.2", mark + ":1.-2"):
        assert (NameTable(1, text, 2, False).mark, NameTable(1, text, 2, False).ports) == ("", (0, 0)), text
    assert not NameTable(1, "", 1, False).whole and not NameTable(1, "", 2, True).whole
