"""`python -m helperd`: the helper for this host, in the foreground, in the background, or a word about it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from pathlib import Path

from protocol.errors import NetdeckError
from protocol.messages import DEFAULT_SOCKET, SOCKET_ENV

DEFAULT_STATE = Path("/var/lib/netdeck")
DEFAULT_RUN = Path("/run/netdeck")


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="netdeck helper", description="The root helper of netdeck for this host.")
    parser.add_argument("--socket", default=os.environ.get(SOCKET_ENV, DEFAULT_SOCKET), help="where clients connect")
    parser.add_argument("--state-dir", type=Path, default=DEFAULT_STATE, help="where the stored state lives")
    parser.add_argument("--run-dir", type=Path, default=DEFAULT_RUN, help="where what lasts until the next boot lives")
    parser.add_argument("--config", type=Path, default=Path("/etc/netdeck/config.toml"), help="configuration file, with [roles]")
    parser.add_argument("--lab", action="store_true", help="this helper serves a lab: nothing of it is the real host")
    parser.add_argument("--verbose", action="store_true")
    return parser


def main() -> int:
    options = arguments().parse_args()
    logging.basicConfig(level=logging.DEBUG if options.verbose else logging.INFO, stream=sys.stderr,
                        format="netdeck helper: %(levelname)s %(message)s")
    os.umask(0o077)
    # The writer lets go of the interpreter at each system call; with the usual 5 ms it would wait that long to get it back.
    sys.setswitchinterval(0.0005)
    try:
        return asyncio.run(serve(options))
    except NetdeckError as error:
        print(f"netdeck helper: {error.message}", file=sys.stderr)
        return 1
    except PermissionError as error:
        print(f"netdeck helper: {error}. The helper runs as root: sudo ./netdeck helper", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"netdeck helper: {error}", file=sys.stderr)
        return 1


async def serve(options: argparse.Namespace) -> int:
    from helperd.capabilities import keep_needed
    from helperd.configuration import roles_from
    from helperd.listener import open_listener
    from helperd.roles import Roles
    from helperd.socket_access import Admitted

    roles = roles_from(options.config)
    with open_listener(options.socket, admitted=Admitted.by(Roles.from_config(roles))) as listener:
        keep_needed()
        from helperd.core import Core, Settings  # what it imports is large: a second helper must fail before it

        core = Core(Settings(options.state_dir, options.run_dir, options.lab, roles), listener)
        await core.start()
        job = asyncio.create_task(core.run())
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, job.cancel)
        print(f"netdeck helper: ready on {options.socket}", file=sys.stderr, flush=True)
        with contextlib.suppress(asyncio.CancelledError):
            await job
    return 0


if __name__ == "__main__":
    sys.exit(main())
