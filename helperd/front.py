"""The front process: ``python -m helperd.front --listen-fd N --core-fd M [--show-fd K]``, started by the core and by nobody else.

It alone reads what strangers send. Privilege goes first; only then is anything loaded that parses.
"""

from __future__ import annotations

import argparse
import gc
import os
import signal
import socket
import sys

from helperd.privilege import leave_everything, leave_root, limit_resources

USERS = ("netdeck-front", "nobody")


def main() -> int:
    """Serve until the core ends. 0 when it did, 3 when memory ran out, 1 for anything else."""
    parser = argparse.ArgumentParser(prog="helperd.front", allow_abbrev=False)
    parser.add_argument("--listen-fd", type=int, required=True, help="the listening unix socket")
    parser.add_argument("--core-fd", type=int, required=True, help="the pipe to the core")
    parser.add_argument("--show-fd", type=int, help="where the core is shown connections, if it looks at them")
    parser.add_argument("--user", action="append", default=[], help="run as this user (may be repeated: the first that exists)")
    given = parser.parse_args()
    leave_root(tuple(given.user) or USERS)
    # The core is told to end by its own signals; the front ends with it, after its last answers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    from helperd.front_pipe import CoreGone, CorePipe
    from helperd.front_socket import SHOW_SECONDS, FrontSocket, read_config

    os.chdir("/")
    pipe = CorePipe(socket.socket(fileno=given.core_fd))
    listening = socket.socket(fileno=given.listen_fd)
    showing = None if given.show_fd is None else socket.socket(fileno=given.show_fd)
    if showing is not None:
        showing.settimeout(SHOW_SECONDS)
    try:
        config = read_config(pipe.read_first())
        leave_everything()
        limit_resources(config.limits.files, config.limits.memory)
        front = FrontSocket(listening, pipe, config, showing)
        gc.freeze()
        front.serve()
    except CoreGone:
        return 0
    except MemoryError:
        return 3
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 1


if __name__ == "__main__":
    # Not sys.exit: libzmq's threads and sockets need no farewell, and must not delay the next front.
    try:
        status = main()
    except BaseException as error:
        sys.stderr.write(f"netdeck front: {type(error).__name__}: {error}\n")
        sys.stderr.flush()
        status = 1
    os._exit(status)
