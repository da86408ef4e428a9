"""System calls that Python 3.11 has no function for, through ctypes.

Sources: unshare(2), setns(2), mount(2), pivot_root(2), prctl(2), capabilities(7), linux/mount.h, netdevice(7).
The standard library alone is imported.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_SLAVE = 32, 4096, 16384, 1 << 19
MNT_DETACH = 2

_OPEN_TREE = 428  # the same number on every architecture
_MOVE_MOUNT = 429
_OPEN_TREE_CLONE = 1
_OPEN_TREE_CLOEXEC = os.O_CLOEXEC
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_MOVE_MOUNT_F_EMPTY_PATH = 0x04
_MOVE_MOUNT_T_SYMLINKS = 0x10
_MOVE_MOUNT_T_EMPTY_PATH = 0x40
_PIVOT_ROOT = {"x86_64": 155, "i686": 217, "armv7l": 218, "ppc64le": 203, "s390x": 217}
_PIVOT_ROOT_GENERIC = 41  # aarch64, riscv64, loongarch64

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_libc.prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)
_libc.syscall.restype = ctypes.c_long


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def unshare(flags: int) -> None:
    """Move the calling process into new namespaces."""
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def setns(fd: int, flags: int) -> None:
    """Enter the namespace `fd`, or those of the process whose pidfd it is."""
    _check(_libc.setns(ctypes.c_int(fd), ctypes.c_int(flags)), "setns")


def mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    """mount(2)."""
    result = _libc.mount(os.fsencode(source), os.fsencode(target), kind.encode() if kind else None, flags, data.encode() or None)
    _check(result, f"mount {kind or source} on {target}")


def unmount_here() -> None:
    """Take away what is mounted on the current directory."""
    _check(_libc.umount2(b".", ctypes.c_int(MNT_DETACH)), "umount")


def clone_tree(dirfd: int, path: str, *, recursive: bool) -> int:
    """Return a descriptor of a detached copy of the mount at `path`; an empty path means `dirfd` itself."""
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | (0 if path else _AT_EMPTY_PATH)
    flags |= _AT_RECURSIVE if recursive else 0
    result = _libc.syscall(ctypes.c_long(_OPEN_TREE), ctypes.c_int(dirfd), ctypes.c_char_p(os.fsencode(path)), ctypes.c_uint(flags))
    return _check(int(result), f"open_tree {path}")


def attach_tree(tree: int, target: str | int) -> None:
    """Mount a detached tree on a path (symbolic links followed, in the current root) or on an open directory."""
    flags = _MOVE_MOUNT_F_EMPTY_PATH | (_MOVE_MOUNT_T_EMPTY_PATH if isinstance(target, int) else _MOVE_MOUNT_T_SYMLINKS)
    dirfd, path = (target, b"") if isinstance(target, int) else (-100, os.fsencode(target))
    result = _libc.syscall(
        ctypes.c_long(_MOVE_MOUNT),
        ctypes.c_int(tree),
        ctypes.c_char_p(b""),
        ctypes.c_int(dirfd),
        ctypes.c_char_p(path),
        ctypes.c_uint(flags),
    )
    _check(int(result), f"move_mount on {target}")


def pivot_here() -> None:
    """Make the mount at the current directory the root, and let go of the old one."""
    number = _PIVOT_ROOT.get(os.uname().machine, _PIVOT_ROOT_GENERIC)
    _check(int(_libc.syscall(ctypes.c_long(number), ctypes.c_char_p(b"."), ctypes.c_char_p(b"."))), "pivot_root")
    unmount_here()
    os.chdir("/")


def prctl(option: int, first: int = 0, second: int = 0) -> int:
    """prctl(2) with integer arguments."""
    return _check(int(_libc.prctl(option, first, second, 0, 0)), f"prctl {option}")


def limit_bounding_set(keep: frozenset[int]) -> None:
    """Cut the bounding set down to `keep`, and empty the ambient set."""
    capability = 0
    while True:
        try:
            held = prctl(PR_CAPBSET_READ, capability)
        except OSError:  # past the last one this kernel knows
            break
        if held and capability not in keep:
            prctl(PR_CAPBSET_DROP, capability)
        capability += 1
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)


def limit_capabilities(keep: frozenset[int]) -> None:
    """Cut the effective and permitted sets down to `keep`, and empty the inheritable one."""
    header = ctypes.create_string_buffer(struct.pack("<Ii", 0x20080522, 0))  # _LINUX_CAPABILITY_VERSION_3, this process
    sets = ctypes.create_string_buffer(24)
    _check(_libc.capget(header, sets), "capget")
    effective0, permitted0, _, effective1, permitted1, _ = struct.unpack("<6I", sets.raw)
    low = sum(1 << bit for bit in keep if bit < 32)
    high = sum(1 << (bit - 32) for bit in keep if bit >= 32)
    wanted = (effective0 & low, permitted0 & low, 0, effective1 & high, permitted1 & high, 0)
    _check(_libc.capset(header, ctypes.create_string_buffer(struct.pack("<6I", *wanted))), "capset")


def loopback_up() -> None:
    """Set IFF_UP on `lo` of the current network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sH14x", b"lo", 0x1 | 0x40)  # IFF_UP | IFF_RUNNING
        fcntl.ioctl(sock, 0x8914, request)  # SIOCSIFFLAGS
