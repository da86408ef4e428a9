"""``netdeck addresses``: whose every address is, what is free, what leaked; and giving leaked ones free."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from protocol.errors import InvalidValue
from protocol.names import display_text
from tui.commands.names import complete_network
from tui.connection import call
from tui.docker_flags import DockerCommand, Session, dry_run_option, format_option, pass_session
from tui.tables import as_json, plan_text, table

_POOLS = ("NETWORK", "SUBNET", "IP RANGE", "SIZE", "USED", "FREE", "LEAKED", "CONFLICTS")
_COUNTS = ("SIZE", "USED", "FREE", "LEAKED", "CONFLICTS")
_ADDRESSES = ("ADDRESS", "NETWORK", "USE", "OWNER", "NOTE")


@click.command(cls=DockerCommand)
@click.argument("network", required=False, shell_complete=complete_network)
@click.option("--release", "addresses", multiple=True, metavar="ADDRESS", help="Give a leaked address free.")
@click.option("--release-leaked", is_flag=True, help="Give all leaked addresses free.")
@click.option("-y", "--yes", is_flag=True, help="Don't ask before addresses are given free.")
@dry_run_option
@format_option
@pass_session
def addresses(
    session: Session, network: str | None, addresses: tuple[str, ...], release_leaked: bool, yes: bool, dry_run: bool
) -> int:
    """Show the pools of all networks, or of NETWORK: whose each address is, how many are free, what leaked, what is in conflict.

    Leaked are leases and addresses of netdeck's own that no container lives by. In conflict is what somebody else set or answers
    for: it is shown, and theirs to mend.
    """
    if addresses or release_leaked:
        if network is not None:
            raise InvalidValue("addresses are given free by themselves: leave the network out", field="network",
                               value=display_text(network))
        return _release(session, {"addresses": addresses, "leaked": release_leaked}, yes, dry_run)
    pools = call(session.socket, "address.list", {"network": network})
    if session.format == "json":
        click.echo(as_json(pools), nl=False)
        return 0
    rows = [(pool["network"], pool["subnet"], pool["ip_range"] or "-", pool["size"], str(pool["used"]), pool["free"] or "-",
             str(pool["leaked"]), str(pool["conflicts"])) for pool in pools]
    click.echo(table(_POOLS, rows, numbers=_COUNTS), nl=False)
    click.echo()
    click.echo(table(_ADDRESSES, [_row(pool, use) for pool in pools for use in pool["addresses"]]), nl=False)
    return 0


def _row(pool: Mapping[str, Any], use: Mapping[str, str]) -> tuple[str, ...]:
    note = " ".join(word for word in (use["text"], use["mac"]) if word)
    return use["address"], pool["network"], use["use"], use["owner"] or "-", note or "-"


def _release(session: Session, arguments: Mapping[str, Any], yes: bool, dry_run: bool) -> int:
    """Show what would be given free, ask, and do it."""
    shown = call(session.socket, "address.release", {**arguments, "dry_run": True})
    asks = not yes and not dry_run and shown["released"]
    if session.format == "table" or asks:
        click.echo(_told(shown["released"]), nl=False, err=session.format == "json")
    if dry_run:
        click.echo(as_json(shown) if session.format == "json" else plan_text(shown["plan"]) if shown["released"] else "", nl=False)
        return 0
    if asks:
        if not sys.stdin.isatty():
            raise InvalidValue("giving addresses free asks before it does, and here is nobody to answer: add --yes")
        if not click.confirm("Give them free?", default=False, err=True):
            return 1
    # What was shown, by name: what leaks meanwhile was not looked at.
    names = [row["address"] for row in shown["released"]]
    done = call(session.socket, "address.release", {"addresses": names}, title="addresses") if names else shown
    if session.format == "json":
        click.echo(as_json(done), nl=False)
    elif names:
        click.echo(f"{len(names)} given free")
    return 0


def _told(released: Sequence[Mapping[str, str]]) -> str:
    if not released:
        return "nothing has leaked\n"
    return table(("ADDRESS", "NETWORK", "OWNER", "WHY"), [(row["address"], row["network"], row["owner"], row["text"]) for row in released])
