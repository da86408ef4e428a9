"""Who gets through to the socket: an access list for the users and groups that the configuration gives a role (acl(5)).

The directory lets in its owner and the group `netdeck`, and the socket is theirs; a user who has a role by his number alone, or by
another group, would stand outside. The attribute's form is that of linux/posix_acl_xattr.h.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Iterable
from pathlib import Path

import msgspec

from helperd.accounts import group_number
from helperd.roles import ADMIN_GROUP, OVERFLOW_UID, ROOT_UID, Role, Roles

ATTRIBUTE = "system.posix_acl_access"
_VERSION = 2
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_NOBODY = 0xFFFFFFFF  # the id of entries that have none
_SEARCH, _WRITE = 1, 6


class Admitted(msgspec.Struct, frozen=True):
    """Users and groups by number, beside root and the group of the socket; `everybody` where the default role lets all in."""

    users: tuple[int, ...] = ()
    groups: tuple[int, ...] = ()
    everybody: bool = False

    @classmethod
    def by(cls, roles: Roles) -> Admitted:
        """All that have a role by `roles`. A group that this machine has not got is left out."""
        users = tuple(sorted(uid for uid, role in roles.uids.items() if role > Role.NONE and uid not in (ROOT_UID, OVERFLOW_UID)))
        numbers = {group_number(name) for name, role in roles.groups.items() if role > Role.NONE and name != ADMIN_GROUP}
        return cls(users, tuple(sorted(number for number in numbers if number is not None)), roles.default > Role.NONE)


def access_list(admitted: Admitted, right: int, mode: int) -> bytes:
    """The value of the attribute: what `mode` gives, and `right` for those admitted."""
    other = (mode & 7) | (right if admitted.everybody else 0)
    group = mode >> 3 & 7
    entries = [
        (_USER_OBJ, mode >> 6 & 7, _NOBODY),
        *((_USER, right, uid) for uid in admitted.users),
        (_GROUP_OBJ, group, _NOBODY),
        *((_GROUP, right, gid) for gid in admitted.groups),
        (_MASK, group | right, _NOBODY),
        (_OTHER, other, _NOBODY),
    ]
    return struct.pack("<I", _VERSION) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def admit(directory: Path, path: Path, admitted: Admitted, *, own: bool) -> list[str]:
    """Let those `admitted` through `directory` to the socket at `path`; returns what stands in their way, in words.

    `own`: the directory is netdeck's, with its mode. Any other is never changed. Whoever was admitted before and is not now is out.
    """
    told: list[str] = []
    if own:
        if has_list(directory):
            os.removexattr(directory, ATTRIBUTE)
            directory.chmod(directory.stat().st_mode & 0o770)
        told += _set(directory, admitted, _SEARCH)
    told += _set(path, admitted, _WRITE)
    closed = [parent for parent in (*(() if own else (directory,)), *directory.parents) if not _open_to_all(parent)]
    if closed and admitted != Admitted():
        told.append(f"{_who(admitted)} can't reach the socket {path}: {closed[0]} lets only its owner and group in. Choose another "
                    "place with --socket, or open that directory to them")
    return told


def has_list(target: Path) -> bool:
    """Whether there is an access list on it: on netdeck's own directory there is only netdeck's."""
    try:
        return bool(os.getxattr(target, ATTRIBUTE))
    except OSError:
        return False


def _set(target: Path, admitted: Admitted, right: int) -> list[str]:
    mode = stat.S_IMODE(target.lstat().st_mode)
    if admitted == Admitted():
        return []
    try:
        os.setxattr(target, ATTRIBUTE, access_list(admitted, right, mode), follow_symlinks=False)
    except OSError as error:
        why = "its file system has no access lists" if error.errno == errno.EOPNOTSUPP else os.strerror(error.errno or 0)
        return [f"{_who(admitted)} can't be let through to {target}: {why}. Put the socket elsewhere with --socket, or put them into the "
                f"group {ADMIN_GROUP} and give that group its role in [roles] groups"]
    return []


def _open_to_all(directory: Path) -> bool:
    try:
        return bool(directory.stat().st_mode & stat.S_IXOTH)
    except OSError:
        return False


def _who(admitted: Admitted) -> str:
    words = [*_named("user", admitted.users), *_named("group", admitted.groups), *(["everybody else"] if admitted.everybody else [])]
    return " and ".join(words)


def _named(kind: str, numbers: Iterable[int]) -> list[str]:
    found = [str(number) for number in numbers]
    return [f"{kind}{'s' if len(found) > 1 else ''} {', '.join(found)}"] if found else []
