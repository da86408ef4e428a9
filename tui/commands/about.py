"""``netdeck inspect``, ``version``, ``info``: what there is, whatever its kind, and who does the work."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from typing import Any

import click

from protocol.errors import InvalidValue, NetdeckError, NotFound
from protocol.names import display_text, suggestion
from tui.commands.listing import show_template
from tui.commands.names import complete_anything, tell_error
from tui.connection import call, socket_path
from tui.docker_flags import DockerCommand, Session, pass_session, template_option
from tui.not_docker import INSPECT_FLAGS, refuse
from tui.tables import as_json

_KINDS = ("container", "network")


@click.command(cls=DockerCommand)
@click.argument("names", nargs=-1, required=True, shell_complete=complete_anything)
@click.option("--type", "kind", type=click.Choice(_KINDS), help="Look only among these. [default: both]")
@refuse({}, INSPECT_FLAGS)
@template_option("-f")
@pass_session
def inspect(session: Session, kind: str | None, names: tuple[str, ...]) -> int:
    """Show everything about containers and networks as JSON.

    Of a container: state, endpoints, and the links, addresses and routes inside. Where a container and a network have the same name, it
    is the container.
    """
    found: list[Any] = []
    errors: list[NetdeckError] = []
    for name in names:
        try:
            found += _look(session, name, (kind,) if kind else _KINDS)
        except (NotFound, InvalidValue) as error:
            errors.append(error)
    if (found or not errors) and not show_template(session, found):
        click.echo(as_json(found), nl=False)
    sys.stdout.flush()
    for failed in errors:
        tell_error(failed, session)
    return 1 if errors else 0


def _look(session: Session, name: str, kinds: tuple[str, ...]) -> list[Any]:
    for kind in kinds:
        try:
            return list(call(session.socket, f"{kind}.inspect", {"names": [name]}))
        except NotFound:
            if len(kinds) == 1 or ":" in name:  # the answer knows more of it than we do
                raise
    known = [row["ref"] for row in call(session.socket, "container.list", {"all": True, "foreign": True})]
    known += [row["name"] for row in call(session.socket, "network.list", {})]
    raise NotFound(f"no container and no network {display_text(name)!r}{suggestion(name, known)}. Containers of other runtimes are named "
                   "like docker:NAME, podman:NAME, netns:NAME, pid:N", name=display_text(name))


@click.command(cls=DockerCommand)
@template_option("-f")
@pass_session
def version(session: Session) -> int:
    """Show the versions of this command and of the helper. Exit code 1 where no helper answers, as docker has it."""
    from importlib.metadata import version as version_of

    from protocol.messages import VERSION

    client = {"Version": version_of("netdeck"), "Protocol": VERSION, "Python": platform.python_version()}
    found: dict[str, Any] = {"Client": client, "Server": None}
    failed: NetdeckError | None = None
    try:
        info = call(session.socket, "info", {})
        found["Server"] = {"Version": info["program"].rpartition(" ")[2], "Protocol": info["version"], "Name": info["host"]}
    except NetdeckError as error:
        failed = error
    if session.format == "json":
        click.echo(as_json(found), nl=False)
    elif not show_template(session, [found]):
        for title, values in (("Client", found["Client"]), ("Helper", found["Server"])):
            if values:
                click.echo(f"{title}:\n{_lines(values)}", nl=False)
    sys.stdout.flush()
    if failed is not None:
        tell_error(failed, session)
    return 0 if failed is None else 1


@click.command(cls=DockerCommand)
@template_option("-f")
@pass_session
def info(session: Session) -> None:
    """Show what this host's helper is, what it has, and what the doctor warns of."""
    told = call(session.socket, "info", {})
    containers = call(session.socket, "container.list", {"all": True, "foreign": True})
    own = [row for row in containers if row["runtime"] == "netdeck"]
    running = sum(row["status"] == "running" for row in own)
    drivers = sorted(row["name"] for row in call(session.socket, "driver.list", {}) if not row["problem"])
    wrong = [row for row in call(session.socket, "doctor.list", {}, title="doctor") if row["severity"] != "notice"]
    found = {
        "ID": told["instance"], "Name": told["host"], "ServerVersion": told["program"].rpartition(" ")[2],
        "Socket": socket_path(session.socket), "Lab": told["lab"],
        "Containers": len(own), "ContainersRunning": running, "ContainersStopped": len(own) - running,
        "ContainersOfOthers": len(containers) - len(own), "Networks": told["networks"], "Endpoints": told["endpoints"],
        "Interfaces": told["links"], "Namespaces": told["namespaces"], "Plugins": {"Network": drivers},
        "Warnings": [row["what"] for row in wrong],
    }
    if session.format == "json":
        click.echo(as_json(found), nl=False)
    elif not show_template(session, [found]):
        shown = {**found, "Lab": "yes" if told["lab"] else "no", "Plugins": f"Network: {' '.join(drivers)}"}
        click.echo(_lines({key: value for key, value in shown.items() if key != "Warnings"}), nl=False)
        for row in wrong:
            click.echo(f"WARNING: {display_text(row['what'])} (netdeck doctor)", err=True)


def _lines(values: Mapping[str, Any]) -> str:
    return "".join(f" {key + ':':<19} {display_text(str(value))}\n" for key, value in values.items())
