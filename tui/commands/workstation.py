"""``netdeck`` without a command: the workstation."""

from __future__ import annotations

import errno
import os
import sys

import click

from protocol.messages import SOCKET_ENV
from tui.connection import probe, socket_path

_NOBODY_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ECONNREFUSED)


def need_terminal() -> None:
    """Raise UsageError where input or output is no terminal: there is nobody to look at the workstation."""
    missing = [name for name, stream in (("input", sys.stdin), ("output", sys.stdout)) if stream is None or not stream.isatty()]
    if missing:
        raise click.UsageError(f"the workstation needs a terminal, and its {' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} "
                               "none: the commands work without one", click.get_current_context(silent=True))


def open_workstation(given: str | None) -> int:
    """The workstation on the helper that was named or answers on this host, else on a lab. Return its exit code.

    A helper that was named and is not there is an error, and so is one that the caller may not use.
    """
    path = socket_path(given)
    failure = probe(path)
    named = bool(given or os.environ.get(SOCKET_ENV))
    if failure is not None and (named or failure.errno not in _NOBODY_THERE):
        from protocol.blocking import BlockingClient

        BlockingClient(path).close()  # raises, and knows the words; where it doesn't, the helper has just come up
    elif failure is not None:
        from tui.commands.lab import enter_lab

        enter_lab(())
    need_terminal()
    from tui.app import run

    return run(path)
