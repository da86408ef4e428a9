"""Namespaces and mounts of a lab: a private host for one helper, made of what the machine has.

Everything here acts on the calling process, which has one thread. Sources: unshare(2), mount(2), user_namespaces(7),
pid_namespaces(7), linux/sched.h, linux/mount.h.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 0x2, 0x4, 0x8
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000
_PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def unshare(flags: int) -> None:
    """Leave the namespaces named by `flags` for new ones. Raises OSError with the kernel's reason."""
    _check(_libc.unshare(flags), "unshare")


def enter_network(fd: int) -> None:
    """Enter the network namespace open at `fd`. Raises OSError."""
    _check(_libc.setns(fd, CLONE_NEWNET), "setns")


def become_root_of_user_namespace() -> None:
    """A user namespace in which the caller, and nobody else, is root. Raises OSError."""
    uid, gid = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")


def die_with_parent(signal_number: int) -> None:
    """Ask the kernel to send this process `signal_number` when its parent ends."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0), "prctl")


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    encoded = None if data is None else data.encode()
    _check(_libc.mount(os.fsencode(source), os.fsencode(target), None if kind is None else kind.encode(),
                       ctypes.c_ulong(flags), encoded), target)


def keep_mounts_private() -> None:
    """From here on no mount reaches the host, and none of the host's reaches us."""
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)


def mount_proc() -> None:
    """A /proc for the new pid namespace. Raises OSError; EPERM where parts of the old one are masked."""
    _mount("proc", "/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)


def mount_sysfs() -> None:
    """A /sys that shows the network namespace that we are in. Where that is not allowed the old one stays."""
    cgroups = os.open("/sys/fs/cgroup", os.O_PATH | os.O_CLOEXEC) if os.path.isdir("/sys/fs/cgroup") else -1
    try:
        with contextlib.suppress(PermissionError):
            _mount("sysfs", "/sys", "sysfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
            if cgroups >= 0:
                with contextlib.suppress(OSError):
                    _mount(f"/proc/self/fd/{cgroups}", "/sys/fs/cgroup", None, _MS_BIND | _MS_REC)
    finally:
        if cgroups >= 0:
            os.close(cgroups)


def private_run(*own: str) -> None:
    """A new /run with all that the old one had, except the directories `own`, which are made anew and empty.

    The old entries are bound into it one by one, so a directory that the host lacks need not be made on the host.
    """
    old = os.open("/run", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _mount("tmpfs", "/run", "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=755")
        with os.scandir(old) as entries:
            for entry in entries:
                if entry.name not in own:
                    # What can't be bound (vanished, not ours to see) the lab does without.
                    with contextlib.suppress(OSError):
                        _bind_entry(old, entry, f"/run/{entry.name}")
    finally:
        os.close(old)
    for name in own:
        os.mkdir(f"/run/{name}", 0o755)


def _bind_entry(directory: int, entry: os.DirEntry[str], target: str) -> None:
    if entry.is_symlink():
        os.symlink(os.readlink(entry.name, dir_fd=directory), target)
        return
    if entry.is_dir(follow_symlinks=False):
        os.mkdir(target)
    else:
        Path(target).touch()
    _mount(f"/proc/self/fd/{directory}/{entry.name}", target, None, _MS_BIND | _MS_REC)


def cover(path: str) -> None:
    """Hide a directory of the host behind an empty one, if the host has it."""
    if os.path.isdir(path):
        _mount("tmpfs", path, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=700")


def name_network(path: str) -> None:
    """Give the network namespace that we are in a name that ip-netns(8) knows."""
    Path(path).touch()
    _mount("/proc/self/ns/net", path, None, _MS_BIND)
