"""How a child of the core begins that reads what strangers send (the resolver, the DHCP client): privilege goes first, and only then is
anything loaded that parses."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from helperd.privilege import leave_everything, leave_root, limit_resources

if TYPE_CHECKING:
    from helperd.child_frames import Limits

USERS = ("netdeck-resolver", "nobody")
Serve = Callable[[socket.socket, "Limits"], None]


def run(module: str, what: str, load: Callable[[], Serve]) -> NoReturn:
    """Be ``python -m module --core-fd N``, the process called `what`: what `load` loads serves until the core ends."""
    try:
        _serve(module, load)
        status = 0
    except MemoryError:
        status = 3
    except BaseException as error:
        sys.stderr.write(f"netdeck {what}: {type(error).__name__}: {error}\n")
        sys.stderr.flush()
        status = 1
    os._exit(status)


def _serve(module: str, load: Callable[[], Serve]) -> None:
    parser = argparse.ArgumentParser(prog=module, allow_abbrev=False)
    parser.add_argument("--core-fd", type=int, required=True, help="the pair of sockets to the core")
    parser.add_argument("--user", action="append", default=[], help="run as this user (may be repeated: the first that exists)")
    given = parser.parse_args()
    leave_root(tuple(given.user) or USERS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    from helperd.child_frames import MAX_PACKET, limits_of

    serve = load()
    os.chdir("/")
    pair = socket.socket(fileno=given.core_fd)
    body = pair.recv(MAX_PACKET)
    if not body:
        return
    limits = limits_of(body)
    leave_everything()
    limit_resources(limits.files, limits.memory)
    serve(pair, limits)
