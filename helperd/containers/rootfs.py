"""The file system that a container sees: the host's, or a directory of the caller's.

Runs in the child only, in a mount namespace of its own, as root. A caller's directory is opened with the caller's own
rights, and everything below it is looked up after it has become the root, so no symbolic link leads out of it. What has
to be made in it (a mount point) is made with the caller's rights too.

Sources: mount(2), open_tree(2), move_mount(2), pivot_root(2), devpts (Linux Documentation/filesystems/devpts.rst).
The standard library alone is imported.
"""

from __future__ import annotations

import contextlib
import os

from helperd.containers import syscalls
from helperd.containers.command import Failure, groups_can_be_set

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from helperd.containers.spec import SpecWire

_SAFE = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
# As Docker has them (moby, oci/defaults.go): uid 0 without a user namespace could write there with no capability.
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_MASKED = ("/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/sched_debug")


@contextlib.contextmanager
def _as_caller(spec: SpecWire) -> Iterator[None]:
    """Use the caller's rights on files; the real user stays root, so that the caller can send no signal."""
    settable = groups_can_be_set()
    before = os.getgroups()
    try:
        if settable:
            os.setgroups(spec["groups"])
        os.setegid(spec["gid"])
        os.seteuid(spec["uid"])
    except OSError as error:
        raise Failure(f"cannot act as user {spec['uid']}: {os.strerror(error.errno or 0)}") from None
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        if settable:
            os.setgroups(before)


def open_rootfs(spec: SpecWire) -> int | None:
    """Return a descriptor of the directory that is to be the root, None for the host's files.

    Raises Failure unless it is a directory that the caller can reach and that belongs to the caller (root: any).
    """
    path = spec["rootfs"]
    if path is None:
        return None
    if not path.startswith("/"):
        raise Failure(f"rootfs {path!r}: expected an absolute path")
    try:
        with _as_caller(spec):
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            os.stat(".", dir_fd=fd)
    except OSError as error:
        raise Failure(f"rootfs {path!r}: {os.strerror(error.errno or 0)}") from None
    owner = os.fstat(fd).st_uid
    if spec["uid"] not in (0, owner):
        raise Failure(f"rootfs {path!r} belongs to user {owner}, not to user {spec['uid']}, who asked for it")
    return fd


def enter(spec: SpecWire, root: int | None) -> list[str]:
    """Make the mounts, and pivot when `root` is given. Returns warnings; raises Failure."""
    syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_SLAVE)
    files = {
        target: syscalls.clone_tree(-100, source, recursive=False)
        for target, source in (
            ("/etc/hosts", spec["hosts_file"]),
            ("/etc/resolv.conf", spec["resolv_file"]),
            ("/etc/hostname", spec["hostname_file"]),
        )
        if source is not None
    }
    try:
        warnings = _host_files(spec) if root is None else _own_root(spec, root)
        for target, tree in files.items():
            warnings += _bind_file(spec, target, tree, may_create=root is not None)
    finally:
        for tree in files.values():
            os.close(tree)
    return warnings


def _host_files(spec: SpecWire) -> list[str]:
    """A /proc, /sys and /dev/pts of the container's own over the host's."""
    control_groups = _try_clone("/sys/fs/cgroup")
    warnings = _fresh("proc", "/proc", _SAFE)
    if spec["network"] != "host":
        warnings += _fresh("sysfs", "/sys", _SAFE | syscalls.MS_RDONLY)
    warnings += _fresh("devpts", "/dev/pts", syscalls.MS_NOSUID | syscalls.MS_NOEXEC, _PTS)
    if control_groups is not None:
        # Covered by the new /sys, or still there: mounting it once more does no harm.
        with contextlib.suppress(OSError):
            syscalls.attach_tree(control_groups, "/sys/fs/cgroup")
        os.close(control_groups)
    return warnings


def _fresh(kind: str, target: str, flags: int, options: tuple[str, ...] = ("",)) -> list[str]:
    error = _try_mount(kind, target, flags, options)
    return [f"{target} is the host's: {error}"] if error else []


# gid 5 is `tty` on every distribution; in a user namespace it may not exist.
_PTS = ("newinstance,ptmxmode=0666,mode=0620,gid=5", "newinstance,ptmxmode=0666,mode=0620")


def _try_mount(kind: str, target: str, flags: int, options: tuple[str, ...]) -> str | None:
    why = None
    for data in options:
        try:
            syscalls.mount(kind, target, kind, flags, data)
        except OSError as error:
            why = str(error.strerror)
        else:
            return None
    return why


def _try_clone(path: str) -> int | None:
    try:
        return syscalls.clone_tree(-100, path, recursive=True)
    except OSError:
        return None


def _own_root(spec: SpecWire, root: int) -> list[str]:
    """Make `root` the root, with /proc, /sys and a small /dev."""
    devices = {name: syscalls.clone_tree(-100, f"/dev/{name}", recursive=False) for name in _DEVICES}
    # Before the pivot: a user namespace may mount these only where it still sees the host's.
    warnings = _fresh("proc", "/proc", _SAFE) + _fresh("sysfs", "/sys", _SAFE | syscalls.MS_RDONLY)
    trees = {target: syscalls.clone_tree(-100, target, recursive=bool(warnings)) for target in ("/proc", "/sys")}
    tree = syscalls.clone_tree(root, "", recursive=True)
    syscalls.attach_tree(tree, root)
    os.fchdir(tree)
    os.close(tree)
    os.close(root)
    syscalls.pivot_here()
    for target in ("/proc", "/sys", "/dev"):
        _mount_point(spec, target)
    for target, mounted in trees.items():
        syscalls.attach_tree(mounted, target)
        os.close(mounted)
    syscalls.mount("tmpfs", "/dev", "tmpfs", syscalls.MS_NOSUID, "mode=755,size=64k")
    for name, device in devices.items():
        os.close(os.open(f"/dev/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
        syscalls.attach_tree(device, f"/dev/{name}")
        os.close(device)
    for name, target in _LINKS.items():
        os.symlink(target, f"/dev/{name}")
    os.mkdir("/dev/pts", 0o755)
    os.mkdir("/dev/shm", 0o1777)
    error = _try_mount("devpts", "/dev/pts", syscalls.MS_NOSUID | syscalls.MS_NOEXEC, _PTS)
    if error:
        warnings.append(f"/dev/pts is empty: {error}")
    syscalls.mount("tmpfs", "/dev/shm", "tmpfs", _SAFE, "mode=1777,size=64m")
    if spec["uid"] == 0:
        warnings += _protect_proc()
    return warnings


def _protect_proc() -> list[str]:
    warnings = []
    bind = syscalls.MS_BIND
    for path in _READ_ONLY:
        try:
            if os.path.exists(path):
                syscalls.mount(path, path, None, bind | syscalls.MS_REC)
                syscalls.mount("none", path, None, bind | syscalls.MS_REMOUNT | syscalls.MS_RDONLY | _SAFE)
        except OSError as error:
            warnings.append(f"{path} is not read-only: {error.strerror}")
    for path in _MASKED:
        try:
            if os.path.exists(path):
                syscalls.mount("/dev/null", path, None, bind)
        except OSError as error:
            warnings.append(f"{path} is not hidden: {error.strerror}")
    return warnings


def _mount_point(spec: SpecWire, path: str) -> None:
    if os.path.isdir(path):
        return
    try:
        with _as_caller(spec):
            os.mkdir(path, 0o755)
    except OSError as error:
        raise Failure(f"rootfs has no directory {path}, and it cannot be made: {os.strerror(error.errno or 0)}") from None


def _bind_file(spec: SpecWire, target: str, tree: int, *, may_create: bool) -> list[str]:
    """Mount a file of ours on `target`, through symbolic links, which are followed in the container's root."""
    real = os.path.realpath(target)
    if not os.path.isfile(real):
        if os.path.lexists(real):
            raise Failure(f"{target} of the container leads to {real}, which is not a file")
        if not may_create:
            return [f"the host has no {target} to put the container's own over"]
        try:
            with _as_caller(spec):
                os.makedirs(os.path.dirname(real), 0o755, exist_ok=True)
                os.close(os.open(real, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644))
        except OSError as error:
            raise Failure(
                f"rootfs has no {target}, and it cannot be made: {os.strerror(error.errno or 0)}; add an empty file there"
            ) from None
    try:
        syscalls.attach_tree(tree, real)
    except OSError as error:
        raise Failure(f"cannot mount on {target} of the container: {error.strerror}") from None
    return []
