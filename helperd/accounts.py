"""Names of users and groups from the system's account database."""

from __future__ import annotations

import grp
import os
import pwd
import time
from typing import NamedTuple

KEPT = 2.0  # seconds: who is taken out of a group keeps its role for so long
_MOST = 256  # accounts that are kept


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


class Account(NamedTuple):
    """A user's login name ("" where there is none) and the names of all his groups."""

    name: str
    groups: tuple[str, ...]


_accounts: dict[tuple[int, int], tuple[float, Account]] = {}


def account(uid: int, gid: int) -> Account:
    """What the database says of a user, at most `KEPT` seconds ago: each call asks, and to read the files takes 0.2 ms."""
    now = time.monotonic()
    moment, known = _accounts.get((uid, gid), (0.0, None))
    if known is None or now - moment > KEPT:
        if len(_accounts) >= _MOST:
            _accounts.clear()
        known = Account(user_name(uid), groups_of(uid, gid))
        _accounts[uid, gid] = (now, known)
    return known


def group_number(name: str) -> int | None:
    """The number of a group, or None where there is none of that name."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None
