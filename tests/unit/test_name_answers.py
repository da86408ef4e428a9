"""Tables and answers without sockets: which name is known to whom, what is forwarded, what an answer looks like."""

from __future__ import annotations

import ipaddress

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from helperd.budget import Budget
from helperd.names.answers import Drop, Forward, Reply, answer, fits
from helperd.names.directory import host_servers, names_of
from helperd.names.frames import ContainerPut, EndpointPut, NetworkPut
from helperd.names.tables import Tables
from helperd.names.told import is_answer, shown
from protocol.model import Container, Endpoint

pytestmark = pytest.mark.req("B4")
ASKER = ContainerPut("c", "web", 1, ("front", "back"))


@pytest.fixture
def tables() -> Tables:
    made = Tables()
    made.put_network(NetworkPut("front", "Front", ("10.1.0.0/24", "fd01::/64")))
    made.put_network(NetworkPut("back", "back", ("10.2.0.0/24",)))
    made.put_network(NetworkPut("other", "other", ("10.3.0.0/24",)))
    made.put_endpoint(EndpointPut("e1", "front", ("db", "Store"), ("10.1.0.2", "fd01::2")))
    made.put_endpoint(EndpointPut("e2", "back", ("db", "pool"), ("10.2.0.2",)))
    made.put_endpoint(EndpointPut("e3", "back", ("db2", "pool"), ("10.2.0.3",)))
    made.put_endpoint(EndpointPut("e4", "other", ("secret",), ("10.3.0.2",)))
    return made


def ask(tables: Tables, name: str, kind: str = "A", asker: ContainerPut = ASKER, **more: int) -> dns.message.Message | str:
    """The answer, or the word ``forward`` or ``drop``."""
    found = answer(dns.message.make_query(name, kind, **more).to_wire(), asker, tables, 5, udp=True)  # type: ignore[arg-type]
    match found:
        case Reply(wire=wire):
            return dns.message.from_wire(wire)
        case Forward():
            return "forward"
        case Drop():
            return "drop"


def data(message: dns.message.Message | str) -> set[str]:
    assert isinstance(message, dns.message.Message), message
    return {rdata.to_text() for rrset in message.answer for rdata in rrset}


def test_the_first_network_that_has_an_address_of_the_family_gives_it(tables: Tables) -> None:
    assert data(ask(tables, "db")) == {"10.1.0.2"} and data(ask(tables, "DB.", "AAAA")) == {"fd01::2"}
    assert data(ask(tables, "db.back")) == {"10.2.0.2"} and data(ask(tables, "db.front")) == {"10.1.0.2"}
    assert data(ask(tables, "pool")) == {"10.2.0.2", "10.2.0.3"}
    assert data(ask(tables, "pool", "AAAA")) == set() and data(ask(tables, "store", "MX")) == set()
    assert data(ask(tables, "db", "ANY")) == {"10.1.0.2", "fd01::2"}
    assert data(ask(tables, "2.0.1.10.in-addr.arpa", "PTR")) == {"db.front."}
    assert ask(tables, "secret") == ask(tables, "secret.other") == ask(tables, "2.0.3.10.in-addr.arpa", "PTR") == "forward"
    assert ask(tables, "10.in-addr.arpa", "SOA") == ask(tables, "ip6.arpa", "NS") == "forward"
    unknown = ask(tables, "9.0.1.10.in-addr.arpa", "PTR")
    assert isinstance(unknown, dns.message.Message) and unknown.rcode() == dns.rcode.NXDOMAIN


def test_what_goes_is_forgotten(tables: Tables) -> None:
    tables.put_endpoint(EndpointPut("e3", "back", ("db3",), ("10.2.0.9",)))
    assert data(ask(tables, "pool")) == {"10.2.0.2"} and ask(tables, "db2") == "forward" and data(ask(tables, "db3")) == {"10.2.0.9"}
    tables.drop_endpoint("e2")
    assert ask(tables, "pool") == "forward"
    tables.drop_network("front")
    assert ask(tables, "db") == "forward" and ask(tables, "store") == "forward"
    tables.drop_endpoint("e1")
    tables.put_endpoint(EndpointPut("e9", "front", ("late",), ("10.1.0.9",)))  # of a network that is gone
    assert ask(tables, "late") == "forward"


def test_who_may_ask_outside(tables: Tables) -> None:
    inner = ContainerPut("c", "web", 1, ("front",), outside=False)
    refused = ask(tables, "example.org", asker=inner, use_edns=0)
    assert isinstance(refused, dns.message.Message) and refused.rcode() == dns.rcode.REFUSED and "internal" in refused.options[0].to_text()
    assert ask(tables, "example.org", asker=ContainerPut("c", "web", 1, ("front",), ("10.1.0.53",), outside=False)) == "forward"
    dotted = ContainerPut("c", "web", 1, ("front",), bare=False)
    bare = ask(tables, "printer", asker=dotted)
    assert isinstance(bare, dns.message.Message) and bare.rcode() == dns.rcode.NXDOMAIN
    assert ask(tables, "printer.lan", asker=dotted) == "forward" and data(ask(tables, "db", asker=dotted)) == {"10.1.0.2"}


def test_sizes(tables: Tables) -> None:
    for number in range(300):
        tables.put_endpoint(EndpointPut(f"x{number}", "back", ("many",), (str(ipaddress.ip_address("10.2.0.0") + number),)))
    for payload, use_edns in ((512, -1), (600, 0), (1232, 0), (65_535, 0)):
        query = dns.message.make_query("many", "A", use_edns=use_edns, payload=payload)
        found = answer(query.to_wire(), ASKER, tables, 5, udp=True)
        assert isinstance(found, Reply) and len(found.wire) <= min(payload, 4096) and found.wire[2] & 2, payload
        long = answer(query.to_wire(), ASKER, tables, 5, udp=False)
        assert isinstance(long, Reply) and not long.wire[2] & 2 and len(data(dns.message.from_wire(long.wire))) == 300
        assert len(fits(query, long.wire, udp=True)) <= 512 and fits(query, long.wire, udp=False) == long.wire


def test_what_is_no_question(tables: Tables) -> None:
    query = dns.message.make_query("db", "A").to_wire()
    assert isinstance(answer(query[:11], ASKER, tables, 5, udp=True), Drop)
    assert isinstance(answer(query[:2] + b"\x80" + query[3:], ASKER, tables, 5, udp=True), Drop)
    for broken in (query[:12], query[:-1], query + b"x", query[:4] + b"\0\2" + query[6:]):
        found = answer(broken, ASKER, tables, 5, udp=True)
        assert isinstance(found, Reply) and found.rcode == dns.rcode.FORMERR and found.wire[:2] == broken[:2] and not found.lasting
    update = answer(query[:2] + b"\x28\0" + query[4:], ASKER, tables, 5, udp=True)
    assert isinstance(update, Reply) and update.rcode == dns.rcode.NOTIMP and dns.message.from_wire(update.wire).rcode() == dns.rcode.NOTIMP


def test_what_is_expensive_to_parse_is_not_parsed(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    padding = dns.edns.GenericOption(dns.edns.OptionType.PADDING, b"x" * 900)
    query = dns.message.make_query("db", "A", use_edns=0, options=[padding]).to_wire()
    assert isinstance(answer(query, ASKER, tables, 5, udp=True), Reply)
    monkeypatch.setattr(dns.message, "from_wire", None)
    heads = [b"\0\1\0\1\0\0\0\0", b"\0\1\0\0\0\1\0\0", b"\0\1\0\0\0\0\0\2", b"\0\1\0\0\0\0\1\0",
             b"\0\2" + bytes(6), bytes(8)]
    for wire in (*(query[:4] + head + query[12:] for head in heads), query + bytes(1025 - len(query))):
        found = answer(wire, ASKER, tables, 5, udp=False)
        assert isinstance(found, Reply) and found.rcode == dns.rcode.FORMERR and found.query is None


def test_answers_of_servers_are_checked() -> None:
    query = dns.message.make_query("a.example", "HTTPS", id=7, use_edns=0)
    question = query.to_wire()
    good = dns.message.make_response(query)
    good.answer.append(dns.rrset.from_text_list(query.question[0].name, 5, "IN", "A", [f"10.0.0.{number}" for number in range(20)]))
    good.set_rcode(dns.rcode.BADCOOKIE)
    wire = good.to_wire()
    assert is_answer(question, wire) == dns.rcode.BADCOOKIE and is_answer(question, wire.replace(b"example", b"eXamPLE")) is not None
    assert len(shown(question, wire)) == 8 and set(shown(question, wire)) < {f"10.0.0.{number}" for number in range(20)}
    other = dns.message.make_response(dns.message.make_query("b.example", "HTTPS", id=7)).to_wire()
    kind = wire.replace(b"\7example\0\0\x41", b"\7example\0\0\x61")  # the type of the question in lower case, so to say
    for wrong in (b"\0\x08" + wire[2:], other, question, kind, wire + b"x", b"\0\7", wire[:7] + b"\xff" + wire[8:],
                  wire[:2] + b"\xa8" + wire[3:], *(wire[:size] for size in range(len(wire)))):
        assert is_answer(question, wrong) is None
    hostile = wire[:6] + b"\xff\xff" + wire[8:-11] + bytes(11 * 65_535)
    assert is_answer(question, hostile) is None and shown(question, hostile[:65_535]) == shown(question, wire)


def test_names_of_a_container() -> None:
    endpoint = Endpoint("e", "n", "c", aliases=("store", "a.b"))
    ours = Container("0123456789abcdef", "db", "db", "netdeck", hostname="box")
    assert names_of(ours, endpoint) == ("db", "store", "a.b", "0123456789ab", "box")
    docker = Container("0123456789abcdef", "docker:web", "docker:web", "docker", hostname="other")
    assert names_of(docker, endpoint)[0] == "web" and "other" not in names_of(docker, endpoint)
    assert names_of(Container("0123456789abcdef", "pid:77", "pid:77", "unknown"), Endpoint("e", "n", "c")) == ("0123456789ab",)
    world = Container("0123456789abcdef", "netns:deb.debian.org", "netns:deb.debian.org", "netns")
    assert names_of(world, endpoint) == ("store", "a.b", "0123456789ab")
    assert names_of(Container("0123456789abcdef", "a.b", "a.b", "netdeck"), Endpoint("e", "n", "c"))[0] == "a.b"
    hostile = Container("0123456789abcdef", "netns:a b\n", "netns:a b\n", "netns")
    assert names_of(hostile, Endpoint("e", "n", "c")) == ("0123456789ab",)


@pytest.mark.parametrize(("text", "servers"), [
    ("", ("127.0.0.1",)), ("nameserver nonsense\n", ("127.0.0.1",)), ("nameserver 127.0.0.53\noptions edns0\n", ("127.0.0.53",)),
    ("nameserver ::1\nnameserver fe80::1%eth0\nnameserver 1.1.1.1\nnameserver 2.2.2.2", ("::1", "fe80::1%eth0", "1.1.1.1"))])
def test_servers_of_the_host(text: str, servers: tuple[str, ...]) -> None:
    assert host_servers(text) == servers


def test_a_budget_is_used_up_and_comes_back() -> None:
    budget = Budget(10.0, 0.0)
    assert [budget.take(0.0) for _ in range(21)] == [True] * 20 + [False]
    assert [budget.take(0.1) for _ in range(2)] == [True, False]
    assert sum(budget.take(100.0) for _ in range(100)) == 20
    assert not budget.left(100.0) and budget.left(100.1)
    budget.spend(11.0)
    assert not budget.left(101.0) and budget.left(101.2)
