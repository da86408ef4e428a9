"""``netdeck config``: the helper's configuration file."""

from __future__ import annotations

import os
import sys

import click

from tui.docker_flags import DockerCommand, Session, format_option, pass_session


@click.group()
def config() -> None:
    """Check the helper's configuration file."""


@config.command(cls=DockerCommand)
@click.argument("file", default="/etc/netdeck/config.toml", type=click.Path())
@format_option
@pass_session
def check(session: Session, file: str) -> None:
    """Check a configuration file as a whole: every error with its line and key. Exit code 1 if there is one.

    FILE is /etc/netdeck/config.toml where none is given. No helper is needed.
    """
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "helperd", "--config", file, "--check-config", session.format])
