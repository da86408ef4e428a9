"""Which process has a port of this host, as far as /proc tells. Sources: proc(5), setfsuid(2), net/ipv4/tcp_ipv4.c."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import threading
from typing import NamedTuple

from protocol.names import decode_kernel_text, display_text

_LISTEN, _TIME_WAIT = "0A", "06"  # linux/tcp_states.h
_WILD = frozenset(("0.0.0.0", "::"))
_libc = ctypes.CDLL(None, use_errno=True)


class Owner(NamedTuple):
    """A process; its name is fit to be shown."""

    pid: int
    name: str


class _Row(NamedTuple):
    inode: int
    uid: int
    listens: bool


def owner(protocol: str, address: str, port: int) -> Owner | None:
    """The process that keeps others from binding `port` of `address`, None where it can't be found. Takes some ms."""
    rows = [row for suffix in ("", "6") for row in _rows(f"/proc/net/{protocol}{suffix}", address, port)]
    rows.sort(key=lambda row: not row.listens)
    found: list[Owner] = []

    def look() -> None:
        for row in rows:
            found.extend(_holders(row))
            if found:
                return

    # In a thread of its own: whose files may be read is a property of the thread, and may not be given back.
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    return found[0] if found else None


def _rows(path: str, address: str, port: int) -> list[_Row]:
    found: list[_Row] = []
    with contextlib.suppress(OSError), open(path, encoding="ascii") as lines:
        next(lines, None)
        for line in lines:
            words = line.split()
            host, _, number = words[1].partition(":")
            if int(number, 16) == port and words[3] != _TIME_WAIT and words[9] != "0":
                local = _address(host)
                # A socket of both families has its v4 ports too.
                if local in _WILD or address in _WILD or local.removeprefix("::ffff:") == address:
                    found.append(_Row(int(words[9]), int(words[7]), words[3] == _LISTEN))
    return found


def _address(text: str) -> str:
    raw = bytes.fromhex(text)
    packed = b"".join(raw[start : start + 4][::-1] for start in range(0, len(raw), 4))
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def _holders(row: _Row) -> list[Owner]:
    """The first process that has the socket open, in a list; those of the socket's user are looked at first."""
    wanted = f"socket:[{row.inode}]"
    pids: list[tuple[bool, int, int]] = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            uid = os.stat(f"/proc/{name}").st_uid
            pids.append((uid != row.uid, int(name), uid))
    for _, pid, uid in sorted(pids):
        with contextlib.suppress(OSError):
            # Only the user of a process may list its files, and the helper has no capability to pass over that.
            _libc.setfsuid(uid)
            if any(_target(pid, fd) == wanted for fd in os.listdir(f"/proc/{pid}/fd")):
                with open(f"/proc/{pid}/comm", "rb") as comm:
                    return [Owner(pid, display_text(decode_kernel_text(comm.read().rstrip(b"\n"))))]
    return []


def _target(pid: int, fd: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/fd/{fd}")
    except OSError:
        return ""
