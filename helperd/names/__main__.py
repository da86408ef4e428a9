"""The resolver process: ``python -m helperd.names --core-fd N``, started by the core and by nobody else.

It alone reads what containers and name servers send. Privilege goes first; only then is anything loaded that parses.
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
    parser = argparse.ArgumentParser(prog="helperd.names", allow_abbrev=False)
    parser.add_argument("--core-fd", type=int, required=True, help="the pair of sockets to the core")
    parser.add_argument("--user", action="append", default=[], help="run as this user (may be repeated: the first that exists)")
    given = parser.parse_args()
    leave_root(tuple(given.user) or USERS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    from helperd.names.link import first_frame, serve

    os.chdir("/")
    pair = socket.socket(fileno=given.core_fd)
    limits = first_frame(pair)
    if limits is None:
        return 0
    leave_everything()
    limit_resources(limits.files, limits.memory)
    serve(pair, limits)
    return 0


if __name__ == "__main__":
    try:
        status = main()
    except MemoryError:
        status = 3
    except BaseException as error:
        sys.stderr.write(f"netdeck resolver: {type(error).__name__}: {error}\n")
        sys.stderr.flush()
        status = 1
    os._exit(status)
