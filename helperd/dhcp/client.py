"""The states of one lease, from DISCOVER to its end (RFC 2131, 4.4). Pure: it is told the time, and says what to send and when to be
asked again.

All its frames go by the link that the network hangs on. A server's unicast answer to a renewal is seen there too.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec

from helperd.dhcp.packets import ACK, DECLINE, DISCOVER, INFINITE, NAK, OFFER, RELEASE, REQUEST, Reply, message
from helperd.dhcp.terms import Terms, terms_of

FIRST, LONGEST = 2.0, 64.0  # seconds until a message is repeated: doubled each time, and a second more or less
REQUESTS = 4  # for one offer
AFTER_NAK = 2.0


class Send(msgspec.Struct, frozen=True):
    frame: bytes


class Got(msgspec.Struct, frozen=True):
    """A lease was granted, or granted for longer."""

    terms: Terms


class Lost(msgspec.Struct, frozen=True):
    """The lease is over; another is looked for."""

    why: str


class Refused(msgspec.Struct, frozen=True):
    """A server said something that can't be taken."""

    why: str


Action = Send | Got | Lost | Refused


class Client:
    """`chance` gives numbers from 0 to 1. `at` is when `tick` wants to be called."""

    def __init__(self, mac: str, hostname: str, client_id: bytes, chance: Callable[[], float]) -> None:
        self.mac, self._hostname, self._client_id, self._chance = mac, hostname, client_id, chance
        self.state = "selecting"  # selecting | requesting | bound | renewing | rebinding
        self.at = math.inf
        self._xid = 0
        self._began = self._asked = self._since = 0.0  # of the whole, of the request that was granted, of the lease
        self._tries = 0
        self._terms: Terms | None = None  # offered while requesting, held in the states after it
        self._hint = ""

    def start(self, now: float, hint: str = "") -> list[Action]:
        """Look for a lease; `hint` is an address that would be welcome."""
        self.state, self._terms, self._hint, self._tries, self._began = "selecting", None, hint, 0, now
        self._xid = self._number()
        return self._again(now)

    def resume(self, now: float, terms: Terms, age: float) -> list[Action]:
        """Go on with a lease that was granted `age` seconds ago."""
        self.state, self._terms, self._since = "bound", terms, now - max(0.0, age)
        self.at = now
        return self.tick(now)

    def tick(self, now: float) -> list[Action]:
        """What is due."""
        if now < self.at:
            return []
        if self.state in ("selecting", "requesting"):
            if self.state == "requesting" and self._tries >= REQUESTS:
                return self.start(now, self._hint)
            return self._again(now)
        terms = self._held()
        age = now - self._since
        if terms.seconds == INFINITE or age < terms.t1:
            self.state, self.at = "bound", math.inf if terms.seconds == INFINITE else self._since + terms.t1
            return []
        if age >= terms.seconds:
            return [Lost(f"no server renewed it, and its {terms.seconds} s are over"), *self.start(now, terms.address)]
        if self.state == "bound":
            self._xid, self._began, self._asked = self._number(), now, now
        self.state = "renewing" if age < terms.t2 else "rebinding"
        until = terms.t2 if self.state == "renewing" else terms.seconds
        self.at = min(now + max((until - age) / 2, 1.0, min(60.0, terms.seconds / 20)), self._since + until)
        to = (terms.server_mac, terms.server) if self.state == "renewing" else None
        return [self._send(REQUEST, now, own=terms.address, to=to)]

    def heard(self, reply: Reply, now: float) -> list[Action]:
        """A reply; what is not for this client or not for this moment is passed over."""
        if reply.mac != self.mac or reply.xid != self._xid or self.state == "bound":
            return []
        if self.state == "selecting":
            return self._offered(reply, now) if reply.kind == OFFER else []
        terms = self._held()
        if reply.kind == NAK:
            if self.state == "requesting":
                if reply.server != terms.server:
                    return []
                self.start(now)
                self.at = now + AFTER_NAK
                return [Refused(f"server {reply.server} does not give {terms.address}, which was offered")]
            return [Lost(f"server {reply.server or terms.server} took it back"), *self.start(now)]
        if reply.kind != ACK or (self.state == "requesting" and reply.server != terms.server):
            return []
        found = terms_of(reply)
        if isinstance(found, str):
            return [Refused(f"server {reply.server or reply.server_mac}: {found}")]
        if found.address != terms.address:
            return [Refused(f"server {reply.server} gives {found.address} in the place of {terms.address}")]
        self.state, self._terms, self._since = "bound", found, self._asked
        self.at = math.inf if found.seconds == INFINITE else max(self._since + found.t1, now + 1.0)
        return [Got(found)]

    def release(self) -> list[Action]:
        """Give the lease back."""
        return self._farewell(RELEASE)

    def decline(self) -> list[Action]:
        """Say that somebody else has the address."""
        return self._farewell(DECLINE)

    def _farewell(self, kind: int) -> list[Action]:
        terms, held = self._terms, self.state in ("bound", "renewing", "rebinding")
        self.at = math.inf
        if terms is None or not held:
            return []
        if kind == DECLINE:
            return [Send(message(DECLINE, self._number(), self.mac, wanted=terms.address, server=terms.server, client_id=self._client_id))]
        return [Send(message(RELEASE, self._number(), self.mac, own=terms.address, server=terms.server, client_id=self._client_id,
                             to=(terms.server_mac, terms.server)))]

    def _offered(self, reply: Reply, now: float) -> list[Action]:
        found = terms_of(reply)
        if isinstance(found, str):
            return [Refused(f"server {reply.server or reply.server_mac}: {found}")]
        self.state, self._terms, self._tries, self._asked = "requesting", found, 0, now
        return self._again(now)

    def _again(self, now: float) -> list[Action]:
        pause = min(FIRST * 2 ** min(self._tries, 8), LONGEST)
        self.at = now + max(1.0, pause + 2 * self._chance() - 1)
        self._tries += 1
        if self.state == "selecting":
            return [self._send(DISCOVER, now, wanted=self._hint)]
        terms = self._held()
        return [self._send(REQUEST, now, wanted=terms.address, server=terms.server)]

    def _send(self, kind: int, now: float, *, own: str = "0.0.0.0", wanted: str = "", server: str = "",
              to: tuple[str, str] | None = None) -> Send:
        where = {"to": to} if to is not None else {}
        return Send(message(kind, self._xid, self.mac, seconds=int(now - self._began), own=own, wanted=wanted, server=server,
                            hostname=self._hostname, client_id=self._client_id, **where))

    def _held(self) -> Terms:
        assert self._terms is not None, f"no lease in state {self.state}"
        return self._terms

    def _number(self) -> int:
        return int(self._chance() * 0xFFFFFFFF)
