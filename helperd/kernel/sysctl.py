"""Network sysctls of one namespace: reading and writing below /proc/sys/net, from a thread that is inside.

The kernel shows each thread the tree of the namespace that the thread is in (proc(5), net/sysctl_net.c).
"""

from __future__ import annotations

import os

from drivers.objects import Sysctl
from helperd.kernel.proc_tree import open_in_proc
from protocol.errors import InvalidValue

ROOT = "/proc/sys/"


def path(item: Sysctl) -> str:
    """The file of `item`: the dots of its name become slashes, then ``*`` the link's name, dots and all.

    Raises InvalidValue for a name outside ``net.`` or one that would lead out of the tree.
    """
    parts = item.name.split(".")
    if parts[0] != "net" or len(parts) < 2 or any(not part or "/" in part or "\0" in part for part in parts):
        raise InvalidValue(
            f"sysctl {item.name!r} is not a network setting: expected a name like net.ipv4.ip_forward",
            field="sysctl",
            value=item.name,
        )
    if ("*" in parts) != bool(item.link) or parts.count("*") > 1:
        raise InvalidValue(
            f"sysctl {item.name!r} and link {item.link!r} don't go together: expected one * for a link",
            field="sysctl",
            value=item.name,
        )
    if item.link in (".", "..") or "/" in item.link or "\0" in item.link:
        raise InvalidValue(f"link name {item.link!r} can't be in a sysctl", field="link", value=item.link)
    return ROOT + "/".join(item.link if part == "*" else part for part in parts)


def write(item: Sysctl) -> None:
    """Set the value, in the namespace of the calling thread. Raises OSError."""
    file = open_in_proc(path(item).removeprefix("/proc/"), os.O_WRONLY)
    try:
        os.write(file, item.value.encode())
    finally:
        os.close(file)


def read(item: Sysctl) -> str | None:
    """The value with single spaces, in the namespace of the calling thread; None where there is no such setting."""
    try:
        file = open_in_proc(path(item).removeprefix("/proc/"), os.O_RDONLY)
    except OSError:
        return None
    try:
        return normal(os.read(file, 4096).decode("ascii", "backslashreplace"))
    except OSError:
        return None
    finally:
        os.close(file)


def normal(value: str) -> str:
    """A value as `read` returns it: the kernel separates several numbers by tabs."""
    return " ".join(value.split())
