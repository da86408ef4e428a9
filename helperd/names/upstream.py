"""Questions to upstream servers: each from a socket of its own, whose port nobody can guess, and answered once or not at all.

An answer counts only from the address that was asked, with the id and the question that were sent (RFC 5452). A server that is
silent is not waited for: the next is asked too, and whoever answers first is heard.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import dns.message
import dns.rcode

from helperd.budget import Budget
from helperd.child_frames import Limits
from helperd.names.told import is_answer

PORT = 53
SERVERS = 3  # that are asked, as resolv.conf(5) has it
WRONG = 64  # datagrams of a server that are no answer, until it is given up: somebody guesses, or means harm
SLOW_KEPT = 1_024
SLOW_SECONDS = 30.0  # for which a server that was silent is asked last

Opener = Callable[[int, str], Awaitable[socket.socket | None]]
"""Gives a socket of a family (4, 6) and kind (``udp``, ``tcp``), None where there is none."""


class Answer(NamedTuple):
    """What a server said: the bytes with the id of the asker's own query, what was sent with that id, and who it was."""

    wire: bytes
    rcode: dns.rcode.Rcode
    server: str
    question: bytes


class Upstream:
    """Asks. One for all containers: which server is slow is remembered by the opener's `place`."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._slow: dict[tuple[str, str], float] = {}  # (place, server) → until when

    async def ask(self, query: dns.message.Message, servers: Sequence[str], opener: Opener, place: str, work: Budget, *,
                  udp: bool) -> Answer | None:
        """The first good answer within `limits.answer` seconds, else the last bad one (SERVFAIL, REFUSED), None where nobody answers.
        What it takes to look at the answers is the asker's: it is spent from `work`."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        order = sorted(dict.fromkeys(servers[:SERVERS]), key=lambda server: self._slow.get((place, server), 0.0) > now)
        question = query.to_wire()
        tasks: dict[asyncio.Task[tuple[dns.rcode.Rcode, bytes] | None], str] = {}
        bad: Answer | None = None
        waiting = iter(order)
        end = now + self._limits.answer
        try:
            while True:
                server = next(waiting, None)
                if server is not None:
                    tasks[asyncio.create_task(self._one(question, server, opener, work, udp=udp))] = server
                until = min(end, loop.time() + self._limits.server) if server is not None else end
                fresh = False
                while tasks and not fresh and (left := until - loop.time()) > 0:
                    done, _ = await asyncio.wait(tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        by = tasks.pop(task)
                        fresh = True
                        found = None if task.cancelled() or task.exception() else task.result()
                        if found is None:
                            continue
                        rcode, wire = found
                        told = Answer(question[:2] + wire[2:], rcode, by, question)
                        self._slow.pop((place, by), None)
                        if told.rcode not in (dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.NOTIMP):
                            return told
                        bad = told
                if server is None and not tasks:
                    return bad
                if loop.time() >= end:
                    return bad
        finally:
            for task, server in tasks.items():
                task.cancel()
                self._was_slow(place, server, loop.time())
            if tasks:
                await asyncio.gather(*tasks, return_exceptions=True)

    def _was_slow(self, place: str, server: str, now: float) -> None:
        if len(self._slow) >= SLOW_KEPT:
            self._slow = {key: until for key, until in self._slow.items() if until > now}
        if len(self._slow) < SLOW_KEPT:
            self._slow[place, server] = now + SLOW_SECONDS

    async def _one(self, question: bytes, server: str, opener: Opener, work: Budget, *, udp: bool) -> tuple[dns.rcode.Rcode, bytes] | None:
        """What one server answers, None for nothing that counts."""
        address = ipaddress.ip_address(server.partition("%")[0])
        sock = await opener(address.version, "udp" if udp else "tcp")
        if sock is None:
            return None
        with sock:
            try:
                return await _exchange(sock, _target(server), question, work, udp=udp)
            except OSError:
                return None


def _target(server: str) -> tuple[str, int] | tuple[str, int, int, int]:
    address, _, zone = server.partition("%")
    if ":" not in address:
        return address, PORT
    try:
        scope = socket.if_nametoindex(zone) if zone else 0
    except OSError:
        scope = 0
    return address, PORT, 0, scope


async def _exchange(
    sock: socket.socket, target: tuple[str, int] | tuple[str, int, int, int], question: bytes, work: Budget, *, udp: bool
) -> tuple[dns.rcode.Rcode, bytes] | None:
    loop = asyncio.get_running_loop()
    wire = secrets.token_bytes(2) + question[2:]
    if udp:
        sock.connect(target)
        await loop.sock_sendall(sock, wire)
        for _ in range(WRONG):
            data = await loop.sock_recv(sock, 65_535)
            found = _looked_at(wire, data, work)
            if found is not None:
                return found
            await asyncio.sleep(0)  # sock_recv doesn't wait while there is something
        return None
    with contextlib.suppress(BlockingIOError):
        error = sock.connect_ex(target)
        if error not in (0, errno.EINPROGRESS):
            return None
    await _writable(sock)
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        return None
    await loop.sock_sendall(sock, len(wire).to_bytes(2, "big") + wire)
    return _looked_at(wire, await exactly(sock, int.from_bytes(await exactly(sock, 2), "big")), work)


def _looked_at(question: bytes, data: bytes, work: Budget) -> tuple[dns.rcode.Rcode, bytes] | None:
    began = time.thread_time()
    rcode = is_answer(question, data)
    work.spend(time.thread_time() - began)
    return None if rcode is None else (rcode, data)


async def _writable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(sock, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(sock)


async def exactly(sock: socket.socket, size: int) -> bytes:
    """`size` bytes. Raises ConnectionError where the other end closes before."""
    loop = asyncio.get_running_loop()
    data = bytearray()
    while len(data) < size:
        part = await loop.sock_recv(sock, size - len(data))
        if not part:
            raise ConnectionResetError("closed")
        data += part
    return bytes(data)
