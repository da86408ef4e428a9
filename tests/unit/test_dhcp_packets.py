"""DHCP messages: ours as pyroute2 reads them, servers' as we do, and rubbish."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyroute2.dhcp.dhcp4msg import dhcp4msg

from helperd.dhcp.packets import ACK, DISCOVER, LONGEST, NAK, OFFER, REQUEST, Reply, message, read
from helperd.dhcp.terms import Terms, checked, terms_of

pytestmark = pytest.mark.req("X7")
MAC = "02:00:00:00:00:05"
USUAL = {53: b"\x02", 54: b"\xc0\xa8\x01\x01", 1: b"\xff\xff\xff\x00", 3: b"\xc0\xa8\x01\x01", 51: b"\x00\x00\x0e\x10"}


def server_frame(options: bytes | dict[int, bytes], *, file: bytes = b"", port: int = 68, op: int = 2, address: str = "c0a80139") -> bytes:
    """What a server sends to `MAC`, xid 7."""
    raw = options if isinstance(options, bytes) else b"".join(bytes((code, len(text))) + text for code, text in options.items()) + b"\xff"
    body = struct.pack("!BBBBIHH4s4s4s4s16s64s128s4s", op, 1, 6, 0, 7, 0, 0, bytes(4), bytes.fromhex(address), bytes(4), bytes(4),
                       bytes.fromhex(MAC.replace(":", "")) + bytes(10), b"", file, b"c\x82Sc") + raw
    udp = struct.pack("!HHHH", 67, port, 8 + len(body), 0) + body
    header = bytearray(struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, b"\xc0\xa8\x01\x01", b"\xff\xff\xff\xff"))
    total = sum(struct.unpack("!10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    header[10:12] = struct.pack("!H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF)
    return b"\xff" * 6 + b"\x02\0\0\0\0\x01" + b"\x08\0" + bytes(header) + udp


def test_what_we_send_is_what_another_reads() -> None:
    frame = message(REQUEST, 0x01020304, MAC, seconds=3, wanted="192.168.1.57", server="192.168.1.1", hostname="shop-1", client_id=b"\0abc")
    sent = dhcp4msg(buf=frame[42:]).decode()
    assert (sent["op"], sent["xid"], sent["secs"], sent["flags"], sent["chaddr"]) == (1, 0x01020304, 3, 0x8000, MAC)
    options = sent["options"]
    assert (options["message_type"], options["requested_ip"], options["server_id"], options["host_name"]) == (
        REQUEST, "192.168.1.57", "192.168.1.1", "shop-1")
    assert {1, 3, 6, 15, 51, 58, 59} == {int(item) for item in options["parameter_list"]} and len(frame) >= 342
    hidden = message(DISCOVER, 1, MAC, hostname="a\nb")
    assert "host_name" not in dhcp4msg(buf=hidden[42:]).decode()["options"]
    # Both checksums are right: the sum over each, with itself, is all ones (RFC 1071).
    for part in (frame[14:34], frame[26:34] + struct.pack("!HH", 17, len(frame) - 34) + frame[34:]):
        total = sum(struct.unpack(f"!{len(part) // 2}H", part))
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        assert total == 0xFFFF


def test_what_a_server_says() -> None:
    found = read(server_frame({**USUAL, 6: b"\x08\x08\x08\x08\x09\x09\x09\x09", 15: b"site.test\0", 58: b"\0\0\0\x0a", 59: b"\0\0\0\x14"}))
    assert found == Reply(OFFER, 7, MAC, "02:00:00:00:00:01", "192.168.1.57", "192.168.1.1", 24, "192.168.1.1", ("8.8.8.8", "9.9.9.9"),
                          "site.test", 3600, 10, 20)
    assert terms_of(found) == Terms("192.168.1.57", 24, "192.168.1.1", "02:00:00:00:00:01", 3600, 10, 20, "192.168.1.1",
                                    ("8.8.8.8", "9.9.9.9"), "site.test")
    # Options in `file` (option 52), one in two parts (RFC 3396), padding.
    long = read(server_frame(b"\0\0\x34\x01\x01\x0f\x05site.\x0f\x04test\x35\x01\x05\xff", file=b"\x36\x04\xc0\xa8\x01\x02\xff"))
    assert long is not None and (long.kind, long.server, long.domain) == (ACK, "192.168.1.2", "site.test")


@pytest.mark.parametrize(("options", "word"), [
    ({}, ""), ({1: b"\xff\xff\xff\x80"}, ""), ({54: b""}, "who it is"), ({51: b"\0\0\0\0"}, "0 seconds"), ({51: b"\0\0"}, "lease time"),
    ({1: b"\xff\xff\xff\xff"}, "/32"), ({1: b"\xfe\0\0\0"}, "/7"), ({1: b"\xff\xff\xff\xf8", "address": "c0a80138"}, "no host's address"),
    ({"address": "00000000"}, "0.0.0.0"), ({"address": "e0000001"}, "224.0.0.1"), ({"address": "7f000001"}, "127.0.0.1"),
    ({"address": "ffffffff"}, "255.255.255.255"),
])
def test_what_is_no_lease(options: dict[object, object], word: str) -> None:
    address = str(options.pop("address", "c0a80139"))
    found = read(server_frame({**USUAL, **options}, address=address))  # type: ignore[dict-item]
    assert found is not None
    terms = terms_of(found)
    assert (isinstance(terms, str) and word in terms) if word else isinstance(terms, Terms) and checked(terms) == ""


def test_what_does_not_fit_is_left_out_and_told() -> None:
    def said(**options: bytes) -> Terms:
        found = read(server_frame({**USUAL, **{int(name[1:]): value for name, value in options.items()}}))
        assert found is not None
        terms = terms_of(found)
        assert isinstance(terms, Terms)
        return terms

    for router in (b"\x0a\0\0\x01", b"\xc0\xa8\x01\x39", b"\xc0\xa8\x01\xff"):
        assert said(o3=router).gateway == "" and "no default route" in said(o3=router).note
    assert said(o6=b"\0\0\0\0\x7f\0\0\x01\x08\x08\x08\x08").dns == ("8.8.8.8",)
    assert said(o15=b"a\nb").domain == "" and said(o15=b"-x").domain == "" and said(o15=b"\xff").domain == ""
    assert (said(o58=b"\0\0\xff\xff").t1, said(o59=b"\0\0\0\0").t2) == (1800, 3150), "times that are out of order are the usual ones"


@pytest.mark.parametrize("options", [
    b"", b"\x35", b"\x35\x05", b"\x35\x01", b"\x35\x01\x02\x01\xff\xff", b"\x35\x02\x02\x02\xff", b"\x35\x01\x01\xff", b"\x35\x01\x09\xff",
    b"\x35\x01\x02\x34\x01\x01\xff", b"\x35\x01\x02\x01\x04\xff\x00\xff\x00\xff",
])
def test_broken_options(options: bytes) -> None:
    file = b"\x01\xff" if 0x34 in options else b""
    assert read(server_frame(options, file=file)) is None


def test_what_is_not_for_a_client() -> None:
    whole = server_frame(USUAL)
    assert read(whole) is not None
    assert read(server_frame(USUAL, port=67)) is None and read(server_frame(USUAL, op=1)) is None
    damage = ((12, 0x86), (14, 0x46), (14, 0x4F), (16, 0xFF), (20, 0x20), (23, 6), (24, 0xFF), (38, 0xFF), (43, 6), (44, 7), (278, 0))
    for at, value in damage:
        broken = bytearray(whole)
        broken[at] = value
        assert read(bytes(broken)) is None, at
    assert all(read(whole[:size]) is None for size in range(len(whole)))
    assert read(whole + bytes(LONGEST)) is None


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=1_600))
@example(server_frame(USUAL))
def test_rubbish_never_raises(frame: bytes) -> None:
    found = read(frame)
    if found is not None:
        assert isinstance(terms_of(found), Terms | str)


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=400), st.binary(max_size=128), st.binary(min_size=4, max_size=4))
def test_options_that_are_rubbish_never_raise(options: bytes, file: bytes, address: bytes) -> None:
    found = read(server_frame(b"\x35\x01\x02" + options, file=file, address=address.hex()))
    if found is not None:
        terms = terms_of(found)
        assert isinstance(terms, str) or ((checked(terms) == "" and 0 < terms.t1 <= terms.t2 <= terms.seconds) or terms.seconds < 3)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6))
def test_a_damaged_frame_never_raises(damage: list[tuple[int, int]]) -> None:
    frame = bytearray(server_frame(USUAL))
    for at, value in damage:
        frame[at % len(frame)] = value
    found = read(bytes(frame))
    assert found is None or found.kind in (OFFER, ACK, NAK)
