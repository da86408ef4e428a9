"""A name server for tests, in a process of its own: ``python tests/upstream_server.py ADDRESS MODE``.

MODE: ``good`` (every name has the address 203.0.113.7, `nowhere.` does not exist, `long.` does not fit into a datagram), ``silent``,
``servfail``, ``lying`` (answers with another id, for another question, broken ones, then the right one).
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rrset

ADDRESS = "203.0.113.7"
LYING = "203.0.113.66"


def answer(wire: bytes, *, udp: bool, address: str = ADDRESS) -> bytes:
    query = dns.message.from_wire(wire)
    made = dns.message.make_response(query, recursion_available=True)
    name = query.question[0].name
    text = name.to_text().lower()
    if text.startswith("nowhere."):
        made.set_rcode(dns.rcode.NXDOMAIN)
    elif text.startswith("long."):
        if udp:
            made.flags |= dns.flags.TC
        else:
            made.answer.append(dns.rrset.from_text_list(name, 60, "IN", "A", [f"203.0.113.{number}" for number in range(200)]))
    else:
        made.answer.append(dns.rrset.from_text(name, 60, "IN", "A", address))
    return made.to_wire(max_size=65_535)


def lies(wire: bytes) -> list[bytes]:
    """What is no answer to `wire`, though it looks like one."""
    wrong = answer(wire, udp=True, address=LYING)
    other = dns.message.make_query("other.example.", "A", id=int.from_bytes(wire[:2], "big"))
    return [
        bytes((wire[0] ^ 0xFF, wire[1])) + wrong[2:], answer(other.to_wire(), udp=True, address=LYING), wrong[:-2], wrong[:3], b"",
        wire[:2] + b"\xff" * 40, wrong + b"behind", wire,
    ]


def serve_tcp(listener: socket.socket) -> None:
    while True:
        client, _ = listener.accept()
        with client, contextlib.suppress(OSError, EOFError):
            reader = client.makefile("rb")
            while length := reader.read(2):
                told = answer(reader.read(int.from_bytes(length, "big")), udp=False)
                client.sendall(len(told).to_bytes(2, "big") + told)


def main(address: str, mode: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    udp, tcp = socket.socket(family, socket.SOCK_DGRAM), socket.socket(family, socket.SOCK_STREAM)
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    for sock in (udp, tcp):
        sock.bind((address, 53))
    tcp.listen()
    if mode != "silent":
        threading.Thread(target=serve_tcp, args=(tcp,), daemon=True).start()
    print("ready", flush=True)
    while True:
        wire, asker = udp.recvfrom(65_535)
        print(asker[0], asker[1], dns.message.from_wire(wire).question[0].name, flush=True)
        if mode == "servfail":
            made = dns.message.make_response(dns.message.from_wire(wire))
            made.set_rcode(dns.rcode.SERVFAIL)
            udp.sendto(made.to_wire(), asker)
        elif mode != "silent":
            for told in lies(wire) if mode == "lying" else []:
                udp.sendto(told, asker)
            udp.sendto(answer(wire, udp=True), asker)


if __name__ == "__main__":
    main(*sys.argv[1:])
