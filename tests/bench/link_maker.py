"""``python -m tests.bench.link_maker COUNT PAUSE``: makes links one by one, prints for each its name and when it began.

One ioctl makes a bridge, so that nothing but the kernel's own work lies between the moment and the event. The clock is
CLOCK_MONOTONIC in seconds, which all processes of a machine share.
"""

from __future__ import annotations

import fcntl
import socket
import sys
import time

SIOCBRADDBR = 0x89A0  # linux/sockios.h


def main(count: int, pause: float) -> None:
    made: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for number in range(count):
            name = f"event{number}"
            time.sleep(pause)
            moment = time.monotonic()
            fcntl.ioctl(sock, SIOCBRADDBR, name.encode() + b"\0")
            made.append(f"{name} {moment!r}")
    print("\n".join(made))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
