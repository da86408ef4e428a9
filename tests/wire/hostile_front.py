"""A front that was taken over: started by the core in place of the real one, as `python hostile_front.py WHAT LISTEN CORE SHOW`.

It waits for one connection and says that it is root's, by what `WHAT` says, then runs on.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
import time

from helperd.frames import MAX_TO_CORE, Caller, CallFrame, ReadyFrame, pack
from helperd.showing import NUMBER
from protocol.messages import Call

USER = 4242


def become_somebody() -> None:
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)


def namesake(path: str, anonymous: socket.socket | None = None) -> socket.socket:
    """A socket with the same path in a mount namespace of its own; connected to the real one, where it is not connected yet."""
    folder = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(0x00020000) == 0
    assert libc.mount(b"none", b"/", None, ctypes.c_ulong(16384 | (1 << 18)), None) == 0  # MS_REC | MS_PRIVATE
    assert libc.mount(b"none", os.path.dirname(path).encode(), b"tmpfs", ctypes.c_ulong(0), None) == 0
    sock = anonymous or socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(path)
    if anonymous is None:
        sock.connect(f"/proc/self/fd/{folder}/{os.path.basename(path)}")
    return sock


def main() -> None:
    what, numbers = sys.argv[1], [int(text) for text in sys.argv[2:]]
    listening, core, showing = (socket.socket(fileno=number) for number in numbers)
    path = os.fsdecode(listening.getsockname())
    size = int.from_bytes(core.recv(4), "little")
    while size:
        size -= len(core.recv(size))
    core.sendall(pack(ReadyFrame(os.getpid()), MAX_TO_CORE))
    listening.setblocking(True)
    pid, shown = 1, [listening]
    match what:
        case "nothing":
            shown = []
        case "listening":
            pid = os.getppid()
        case "pipe":
            shown, pid = [core], os.getppid()
        case "pipe with the name":
            shown, pid = [namesake(path, core)], os.getppid()
        case "near end":
            shown, pid = [namesake(path)], os.getppid()
        case "file":
            shown = [open("/dev/null")]  # type: ignore[list-item]  # noqa: SIM115
        case "two":
            shown = [listening, listening]
        case "own":
            become_somebody()
            near = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            near.connect(path)
            shown, pid = [listening.accept()[0]], os.getpid()
        case "theirs":
            connection, _ = listening.accept()
            pid = int.from_bytes(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], "little")
            shown = [connection]
    if shown:
        socket.send_fds(showing, [NUMBER.pack(7)], [item.fileno() for item in shown])
    core.sendall(pack(CallFrame(Caller(7, 0, 0, pid), Call(1, "whoami")), MAX_TO_CORE))
    time.sleep(60)


if __name__ == "__main__":
    main()
