"""A DHCP server that says what it is told to: for offers that no honest server makes, and leases that are short. Runs in `outside`."""

from __future__ import annotations

import json
import socket
import struct
import sys
import time
from typing import Any

from helperd.dhcp import packets

_BOOTP = struct.Struct("!BBBBIHH4s4s4s4s16s64s128s4s")
SOL_BINDTODEVICE = 25


def reply(request: bytes, kind: int, rules: dict[str, Any]) -> bytes:
    """The answer to a client's message: `rules` give `address`, `server`, and further options as hex by their code."""
    _, _, _, _, xid, _, flags, ciaddr, _, _, _, chaddr, _, _, cookie = _BOOTP.unpack_from(request)
    body = _BOOTP.pack(2, 1, 6, 0, xid, 0, flags, ciaddr, socket.inet_aton(rules["address"]), bytes(4), bytes(4), chaddr, b"", b"", cookie)
    for code, value in {"53": f"{kind:02x}", "54": socket.inet_aton(rules["server"]).hex(), **rules["options"]}.items():
        raw = bytes.fromhex(value)
        body += bytes((int(code), len(raw))) + raw
    return body + b"\xff"


def main() -> None:
    """Answer until killed. Standard input has the rules of one stage a line; `stage` files say which is in force."""
    path = sys.argv[1]
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, SOL_BINDTODEVICE, b"up0")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.bind(("0.0.0.0", 67))
    print("ready", flush=True)
    end = time.monotonic() + 300
    sock.settimeout(1.0)
    while time.monotonic() < end:
        try:
            request = sock.recv(2_000)
        except TimeoutError:
            continue
        with open(path, encoding="ascii") as file:
            rules = json.load(file)
        kind = request[request.index(b"\x63\x82\x53\x63") + 4:].partition(b"\x35\x01")[2][0]
        answer = {packets.DISCOVER: packets.OFFER, packets.REQUEST: rules.get("answer", packets.ACK)}.get(kind)
        if answer:
            to = socket.inet_ntoa(request[12:16])
            sock.sendto(reply(request, answer, rules), ("255.255.255.255" if to == "0.0.0.0" else to, 68))


if __name__ == "__main__":
    main()
