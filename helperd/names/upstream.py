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
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import dns.message
import dns.rcode

from helperd.names.answers import is_answer
from helperd.names.frames import Limits

PORT = 53
SERVERS = 3  # that are asked, as resolv.conf(5) has it
SLOW_KEPT = 1_024
SLOW_SECONDS = 30.0  # for which a server that was silent is asked last

Opener = Callable[[int, str], Awaitable[socket.socket | None]]
"""Gives a socket of a family (4, 6) and kind (``udp``, ``tcp``), None where there is none."""


class Answer(NamedTuple):
    """What a server said: the bytes with the id of the asker's own query, and who it was."""

    wire: bytes
    rcode: dns.rcode.Rcode
    server: str
    shown: tuple[str, ...]


class Upstream:
    """Asks. One for all containers: which server is slow is remembered by the opener's `place`."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._slow: dict[tuple[str, str], float] = {}  # (place, server) → until when

    async def ask(self, query: dns.message.Message, servers: Sequence[str], opener: Opener, place: str, *, udp: bool) -> Answer | None:
        """The first good answer within `limits.answer` seconds, else the last bad one (SERVFAIL, REFUSED), None where nobody answers."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        order = sorted(dict.fromkeys(servers[:SERVERS]), key=lambda server: self._slow.get((place, server), 0.0) > now)
        own = query.id
        tasks: dict[asyncio.Task[tuple[dns.message.Message, bytes] | None], str] = {}
        bad: Answer | None = None
        waiting = iter(order)
        end = now + self._limits.answer
        try:
            while True:
                server = next(waiting, None)
                if server is not None:
                    tasks[asyncio.create_task(self._one(query, server, opener, udp=udp))] = server
                until = min(end, loop.time() + self._limits.server) if server is not None else end
                fresh = False
                while tasks and not fresh and (left := until - loop.time()) > 0:
                    done, _ = await asyncio.wait(tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        by = tasks.pop(task)
                        found = task.result()
                        fresh = True
                        if found is None:
                            continue
                        message, wire = found
                        told = Answer(own.to_bytes(2, "big") + wire[2:], message.rcode(), by, _shown(message))
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

    async def _one(self, query: dns.message.Message, server: str, opener: Opener, *, udp: bool) -> tuple[dns.message.Message, bytes] | None:
        """What one server answers, None for nothing that counts."""
        address = ipaddress.ip_address(server.partition("%")[0])
        sock = await opener(address.version, "udp" if udp else "tcp")
        if sock is None:
            return None
        with sock:
            try:
                return await _exchange(sock, _target(server), query, udp=udp)
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
    sock: socket.socket, target: tuple[str, int] | tuple[str, int, int, int], query: dns.message.Message, *, udp: bool
) -> tuple[dns.message.Message, bytes] | None:
    loop = asyncio.get_running_loop()
    ident = secrets.randbits(16)
    wire = ident.to_bytes(2, "big") + query.to_wire()[2:]
    if udp:
        sock.connect(target)
        await loop.sock_sendall(sock, wire)
        while True:
            data = await loop.sock_recv(sock, 65_535)
            message = is_answer(query, ident, data)
            if message is not None:
                return message, data
    with contextlib.suppress(BlockingIOError):
        error = sock.connect_ex(target)
        if error not in (0, errno.EINPROGRESS):
            return None
    await _writable(sock)
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        return None
    await loop.sock_sendall(sock, len(wire).to_bytes(2, "big") + wire)
    data = await exactly(sock, int.from_bytes(await exactly(sock, 2), "big"))
    message = is_answer(query, ident, data)
    return None if message is None else (message, data)


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


def _shown(message: dns.message.Message) -> tuple[str, ...]:
    """The first answers, for the query log."""
    return tuple(rdata.to_text()[:200] for rrset in message.answer for rdata in rrset)[:8]
