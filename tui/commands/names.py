"""Names on the command line: completed from the helper, and worked through one by one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from protocol.errors import NetdeckError, to_wire
from protocol.names import display_text
from tui.connection import probe, socket_path
from tui.docker_flags import Session
from tui.tables import as_json

_PATIENCE = 1.0  # seconds that a completion may wait for the helper


def each(names: Sequence[str], act: Callable[[str], None], session: Session) -> int:
    """Do `act` for every name, as docker does: the ones that fail are told and don't stop the others. Return the exit code."""
    code = 0
    for name in names:
        try:
            act(name)
        except NetdeckError as error:
            tell_error(error, session)
            code = 1
    return code


def tell_error(error: NetdeckError, session: Session) -> None:
    """One line on standard error, or JSON."""
    if session.format == "json":
        sys.stderr.write(as_json({"error": to_wire(error)}, indent=None))
    else:
        sys.stderr.write(f"netdeck: {display_text(error.message)}\n")


def _ask(ctx: click.Context, operation: str, arguments: dict[str, Any]) -> list[Any]:
    """The list that `operation` gives, or nothing: a completion is silent about what is wrong."""
    path = socket_path(ctx.find_root().params.get("socket"))
    if probe(path) is not None:
        return []
    from protocol.blocking import BlockingClient

    try:
        with BlockingClient(path) as client:
            return list(client.call(operation, arguments, deadline=_PATIENCE))
    except NetdeckError:
        return []


def _safe(names: Sequence[str], start: str) -> list[str]:
    """The names that begin with `start`; a name of a foreign container that a shell or a terminal could act on is left out."""
    return sorted({name for name in names if name.startswith(start) and name.isascii() and name.isprintable()})


def complete_network(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of networks."""
    return _safe([row["name"] for row in _ask(ctx, "network.list", {})], incomplete)


def complete_run_network(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of networks, and behind ``container:`` those of containers."""
    if incomplete.startswith("container:"):
        found = _ask(ctx, "container.list", {"all": False, "foreign": True})
        return _safe([f"container:{row['ref']}" for row in found], incomplete)
    return [*complete_network(ctx, param, incomplete), *_safe(["container:"], incomplete)]


def complete_container(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """What an operator types for a container of any runtime."""
    return _safe([row["ref"] for row in _ask(ctx, "container.list", {"all": True, "foreign": True})], incomplete)


def complete_anything(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of containers of any runtime, and of networks."""
    return sorted({*complete_container(ctx, param, incomplete), *complete_network(ctx, param, incomplete)})


def complete_own_container(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of containers of ours."""
    return _safe([row["ref"] for row in _ask(ctx, "container.list", {"all": True, "foreign": False})], incomplete)


def complete_driver(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of drivers that make networks."""
    return _safe([row["name"] for row in _ask(ctx, "driver.list", {}) if row["creatable"]], incomplete)


def complete_finding(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Ids of what the doctor finds."""
    return _safe([row["id"] for row in _ask(ctx, "doctor.list", {})], incomplete)
