"""The DHCP process: ``python -m helperd.dhcp --core-fd N``, started by the core and by nobody else.

It alone reads what DHCP servers send. Privilege goes first; only then is anything loaded that parses.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys

from helperd.privilege import leave_everything, leave_root, limit_resources

USERS = ("netdeck-resolver", "nobody")


def main() -> int:
    """Serve until the core ends."""
    parser = argparse.ArgumentParser(prog="helperd.dhcp", allow_abbrev=False)
    parser.add_argument("--core-fd", type=int, required=True, help="the pair of sockets to the core")
    parser.add_argument("--user", action="append", default=[], help="run as this user (may be repeated: the first that exists)")
    given = parser.parse_args()
    leave_root(tuple(given.user) or USERS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    import asyncio

    from helperd.dhcp.frames import to_dhcp
    from helperd.dhcp.service import serve
    from helperd.names.frames import MAX_PACKET, Start

    os.chdir("/")
    pair = socket.socket(fileno=given.core_fd)
    body = pair.recv(MAX_PACKET)
    if not body:
        return 0
    first = to_dhcp(body)
    assert isinstance(first, Start), "the first packet is not a start"
    leave_everything()
    limit_resources(first.limits.files, first.limits.memory)
    asyncio.run(serve(pair))
    return 0


if __name__ == "__main__":
    try:
        status = main()
    except MemoryError:
        status = 3
    except BaseException as error:
        sys.stderr.write(f"netdeck DHCP client: {type(error).__name__}: {error}\n")
        sys.stderr.flush()
        status = 1
    os._exit(status)
