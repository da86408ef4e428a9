"""The helper's place in the file system: a lock that only one helper holds, and the socket that clients connect to.

libzmq's own bind removes whatever is at the path, a living helper's socket too; so the lock comes first and the socket is made here.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from helperd.accounts import group_number
from helperd.roles import ADMIN_GROUP
from helperd.socket_access import Admitted, admit, has_list
from protocol.errors import Conflict, InvalidValue, Unavailable

LOCK_NAME = "helper.lock"
DIRECTORY_NAME = "netdeck"
DIRECTORY_MODE = 0o750
SOCKET_MODE = 0o660
BACKLOG = 128
MAX_PATH = 107  # bytes of sun_path without the closing zero, unix(7)

log = logging.getLogger("netdeck.listener")


class Listener:
    """The listening socket. Its fd is lent to each front in turn, so clients find it while a front is being replaced.

    `warnings` say who has a role and can't reach it."""

    def __init__(self, path: Path, sock: socket.socket, lock: int, warnings: tuple[str, ...] = ()) -> None:
        self.path = path
        self.warnings = warnings
        self.socket = sock
        self._lock = lock

    def fileno(self) -> int:
        """The listening fd."""
        return self.socket.fileno()

    def close(self) -> None:
        """Remove the socket's file and give the lock back."""
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        self.socket.close()
        os.close(self._lock)


@contextlib.contextmanager
def open_listener(path: str | os.PathLike[str], group: str = ADMIN_GROUP, mode: int = SOCKET_MODE,
                  admitted: Admitted | None = None) -> Iterator[Listener]:
    """Lock the directory of `path` and listen at `path`; both belong to `group` where it exists, and let in who is `admitted` (None:
    nothing is done about that).

    A missing directory is made (0750). Raises Conflict where another helper holds the lock or something that is no socket is at
    the path, InvalidValue for a path that is too long, Unavailable where the directory can't be made or written.
    """
    target = Path(path).absolute()
    if len(os.fsencode(target)) > MAX_PATH:
        raise InvalidValue(f"socket path {target} is longer than {MAX_PATH} bytes", field="socket", value=str(target))
    gid = group_number(group)
    lock = -1
    try:
        own = _make_directory(target.parent, gid)
        lock = _take_lock(target.parent / LOCK_NAME)
        sock = _listen(target, gid, mode)
        warnings = [] if admitted is None else admit(target.parent, target, admitted, own=own)
    except OSError as error:
        if lock >= 0:
            os.close(lock)
        remedy = " (the helper needs root: use sudo)" if isinstance(error, PermissionError) and os.geteuid() else ""
        raise Unavailable(f"can't listen at {target}: {error.strerror}{remedy}", path=str(target)) from error
    except BaseException:
        if lock >= 0:
            os.close(lock)
        raise
    for text in warnings:
        log.warning("%s", text)
    listener = Listener(target, sock, lock, tuple(warnings))
    try:
        yield listener
    finally:
        listener.close()


def _make_directory(directory: Path, gid: int | None) -> bool:
    """Make it where it is missing. Returns whether it is netdeck's own, whose rights are netdeck's to give."""
    if directory.is_dir():
        state = directory.stat()
        before = stat.S_IMODE(state.st_mode) == DIRECTORY_MODE or has_list(directory)
        own = before and state.st_uid == os.geteuid() and (state.st_gid == gid or directory.name == DIRECTORY_NAME)
        if own:
            _give(directory, gid)  # one that was made before the helper started has its maker's group
        return own
    directory.mkdir(mode=DIRECTORY_MODE, parents=True)
    _give(directory, gid)
    directory.chmod(DIRECTORY_MODE)
    return True


def _give(path: Path, gid: int | None) -> None:
    # In a user namespace the group may have no number; then the socket stays its maker's alone.
    if gid is not None:
        with contextlib.suppress(OSError):
            os.chown(path, -1, gid, follow_symlinks=False)


def _take_lock(path: Path) -> int:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
    except OSError as error:
        holder = os.pread(lock, 16, 0).decode("ascii", "replace").strip()
        os.close(lock)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise Conflict(
                f"another helper (process {holder or 'unknown'}) serves {path.parent}; stop it first", lock=str(path)
            ) from error
        raise
    return lock


def _listen(path: Path, gid: int | None, mode: int) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise Conflict(f"{path} exists and is not a socket; remove it or choose another path", path=str(path))
        path.unlink()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        before = os.umask(0o177)
        try:
            sock.bind(os.fspath(path))
        finally:
            os.umask(before)
        _give(path, gid)
        path.chmod(mode)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock
