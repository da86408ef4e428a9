"""Giving up privilege for good, in the two steps that the front needs (capabilities(7), prctl(2)).

Standard library only: this runs before anything that parses what strangers send is even loaded.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import resource
from pathlib import Path

_PR_CAPBSET_DROP = 24
_PR_SET_KEEPCAPS = 8
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAP_DAC_READ_SEARCH = 2
_CAP_VERSION_3 = 0x20080522

_LIBC = ctypes.CDLL(None, use_errno=True)


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapData(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def _prctl(option: int, first: int = 0) -> int:
    zero = ctypes.c_ulong(0)
    return int(_LIBC.prctl(option, ctypes.c_ulong(first), zero, zero, zero))


def _must(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _read_capabilities() -> tuple[int, int, int]:
    data = (_CapData * 2)()
    _must(_LIBC.capget(ctypes.byref(_CapHeader(_CAP_VERSION_3, 0)), data), "capget")
    low, high = data
    return (
        low.effective | high.effective << 32,
        low.permitted | high.permitted << 32,
        low.inheritable | high.inheritable << 32,
    )


def _set_capabilities(mask: int) -> None:
    low, high = mask & 0xFFFFFFFF, mask >> 32
    data = (_CapData * 2)(_CapData(low, low, 0), _CapData(high, high, 0))
    _must(_LIBC.capset(ctypes.byref(_CapHeader(_CAP_VERSION_3, 0)), data), "capset")


def _is_mapped(ident: int, kind: str) -> bool:
    """Whether user or group `ident` exists in this user namespace (user_namespaces(7))."""
    for line in Path(f"/proc/self/{kind}_map").read_text(encoding="ascii").splitlines():
        inside, _outside, count = map(int, line.split())
        if inside <= ident < inside + count:
            return True
    return False


def _find_user(names: tuple[str, ...]) -> tuple[int, int] | None:
    for name in names:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if _is_mapped(entry.pw_uid, "uid") and _is_mapped(entry.pw_gid, "gid"):
            return entry.pw_uid, entry.pw_gid
    return None


def leave_root(users: tuple[str, ...]) -> None:
    """Become the first of `users` that exists, with one capability left: to read files, so that modules can be loaded from a
    directory that only its owner may enter (a checkout in somebody's home). `leave_everything` takes that one too.

    In a user namespace that has none of the users the number stays, without privilege. Raises OSError where the kernel refuses.
    """
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    if os.geteuid() == 0:
        number = 0
        while _prctl(_PR_CAPBSET_DROP, number) == 0:
            number += 1
        if number == 0:
            _must(-1, "dropping the bounding set")
        target = _find_user(users)
        if target is not None:
            uid, gid = target
            _must(_prctl(_PR_SET_KEEPCAPS, 1), "keepcaps")
            os.setgroups([])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            _prctl(_PR_SET_KEEPCAPS, 0)
        elif Path("/proc/self/setgroups").read_text(encoding="ascii").strip() == "allow":
            os.setgroups([])
    _effective, permitted, _inheritable = _read_capabilities()
    _set_capabilities(permitted & (1 << _CAP_DAC_READ_SEARCH))
    _must(_prctl(_PR_SET_NO_NEW_PRIVS, 1), "no_new_privs")
    _must(_prctl(_PR_SET_DUMPABLE, 0), "dumpable")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o177)


def leave_everything() -> None:
    """No capability is left after this, and none can come back. Raises OSError, or RuntimeError where one is left all the same."""
    _set_capabilities(0)
    if any(_read_capabilities()):
        raise RuntimeError("capabilities are left after dropping them all")


def limit_resources(files: int, memory: int) -> None:
    """At most `files` open files and `memory` bytes of data (setrlimit(2)); never more than allowed before."""
    for kind, wanted in ((resource.RLIMIT_NOFILE, files), (resource.RLIMIT_DATA, memory)):
        hard = resource.getrlimit(kind)[1]
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (value, value))
