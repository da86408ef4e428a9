"""The host of a lab: what is put in place before its helper starts, and why it could not be.

A lab lives in network, mount, UTS and pid namespaces of its own, and in a user namespace where the caller is not root. Its
processes end with its first one, and its mounts and links with them, so nothing has to be cleaned up.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from helperd.kernel import lab_mounts
from helperd.kernel.lab_links import lay_cables
from protocol.errors import Unavailable

RUN_DIR = "/run/netdeck"
SOCKET = f"{RUN_DIR}/helper.sock"
STATE_DIR = f"{RUN_DIR}/state"
CONFIG = f"{RUN_DIR}/config.toml"  # not there: the host's roles are nothing to a lab
OUTSIDE = "/run/netns/outside"
HOST_NAME = "lab"
_NEEDED = lab_mounts.CLONE_NEWNS | lab_mounts.CLONE_NEWNET | lab_mounts.CLONE_NEWUTS | lab_mounts.CLONE_NEWPID
_ROOM = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Forbidder:
    """A setting that can keep a user from making namespaces, the value that does, and the remedy."""

    path: str
    value: str
    remedy: str


_FORBIDDERS = (
    Forbidder("/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
    Forbidder("/proc/sys/user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=10000"),
    Forbidder("/proc/sys/user/max_net_namespaces", "0", "sysctl -w user.max_net_namespaces=10000"),
    Forbidder("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1",
              "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 (AppArmor's setting)"),
)


def forbidden_because(forbidders: Sequence[Forbidder] = _FORBIDDERS) -> str:
    """The setting that forbids user namespaces here, with its remedy, or a guess in words."""
    for forbidder in forbidders:
        try:
            value = Path(forbidder.path).read_text().strip()
        except OSError:
            continue
        if value == forbidder.value:
            name = forbidder.path.removeprefix("/proc/sys/").replace("/", ".")
            return f"{name} is {value}: run it with sudo, or as root once: {forbidder.remedy}"
    return "a security module or the container around us forbids it: run it with sudo"


def enter() -> None:
    """Leave the host's namespaces. The pid namespace holds from the next fork on. Raises Unavailable."""
    try:
        if os.geteuid() != 0:
            lab_mounts.become_root_of_user_namespace()
            _unshare_needed()
            return
        try:
            _unshare_needed()
        except PermissionError:  # root of a container that has no CAP_SYS_ADMIN
            lab_mounts.become_root_of_user_namespace()
            _unshare_needed()
    except OSError as error:
        raise Unavailable(f"a lab needs namespaces of its own and the kernel refuses them ({error.strerror}): "
                          f"{forbidden_because()}", errno=error.errno or 0) from error


def _unshare_needed() -> None:
    lab_mounts.unshare(_NEEDED)


def furnish() -> None:
    """Make this process's namespaces a host: mounts, name, links, routes. Raises Unavailable."""
    try:
        lab_mounts.keep_mounts_private()
        lab_mounts.mount_proc()
    except OSError as error:
        why = (": parts of /proc are masked by the container around us, and a lab can't have its own there"
               if error.errno == errno.EPERM else "")
        raise Unavailable(f"a lab needs a /proc of its own and the kernel refuses it ({error.strerror}){why}",
                          errno=error.errno or 0) from error
    try:
        lab_mounts.mount_sysfs()
        lab_mounts.private_run("netns", "netdeck")
        lab_mounts.cover("/var/lib/netdeck")
        os.mkdir(STATE_DIR, 0o700)
        socket.sethostname(HOST_NAME)
        lay_cables(OUTSIDE)
    except OSError as error:
        what = f" {error.filename}" if error.filename else ""
        raise Unavailable(f"the lab's host could not be made:{what} {error.strerror}", errno=error.errno or 0) from error


def environment() -> dict[str, str]:
    """The caller's environment, for processes inside: their helper's socket, and our packages importable from anywhere."""
    inside = dict(os.environ)
    inside["NETDECK_SOCKET"] = SOCKET
    inside["NETDECK_LAB"] = "1"
    path = inside.get("PYTHONPATH", "")
    if str(_ROOM) not in path.split(os.pathsep):
        inside["PYTHONPATH"] = os.pathsep.join(filter(None, (str(_ROOM), path)))
    return inside
