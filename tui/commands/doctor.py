"""``netdeck doctor``: what is wrong on this host, why it matters, and the way to mend it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from protocol.errors import InvalidValue
from protocol.names import display_text
from tui.commands.names import complete_finding
from tui.connection import call
from tui.docker_flags import DockerCommand, Session, format_option, pass_session
from tui.tables import as_json

_WRONG = ("error", "warning")


@click.command(cls=DockerCommand)
@click.option("--fix", "fix_id", metavar="ID", shell_complete=complete_finding, help="Mend one finding, after showing how.")
@click.option("--undo", "undo_id", metavar="ID", shell_complete=complete_finding,
              help="Take back what netdeck keeps up by an earlier --fix.")
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@format_option
@pass_session
def doctor(session: Session, fix_id: str | None, undo_id: str | None, yes: bool) -> int:
    """List what is wrong with this host's networks: forwarding, rules of others that drop packets, parents, MTU, overlaps, pools, orphans.

    Exit code 1 if something is wrong, 0 if not.
    """
    if fix_id is not None and undo_id is not None:
        raise click.UsageError("--fix and --undo don't go together", click.get_current_context())
    if fix_id is not None or undo_id is not None:
        return _change(session, {"id": fix_id or undo_id, "undo": undo_id is not None}, yes)
    found = call(session.socket, "doctor.list", {}, title="doctor")
    if session.format == "json":
        click.echo(as_json(found), nl=False)
    else:
        click.echo(_text(found), nl=False)
    return 1 if any(item["severity"] in _WRONG for item in found) else 0


def _text(found: Sequence[Mapping[str, Any]]) -> str:
    if not found:
        return "nothing is wrong\n"
    return "\n".join("".join(f"{line}\n" for line in _lines(item)) for item in found)


def _lines(item: Mapping[str, Any]) -> list[str]:
    lines = [f"{item['severity'].upper()}  {display_text(item['id'])}", f"  what    {display_text(item['what'])}"]
    lines += [f"          - {display_text(detail)}" for detail in item["details"]]
    lines += [f"  why     {display_text(item['why'])}", f"  remedy  {display_text(item['remedy'])}"]
    lines += [f"          $ {display_text(command)}" for command in item["commands"]]
    if item["automatic"]:
        lines.append(f"  do it   netdeck doctor --fix {display_text(item['id'])}")
    return lines


def _change(session: Session, request: Mapping[str, Any], yes: bool) -> int:
    """Show what is to be done, ask, do it."""
    finding = call(session.socket, "doctor.fix", {**request, "dry_run": True}, title="doctor")["finding"]
    shown = session.format != "json"
    if shown:
        click.echo("\n".join(_lines(finding)[:-1] if finding["automatic"] else _lines(finding)), err=True)
        for command in finding["undo"]:
            click.echo(f"  undo    $ {display_text(command)}", err=True)
    if not yes and (finding["automatic"] or request["undo"]):
        if not sys.stdin.isatty():
            raise InvalidValue("doctor asks before it changes anything and here is nobody to answer: add --yes")
        if not click.confirm("Take it back?" if request["undo"] else "Do it?", default=False, err=True):
            return 1
    result = call(session.socket, "doctor.fix", {**request, "commands": finding["commands"]}, title="doctor")
    if not shown:
        click.echo(as_json(result), nl=False)
    else:
        click.echo("\n".join(_done(finding, undo=bool(request["undo"]))))
    return 0


def _done(finding: Mapping[str, Any], *, undo: bool) -> list[str]:
    """What was changed, once it has been."""
    lines = [f"{display_text(finding['id'])} {'taken back' if undo else 'mended'}"]
    lines += [f"  was   {display_text(finding['what'])}"] if not undo else []
    lines += [f"  done  {display_text(detail)}" for detail in finding["details"] if not finding["commands"]]
    lines += [f"  done  $ {display_text(command)}" for command in finding["undo" if undo else "commands"]]
    lines += [f"  undo  $ {display_text(command)}" for command in finding["undo"] if not undo]
    return lines
