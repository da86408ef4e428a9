"""``netdeck completion``: what a shell needs to complete our command line."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh"]))
def completion(shell: str) -> None:
    """Print the completion script for SHELL.

    For this session: source <(netdeck completion bash). For all: put that line into ~/.bashrc or ~/.zshrc.
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(click.get_current_context().find_root().command, {}, "netdeck", "_NETDECK_COMPLETE").source())
