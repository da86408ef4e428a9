"""`python -m helperd`: the helper for this host, in the foreground, in the background, or a word about it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import resource
import signal
import sys
from pathlib import Path

from protocol.errors import NetdeckError
from protocol.messages import DEFAULT_SOCKET, SOCKET_ENV

DEFAULT_STATE = Path("/var/lib/netdeck")
DEFAULT_RUN = Path("/run/netdeck")
SYSCTL_DIR = Path("/etc/sysctl.d")
DEFAULT_CONFIG = Path("/etc/netdeck/config.toml")


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="netdeck helper", description="The root helper of netdeck for this host.")
    parser.add_argument("--socket", default=os.environ.get(SOCKET_ENV, DEFAULT_SOCKET), help="where clients connect")
    parser.add_argument("--state-dir", type=Path, default=DEFAULT_STATE, help="where the stored state lives")
    parser.add_argument("--run-dir", type=Path, default=DEFAULT_RUN, help="where what lasts until the next boot lives")
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help="configuration file (docs/CONFIG.md)")
    parser.add_argument("--check-config", choices=("table", "json"), help="check that file, say what is wrong in it, and end")
    parser.add_argument("--lab", action="store_true", help="this helper serves a lab: nothing of it is the real host")
    parser.add_argument("--verbose", action="store_true")
    return parser


def main() -> int:
    options = arguments().parse_args()
    logging.basicConfig(level=logging.DEBUG if options.verbose else logging.INFO, stream=sys.stderr,
                        format="netdeck helper: %(levelname)s %(message)s")
    os.umask(0o077)
    # Each container that is served names costs some descriptors; the shim gives its container the usual number again.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # The writer lets go of the interpreter at each system call; with the usual 5 ms it would wait that long to get it back.
    sys.setswitchinterval(0.0005)
    try:
        if options.check_config:
            from helperd.configuration_check import check

            return check(options.config, options.check_config, needed=options.config != DEFAULT_CONFIG)
        return asyncio.run(serve(options))
    except NetdeckError as error:
        for line in getattr(error, "lines", ()):
            print(f"netdeck helper: {line}", file=sys.stderr)
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
    from helperd.configuration import read_configuration
    from helperd.listener import open_listener
    from helperd.roles import Roles
    from helperd.socket_access import Admitted

    configuration = read_configuration(options.config)
    with open_listener(options.socket, admitted=Admitted.by(Roles.from_config(configuration.roles))) as listener:
        keep_needed()
        from helperd.core import Core, Settings  # what it imports is large: a second helper must fail before it

        core = Core(Settings(options.state_dir, options.run_dir, options.lab, configuration,
                             None if options.lab else SYSCTL_DIR), listener)
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
