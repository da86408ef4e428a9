"""``netdeck call``: any operation of the wire protocol, for scripts in a shell."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from protocol.errors import InvalidValue, NotFound
from protocol.names import display_text, suggestion
from protocol.requests import OPERATIONS
from tui import connection
from tui.docker_flags import Session, pass_session
from tui.tables import as_json


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in OPERATIONS if name.startswith(incomplete)]


@click.command()
@click.argument("operation", shell_complete=_complete)
@click.argument("arguments", metavar="[JSON|-]", default="{}")
@pass_session
def call(session: Session, operation: str, arguments: str) -> None:
    """Call OPERATION with the arguments given as a JSON object ("-": from standard input), print its result as JSON.

    protocol/SPEC.md has the operations. Example: netdeck call network.list
    """
    session.format = "json"
    if operation not in OPERATIONS:
        raise NotFound(f"no operation {display_text(operation)!r}{suggestion(operation, OPERATIONS)}", name=operation,
                       known=list(OPERATIONS))
    text = sys.stdin.read() if arguments == "-" else arguments
    try:
        parsed: Any = json.loads(text)
    except ValueError as error:
        raise InvalidValue(f"the arguments are no JSON: {error}", field="arguments") from error
    except RecursionError as error:
        raise InvalidValue("the arguments are nested too deeply", field="arguments") from error
    if not isinstance(parsed, dict):
        raise InvalidValue(f"the arguments must be a JSON object, not {type(parsed).__name__}", field="arguments")
    click.echo(as_json(connection.call(session.socket, operation, parsed)), nl=False)
