"""Servers and clients for published ports: what stands behind a port says its name and whom it sees."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence

from tests.simulated_host import HostProcess, SimulatedHost
from tests.waiting import LONGEST_SECONDS

Try = tuple[str, str, int]  # protocol, address, port
Answer = str | None  # "NAME SEEN-ADDRESS", None where nobody answered

SERVE = """
import selectors, socket, sys
name, ports = sys.argv[1], [int(item) for item in sys.argv[2:]]
select = selectors.DefaultSelector()
for port in ports:
    for family, any_address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            sock = socket.socket(family, kind)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((any_address, port))
            if kind == socket.SOCK_STREAM:
                sock.listen(64)
            select.register(sock, selectors.EVENT_READ, kind)
print("ready", flush=True)
while True:
    for key, _ in select.select():
        sock = key.fileobj
        if key.data == socket.SOCK_STREAM:
            peer, address = sock.accept()
            with peer:
                peer.sendall(f"{name} {address[0]}".encode())
        else:
            _, address = sock.recvfrom(100)
            sock.sendto(f"{name} {address[0]}".encode(), address)
"""

_ASK = """
import json, socket, sys, threading
found = {}
def ask(number, protocol, address, port, limit):
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    family, _, _, _, target = socket.getaddrinfo(address, port, type=kind)[0]  # fe80::1%eth0 too
    try:
        with socket.socket(family, kind) as sock:
            sock.settimeout(limit)
            if protocol == "all":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                sock.sendto(b"?", target)
            else:
                sock.connect(target)
                if protocol == "udp":
                    sock.send(b"?")
            found[number] = sock.recv(100).decode() or None
    except OSError as error:
        found[number] = None
limit, tries = json.load(sys.stdin)
threads = [threading.Thread(target=ask, args=(number, *item, limit)) for number, item in enumerate(tries)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps([found[number] for number in range(len(tries))]))
"""


def serve(host: SimulatedHost, netns: str, name: str, *ports: int) -> HostProcess:
    """A server on TCP and UDP `ports` of both families, which answers with `name` and the address that it was asked from."""
    process = host.popen([sys.executable, "-c", SERVE, name, *map(str, ports)], netns=netns)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def ask(host: SimulatedHost, netns: str, tries: Sequence[Try], limit: float = 8.0, within: Sequence[str] = ()) -> list[Answer]:
    """What each of `tries` is answered in the namespace ("" for the host itself), None without an answer in `limit` seconds. The
    protocol "all" is udp where whoever answers may have another address than the one that was asked.
    `within`: a command that another one is run by, where the namespace has no name."""
    out = host.run([*within, sys.executable, "-c", _ASK], netns=netns, input=json.dumps([limit, tries]), timeout=60)
    found: list[Answer] = json.loads(out)
    return found


def eventually(host: SimulatedHost, netns: str, tries: Sequence[Try], wanted: Sequence[str], seconds: float = LONGEST_SECONDS) -> None:
    """Wait until each of `tries` is answered by the server of the name that is wanted of it."""
    end = time.monotonic() + seconds
    while True:
        told = ask(host, netns, tries, 2.0)
        if [answer.split()[0] if answer else None for answer in told] == list(wanted):
            return
        assert time.monotonic() < end, (netns or "host", list(zip(tries, told, strict=True)))
