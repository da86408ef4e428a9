"""``netdeck interfaces``: every link of every namespace with its counters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from tui.connection import call
from tui.docker_flags import DockerCommand, Session, format_option, pass_session
from tui.link_words import state_word
from tui.tables import as_json, size, table, terminal_width

_HEADERS = ("WHERE", "NAME", "KIND", "STATE", "NETWORK", "VLANS", "MTU", "MAC", "RX", "TX", "ERRORS", "DROPS")
_NUMBERS = ("MTU", "RX", "TX", "ERRORS", "DROPS")
_WHOLE = ("WHERE", "NAME", *_NUMBERS)


@click.command(cls=DockerCommand)
@format_option
@pass_session
def interfaces(session: Session) -> None:
    """List the interfaces of every namespace: where they are, what they are, what they carried."""
    found = call(session.socket, "interface.list", {})
    if session.format == "json":
        click.echo(as_json(found), nl=False)
        return
    host = call(session.socket, "info", {})["namespace"]
    rows = sorted(_row(entry["link"], entry["counters"] or {}, host, entry.get("vlans", ""),
                       entry.get("networks", ())) for entry in found)
    click.echo(table(_HEADERS, rows, terminal_width(), numbers=_NUMBERS, whole=_WHOLE), nl=False)


def _row(link: Mapping[str, Any], counters: Mapping[str, int], host: int, vlans: str, networks: Sequence[str]) -> tuple[str, ...]:
    def total(*names: str) -> int:
        return sum(counters.get(name, 0) for name in names)

    return (
        link["container"] or ("host" if link["inode"] == host else f"net:{link['inode']}"),
        link["name"], link["kind"] or "-", state_word(link["state"], link["flags"]), link["network"] or ",".join(networks) or "-",
        vlans or "-", str(link["mtu"]), link["mac"] or "-",
        size(total("rx_bytes")), size(total("tx_bytes")), str(total("rx_errors", "tx_errors")),
        str(total("rx_dropped", "tx_dropped")),
    )
