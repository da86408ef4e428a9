"""The resolver: answers containers on sockets that the core gave it. It runs in a process of its own, without privilege."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import dns.message
import dns.rcode
import dns.rdatatype

from helperd.child_frames import Alive, FromChild, Limits, Ping
from helperd.names.answers import LONGEST, Drop, Forward, Reply, answer, fits, reply
from helperd.names.frames import (
    ROWS_OF_QUERIES,
    AnyToResolver,
    Asked,
    ContainerGone,
    ContainerPut,
    EndpointGone,
    EndpointPut,
    NetworkGone,
    NetworkPut,
    Sockets,
    Upstreams,
    Wanted,
    Watching,
    queries,
)
from helperd.names.places import Places
from helperd.names.served import AT_ONCE, TURN, Known, Served
from helperd.names.tables import Tables
from helperd.names.told import shown
from helperd.names.upstream import Answer, Upstream, exactly

READ = 65_535
TELL_SECONDS = 0.1  # the query log is told in batches
SOCKET_SECONDS = 2.0  # for the core to send a socket
NAMES = "names"  # who answered, where it was the tables

Sender = Callable[[bytes], None]


class Resolver:
    """All containers of a host. `tell` sends a frame to the core, soon; `counts` has what that drops, and all else that is counted."""

    def __init__(self, limits: Limits, tell: Callable[[FromChild], None], counts: Counter[str] | None = None) -> None:
        self._limits, self._tell = limits, tell
        self._tables = Tables()
        self._served: dict[str, Served] = {}
        self._upstream = Upstream(limits)
        self._servers: tuple[str, ...] = ()
        self._places = Places(limits.waiting, limits.waiting_in_all)
        self._tasks: set[asyncio.Task[None]] = set()
        self._watched = False
        self._asked: list[Asked] = []
        self._lost = 0
        self._timer: asyncio.TimerHandle | None = None
        self.counts: Counter[str] = Counter() if counts is None else counts
        self._takers: dict[type, Callable[[Any], None]] = {
            NetworkPut: self._tables.put_network, NetworkGone: lambda frame: self._tables.drop_network(frame.id),
            EndpointPut: self._tables.put_endpoint, EndpointGone: lambda frame: self._tables.drop_endpoint(frame.id),
            ContainerGone: self._drop_container, Upstreams: self._set_servers, Watching: self._watch, Ping: self._alive,
        }

    def take(self, frame: AnyToResolver, sockets: Sequence[socket.socket] = ()) -> None:
        """One frame of the core, with the sockets that came with it."""
        if isinstance(frame, ContainerPut):
            self._put_container(frame, sockets)
        elif isinstance(frame, Sockets):
            self._given(frame, sockets)
        else:
            self._takers[type(frame)](frame)
        if isinstance(frame, NetworkPut | NetworkGone | EndpointPut | EndpointGone):
            for served in self._served.values():
                served.cache.clear()

    def _put_container(self, frame: ContainerPut, sockets: Sequence[socket.socket]) -> None:
        udp, tcp = sockets
        served = self._served.get(frame.id)
        if served is None:
            served = self._served[frame.id] = Served(frame, udp, tcp, self._limits)
        else:
            served.take_over(frame, udp, tcp)
        served.listen(self._on_udp, self._on_tcp)

    def _drop_container(self, frame: ContainerGone) -> None:
        served = self._served.pop(frame.id, None)
        if served is not None:
            served.close()

    def _set_servers(self, frame: Upstreams) -> None:
        self._servers = frame.servers

    def _alive(self, frame: Ping) -> None:
        self._tell(Alive({**self.counts, "containers": len(self._served), "waiting": len(self._places)}))

    # UDP

    def _on_udp(self, served: Served) -> None:
        began = time.thread_time()
        for number in range(AT_ONCE):
            if number and time.thread_time() - began > TURN:
                return
            try:
                wire, sender = served.udp.recvfrom(LONGEST + 1)  # what is longer is no question
            except OSError:  # nothing left, or an ICMP error of an earlier answer
                return
            now = time.monotonic()
            if not served.questions.take(now):
                self.counts["dropped"] += 1
                continue
            self.counts["questions"] += 1
            tail = wire[2:]
            known = served.cache.get(tail)
            if known is not None:
                self._send(served, wire[:2] + known.tail, sender)
                if self._watched:
                    self._note(served, known.name, known.type, known.result, NAMES, known.answers)
                continue
            if not served.work.left(now):
                self.counts["dropped"] += 1
                continue
            with _paid_by(served):
                self._ask_udp(served, wire, tail, sender)

    def _send(self, served: Served, wire: bytes, sender: Any) -> None:
        try:
            served.udp.sendto(wire, sender)
        except OSError:  # a full buffer, or an asker that is gone: it asks again
            self.counts["unsent"] += 1

    def _ask_udp(self, served: Served, wire: bytes, tail: bytes, sender: Any) -> None:
        outcome = answer(wire, served.frame, self._tables, self._limits.ttl, udp=True)
        match outcome:
            case Reply():
                self._send(served, outcome.wire, sender)
                name, rdtype = _question(outcome.query)
                self._note(served, name, rdtype, _word(outcome.rcode), NAMES, outcome.answers)
                if outcome.lasting:
                    served.keep(tail, Known(outcome.wire[2:], name, rdtype, _word(outcome.rcode), outcome.answers))
            case Forward(query=query):
                key = (sender, wire)
                if key in served.under_way:
                    self.counts["repeated"] += 1
                    return
                served.under_way.add(key)
                self._start(self._forward_udp(served, query, sender, key))
            case Drop(why=why):
                self.counts["dropped"] += 1
                self.counts[f"dropped: {why}"] += 1

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _forward_udp(self, served: Served, query: dns.message.Message, sender: Any, key: tuple[object, bytes]) -> None:
        try:
            wire = await self._forward(served, query, udp=True)
        finally:
            served.under_way.discard(key)
        if self._served.get(served.frame.id) is served:
            self._send(served, wire, sender)

    async def _forward(self, served: Served, query: dns.message.Message, *, udp: bool) -> bytes:
        """The bytes of the answer, whoever gave it."""
        limit = READ if not udp else 512
        servers = served.frame.servers or self._servers
        with _paid_by(served):
            place = self._places.take(served.frame.id) if served.forwarded.take(time.monotonic()) else None
            if place is None:
                self.counts["refused"] += 1
                self._note(served, *_question(query), "REFUSED", "", ())
                return reply(query, dns.rcode.REFUSED, limit, why="too many questions at once").wire
        self.counts["forwarded"] += 1
        began = time.monotonic()
        found: Answer | None = None
        try:
            if served.frame.servers:
                where, opener = served.frame.id, self._inside(served)
            else:
                where, opener = "", _host_socket
            asking = asyncio.create_task(self._upstream.ask(query, servers, opener, where, served.work, udp=udp))
            place.end = asking.cancel
            try:
                await asyncio.wait((asking,))
            finally:
                asking.cancel()
            if not asking.cancelled() and asking.exception() is None:
                found = asking.result()
        finally:
            self._places.leave(place)
        with _paid_by(served):
            if found is None:
                self.counts["unanswered"] += 1
                self._note(served, *_question(query), "SERVFAIL", "", (), began)
                return reply(query, dns.rcode.SERVFAIL, limit).wire
            if self._watched:
                self._note(served, *_question(query), _word(found.rcode), found.server, shown(found.question, found.wire), began)
            return fits(query, found.wire, udp=udp)

    # Sockets of the core, for servers that are asked from inside a container

    def _inside(self, served: Served) -> Callable[[int, str], Any]:
        async def opener(family: int, kind: str) -> socket.socket | None:
            found = served.sockets.get((family, kind))
            if found:
                return found.pop()
            hope, ask = served.hope_for(family, kind)
            if ask:
                self._tell(Wanted(served.frame.id, family, kind))
            try:
                return await asyncio.wait_for(hope, SOCKET_SECONDS)
            except TimeoutError:
                served.given(family, kind, [])  # the others need not wait for what did not come; the next asks anew
                return None

        return opener

    def _given(self, frame: Sockets, sockets: Sequence[socket.socket]) -> None:
        served = self._served.get(frame.container)
        if served is None:
            for sock in sockets:
                sock.close()
        elif served.given(frame.family, frame.kind, list(sockets)):
            self._tell(Wanted(frame.container, frame.family, frame.kind))

    # TCP (RFC 7766)

    def _on_tcp(self, served: Served) -> None:
        try:
            sock, _ = served.tcp.accept()
        except OSError:
            return
        if len(served.connections) >= self._limits.connections:
            self.counts["connections refused"] += 1
            sock.close()
            return
        sock.setblocking(False)
        served.connection(self._serve_tcp(served, sock))

    async def _serve_tcp(self, served: Served, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with sock, contextlib.suppress(OSError, TimeoutError):
            while True:
                async with asyncio.timeout(self._limits.idle):
                    wire = await exactly(sock, int.from_bytes(await exactly(sock, 2), "big"))
                self.counts["questions"] += 1
                if not served.work.left(time.monotonic()):
                    self.counts["dropped"] += 1
                    return
                with _paid_by(served):
                    outcome = answer(wire, served.frame, self._tables, self._limits.ttl, udp=False)
                if isinstance(outcome, Drop):
                    self.counts["dropped"] += 1
                    return
                if isinstance(outcome, Reply):
                    self._note(served, *_question(outcome.query), _word(outcome.rcode), NAMES, outcome.answers)
                    told = outcome.wire
                else:
                    told = await self._forward(served, outcome.query, udp=False)
                async with asyncio.timeout(self._limits.idle):
                    await loop.sock_sendall(sock, len(told).to_bytes(2, "big") + told)
                await asyncio.sleep(0)  # nothing above waits while there is more to read: others have their turn

    # The query log

    def _watch(self, frame: Watching) -> None:
        self._watched = frame.on
        if not frame.on:
            self._asked, self._lost = [], 0

    def _note(self, served: Served, name: str, rdtype: str, result: str, by: str, answers: tuple[str, ...],
              began: float | None = None) -> None:
        if not self._watched:
            return
        if len(self._asked) >= ROWS_OF_QUERIES:
            self._lost += 1
            return
        seconds = 0.0 if began is None else time.monotonic() - began
        self._asked.append(Asked(time.time(), served.frame.id, name, rdtype, result, by, answers[:8], seconds))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TELL_SECONDS, self._tell_asked)

    def _tell_asked(self) -> None:
        self._timer = None
        rows, self._asked = self._asked, []
        lost, self._lost = self._lost, 0
        for frame in queries(rows, lost):
            self._tell(frame)


@contextlib.contextmanager
def _paid_by(served: Served) -> Iterator[None]:
    """The processor time that is used inside is the container's. Nothing inside may wait."""
    began = time.thread_time()
    try:
        yield
    finally:
        served.work.spend(time.thread_time() - began)


def _question(query: dns.message.Message | None) -> tuple[str, str]:
    """Name and type of what was asked, "" for what could not be read."""
    if query is None or not query.question:
        return "", ""
    return query.question[0].name.to_text(), dns.rdatatype.to_text(query.question[0].rdtype)


def _word(rcode: int) -> str:
    return dns.rcode.to_text(dns.rcode.Rcode(rcode))


async def _host_socket(family: int, kind: str) -> socket.socket | None:
    sock = socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    sock.setblocking(False)
    return sock
