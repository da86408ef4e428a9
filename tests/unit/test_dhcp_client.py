"""The life of a lease by a clock of the test's own."""

from __future__ import annotations

import itertools
import math
import random

import msgspec
import pytest
from pyroute2.dhcp.dhcp4msg import dhcp4msg

from helperd.dhcp.client import Action, Client, Got, Lost, Refused, Send
from helperd.dhcp.packets import ACK, DECLINE, DISCOVER, INFINITE, NAK, OFFER, RELEASE, REQUEST, Reply
from helperd.dhcp.terms import Terms

pytestmark = pytest.mark.req("X7")
MAC = "02:00:00:00:00:05"
OFFERED = Reply(OFFER, 0, MAC, "02:00:00:00:00:01", "192.168.1.57", "192.168.1.1", 24, "192.168.1.1", seconds=1000)


def client() -> Client:
    return Client(MAC, "shop", b"", random.Random(1).random)


def sent(actions: list[Action]) -> list[tuple[int, str, str]]:
    """(kind, own address, to whom) of what is sent."""
    frames = [(item.frame, dhcp4msg(buf=item.frame[42:]).decode()) for item in actions if isinstance(item, Send)]
    return [(int(read["options"]["message_type"]), read["ciaddr"], frame[:6].hex(":")) for frame, read in frames]


def xid(actions: list[Action]) -> int:
    return next(int.from_bytes(item.frame[46:50], "big") for item in actions if isinstance(item, Send))


def bound(machine: Client, now: float, **fields: object) -> list[Action]:
    began = machine.start(now)
    offer = msgspec.structs.replace(OFFERED, xid=xid(began), **fields)
    assert sent(machine.heard(offer, now)) == [(REQUEST, "0.0.0.0", "ff:ff:ff:ff:ff:ff")]
    return machine.heard(msgspec.structs.replace(offer, kind=ACK), now)


def test_from_discover_to_the_end_of_a_lease() -> None:
    machine = client()
    got = bound(machine, 100.0)
    assert got == [Got(Terms("192.168.1.57", 24, "192.168.1.1", OFFERED.server_mac, 1000, 500, 875, "192.168.1.1"))]
    assert machine.at == 600.0 and machine.tick(599.0) == []
    # T1: the server itself, and again after half of what is left, but not often.
    renew = machine.tick(600.0)
    assert sent(renew) == [(REQUEST, "192.168.1.57", OFFERED.server_mac)] and machine.at == 600.0 + 187.5
    assert sent(machine.tick(machine.at)) == [(REQUEST, "192.168.1.57", OFFERED.server_mac)]
    # T2: anybody. Then it is over, and looked for anew.
    kinds, moment, actions = [], 0.0, list[Action]()
    while machine.state in ("renewing", "bound", "rebinding"):
        moment = machine.at
        actions = machine.tick(moment)
        kinds += sent(actions)
    assert ("ff:ff:ff:ff:ff:ff" in [to for _, _, to in kinds]) and moment == 1100.0 and 4 <= len(kinds) <= 12
    assert isinstance(actions[0], Lost) and kinds[-1] == (DISCOVER, "0.0.0.0", "ff:ff:ff:ff:ff:ff")
    # Not a flood: fewer than a message a second at first, then one a minute.
    times = []
    for _ in range(12):
        times.append(machine.at)
        machine.tick(machine.at)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert min(gaps) >= 1.0 and 60 <= gaps[-1] <= 66


def test_renewed_by_its_server_or_by_another() -> None:
    for moment, other in ((600.0, "192.168.1.1"), (980.0, "192.168.1.2")):
        machine = client()
        bound(machine, 100.0)
        request = machine.tick(600.0)
        if moment > 975.0:
            request = machine.tick(machine.at) and machine.tick(975.0)
        answer = msgspec.structs.replace(OFFERED, kind=ACK, xid=xid(request), server=other, seconds=2000)
        assert isinstance(machine.heard(answer, moment)[0], Got) and machine.state == "bound" and machine.at > moment
        assert machine.heard(answer, moment) == [], "the same once more says nothing"


def test_what_is_refused_and_what_is_passed_over() -> None:
    machine = client()
    began = machine.start(0.0)
    mine = msgspec.structs.replace(OFFERED, xid=xid(began))
    for wrong in (msgspec.structs.replace(mine, xid=1), msgspec.structs.replace(mine, mac="02:00:00:00:00:06"),
                  msgspec.structs.replace(mine, kind=ACK), msgspec.structs.replace(mine, kind=NAK)):
        assert machine.heard(wrong, 0.0) == []
    refused = Refused("server 192.168.1.1: it offers 192.168.1.57 for 0 seconds")
    assert machine.heard(msgspec.structs.replace(mine, seconds=0), 0.0) == [refused]
    machine.heard(mine, 0.0)
    ack = msgspec.structs.replace(mine, kind=ACK)
    assert machine.heard(msgspec.structs.replace(ack, server="192.168.1.9"), 0.0) == []
    assert isinstance(machine.heard(msgspec.structs.replace(ack, address="192.168.1.58"), 0.0)[0], Refused)
    nak = machine.heard(msgspec.structs.replace(mine, kind=NAK), 1.0)
    assert isinstance(nak[0], Refused) and machine.state == "selecting" and machine.at >= 2.0
    # Of an offer that nobody confirms it is let go after a few tries.
    machine.heard(msgspec.structs.replace(mine, xid=xid(machine.tick(machine.at))), 5.0)
    tries = 0
    while machine.state == "requesting":
        machine.tick(machine.at)
        tries += 1
    assert tries == 4


def test_a_lease_that_is_taken_back_resumed_and_given_back() -> None:
    machine = client()
    bound(machine, 0.0)
    request = machine.tick(500.0)
    lost = machine.heard(msgspec.structs.replace(OFFERED, kind=NAK, xid=xid(request)), 501.0)
    assert isinstance(lost[0], Lost) and sent(lost) == [(DISCOVER, "0.0.0.0", "ff:ff:ff:ff:ff:ff")]
    terms = Terms("192.168.1.57", 24, "192.168.1.1", OFFERED.server_mac, 1000, 500, 875)
    young, old, over, endless = client(), client(), client(), client()
    assert young.resume(50.0, terms, 100.0) == [] and young.at == 450.0
    assert sent(old.resume(50.0, terms, 600.0)) == [(REQUEST, "192.168.1.57", OFFERED.server_mac)]
    assert isinstance(over.resume(50.0, terms, 5000.0)[0], Lost)
    endless.resume(50.0, msgspec.structs.replace(terms, seconds=INFINITE, t1=INFINITE, t2=INFINITE), 1e9)
    assert endless.at == math.inf
    assert sent(young.release()) == [(RELEASE, "192.168.1.57", OFFERED.server_mac)] and over.release() == []
    assert sent(endless.decline()) == [(DECLINE, "0.0.0.0", "ff:ff:ff:ff:ff:ff")]
