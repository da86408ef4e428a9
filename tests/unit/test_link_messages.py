"""The requests to rtnetlink, against what pyroute2 encodes when it is given the whole of them."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from drivers.objects import HOST, LINK_GROUP, PROTOCOL, Route, Veth
from helperd.kernel import link_messages
from helperd.kernel.netlink_batch import encode
from protocol.errors import InvalidValue

NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789.-_~^", min_size=1, max_size=15)
NUMBERS = st.integers(1, 2**31 - 1)
ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


def parsed(message: type[Any], data: bytes) -> Any:
    """Header, fields and attributes (whatever their order) of a request, as pyroute2 reads them."""
    request = message(data)
    request.decode()
    assert request["header"]["length"] == len(data)
    found = {name: request[name] for name, _ in request.fields}
    return request["header"]["type"], request["header"]["flags"], found, _attributes(request)


def _attributes(request: Any) -> Any:
    found = {}
    for cell in request.get("attrs", ()):
        name, value = cell[0], cell[1]
        deep = isinstance(value, dict) and "attrs" in value
        fields = {key: value[key] for key in ("index", "flags", "change") if key in value} if deep else {}
        found[name] = (fields, _attributes(value)) if deep else value
    return found


@pytest.mark.req("B6")
@given(NAMES, NAMES, st.binary(min_size=5, max_size=5), st.integers(68, 65535), NUMBERS, NUMBERS)
def test_a_pair_of_links(name: str, peer: str, mac: bytes, mtu: int, master: int, namespace: int) -> None:
    text = (b"\x02" + mac).hex(":")
    made = link_messages.new_veth(Veth(HOST, name, "", "place", peer, mtu, text, "bridge"), master, namespace)
    other = {"attrs": [("IFLA_IFNAME", peer), ("IFLA_GROUP", LINK_GROUP), ("IFLA_MTU", mtu), ("IFLA_ADDRESS", text),
                       ("IFLA_NET_NS_FD", namespace)]}
    info = {"attrs": [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", {"attrs": [("VETH_INFO_PEER", other)]})]}
    whole = encode(ifinfmsg, link_messages.RTM_NEWLINK, link_messages._FRESH, {"flags": 1, "change": 1}, [
        ("IFLA_IFNAME", name), ("IFLA_GROUP", LINK_GROUP), ("IFLA_MTU", mtu), ("IFLA_MASTER", master), ("IFLA_LINKINFO", info)])
    assert parsed(ifinfmsg, made) == parsed(ifinfmsg, whole)


@pytest.mark.req("B6")
@given(NUMBERS, st.none() | st.text("abc:~^0", min_size=1, max_size=80), st.none() | NUMBERS, st.none() | NUMBERS,
       st.none() | st.integers(0, 9), st.none() | st.booleans())
def test_what_is_set_of_a_link(index: int, alias: str | None, mtu: int | None, group: int | None, master: int | None,
                               up: bool | None) -> None:
    made = link_messages.set_link(index, alias=alias, mtu=mtu, group=group, master=master, up=up)
    given = (("IFLA_IFALIAS", alias), ("IFLA_MTU", mtu), ("IFLA_GROUP", group), ("IFLA_MASTER", master))
    fields = {"index": index, "flags": int(bool(up)), "change": int(up is not None)}
    whole = encode(ifinfmsg, link_messages.RTM_NEWLINK, 0, fields, [pair for pair in given if pair[1] is not None])
    assert parsed(ifinfmsg, made) == parsed(ifinfmsg, whole)


@pytest.mark.req("B6")
@given(NUMBERS, ADDRESSES, st.integers(8, 32))
def test_addresses(index: int, address: ipaddress.IPv4Address | ipaddress.IPv6Address, length: int) -> None:
    v6 = address.version == 6
    pair: list[tuple[str, object]] = [("IFA_LOCAL", str(address)), ("IFA_ADDRESS", str(address))]
    fields = {"family": socket.AF_INET6 if v6 else socket.AF_INET, "prefixlen": length, "index": index}
    gone = encode(ifaddrmsg, link_messages.RTM_DELADDR, 0, fields, pair)
    assert parsed(ifaddrmsg, link_messages.delete_address(index, f"{address}/{length}")) == parsed(ifaddrmsg, gone)
    fields["flags"] = link_messages.IFA_F_NODAD if v6 else 0
    extra: list[tuple[str, object]] = [("IFA_PROTO", PROTOCOL), *([("IFA_FLAGS", link_messages.IFA_F_NODAD)] if v6 else [])]
    new = encode(ifaddrmsg, link_messages.RTM_NEWADDR, link_messages._FRESH, fields, pair + extra)
    assert parsed(ifaddrmsg, link_messages.new_address(index, f"{address}/{length}")) == parsed(ifaddrmsg, new)


@pytest.mark.req("B6")
@given(NUMBERS, ADDRESSES, st.integers(0, 1000))
def test_default_routes(index: int, gateway: ipaddress.IPv4Address | ipaddress.IPv6Address, metric: int) -> None:
    v6 = gateway.version == 6
    made = link_messages.new_route(Route("place", "::/0" if v6 else "0.0.0.0/0", "eth0", str(gateway), metric), index)
    fields = {"family": socket.AF_INET6 if v6 else socket.AF_INET, "table": 254, "proto": PROTOCOL, "type": 1}
    attrs: list[tuple[str, object]] = [("RTA_TABLE", 254), ("RTA_GATEWAY", str(gateway)), ("RTA_OIF", index)]
    whole = encode(rtmsg, link_messages.RTM_NEWROUTE, link_messages._FRESH, fields,
                   attrs + ([("RTA_PRIORITY", metric)] if metric else []))
    assert parsed(rtmsg, made) == parsed(rtmsg, whole)


@pytest.mark.req("B6")
def test_one_request_does_not_show_in_the_next() -> None:
    first = link_messages.set_link(7, alias="a", up=True)
    link_messages.set_link(9, alias="bb", up=True)
    assert link_messages.set_link(7, alias="a", up=True) == first
    with pytest.raises(InvalidValue, match="another family"):
        link_messages.new_route(Route("place", "0.0.0.0/0", "eth0", "fd00::1"), 1)


@pytest.mark.req("B6")
@given(NUMBERS, st.booleans(), st.booleans())
def test_the_flags_of_a_bridge_port(index: int, isolated: bool, hairpin: bool) -> None:
    data = {"attrs": [("IFLA_BRPORT_MODE", int(hairpin)), ("IFLA_BRPORT_ISOLATED", int(isolated))]}
    info = {"attrs": [("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", data)]}
    whole = encode(ifinfmsg, link_messages.RTM_NEWLINK, 0, {"index": index}, [("IFLA_LINKINFO", info)])
    made = link_messages.set_port(index, isolated=isolated, hairpin=hairpin)
    assert parsed(ifinfmsg, made) == parsed(ifinfmsg, whole)


@pytest.mark.req("B6")
@given(NUMBERS)
def test_a_link_is_deleted_by_its_number(index: int) -> None:
    whole = encode(ifinfmsg, link_messages.RTM_DELLINK, 0, {"index": index})
    assert parsed(ifinfmsg, link_messages.delete_link(index)) == parsed(ifinfmsg, whole)
