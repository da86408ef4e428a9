"""Names of users and groups from the system's account database."""

from __future__ import annotations

import grp
import os
import pwd


def user_name(uid: int) -> str:
    """The login name, or "" where the database has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def groups_of(uid: int, gid: int) -> tuple[str, ...]:
    """Names of all groups of a user: those that list him, and `gid`, the primary group that the kernel told.

    The kernel tells only the primary group of a peer, so the rest comes from the database, by user.
    """
    name = user_name(uid)
    numbers = {gid}
    if name:
        numbers.update(os.getgrouplist(name, gid))
    names = []
    for number in sorted(numbers):
        try:
            names.append(grp.getgrgid(number).gr_name)
        except KeyError:
            continue
    return tuple(names)


def group_number(name: str) -> int | None:
    """The number of a group, or None where there is none of that name."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None
