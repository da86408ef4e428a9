"""``netdeck events``: the log of what happened, and what happens from now on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from protocol.names import display_text
from tui.connection import call
from tui.docker_flags import DockerCommand, Session, format_option, pass_session
from tui.moments import seconds_since_epoch
from tui.not_docker import EVENTS_OPTIONS, refuse
from tui.tables import as_json

LEVELS: Final = ("info", "notice", "warning", "error")  # of a `protocol.model.LogEntry`


def _moment(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    try:
        return seconds_since_epoch(value, time.time())
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(f"{display_text(value)!r} is no moment: expected 10m, 1h30m, seconds since 1970, or a date "
                                 "like 2026-01-31T12:00:00", ctx, param) from error


@click.command(cls=DockerCommand)
@click.option("--since", callback=_moment, metavar="MOMENT", help="Also what happened since then: 10m, 1h30m, or a date.")
@click.option("--until", callback=_moment, metavar="MOMENT", help="Only what happened until then.")
@click.option("--follow/--no-follow", default=True, help="Go on with what happens. [default: on]")
@click.option("--level", type=click.Choice(LEVELS), default=LEVELS[0], show_default=True, help="Only events of this level and above.")
@refuse(EVENTS_OPTIONS)
@format_option
@pass_session
def events(session: Session, since: float | None, until: float | None, follow: bool, level: str) -> None:
    """Show what happens to networks, containers, links, addresses and routes of every namespace.

    With --format json one JSON object a line.
    """
    printer = _Printer(session.format == "json", until, LEVELS[LEVELS.index(level):])
    now = time.time()
    if not follow or (until is not None and until <= now):
        for entry in call(session.socket, "event.list", {"since": since if since is not None else 0.0}):
            printer.show(entry)
        return
    asyncio.run(_follow(session.socket, since if since is not None else now, until, printer))


class _Printer:
    def __init__(self, as_lines_of_json: bool, until: float | None, levels: Sequence[str]) -> None:
        self._json, self._until, self._levels = as_lines_of_json, until, levels

    def show(self, entry: Mapping[str, Any]) -> None:
        if entry["level"] in self._levels and (self._until is None or entry["time"] <= self._until):
            click.echo(as_json(entry, indent=None) if self._json else f"{line(entry)}\n", nl=False)


def line(entry: Mapping[str, Any]) -> str:
    """One entry of the log for people: when, where, what, and who asked."""
    moment = entry["time"]
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(moment)) + f".{int(moment * 1000) % 1000:03d}"
    words = [stamp, entry["where"], entry["kind"], entry["action"], entry["subject"]]
    if entry["level"] in ("warning", "error"):
        words.insert(1, f"{entry['level'].upper()}:")
    if entry["text"]:
        words.append(f"({entry['text']})")
    if entry["actor"]:
        words.append(f"by {entry['actor']}")
    return display_text(" ".join(words))


async def _follow(path: str | None, since: float, until: float | None, printer: _Printer) -> None:
    """Print from `since` until `until`, through losses of the helper: the log's numbers tell what was shown already."""
    from protocol.client import Client
    from protocol.messages import Event, Snapshot

    client = Client(path, name="netdeck")
    try:
        await client.connect()
        left = None if until is None else max(0.0, until - time.time())
        async with asyncio.timeout(left):
            epoch, last = "", -1
            async for item in client.subscribe(("log",), models=False):
                if isinstance(item, Snapshot):
                    if item.epoch != epoch:
                        epoch, last = item.epoch, -1
                    entries = [value for _, _, value in item.state if value["time"] >= since]
                elif isinstance(item, Event):
                    entries = [value for _, change, _, value in item.changes if change == "put"]
                else:
                    continue
                for entry in sorted(entries, key=lambda entry: int(entry["seq"])):
                    if entry["seq"] > last:
                        printer.show(entry)
                        last, since = entry["seq"], entry["time"]
    except TimeoutError:
        return
    finally:
        await client.close()
