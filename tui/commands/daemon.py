"""``netdeck helper``: the root process that does the work, for this host."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from typing import Any

import click

from protocol.errors import Conflict, Forbidden, NetdeckError, Unavailable
from tui.connection import call, probe, socket_path
from tui.docker_flags import DockerCommand, Session, format_option, pass_session
from tui.progress import ProgressLine
from tui.tables import as_json, table

START_TIMEOUT = 20.0  # seconds
STOP_TIMEOUT = 20.0


@click.command(cls=DockerCommand)
@click.option("--detach", "action", flag_value="detach", help="Start it in the background.")
@click.option("--stop", "action", flag_value="stop", help="Stop the one that runs. Networks and containers stay.")
@click.option("--status", "action", flag_value="status", help="Show whether one runs; exit code 1 if none does.")
@click.option("--state-dir", metavar="DIR", help="Where its database is. [default: /var/lib/netdeck]")
@click.option("--run-dir", metavar="DIR", help="Where its socket, lock and log are. [default: /run/netdeck]")
@click.option("--config", metavar="FILE", help="Its configuration file. [default: /etc/netdeck/config.toml]")
@format_option
@pass_session
def helper(session: Session, action: str | None, state_dir: str | None, run_dir: str | None, config: str | None) -> int:
    """Run this host's helper in the foreground, or with an option start, stop or ask about it. Needs root."""
    if action == "status":
        return _status(session)
    if action == "stop":
        return _stop(session)
    command = [sys.executable, "-P", "-m", "helperd"]
    for name, value in (("--socket", session.socket), ("--state-dir", state_dir), ("--run-dir", run_dir), ("--config", config)):
        if value is not None:
            command += [name, value]
    if action == "detach":
        return _detach(session, command, run_dir or "/run/netdeck")
    os.execv(command[0], command)


def _info(session: Session) -> dict[str, Any]:
    return dict(call(session.socket, "info", {}))


def _shown(key: str, value: str | int | float) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key == "memory" and isinstance(value, int):
        return f"{value / (1 << 20):.1f} MiB"
    return str(value)


def _status(session: Session) -> int:
    info = _info(session)
    if session.format == "json":
        click.echo(as_json(info), nl=False)
    else:
        rows = [(str(key), _shown(key, value)) for key, value in info.items() if isinstance(value, str | int | float)]
        click.echo(table(("HELPER", socket_path(session.socket)), rows), nl=False)
    return 0


def _detach(session: Session, command: list[str], run_dir: str) -> int:
    path = socket_path(session.socket)
    if probe(path) is None:
        raise Conflict(f"a helper runs already at {path}", with_=path)
    log_path = os.path.join(run_dir, "helper.log")
    try:
        os.makedirs(run_dir, mode=0o750, exist_ok=True)
        log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        remedy = ": use sudo" if isinstance(error, PermissionError) else ""
        raise Forbidden(f"can't write {log_path} ({error.strerror}){remedy}") from error
    started_at = os.fstat(log).st_size
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/")
    with ProgressLine("helper: starting"):
        end = time.monotonic() + START_TIMEOUT
        while probe(path) is not None:
            if process.poll() is not None or time.monotonic() > end:
                raise Unavailable(f"the helper did not start: {_last_line(log_path, started_at)}", log=log_path)
            time.sleep(0.02)
    info = _info(session)
    click.echo(as_json(info) if session.format == "json" else f"{info['pid']}\n", nl=False)
    return 0


def _last_line(path: str, start: int) -> str:
    with open(path, "rb") as log:
        log.seek(start)
        lines = log.read().decode("utf-8", "backslashreplace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), f"it said nothing (log: {path})")


def _stop(session: Session) -> int:
    pid = int(_info(session)["pid"])
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return 0
    try:
        # Asked again, so that the pid is that of the helper and not of one that came after it.
        if int(_info(session)["pid"]) != pid:
            raise Unavailable("the helper was restarted meanwhile: try again")
        try:
            signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        except PermissionError as error:
            raise Forbidden(f"may not stop the helper (pid {pid}): use sudo") from error
        with ProgressLine("helper: stopping"):
            ended, _, _ = select.select([pidfd], [], [], STOP_TIMEOUT)
        if not ended:
            raise NetdeckError(f"the helper (pid {pid}) has not ended after {STOP_TIMEOUT:.0f} s: see its log")
    finally:
        os.close(pidfd)
    return 0
