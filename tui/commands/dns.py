"""``netdeck dns log``: what containers ask netdeck's name server, as they ask it."""

from __future__ import annotations

import asyncio

import click

from protocol.errors import NotFound
from protocol.names import display_text
from tui.commands.names import complete_container
from tui.connection import call
from tui.docker_flags import DockerCommand, Session, format_option, pass_session
from tui.documents import builtins
from tui.queries import line
from tui.tables import as_json


@click.group()
def dns() -> None:
    """Watch what containers ask netdeck's name server."""


@dns.command("log", cls=DockerCommand)
@click.argument("container", required=False, shell_complete=complete_container)
@click.option("-n", "--count", type=click.IntRange(1), metavar="N", help="End after N questions.")
@format_option
@pass_session
def log(session: Session, container: str | None, count: int | None) -> None:
    """Show what CONTAINER, or every container, asks from now on, who answers and what. Ctrl-c ends it.

    Nothing is recorded while nobody watches. With --format json one JSON object a line.
    """
    inode = _inode(session, container) if container is not None else None
    asyncio.run(_follow(session, inode, count))


def _inode(session: Session, name: str) -> int:
    found = call(session.socket, "container.inspect", {"names": [name]})[0]
    inode = int(found["Netdeck"]["Namespace"])
    if not inode:
        raise NotFound(f"container {display_text(name)} does not run, or has no network of its own", name=display_text(name))
    return inode


async def _follow(session: Session, inode: int | None, count: int | None) -> None:
    from protocol.client import Client
    from protocol.messages import QUERIES, Event, Snapshot

    client = Client(session.socket, name="netdeck")
    shown = 0
    began = False
    try:
        await client.connect()
        async for item in client.subscribe((QUERIES,), inodes=None if inode is None else (inode,)):
            if isinstance(item, Snapshot):
                if began:
                    click.echo("netdeck: warning: some questions may be missing: the stream was cut off and began anew", err=True)
                began = True
                continue
            for query in (value for _, change, _, value in item.changes if change == "put") if isinstance(item, Event) else ():
                if query.lost:
                    click.echo(f"netdeck: warning: {query.lost} questions more than could be shown", err=True)
                click.echo(as_json(builtins(query), indent=None) if session.format == "json" else f"{line(query)}\n", nl=False)
                shown += 1
                if shown == count:
                    return
    finally:
        await client.close()
