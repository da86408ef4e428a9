"""``netdeck port …``: published ports, in docker's words where docker has some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from protocol.errors import NotFound
from protocol.model import Port
from protocol.ports import host_text, private_port
from tui.commands.names import complete_container
from tui.commands.outcome import show_change
from tui.connection import call
from tui.docker_flags import DockerCommand, Session, dry_run_option, format_option, pass_session
from tui.tables import as_json, table

_FIELDS = ("protocol", "host", "host_port", "port")


def port_of(row: Mapping[str, Any]) -> Port:
    """The port of a row of ``port.list``."""
    return Port(**{name: row[name] for name in _FIELDS})


class PortGroup(click.Group):
    """``netdeck port CONTAINER`` is docker's ``docker port``; what is no command of ours is taken for a container."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands and not (args[0].startswith("-") and args[0] != "-"):
            return "show", self.commands["show"], args
        return super().resolve_command(ctx, args)


@click.group(cls=PortGroup, invoke_without_command=True, options_metavar="[OPTIONS]",
             subcommand_metavar="[CONTAINER [PORT[/PROTOCOL]]] | COMMAND …")
@format_option
@click.pass_context
def port(ctx: click.Context) -> None:
    """Show published ports, publish and withdraw them on running containers.

    Without arguments all of this host; with CONTAINER those of one, as docker port does.
    """
    if ctx.invoked_subcommand is None:
        _list_all(ctx.ensure_object(Session))


def _list_all(session: Session) -> None:
    rows = call(session.socket, "port.list", {})
    if session.format == "json":
        click.echo(as_json(rows), nl=False)
        return
    cells = [(row["container"], host_text(port_of(row)), f"{row['port']}/{row['protocol']}", row["address"], row["network"], _held(row))
             for row in rows]
    click.echo(table(("CONTAINER", "HOST", "PORT", "ADDRESS", "NETWORK", "HELD"), cells), nl=False)


def _held(row: Mapping[str, Any]) -> str:
    return "yes" if row["held"] else "no, a process of the host has it"


@port.command(cls=DockerCommand)
@click.argument("container", shell_complete=complete_container)
@click.argument("private", metavar="[PORT[/PROTOCOL]]", required=False)
@format_option
@pass_session
def show(session: Session, container: str, private: str | None) -> None:
    """Show what of CONTAINER is published, as docker port does."""
    rows = call(session.socket, "port.list", {"container": container})
    if private is not None:
        number, protocol = private_port(private)
        rows = [row for row in rows if (row["port"], row["protocol"]) == (number, protocol)]
        if not rows:
            raise NotFound(f"no public port '{number}/{protocol}' published for {container}", name=private)
    if session.format == "json":
        click.echo(as_json(rows), nl=False)
        return
    for row in rows:
        found = port_of(row)
        click.echo(host_text(found) if private is not None else f"{found.port}/{found.protocol} -> {host_text(found)}")


@port.command(cls=DockerCommand)
@click.argument("container", shell_complete=complete_container)
@click.argument("ports", nargs=-1, required=True, metavar="SPEC…")
@dry_run_option
@format_option
@pass_session
def publish(session: Session, container: str, ports: tuple[str, ...], dry_run: bool) -> None:
    """Publish ports of a running container, of any runtime, that is on a bridge network.

    SPEC is written as after run -p: 8080:80, 127.0.0.1:8080:80/udp, [::1]:8080:80, 8000-8010:80-90, 80 for any free port of the
    host, or published=8080,target=80,protocol=udp,host_ip=192.0.2.1.
    """
    result = call(session.socket, "port.publish", {"container": container, "ports": ports, "dry_run": dry_run}, title="port publish")
    show_change(session, result, dry_run, _lines(result["ports"]))


@port.command(cls=DockerCommand)
@click.argument("container", shell_complete=complete_container)
@click.argument("ports", nargs=-1, metavar="SPEC…")
@click.option("-a", "--all", "all_", is_flag=True, help="All of the container's.")
@dry_run_option
@format_option
@pass_session
def withdraw(session: Session, container: str, ports: tuple[str, ...], all_: bool, dry_run: bool) -> None:
    """Withdraw published ports. SPEC names them as they were published, or by the container's port alone: 80, 53/udp."""
    if bool(ports) == all_:
        raise click.UsageError("name the ports, or give --all")
    result = call(session.socket, "port.withdraw", {"container": container, "ports": ports, "all": all_, "dry_run": dry_run},
                  title="port withdraw")
    show_change(session, result, dry_run, _lines(result["ports"]))


def _lines(ports: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(f"{found.port}/{found.protocol} -> {host_text(found)}" for found in map(port_of, ports))
