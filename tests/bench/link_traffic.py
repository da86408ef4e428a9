"""``python -m tests.bench.link_traffic PREFIX``: every second one frame out of each link whose name begins so, until killed."""

from __future__ import annotations

import contextlib
import socket
import sys
import time

# Ethernet type 0x88b5 is set aside for experiments (IEEE 802): no protocol takes it up.
FRAME = b"\xff" * 6 + bytes.fromhex("020000000001") + bytes.fromhex("88b5") + bytes(46)


def main(prefix: str) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        due = time.monotonic()
        while True:
            for _, name in socket.if_nameindex():
                if name.startswith(prefix):
                    with contextlib.suppress(OSError):
                        sock.sendto(FRAME, (name, 0))
            due = max(due + 1.0, time.monotonic())
            time.sleep(due - time.monotonic())


if __name__ == "__main__":
    main(sys.argv[1])
