"""Published ports as they are written and read: docker's forms, what is refused, the ports column."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import InvalidValue, NetdeckError
from protocol.model import Port
from protocol.ports import MOST, PortWish, parse_all, parse_expose, parse_publish, private_port, summary

pytestmark = pytest.mark.req("B9")


def wish(port: int, host_ports: int | tuple[int, int] | None = None, host: str = "", protocol: str = "tcp") -> PortWish:
    return PortWish(protocol, port, host, (host_ports, host_ports) if isinstance(host_ports, int) else host_ports)


@pytest.mark.parametrize(
    ("spec", "wishes"),
    [
        ("8080:80", [wish(80, 8080)]),
        ("8080:80/udp", [wish(80, 8080, protocol="udp")]),
        ("8080:80/SCTP", [wish(80, 8080, protocol="sctp")]),
        ("127.0.0.1:8080:80", [wish(80, 8080, "127.0.0.1")]),
        ("127.0.0.1::80", [wish(80, None, "127.0.0.1")]),
        ("[::1]:8080:80/udp", [wish(80, 8080, "::1", "udp")]),
        ("[::1]::80", [wish(80, None, "::1")]),
        ("80", [wish(80)]),
        (":80", [wish(80)]),
        ("80-81", [wish(80), wish(81)]),
        ("8000-8001:80-81", [wish(80, 8000), wish(81, 8001)]),
        ("8000-8010:80", [wish(80, (8000, 8010))]),
        ("65535:1", [wish(1, 65535)]),
        ("published=8080,target=80,protocol=udp", [wish(80, 8080, protocol="udp")]),
        ("target=80", [wish(80)]),
        ("target=80-81,published=8000-8001,host_ip=[2001:db8::1]", [wish(80, 8000, "2001:db8::1"), wish(81, 8001, "2001:db8::1")]),
        ("mode=ingress,host_ip=0.0.0.0,published=9,target=80", [wish(80, 9, "0.0.0.0")]),
    ],
)
def test_the_forms(spec: str, wishes: list[PortWish]) -> None:
    assert list(parse_publish(spec)) == wishes


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("", "is not a number or a range"),
        ("8080:80:90:100", "a v6 address in [ ]"),
        ("::1:8080:80", "a v6 address in [ ]"),
        ("[::1]80", "a v6 address in [ ]"),
        ("[::1:8080:80", "a v6 address in [ ]"),
        ("[::1]:80", "for any port of the host"),
        (":8080:80", "expected"),
        ("x:80", "the host's port 'x' is not a number"),
        ("80:x", "the container's port 'x' is not a number"),
        ("80:", "is not a number"),
        ("80/", "protocol '' is not known"),
        ("80/tpc", "did you mean 'tcp'?"),
        ("80/icmp", "expected tcp, udp or sctp"),
        ("0:80", "the host's port 0 does not exist: expected 1 to 65535"),
        ("80:65536", "the container's port 65536 does not exist"),
        ("8000-8005:80-90", "the host's range 8000-8005 has 6 ports and the container's 80-90 has 11: give both the same number"),
        ("8000:80-81", "has 1 ports and"),
        ("90-80", "ends before it begins"),
        ("1-5000", "at most 4096"),
        ("example.org:80:80", "is not an IP address of this host"),
        ("224.0.0.1:80:80", "not an address that a port can be published on"),
        ("255.255.255.255:80:80", "not an address"),
        ("[fe80::1]:80:80", "link-local"),
        ("[fe80::1%eth0]:80:80", "link-local"),
        ("[::ffff:10.0.0.1]:80:80", "not an address"),
        ("published=80", "the field target is missing"),
        ("target=80,published=", "the field published has no value"),
        ("target=80,target=81", "given twice"),
        ("target=80,port=81", "no field 'port'"),
        ("target=80,mode=vip", "expected host or ingress"),
        ("8\u0660:80", "is not a number"),
    ],
)
def test_what_is_refused(spec: str, words: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        parse_publish(spec)
    assert words in caught.value.message and caught.value.message.isprintable()


def test_too_many_in_all_are_refused_before_they_are_made() -> None:
    assert len(parse_all(["1-4096"])) == MOST
    with pytest.raises(InvalidValue, match="more than 4096"):
        parse_all(["1-4096", "5000:5000"])


def test_exposed_and_private_ports() -> None:
    assert parse_expose("53/udp") == (wish(53, protocol="udp"),)
    assert private_port("80") == (80, "tcp")
    for spec in ("8080:80", "target=80", "[::1]::80"):
        with pytest.raises(InvalidValue):
            parse_expose(spec)
    with pytest.raises(InvalidValue, match="expected one port"):
        private_port("80-81")


@given(st.one_of(st.text(max_size=60), st.text(alphabet="0123456789:-/[].=,tcpudhoslgex_i", max_size=40)))
def test_any_text_is_taken_or_refused_in_one_printable_line(spec: str) -> None:
    try:
        wishes = parse_publish(spec)
    except NetdeckError as error:
        assert error.message.isprintable()
        return
    assert 1 <= len(wishes) <= MOST
    for item in wishes:
        low, high = item.host_ports or (1, 65535)
        assert 1 <= item.port <= 65535 and 1 <= low <= high <= 65535 and item.protocol in ("tcp", "udp", "sctp")


def test_the_column_draws_neighbours_together() -> None:
    ports = [Port("tcp", "0.0.0.0", 8000 + step, 80 + step) for step in (2, 0, 1)]
    ports += [Port("udp", "::", 53, 53), Port("tcp", "::", 8000, 80), Port("tcp", "127.0.0.1", 9, 80)]
    assert summary(ports, ["80/tcp", "443/tcp"]) == (
        "0.0.0.0:8000-8002->80-82/tcp, 127.0.0.1:9->80/tcp, [::]:8000->80/tcp, [::]:53->53/udp, 443/tcp")
    assert summary([]) == ""
