"""The helper, for one command: whether it is there, and what one asks it."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any

from protocol.messages import DEFAULT_SOCKET, SOCKET_ENV, Progress
from protocol.requests import OPERATIONS
from tui.progress import ProgressLine


def socket_path(given: str | None) -> str:
    """The helper's socket: as given, else of the environment, else the default."""
    return given or os.environ.get(SOCKET_ENV) or DEFAULT_SOCKET


def probe(path: str) -> OSError | None:
    """Why nobody can be reached at `path`, or None where somebody listens. Loads nothing."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.connect(path)
        except OSError as error:
            return error
    return None


def call(path: str | None, operation: str, arguments: Mapping[str, Any], title: str = "") -> Any:
    """The result of one operation. What takes longer than a second shows a line of progress under `title`.

    Raises NetdeckError: Unavailable where no helper answers, and what the operation was refused with.
    """
    from protocol.blocking import BlockingClient

    with ProgressLine(title or operation.replace(".", " ")) as line:

        def report(progress: Progress) -> None:
            line.report(progress.text, progress.step, progress.steps)

        with BlockingClient(path) as client:
            # With a key, what changes something is done once even if the connection is lost and the call is sent again.
            key = None if OPERATIONS[operation][2] else os.urandom(16).hex()
            return client.call(operation, dict(arguments), key=key, on_progress=report)
