"""As whom a container and the commands in it run, and with which environment."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from typing import Any

import msgspec

from helperd.changes import CallContext
from protocol.errors import InvalidValue
from protocol.model import Container
from protocol.names import display_text


def inside_user(container: Container, call: CallContext) -> CallContext:
    """As whom a command is executed in `container`: in one of ours always as its owner. Its files may be the owner's own
    (`rootfs`), so a command of root's would be a program of the owner's with root's rights."""
    if container.runtime != "netdeck" or call.uid == container.uid:
        return call
    try:
        gid = pwd.getpwuid(container.uid).pw_gid
    except KeyError:
        gid = container.uid
    return msgspec.structs.replace(call, uid=container.uid, gid=gid)


def account(call: CallContext) -> dict[str, Any]:
    """uid, gid and groups of the caller, from the user database where it is known there."""
    try:
        name = pwd.getpwuid(call.uid).pw_name
    except KeyError:
        return {"uid": call.uid, "gid": call.gid, "groups": ()}
    return {"uid": call.uid, "gid": call.gid, "groups": tuple(os.getgrouplist(name, call.gid))}


def environment(given: Mapping[str, str], call: CallContext, hostname: str, *, tty: bool) -> dict[str, str]:
    """The environment of a command: what a login would give, with `given` on top. Raises InvalidValue."""
    try:
        entry = pwd.getpwuid(call.uid)
        base = {"HOME": entry.pw_dir, "USER": entry.pw_name, "SHELL": entry.pw_shell or "/bin/sh"}
    except KeyError:
        base = {"HOME": "/"}
    base |= {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME": hostname}
    if tty:
        base["TERM"] = "xterm"
    for name in given:
        if not name or "=" in name or "\0" in name:
            raise InvalidValue(f"environment name {display_text(name)!r} is not allowed", field="env", value=display_text(name))
    return {**base, **given}
