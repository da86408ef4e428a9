"""The last steps of process 1: drop to the caller's user and become the command.

Runs in the child only, after the namespaces are complete. The standard library alone is imported.
"""

from __future__ import annotations

import errno
import functools
import os
import signal

from helperd.containers import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from helperd.containers.spec import SpecWire

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# What Docker leaves to uid 0 (moby, oci/caps/defaults.go), by number of linux/capability.h, and NET_ADMIN for the container's
# own network. There is no user namespace in between: root in a container is the host's root with fewer rights, not a stranger.
# With NET_ADMIN it reaches the host's links too, by the namespace id that its veth knows them by (IFLA_TARGET_NETNSID).
ROOT_CAPABILITIES = frozenset(
    {
        0,  # CHOWN
        1,  # DAC_OVERRIDE
        3,  # FOWNER
        4,  # FSETID
        5,  # KILL
        6,  # SETGID
        7,  # SETUID
        8,  # SETPCAP
        10,  # NET_BIND_SERVICE
        12,  # NET_ADMIN
        13,  # NET_RAW
        18,  # SYS_CHROOT
        27,  # MKNOD
        29,  # AUDIT_WRITE
        31,  # SETFCAP
    }
)

# Nobody else holds any capability, and no_new_privs sees to it that none is gained. These stay in the bounding set all the
# same, or the kernel would refuse to run a program with such a file capability at all, `ping` first (capabilities(7),
# "Safety checking for capability-dumb binaries").
BOUNDING_CAPABILITIES = frozenset({10, 12, 13})  # NET_BIND_SERVICE, NET_ADMIN, NET_RAW

NOT_FOUND = 127
NOT_EXECUTABLE = 126
NOT_STARTED = 125


class Failure(Exception):
    """The container cannot be made or its command cannot be run; `code` is Docker's exit code for that."""

    def __init__(self, message: str, code: int = NOT_STARTED) -> None:
        self.message = message
        self.code = code
        super().__init__(message)


@functools.cache  # the first time while there is a /proc: a new root has none for a moment
def groups_can_be_set() -> bool:
    """Return whether this user namespace allows setgroups (user_namespaces(7))."""
    try:
        with open("/proc/self/setgroups", "rb") as file:
            return file.read().strip() != b"deny"
    except OSError:
        return True


def require_mapped(spec: SpecWire) -> None:
    """Raise Failure unless the caller exists in this user namespace (user_namespaces(7))."""
    for what, ident in (("user", spec["uid"]), ("group", spec["gid"])):
        with open(f"/proc/self/{what[0]}id_map", "rb") as file:
            ranges = [tuple(map(int, line.split())) for line in file]
        if not any(first <= ident < first + count for first, _, count in ranges):
            raise Failure(f"there is no {what} {ident} in this user namespace; in a lab without root only the lab's own user exists")


def drop_privileges(spec: SpecWire) -> None:
    """Become the caller for good. Raises Failure when the kernel refuses."""
    uid, gid = spec["uid"], spec["gid"]
    keep = ROOT_CAPABILITIES if uid == 0 else frozenset[int]()
    syscalls.limit_bounding_set(keep or BOUNDING_CAPABILITIES)
    try:
        if groups_can_be_set():
            os.setgroups(spec["groups"])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        raise Failure(f"cannot become user {uid} with group {gid}: {os.strerror(error.errno or 0)}") from None
    syscalls.limit_capabilities(keep)
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    # A change of user clears it.
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)


def environment(spec: SpecWire) -> dict[str, str]:
    """Return the command's environment: what was asked for, and what no program should be without."""
    result = {
        "PATH": DEFAULT_PATH,
        "HOME": "/root" if spec["uid"] == 0 else "/",
    }
    if spec["hostname"]:
        result["HOSTNAME"] = spec["hostname"]
    if spec["terminal"] is not None:
        result["TERM"] = "xterm"
    result.update(spec["env"])
    return result


def run(spec: SpecWire) -> None:
    """Change the directory and execve the command. Returns never; raises Failure with 126 or 127."""
    try:
        os.chdir(spec["cwd"])
    except ValueError as error:
        raise Failure(f"working directory {spec['cwd']!r}: {error}", NOT_FOUND) from None
    except OSError as error:
        code = NOT_EXECUTABLE if error.errno == errno.EACCES else NOT_FOUND
        raise Failure(f"working directory {spec['cwd']!r}: {os.strerror(error.errno or 0)}", code) from None
    argv, env = spec["argv"], environment(spec)
    name = argv[0]
    candidates = [name] if "/" in name else [f"{part or '.'}/{name}" for part in env["PATH"].split(":")]
    refused: OSError | None = None
    for path in candidates:
        try:
            os.execve(path, argv, env)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                refused = refused or error
        except ValueError as error:  # a NUL byte, or = in the name of a variable
            raise Failure(f"command {name!r}: {error}", NOT_EXECUTABLE) from None
    if refused is not None:
        raise Failure(f"cannot execute {name!r}: {os.strerror(refused.errno or 0)}", NOT_EXECUTABLE)
    where = "no such file in the container" if "/" in name else "not found in the container's PATH"
    # Who has docker's habits names an image there.
    habit = "" if spec["rootfs"] or spec["exec_in"] else (
        " (netdeck has no images: what follows the options is a command of this host, or of --rootfs)")
    raise Failure(f"command {name!r}: {where}{habit}", NOT_FOUND)
