"""The command line. Each command's module is loaded when that command is used, and the workstation only without one.

Exit codes: 0, 1 for an error of the operation, 2 for wrong usage; `run` and `exec` end with the command's own, and with 125
where netdeck itself failed, as docker does.
"""

from __future__ import annotations

import importlib
import itertools
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from protocol.errors import NetdeckError, to_wire
from protocol.names import display_text, suggestion
from tui import not_docker
from tui.docker_flags import Session

_HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_RUNNERS = ("run", "exec")
_NO_ARGUMENTS: Any = getattr(click.exceptions, "NoArgsIsHelpError", ())  # click 8.1 shows the help by itself
_NOT_RUN = (125, 126, 127)  # docker's: netdeck failed, the command can't be executed, the command does not exist


@dataclass(frozen=True, slots=True)
class Place:
    """Where a command is, and its line in the overview."""

    module: str
    attribute: str
    help: str


COMMANDS: Mapping[str, Place] = {
    "network": Place("tui.commands.network", "network", "Create, change, list, remove networks; connect containers."),
    "run": Place("tui.commands.container", "run", "Run a command in a container of its own."),
    "ps": Place("tui.commands.container", "ps", "List containers."),
    "exec": Place("tui.commands.container", "exec_", "Run a command in a running container."),
    "logs": Place("tui.commands.container", "logs", "Show what a container has printed."),
    "stop": Place("tui.commands.container", "stop", "Stop containers."),
    "kill": Place("tui.commands.container", "kill", "Send a signal to containers."),
    "rm": Place("tui.commands.container", "rm", "Remove containers."),
    "port": Place("tui.commands.port", "port", "Show published ports; publish and withdraw them while containers run."),
    "inspect": Place("tui.commands.about", "inspect", "Show everything about containers and networks as JSON."),
    "interfaces": Place("tui.commands.interface", "interfaces", "List the interfaces of every namespace."),
    "addresses": Place("tui.commands.addresses", "addresses", "Show whose every address is; give leaked ones free."),
    "dns": Place("tui.commands.dns", "dns", "Watch what containers ask netdeck's name server."),
    "events": Place("tui.commands.events", "events", "Show what happens, as it happens."),
    "call": Place("tui.commands.call", "call", "Call an operation of the wire protocol."),
    "lab": Place("tui.commands.lab", "lab", "Try everything on a private host that ends with you."),
    "version": Place("tui.commands.about", "version", "Show the versions of this command and of the helper."),
    "info": Place("tui.commands.about", "info", "Show what the helper has and what the doctor warns of."),
    "helper": Place("tui.commands.daemon", "helper", "Run, stop or ask about this host's helper."),
    "doctor": Place("tui.commands.doctor", "doctor", "List what is wrong with this host's networks, and mend it."),
    "config": Place("tui.commands.config", "config", "Check the helper's configuration file."),
    "completion": Place("tui.commands.completion", "completion", "Print the completion script for a shell."),
}


class LazyGroup(click.Group):
    """A group that knows its commands' names and lines without loading them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        command = getattr(importlib.import_module(place.module), place.attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not ctx.resilient_parsing:
            instead = not_docker.COMMANDS.get(args[0], "")
            ctx.fail(f"no command {display_text(args[0])!r}{f': {instead}' if instead else suggestion(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, place.help) for name, place in COMMANDS.items()])


@click.group(cls=LazyGroup, invoke_without_command=True, context_settings=_HELP)
@click.option("--socket", metavar="PATH", help="The helper's socket. [default: $NETDECK_SOCKET, else /run/netdeck/helper.sock]")
@click.option("--ascii", "ascii_", is_flag=True, help="Draw the workstation without Unicode.")
@click.option("--link", type=click.Choice(["lan", "wan", "slow"]), help="How fast the way to your terminal is. [default: a guess]")
@click.option("--version", is_flag=True, help="Show the version.")
@click.pass_context
def root(ctx: click.Context, socket: str | None, ascii_: bool, link: str | None, version: bool) -> None:
    """A terminal workstation for container networks.

    Without a command it opens the workstation: on this host's helper if one answers, else on a lab with a demonstration in it.
    """
    session = ctx.ensure_object(Session)
    session.socket = socket
    # By the environment, so that they hold too where the workstation is opened inside a lab.
    if ascii_:
        os.environ["NETDECK_ASCII"] = "1"
    if link is not None:
        os.environ["NETDECK_LINK"] = link
    if version:
        from importlib.metadata import version as version_of

        click.echo(f"netdeck {version_of('netdeck')}")
    elif ctx.invoked_subcommand is None:
        from tui.commands.workstation import open_workstation

        ctx.exit(open_workstation(session.socket))


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Carry out a command line; return its exit code. Everything that goes wrong is told in one line on standard error."""
    session = Session()
    command = _command_of(arguments)
    try:
        code: Any = root.main(list(arguments), prog_name="netdeck", standalone_mode=False, obj=session)
        sys.stdout.flush()
    except _NO_ARGUMENTS as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.ClickException as error:
        if _asks_for_json(arguments):  # the parser may have given up before it came to that option
            session.format = "json"
        where = error.ctx.command_path.removeprefix("netdeck").strip() if isinstance(error, click.UsageError) and error.ctx else ""
        _tell(session, " ".join(filter(None, (f"{where}:" if where else "", _line(error)))),
              {"code": "usage", "message": _line(error), "details": {}})
        return error.exit_code
    except NetdeckError as error:
        _tell(session, error.message, to_wire(error))
        return _failure_code(command, error)
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        # Whoever read us has enough. Closing stdout now would only fail again.
        sys.stdout = None
        return 1
    return code if isinstance(code, int) else 0


def _command_of(arguments: Sequence[str]) -> str:
    words = iter(arguments)
    for word in words:
        if word in ("--socket", "--link"):
            next(words, None)
        elif not word.startswith("-"):
            return word
    return ""


def _failure_code(command: str, error: NetdeckError) -> int:
    if command not in _RUNNERS:
        return 1
    told = error.details.get("exit_code")
    return told if told in _NOT_RUN else _NOT_RUN[0]


def _asks_for_json(arguments: Sequence[str]) -> bool:
    return "--format=json" in arguments or ("--format", "json") in itertools.pairwise(arguments)


def _line(error: click.ClickException) -> str:
    text = " ".join(error.format_message().split())
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else "netdeck"
        return f"{text.rstrip('.')} (see {path} --help)"
    return text


def _tell(session: Session, message: str, wire: Mapping[str, Any]) -> None:
    if session.format == "json":
        from tui.tables import as_json

        sys.stderr.write(as_json({"error": wire}, indent=None))
    else:
        sys.stderr.write(f"netdeck: {display_text(message)}\n")
