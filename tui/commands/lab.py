"""``netdeck lab``: a private host with a helper of its own."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def lab(command: tuple[str, ...]) -> None:
    """Run COMMAND on a private host with a helper of its own; when COMMAND ends, all of it is gone.

    Without COMMAND: the workstation, with a small demonstration. Root is not needed. The host has eth0 (192.168.1.250/24,
    2001:db8:1::250/64) and eth1 (10.0.1.250/24); at their other ends is the namespace 'outside', which routes:
    'ip netns exec outside …' runs something there.
    """
    enter_lab(command)


def enter_lab(command: tuple[str, ...]) -> NoReturn:
    """Become a lab that runs `command`, or the workstation with the demonstration."""
    here = [sys.executable, "-P", "-m"]
    if not command:
        from tui.commands.workstation import need_terminal

        need_terminal()
    what = ["--", *command] if command else ["--demo", "--", *here, "tui"]
    sys.stdout.flush()
    os.execv(sys.executable, [*here, "helperd.lab", *what])
