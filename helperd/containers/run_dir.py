"""What a shim keeps in its container's run directory. The standard library alone is imported."""

from __future__ import annotations

import contextlib
import os
import socket

OUTPUT = "output"  # the file with the last output of a container that has ended, as frames


def write_whole(run_dir: str, name: str, data: bytes) -> None:
    """Write a file in the run directory so that it is there whole or not at all."""
    if not run_dir:
        return
    path = f"{run_dir}/{name}"
    fd = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view):]
    finally:
        os.close(fd)
    os.rename(f"{path}.new", path)


def listen_in(run_dir: str) -> socket.socket:
    """Return the socket others connect to later; the path is used relative, since a socket's may have 107 bytes."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    os.chdir(run_dir)
    with contextlib.suppress(FileNotFoundError):
        os.unlink("shim.sock")
    before = os.umask(0o177)
    listener.bind("shim.sock")
    os.umask(before)
    listener.listen(8)
    os.chdir("/")
    return listener
