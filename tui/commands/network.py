"""``netdeck network …``: networks, and who is connected to them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click
import msgspec

from protocol.errors import InvalidValue, NotFound
from protocol.model import ParentLink
from protocol.names import display_text
from tui.commands.listing import HEADERS, check_filters, label_matches, network_fields, show_template
from tui.commands.names import complete_container, complete_driver, complete_network, each
from tui.commands.outcome import show_change
from tui.connection import call
from tui.docker_flags import DockerCommand, Session, dry_run_option, format_option, pairs, pairs_or_keys, pass_session, template_option
from tui.not_docker import CONNECT_OPTIONS, CREATE_FLAGS, CREATE_OPTIONS, PRUNE_OPTIONS, refuse
from tui.parent_words import about, reason
from tui.subnets import pair
from tui.tables import as_json, size, table


class _DockersNames(click.Group):
    """With docker's other names of the same commands, which the help does not list."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, {"list": "ls", "remove": "rm"}.get(cmd_name, cmd_name))


@click.group(cls=_DockersNames)
def network() -> None:
    """Create, change, list, inspect and remove networks; connect containers to them."""


@network.command(cls=DockerCommand)
@click.argument("name")
@click.option("-d", "--driver", default="bridge", show_default=True, shell_complete=complete_driver, help="The driver.")
@click.option("--subnet", "subnets", multiple=True, metavar="CIDR", help="A subnet, v4 or v6. [default: a free one]")
@click.option("--ip-range", "ranges", multiple=True, metavar="CIDR", help="Give out only addresses of this part of a subnet.")
@click.option("--gateway", "gateways", multiple=True, metavar="IP", help="The gateway of a subnet. [default: the first address]")
@click.option("--aux-address", "--aux-addresses", "aux", multiple=True, callback=pairs, metavar="NAME=IP",
              help="An address that something else uses: never given out.")
@click.option("-o", "--opt", "options", multiple=True, callback=pairs, metavar="KEY=VALUE",
              help="An option of the driver; for a KEY that it has not, all that there are are named.")
@click.option("--ipv4/--no-ipv4", default=True, help="IPv4 in this network. [default: on]")
@click.option("--ipv6/--no-ipv6", default=None, help="IPv6 in this network. [default: if a v6 subnet is given]")
@click.option("--internal", is_flag=True, help="No way to the outside.")
@click.option("--ipam-driver", "ipam", default="default", metavar="NAME", help="Where addresses come from: default, or dhcp for the "
              "site's DHCP server (macvlan, ipvlan l2, a bridge with an uplink).")
@click.option("--label", "labels", multiple=True, callback=pairs_or_keys, metavar="K=V", help="A label.")
@refuse(CREATE_OPTIONS, CREATE_FLAGS)
@dry_run_option
@format_option
@pass_session
def create(
    session: Session, name: str, driver: str, subnets: tuple[str, ...], ranges: tuple[str, ...], gateways: tuple[str, ...],
    aux: tuple[tuple[str, str], ...], options: tuple[tuple[str, str], ...], ipv4: bool, ipv6: bool | None, internal: bool,
    ipam: str, labels: tuple[tuple[str, str], ...], dry_run: bool,
) -> None:
    """Create a network and print its id.

    Each --ip-range, --gateway and --aux-address belongs to the --subnet that contains it.
    """
    paired = pair(subnets, ranges, gateways, aux)
    if ipv6 is None:
        ipv6 = any(":" in subnet["subnet"] for subnet in paired)
    result = call(session.socket, "network.create", {
        "name": name, "driver": driver, "subnets": paired, "options": dict(options), "labels": dict(labels),
        "internal": internal, "ipv4": ipv4, "ipv6": ipv6, "ipam": ipam, "dry_run": dry_run,
    }, title=f"network create {name}")
    show_change(session, result, dry_run, "" if dry_run else str(result["network"]["id"]))


@network.command(cls=DockerCommand)
@click.argument("name", metavar="NETWORK", shell_complete=complete_network)
@click.option("-o", "--opt", "options", multiple=True, callback=pairs, metavar="KEY=VALUE",
              help="An option of the driver; KEY= gives it its default back.")
@click.option("--label", "labels", multiple=True, callback=pairs_or_keys, metavar="K=V", help="Set a label.")
@click.option("--label-rm", "remove_labels", multiple=True, metavar="K", help="Remove a label.")
@click.option("--subnet", "subnets", multiple=True, metavar="CIDR", help="Add a subnet.")
@click.option("--subnet-rm", "remove_subnets", multiple=True, metavar="CIDR", help="Remove a subnet that no container is in.")
@click.option("--gateway", "gateways", multiple=True, metavar="IP", help="The gateway of a subnet that no container is in.")
@click.option("--ip-range", "ip_ranges", multiple=True, metavar="CIDR",
              help="Give out only addresses of this part of a subnet; the whole subnet lifts the limit.")
@click.option("--aux-address", "--aux-addresses", "aux", multiple=True, callback=pairs, metavar="NAME=IP",
              help="An address that something else uses: never given out.")
@click.option("--aux-address-rm", "remove_aux", multiple=True, metavar="NAME", help="Give such an address free.")
@click.option("--internal/--no-internal", default=None, help="Whether there is a way to the outside.")
@dry_run_option
@format_option
@pass_session
def update(
    session: Session, name: str, options: tuple[tuple[str, str], ...], labels: tuple[tuple[str, str], ...], remove_labels: tuple[str, ...],
    subnets: tuple[str, ...], remove_subnets: tuple[str, ...], gateways: tuple[str, ...], ip_ranges: tuple[str, ...],
    aux: tuple[tuple[str, str], ...], remove_aux: tuple[str, ...], internal: bool | None, dry_run: bool,
) -> None:
    """Change a network while its containers run, and print what differs.

    Each --gateway, --ip-range and --aux-address belongs to the subnet that contains it, be it new or old.
    """
    result = call(session.socket, "network.update", {
        "name": name, "options": dict(options), "labels": dict(labels), "remove_labels": remove_labels, "subnets": subnets,
        "remove_subnets": remove_subnets, "gateways": gateways, "ip_ranges": ip_ranges, "aux": dict(aux), "remove_aux": remove_aux,
        "internal": internal, "dry_run": dry_run,
    }, title=f"network update {name}")
    if session.format == "table":
        for line in result["changes"] or ("nothing differs",):
            click.echo(display_text(line))
    show_change(session, result, dry_run and bool(result["changes"]), "")


_FILTERS = ("name", "id", "driver", "label", "type", "scope", "dangling")
_FILTER_VALUES = {"dangling": ("true", "false", "1", "0"), "type": ("builtin", "custom"), "scope": ("local", "global", "swarm")}


def matches(found: Mapping[str, Any], filters: Sequence[tuple[str, str]]) -> bool:
    """Whether a network passes all filters, as docker has them: one key given twice means either, different keys mean both;
    of labels all must be there. `name` and `id` match a part, `driver` the whole."""
    tests: Mapping[str, Callable[[str], bool]] = {
        "name": lambda value: value in found["name"],
        "id": lambda value: found["id"].startswith(value),
        "driver": lambda value: value == found["driver"],
        "type": lambda value: value == ("builtin" if found["predefined"] else "custom"),
        "scope": lambda value: value == "local",
        "dangling": lambda value: (value in ("true", "1")) == (not found["containers"] and not found["predefined"]),
    }
    for key, value in filters:
        if key == "label":
            if not label_matches(found["labels"], value):
                return False
        elif not any(tests[key](other) for other_key, other in filters if other_key == key):
            return False
    return True


@network.command("ls", cls=DockerCommand)
@click.option("-q", "--quiet", is_flag=True, help="Only ids.")
@click.option("-f", "--filter", "filters", multiple=True, callback=pairs, metavar="KEY=VALUE",
              help="name=PART, driver=NAME, label=KEY[=VALUE], id=PREFIX, type=builtin|custom, "
              "scope=local, dangling=true for those without containers.")
@click.option("--no-trunc", is_flag=True, help="Whole ids.")
@template_option()
@pass_session
def list_(session: Session, quiet: bool, filters: tuple[tuple[str, str], ...], no_trunc: bool) -> None:
    """List networks."""
    check_filters(filters, _FILTERS, _FILTER_VALUES)
    found = [row for row in call(session.socket, "network.list", {}) if matches(row, filters)]
    if session.format == "json":
        click.echo(as_json(found), nl=False)
        return
    fields = [network_fields(row, _traits(row), whole=no_trunc) for row in found]
    if quiet:
        click.echo("".join(f"{row['ID']}\n" for row in fields), nl=False)
        return
    if show_template(session, fields, {**HEADERS, "ID": "NETWORK ID"}):
        return
    rows = [(row["ID"], row["Name"], row["Driver"], row["Scope"], row["Subnets"] or "-", row["Traits"] or "-") for row in fields]
    click.echo(table(("NETWORK ID", "NAME", "DRIVER", "SCOPE", "SUBNETS", "TRAITS"), rows), nl=False)


def _traits(row: Mapping[str, Any]) -> list[str]:
    traits = [word for word in ("predefined", "internal") if row[word]]
    traits += ["damaged"] if row["problem"] else []
    return traits if row["state"] == "ready" else [*traits, str(row["state"])]


@network.command(cls=DockerCommand)
@click.argument("names", nargs=-1, required=True, shell_complete=complete_network)
@click.option("--firewall", is_flag=True, help="Show its firewall rules instead, with what each has counted.")
@click.option("-v", "--verbose", is_flag=True, hidden=True, expose_value=False)
@template_option("-f")
@pass_session
def inspect(session: Session, names: tuple[str, ...], firewall: bool) -> None:
    """Show networks as JSON, in docker's shape with ours added."""
    if firewall:
        rules = [rule for name in names for rule in call(session.socket, "firewall.rules", {"network": name})]
        rows = [(rule["chain"], str(rule["packets"]), size(rule["bytes"]), rule["comment"]) for rule in rules]
        click.echo(as_json(rules) if session.format == "json" else
                   table(("CHAIN", "PACKETS", "BYTES", "RULE"), rows, numbers=("PACKETS", "BYTES")), nl=False)
        return
    found = call(session.socket, "network.inspect", {"names": names})
    if not show_template(session, found):
        click.echo(as_json(found), nl=False)


@network.command(cls=DockerCommand)
@click.argument("names", nargs=-1, required=True, shell_complete=complete_network)
@click.option("-f", "--force", is_flag=True, help="One that does not exist is no error. One that is in use stays.")
@dry_run_option
@format_option
@pass_session
def rm(session: Session, names: tuple[str, ...], force: bool, dry_run: bool) -> int:
    """Remove networks that no container uses."""

    def remove(name: str) -> None:
        try:
            result = call(session.socket, "network.remove", {"name": name, "dry_run": dry_run}, title=f"network rm {name}")
        except NotFound:
            if not force:
                raise
            return
        show_change(session, result, dry_run, name)

    return each(names, remove, session)


@network.command(cls=DockerCommand)
@click.argument("net", metavar="NETWORK", shell_complete=complete_network)
@click.argument("container", shell_complete=complete_container)
@click.option("--ip", metavar="IP", help="The IPv4 address it shall have.")
@click.option("--ip6", metavar="IP", help="The IPv6 address it shall have.")
@click.option("--alias", "aliases", multiple=True, metavar="NAME", help="Another name of it in this network.")
@click.option("--mac-address", metavar="MAC", help="The MAC address it shall have.")
@click.option("--vlan", "vlans", multiple=True, metavar="VLANS", help="Its VLANs on a bridge with vlan_filtering: 10 alone untagged, "
              "20,30-40 tagged.")
@click.option("--untagged", type=click.IntRange(1, 4094), metavar="VLAN", help="The VLAN of its frames without a tag.")
@refuse(CONNECT_OPTIONS)
@dry_run_option
@format_option
@pass_session
def connect(
    session: Session, net: str, container: str, ip: str | None, ip6: str | None, aliases: tuple[str, ...],
    mac_address: str | None, vlans: tuple[str, ...], untagged: int | None, dry_run: bool,
) -> None:
    """Connect a container to a network.

    CONTAINER is a container of ours by name or id, or any other: docker:NAME, podman:NAME, netns:NAME, pid:N.
    """
    result = call(session.socket, "network.connect", {
        "network": net, "container": container, "ip": ip, "ip6": ip6, "aliases": aliases, "mac_address": mac_address,
        "vlans": vlans, "untagged": untagged, "dry_run": dry_run,
    }, title=f"network connect {net} {container}")
    show_change(session, result, dry_run, "")


@network.command(cls=DockerCommand)
@click.argument("net", metavar="NETWORK", shell_complete=complete_network)
@click.argument("container", shell_complete=complete_container)
@click.option("-f", "--force", is_flag=True, help="Also a container that is gone.")
@dry_run_option
@format_option
@pass_session
def disconnect(session: Session, net: str, container: str, force: bool, dry_run: bool) -> None:
    """Disconnect a container from a network."""
    result = call(session.socket, "network.disconnect",
                  {"network": net, "container": container, "force": force, "dry_run": dry_run},
                  title=f"network disconnect {net} {container}")
    show_change(session, result, dry_run, "")


@network.command(cls=DockerCommand)
@click.option("-d", "--driver", default="macvlan", show_default=True, shell_complete=complete_driver, help="The driver.")
@click.option("-o", "--opt", "options", multiple=True, callback=pairs, metavar="KEY=VALUE", help="An option that the network shall have.")
@format_option
@pass_session
def parents(session: Session, driver: str, options: Sequence[tuple[str, str]]) -> None:
    """Show which links of this host can be the parent of a network (-d bridge: its uplink), and why the others can't."""
    found = call(session.socket, "driver.parents", {"driver": driver, "options": dict(options)})
    if session.format == "json":
        click.echo(as_json(found), nl=False)
        return
    links = msgspec.convert(found, list[ParentLink])
    cells = [(link.name, "no" if link.why else "yes", about(link) or "-", reason(link, "new")) for link in links]
    click.echo(table(("NAME", "SERVES", "WHAT", "WHY NOT"), cells), nl=False)


@network.command("host-access", cls=DockerCommand)
@click.argument("name", metavar="NETWORK", shell_complete=complete_network)
@click.argument("state", type=click.Choice(["on", "off"]))
@click.option("--ip", metavar="IP", help="The IPv4 address that the host shall have in it. [default: the next of the network's pool]")
@click.option("--ip6", metavar="IP", help="The IPv6 address that the host shall have in it.")
@dry_run_option
@format_option
@pass_session
def host_access(session: Session, name: str, state: str, ip: str | None, ip6: str | None, dry_run: bool) -> None:
    """Give the host a link of its own in a macvlan or ipvlan network, or take it away.

    The kernel keeps the host apart from what hangs on a link of it. With a link of its own beside the containers', it reaches them and
    they reach it, at that link's address. Nothing else of the host is routed by it.
    """
    result = call(session.socket, "network.host-access", {"name": name, "on": state == "on", "ip": ip, "ip6": ip6, "dry_run": dry_run},
                  title=f"network host-access {name} {state}")
    if session.format == "table":
        for line in result["changes"] or (f"host access is {state} already",):
            click.echo(display_text(line))
    show_change(session, result, dry_run and bool(result["changes"]), "")


@network.command(cls=DockerCommand)
@click.option("-f", "--force", is_flag=True, help="Don't ask.")
@refuse(PRUNE_OPTIONS)
@dry_run_option
@format_option
@pass_session
def prune(session: Session, force: bool, dry_run: bool) -> int:
    """Remove all networks of ours that no container uses, except the predefined."""
    if not force and not dry_run:
        if not sys.stdin.isatty():
            raise InvalidValue("network prune asks before it removes and here is nobody to answer: add --force")
        click.echo("This removes every network that no container uses.", err=True)
        if not click.confirm("Go on?", default=False, err=True):
            return 1
    result = call(session.socket, "network.prune", {"dry_run": dry_run}, title="network prune")
    removed = "".join(f"{name}\n" for name in _removed_names(result))
    show_change(session, result, dry_run, removed.rstrip("\n"))
    return 0


def _removed_names(result: Mapping[str, Any]) -> list[str]:
    return [row["name"] if isinstance(row, Mapping) else str(row) for row in result.get("removed", ())]


