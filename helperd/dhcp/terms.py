"""What a lease says, and what of a server's words is reasonable. Pure."""

from __future__ import annotations

import ipaddress
from typing import Annotated

import msgspec

from helperd.dhcp.packets import INFINITE, Reply

_SHORTEST, _LONGEST_PREFIX = 8, 30
Ip = Annotated[str, msgspec.Meta(max_length=15)]
Seconds = Annotated[int, msgspec.Meta(ge=0, le=INFINITE)]


class Terms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A lease. Times are seconds from when it was asked for; `seconds` may be `INFINITE`. `note` says what of the server's words was
    left out, and why."""

    address: Ip
    prefix_length: Annotated[int, msgspec.Meta(ge=_SHORTEST, le=_LONGEST_PREFIX)]
    server: Ip
    server_mac: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{2}(:[0-9a-f]{2}){5}\Z")]
    seconds: Seconds
    t1: Seconds
    t2: Seconds
    gateway: Ip = ""
    dns: Annotated[tuple[Ip, ...], msgspec.Meta(max_length=3)] = ()
    domain: Annotated[str, msgspec.Meta(max_length=253, pattern=r"\A[A-Za-z0-9_.-]*\Z")] = ""
    note: Annotated[str, msgspec.Meta(max_length=500)] = ""

    @property
    def prefix(self) -> str:
        return f"{self.address}/{self.prefix_length}"


def terms_of(reply: Reply) -> Terms | str:
    """The lease that an offer or an ACK is about, or why it is none that could be taken."""
    problem = _problem(reply)
    if problem:
        return problem
    assert reply.prefix_length is not None and reply.seconds is not None
    subnet = ipaddress.ip_network(f"{reply.address}/{reply.prefix_length}", strict=False)
    notes = []
    gateway = reply.gateway
    if gateway and (ipaddress.ip_address(gateway) not in subnet or gateway in (reply.address, str(subnet.network_address),
                                                                              str(subnet.broadcast_address))):
        notes.append(f"its router {gateway} is " + ("the container itself" if gateway == reply.address else f"no host of {subnet}")
                     + ", so there is no default route")
        gateway = ""
    dns = tuple(dict.fromkeys(item for item in reply.dns if _usable(item)))
    if len(dns) < len(set(reply.dns)):
        notes.append("of its name servers, what is no host's address was left out")
    t1, t2 = _times(reply.seconds, reply.t1, reply.t2)
    return Terms(reply.address, reply.prefix_length, reply.server, reply.server_mac, reply.seconds, t1, t2, gateway, dns, reply.domain,
                 "; ".join(notes))


def checked(terms: Terms) -> str:
    """Why terms that another process has read can't be taken, "" where they can."""
    reply = Reply(5, 0, "", terms.server_mac, terms.address, terms.server, terms.prefix_length, terms.gateway, terms.dns, terms.domain,
                  terms.seconds, terms.t1, terms.t2)
    try:
        again = terms_of(reply)
    except ValueError as error:
        return str(error)
    return again if isinstance(again, str) else "" if (again.gateway, again.dns) == (terms.gateway, terms.dns) else "it is inconsistent"


def _problem(reply: Reply) -> str:
    if not _usable(reply.address):
        return f"it offers {reply.address}, which is no host's address"
    if not _usable(reply.server):
        return "it does not say who it is (server identifier)"
    if reply.prefix_length is None:
        return f"it offers {reply.address} without a subnet mask"
    if not _SHORTEST <= reply.prefix_length <= _LONGEST_PREFIX:
        return f"it offers {reply.address}/{reply.prefix_length}: expected a subnet from /{_SHORTEST} to /{_LONGEST_PREFIX}"
    subnet = ipaddress.ip_network(f"{reply.address}/{reply.prefix_length}", strict=False)
    if reply.address in (str(subnet.network_address), str(subnet.broadcast_address)):
        return f"it offers {reply.address}, which is no host's address in {subnet}"
    if not reply.seconds:
        return f"it offers {reply.address} " + ("for 0 seconds" if reply.seconds == 0 else "without a lease time")
    return ""


def _usable(text: str) -> bool:
    if not text:
        return False
    address = ipaddress.IPv4Address(text)
    return not (address.is_unspecified or address.is_multicast or address.is_loopback or address.is_reserved or address.is_link_local
                or int(address) >> 24 == 0)


def _times(seconds: int, t1: int | None, t2: int | None) -> tuple[int, int]:
    """T1 and T2: those of the server where they are in order, else those of RFC 2131, 4.4.5."""
    if seconds == INFINITE:
        return INFINITE, INFINITE
    rebind = t2 if t2 is not None and 0 < t2 < seconds else int(seconds * 0.875)
    renew = t1 if t1 is not None and 0 < t1 <= rebind else min(rebind, int(seconds * 0.5))
    return renew, rebind
