"""The DHCP process at work: all leases of a host. It has no privilege, only the sockets that the core gave it."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence

from helperd.budget import Budget
from helperd.child_frames import Alive, FromChild, Limits, Ping, Ready, Start
from helperd.core_link import CoreLink
from helperd.dhcp.client import Action, Client, Got, Lost, Refused, Send
from helperd.dhcp.frames import (
    AnyToDhcp,
    Leased,
    LeaseLost,
    LeaseRefused,
    Lessee,
    LesseeGone,
    Wire,
    WireFailed,
    WireGone,
    to_dhcp,
)
from helperd.dhcp.packets import LONGEST, read
from helperd.kernel.packet_filter import tagged

AT_ONCE = 32  # frames that are read before the next link's turn
RATE = 500.0  # frames a second and link that are looked at; what is above is dropped
_CHANCE = random.SystemRandom().random


def now() -> float:
    """Seconds that go on while the machine sleeps: leases run out then too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Service:
    """`tell` sends a frame to the core."""

    def __init__(self, tell: Callable[[FromChild], None]) -> None:
        self._tell = tell
        self._wires: dict[str, tuple[socket.socket, Budget, int]] = {}
        self._lessees: dict[str, tuple[Client, str]] = {}  # endpoint → its client, its wire
        self._by_mac: dict[tuple[str, str], dict[str, Client]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._counts: Counter[str] = Counter()

    def take(self, frame: AnyToDhcp, sockets: Sequence[socket.socket]) -> None:
        """One frame of the core, with the socket that came with it."""
        match frame:
            case Wire():
                self._wire(frame.id, sockets[0], frame.vlan)
            case WireGone():
                self._drop_wire(frame.id)
            case Lessee():
                self._lessee(frame)
            case LesseeGone():
                self._part(frame)
            case Ping():
                self._tell(Alive({**self._counts, "leases": len(self._lessees), "wires": len(self._wires)}))
            case Start():
                raise ValueError("a second start")

    def _wire(self, ident: str, sock: socket.socket, vlan: int) -> None:
        self._drop_wire(ident)
        sock.setblocking(False)
        self._wires[ident] = sock, Budget(RATE, now()), vlan
        asyncio.get_running_loop().add_reader(sock, self._read, ident)

    def _drop_wire(self, ident: str) -> None:
        known = self._wires.pop(ident, None)
        if known is not None:
            asyncio.get_running_loop().remove_reader(known[0])
            known[0].close()

    def _failed(self, ident: str) -> None:
        self._drop_wire(ident)
        self._tell(WireFailed(ident))

    def _lessee(self, frame: Lessee) -> None:
        self._forget(frame.id)
        client = Client(frame.mac, frame.hostname, frame.client_id, _CHANCE)
        self._lessees[frame.id] = client, frame.wire
        self._by_mac.setdefault((frame.wire, frame.mac), {})[frame.id] = client
        moment = now()
        self._do(frame.id, client.start(moment, frame.hint) if frame.terms is None else client.resume(moment, frame.terms, frame.age))

    def _part(self, frame: LesseeGone) -> None:
        known = self._lessees.get(frame.id)
        if known is not None:
            self._do(frame.id, known[0].decline() if frame.declined else known[0].release())
            self._forget(frame.id)

    def _forget(self, ident: str) -> None:
        known = self._lessees.pop(ident, None)
        timer = self._timers.pop(ident, None)
        if timer is not None:
            timer.cancel()
        if known is not None:
            key = known[1], known[0].mac
            self._by_mac[key].pop(ident, None)
            if not self._by_mac[key]:
                del self._by_mac[key]

    def _do(self, ident: str, actions: Sequence[Action]) -> None:
        client, wire = self._lessees[ident]
        for action in actions:
            match action:
                case Send():
                    self._send(wire, action.frame)
                case Got():
                    self._tell(Leased(ident, action.terms))
                case Lost():
                    self._tell(LeaseLost(ident, action.why[:500]))
                case Refused():
                    self._tell(LeaseRefused(ident, action.why[:500]))
        timer = self._timers.pop(ident, None)
        if timer is not None:
            timer.cancel()
        if client.at < math.inf:
            # Not longer than an hour at a time: the loop's clock stands still while the machine sleeps.
            wait = min(max(0.0, client.at - now()), 3600.0)
            self._timers[ident] = asyncio.get_running_loop().call_later(wait, self._tick, ident)

    def _tick(self, ident: str) -> None:
        if ident in self._lessees:
            self._do(ident, self._lessees[ident][0].tick(now()))

    def _send(self, wire: str, frame: bytes) -> None:
        known = self._wires.get(wire)
        if known is None:
            self._counts["unsent"] += 1
            return
        try:
            known[0].send(tagged(frame, known[2]))
        except BlockingIOError:
            self._counts["unsent"] += 1
        except OSError:
            self._counts["unsent"] += 1
            self._failed(wire)

    def _read(self, wire: str) -> None:
        for _ in range(AT_ONCE):
            known = self._wires.get(wire)
            if known is None:
                return
            sock, budget, _ = known
            try:
                frame = sock.recv(LONGEST + 1)
            except BlockingIOError:
                return
            except OSError:
                self._failed(wire)
                return
            moment = now()
            if not budget.take(moment):
                self._counts["dropped"] += 1
                continue
            reply = read(frame)
            if reply is None:
                self._counts["unreadable"] += 1
                continue
            for ident, client in list(self._by_mac.get((wire, reply.mac), {}).items()):
                self._do(ident, client.heard(reply, moment))


def serve(pair: socket.socket, limits: Limits) -> None:
    """Keep leases until the core is gone."""
    asyncio.run(_serve(pair))


async def _serve(pair: socket.socket) -> None:
    pair.setblocking(False)
    link = CoreLink(pair)
    service = Service(link.tell)
    asyncio.get_running_loop().add_reader(pair, link.read, lambda body, sockets: service.take(to_dhcp(body), sockets))
    link.tell(Ready())
    with contextlib.suppress(asyncio.CancelledError):
        await link.over
