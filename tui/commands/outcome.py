"""What is printed of a change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from protocol.names import display_text
from tui.docker_flags import Session
from tui.tables import as_json, plan_text


def warn(warnings: Sequence[str]) -> None:
    """Warnings, each a line on standard error."""
    for warning in warnings:
        click.echo(f"netdeck: warning: {display_text(warning)}", err=True)


def show_change(session: Session, result: Mapping[str, Any], dry_run: bool, line: str) -> None:
    """What a change did: all of it as JSON, its plan after a dry run, else `line`."""
    if session.format == "json":
        click.echo(as_json(result), nl=False)
        return
    warn(result.get("warnings", ()))
    if dry_run:
        click.echo(plan_text(result["plan"]), nl=False)
    elif line:
        click.echo(line)
