"""``netdeck run``, ``logs``, ``ps``, ``exec``, ``stop``, ``kill``, ``rm``: containers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import click

from protocol.model import DHCP, Port
from protocol.names import display_text
from protocol.ports import summary
from tui.commands.listing import CONTAINER_FILTERS, HEADERS, check_filters, container_fields, container_matches, show_template
from tui.commands.names import complete_own_container, complete_run_network, each
from tui.commands.port import port_of
from tui.connection import call
from tui.cut_off_words import CUT_OFF
from tui.docker_flags import DockerCommand, Session, dry_run_option, format_option, pairs, pairs_or_keys, pass_session, template_option
from tui.network_words import Asked, spelled_out
from tui.not_docker import (
    EXEC_FLAGS,
    EXEC_OPTIONS,
    LOGS_FLAGS,
    LOGS_OPTIONS,
    PS_FLAGS,
    PS_OPTIONS,
    RM_FLAGS,
    RUN_FLAGS,
    RUN_OPTIONS,
    STOP_OPTIONS,
    refuse,
)
from tui.tables import as_json, plan_text, table

_COMMAND = {"ignore_unknown_options": False, "allow_interspersed_args": False, "help_option_names": ["--help"]}


def _environment(words: Sequence[str]) -> dict[str, str]:
    """``K=V`` sets, ``K`` takes the caller's value, and is left out where the caller has none, as in docker."""
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key:
            raise click.BadParameter(f"{display_text(word)!r} is not of the form KEY or KEY=VALUE", param_hint="--env")
        if equals:
            found[key] = value
        elif key in os.environ:
            found[key] = os.environ[key]
    return found


@click.command(cls=DockerCommand, context_settings=_COMMAND)
@click.option("-d", "--detach", is_flag=True, help="In the background; print the container's id.")
@click.option("--rm", "auto_remove", is_flag=True, help="Remove the container when it ends.")
@click.option("-i", "--interactive", is_flag=True, help="Give it standard input.")
@click.option("-t", "--tty", is_flag=True, help="Give it a terminal. ctrl-p ctrl-q leaves it running.")
@click.option("--name", metavar="NAME", help="Its name. [default: one is made]")
@click.option("--entrypoint", metavar="PROGRAM", help="A program that gets COMMAND as its arguments.")
@click.option("-h", "--hostname", metavar="NAME", help="Its host name. [default: its short id]")
@click.option("--dns", "dns", multiple=True, metavar="IP", help="A name server, in place of the host's.")
@click.option("--dns-search", "dns_search", multiple=True, metavar="DOMAIN", help="A domain that names are looked for in.")
@click.option("--dns-option", "--dns-opt", "dns_options", multiple=True, metavar="OPTION", help="An option of resolv.conf, like ndots:2.")
@click.option("--add-host", "extra_hosts", multiple=True, metavar="NAME:IP",
              help="A line of its /etc/hosts; the IP host-gateway is this host's address on the default bridge.")
@click.option("--network", "--net", "networks", multiple=True, metavar="NET", shell_complete=complete_run_network,
              help="A network: bridge, host, none or one of yours; can be given again; or container:NAME, to share that one's. "
              "Or docker's long form: name=NET,ip=IP,ip6=IP,mac-address=MAC,alias=NAME. [default: bridge]")
@click.option("--ip", metavar="IP", help="Its IPv4 address on the first network.")
@click.option("--ip6", metavar="IP", help="Its IPv6 address on the first network.")
@click.option("--mac-address", metavar="MAC", help="Its MAC address on the first network.")
@click.option("--vlan", "vlans", multiple=True, metavar="VLANS", help="Its VLANs on the first network, a bridge with vlan_filtering.")
@click.option("--untagged", type=click.IntRange(1, 4094), metavar="VLAN", help="The VLAN of its frames without a tag there.")
@click.option("--network-alias", "--net-alias", "aliases", multiple=True, metavar="NAME", help="Another name of it in its networks.")
@click.option("--link", "links", multiple=True, metavar="C[:ALIAS]",
              help="Know another container by name and alias; on the default bridge by variables too.")
@click.option("-p", "--publish", "publish", multiple=True, metavar="[[IP:][HOST-PORT]:]PORT[/PROTO]",
              help="Publish a port, or a range, on this host; without HOST-PORT on any that is free. Can be given again.")
@click.option("-P", "--publish-all", "publish_all", is_flag=True, help="Publish every port that --expose names, each on a free one.")
@click.option("--expose", "expose", multiple=True, metavar="PORT[/PROTO]", help="A port that -P publishes.")
@click.option("-e", "--env", "env", multiple=True, metavar="K=V", help="A variable of its environment.")
@click.option("-l", "--label", "labels", multiple=True, callback=pairs_or_keys, metavar="K=V", help="A label.")
@click.option("-w", "--workdir", metavar="DIR", help="Its working directory.")
@click.option("--rootfs", metavar="DIR", help="The directory that it has as /. [default: the host's files]")
@click.option("--sig-proxy/--no-sig-proxy", default=True, help="Pass signals on to it. [default: on]")
@refuse(RUN_OPTIONS, RUN_FLAGS)
@dry_run_option
@format_option
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@pass_session
def run(
    session: Session, detach: bool, auto_remove: bool, interactive: bool, tty: bool, name: str | None, hostname: str | None,
    dns: tuple[str, ...], dns_search: tuple[str, ...], dns_options: tuple[str, ...], extra_hosts: tuple[str, ...],
    networks: tuple[str, ...], ip: str | None, ip6: str | None, mac_address: str | None, vlans: tuple[str, ...],
    untagged: int | None, aliases: tuple[str, ...],
    links: tuple[str, ...], publish: tuple[str, ...], publish_all: bool, expose: tuple[str, ...], env: tuple[str, ...],
    labels: tuple[tuple[str, str], ...], workdir: str | None,
    rootfs: str | None, sig_proxy: bool, entrypoint: str | None, dry_run: bool, command: tuple[str, ...],
) -> int:
    """Run COMMAND in a container of its own, as you, with no privilege gained."""
    if entrypoint:
        command = (entrypoint, *command)
    if not command:
        raise click.UsageError("Missing argument 'COMMAND...'", click.get_current_context())
    asked = spelled_out(Asked(networks, ip, ip6, mac_address, aliases))
    arguments: dict[str, Any] = {
        "command": command, "name": name, "networks": asked.networks, "ip": asked.ip, "ip6": asked.ip6, "mac_address": asked.mac_address,
        "vlans": vlans, "untagged": untagged,
        "aliases": asked.aliases, "publish": publish, "publish_all": publish_all, "expose": expose, "hostname": hostname,
        "dns": dns, "dns_search": dns_search, "dns_options": dns_options, "extra_hosts": extra_hosts,
        "env": _environment(env), "workdir": workdir, "labels": dict(labels),
        "rootfs": None if rootfs is None else os.path.abspath(rootfs), "auto_remove": auto_remove, "links": links,
    }
    if tty and "TERM" not in arguments["env"] and "TERM" in os.environ:
        arguments["env"]["TERM"] = os.environ["TERM"]
    if not detach and not dry_run:
        from tui.foreground import Foreground, run_foreground

        return run_foreground(session.socket, "container.run", arguments, Foreground(interactive, tty, sig_proxy))
    arguments.update(detach=detach, dry_run=dry_run, interactive=interactive, tty=tty)
    result = call(session.socket, "container.run", arguments, title="run")
    if session.format == "json":
        click.echo(as_json(result), nl=False)
        return 0
    for warning in result.get("warnings", ()):
        click.echo(f"netdeck: warning: {display_text(warning)}", err=True)
    click.echo(plan_text(result["plan"]).rstrip("\n") if dry_run else result["container"]["id"])
    return 0


@click.command("exec", cls=DockerCommand, context_settings=_COMMAND)
@click.option("-i", "--interactive", is_flag=True, help="Give it standard input.")
@click.option("-t", "--tty", is_flag=True, help="Give it a terminal.")
@click.option("-e", "--env", "env", multiple=True, metavar="K=V", help="A variable of its environment.")
@refuse(EXEC_OPTIONS, EXEC_FLAGS)
@click.argument("name", shell_complete=complete_own_container)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@pass_session
def exec_(session: Session, interactive: bool, tty: bool, env: tuple[str, ...], name: str, command: tuple[str, ...]) -> int:
    """Run COMMAND in a container that runs."""
    from tui.foreground import Foreground, run_foreground

    environment = _environment(env)
    if tty and "TERM" in os.environ:
        environment.setdefault("TERM", os.environ["TERM"])
    return run_foreground(session.socket, "container.exec", {"container": name, "command": command, "env": environment},
                          Foreground(interactive, tty))


@click.command(cls=DockerCommand)
@click.option("-f", "--follow", is_flag=True, help="Go on with what it prints from now on.")
@click.option("-n", "--tail", "tail", metavar="N", default="all", help="So many lines at most of what is kept. [default: all]")
@refuse(LOGS_OPTIONS, LOGS_FLAGS)
@click.argument("name", shell_complete=complete_own_container)
@pass_session
def logs(session: Session, follow: bool, tail: str, name: str) -> None:
    """Show what a container of ours has printed: the last 64 KiB are kept, until it is removed."""
    from tui.foreground import show_output

    if tail != "all" and not (tail.isascii() and tail.isdigit()):
        raise click.BadParameter(f"{display_text(tail)!r} is no number of lines, and not the word all", param_hint="--tail")
    show_output(session.socket, "container.logs", {"name": name, "follow": follow, "tail": None if tail == "all" else int(tail)})


@click.command(cls=DockerCommand)
@click.option("-a", "--all", "all_", is_flag=True, help="Also those that have ended.")
@click.option("--discovered", is_flag=True, help="Also those of other runtimes that are on no network of ours.")
@click.option("-q", "--quiet", is_flag=True, help="Only ids.")
@click.option("--no-trunc", is_flag=True, help="Whole ids and commands.")
@click.option("-f", "--filter", "filters", multiple=True, callback=pairs, metavar="KEY=VALUE",
              help="name=PART, id=PREFIX, status=running|exited, label=KEY[=VALUE], network=NAME, runtime=NAME.")
@refuse(PS_OPTIONS, PS_FLAGS)
@template_option()
@pass_session
def ps(session: Session, all_: bool, discovered: bool, quiet: bool, no_trunc: bool, filters: tuple[tuple[str, str], ...]) -> None:
    """List containers: ours, and those of other runtimes that are connected to a network of ours."""
    check_filters(filters, CONTAINER_FILTERS, {})
    ended = all_ or any(key == "status" for key, _ in filters)  # as docker: who asks for a state wants it shown
    found = [row for row in call(session.socket, "container.list", {"all": ended, "foreign": True})
             if (discovered or row["runtime"] == "netdeck" or row["attached"]) and container_matches(row, filters)]
    ports: dict[str, list[Port]] = {}
    if not quiet and any(row["attached"] for row in found):
        for item in call(session.socket, "port.list", {}):
            ports.setdefault(item["container_id"], []).append(port_of(item))
    told = [summary(ports.get(row["id"], ()), row["exposed"]) for row in found]
    if session.format == "json":
        lost = _lost(session, found)
        click.echo(as_json([{**row, "ports": text, "lost": lost.get(row["id"], {})} for row, text in zip(found, told, strict=True)]),
                   nl=False)
        return
    fields = [container_fields(row, text, whole=no_trunc) for row, text in zip(found, told, strict=True)]
    if quiet:
        click.echo("".join(f"{row['ID']}\n" for row in fields), nl=False)
        return
    if show_template(session, fields, {**HEADERS, "ID": "CONTAINER ID"}):
        return
    lost = _lost(session, found)
    rows = [(item["ID"], item["Names"], item["Runtime"], item["Status"], _networks(row, lost) or "-", item["Ports"] or "-",
             item["Command"] or "-") for row, item in zip(found, fields, strict=True)]
    click.echo(table(("CONTAINER ID", "NAME", "RUNTIME", "STATUS", "NETWORKS", "PORTS", "COMMAND"), rows), nl=False)


def _lost(session: Session, found: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Where containers are cut off, or have no address since their lease is over, by id and the network's name."""
    used = {name for row in found for name in row["networks"]}
    networks = {row["name"]: row for row in (call(session.socket, "network.list", {}) if used else ()) if row["name"] in used}
    lost = {row["id"]: {name: f"cut off: {networks[name]['state']}" for name in row["networks"]
                        if row["attached"] and name in networks and networks[name]["state"] in CUT_OFF} for row in found}
    leased = [name for name, row in networks.items() if row["ipam"] == DHCP]
    for network in call(session.socket, "network.inspect", {"names": leased}) if leased else ():
        for ident, member in network["Containers"].items():
            if str(member.get("DHCP", {}).get("State", "")).startswith("lost"):
                lost.setdefault(ident, {})[network["Name"]] = "lease lost"
    return lost


def _networks(row: Mapping[str, Any], lost: Mapping[str, Mapping[str, str]]) -> str:
    gone = lost.get(row["id"], {})
    return ",".join(f"{name} ({gone[name]})" if name in gone else name for name in row["networks"])


@click.command(cls=DockerCommand)
@click.option("-t", "--time", "--timeout", "timeout", type=click.FloatRange(0, 3600), default=10.0, show_default=True,
              metavar="SECONDS", help="How long it may take before it is killed.")
@refuse(STOP_OPTIONS)
@click.argument("names", nargs=-1, required=True, shell_complete=complete_own_container)
@format_option
@pass_session
def stop(session: Session, timeout: float, names: tuple[str, ...]) -> int:
    """Stop containers: SIGTERM, and SIGKILL for one that doesn't end in time."""
    return each(names, lambda name: _act(session, "container.stop", {"name": name, "timeout": timeout}, name), session)


@click.command(cls=DockerCommand)
@click.option("-s", "--signal", default="KILL", show_default=True, metavar="SIGNAL", help="By its name or number.")
@click.argument("names", nargs=-1, required=True, shell_complete=complete_own_container)
@format_option
@pass_session
def kill(session: Session, signal: str, names: tuple[str, ...]) -> int:
    """Send a signal to the first process of containers; one that has no handler for it may overlook it, but for KILL."""
    return each(names, lambda name: _act(session, "container.kill", {"name": name, "signal": signal}, name), session)


@click.command(cls=DockerCommand)
@click.option("-f", "--force", is_flag=True, help="Kill one that still runs.")
@click.option("-v", "--volumes", is_flag=True, hidden=True, expose_value=False)  # of scripts for docker: no container has any
@refuse({}, RM_FLAGS)
@click.argument("names", nargs=-1, required=True, shell_complete=complete_own_container)
@format_option
@pass_session
def rm(session: Session, force: bool, names: tuple[str, ...]) -> int:
    """Remove containers of ours that have ended."""
    return each(names, lambda name: _act(session, "container.remove", {"name": name, "force": force}, name), session)


def _act(session: Session, operation: str, arguments: Mapping[str, Any], name: str) -> None:
    result = call(session.socket, operation, arguments, title=f"{operation.split('.')[1]} {name}")
    click.echo(as_json(result) if session.format == "json" else f"{name}\n", nl=False)
