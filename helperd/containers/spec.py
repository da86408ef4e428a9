"""What a container is to be, as the core says it and as the shim reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypedDict


class JoinWire(TypedDict):
    """A network namespace to enter: by process when `pid` is not null, else by path; `inode` is compared."""

    pid: int | None
    path: str | None
    inode: int


class ExecWire(TypedDict):
    """The process whose namespaces are joined; `starttime` is compared."""

    pid: int
    starttime: int


class SpecWire(TypedDict):
    """The JSON object in the SPEC frame."""

    id: str
    run_dir: str
    argv: list[str]
    hostname: str
    uid: int
    gid: int
    groups: list[int]
    env: dict[str, str]
    cwd: str
    terminal: list[int] | None
    interactive: bool
    rootfs: str | None
    network: str | JoinWire
    hosts_file: str | None
    resolv_file: str | None
    hostname_file: str | None
    exec_in: ExecWire | None
    go_timeout: float


@dataclass(frozen=True, slots=True)
class Terminal:
    """Size of the terminal in character cells."""

    rows: int = 24
    cols: int = 80


@dataclass(frozen=True, slots=True)
class Join:
    """An existing network namespace: reached through `pid` or `path`, and identified by `inode`."""

    inode: int
    pid: int | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True)
class ExecTarget:
    """Process 1 of the container that a command is executed in; `starttime` in clock ticks since boot."""

    pid: int
    starttime: int


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """One container, or one command inside a container when `exec_in` is set.

    `run_dir` is an existing directory of mode 0700; the shim puts `shim.sock`, `shim.json`, `shim.log` and `exit`
    there. When it is empty, as suits `exec_in`, nothing can reconnect and the command ends with the connection. `network`
    "none" is a new namespace like "new"; what is put into it is up to the caller. The three files are bind-mounted, so
    they are to be changed in place.
    """

    id: str
    run_dir: str
    argv: tuple[str, ...]
    hostname: str = ""
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = "/"
    terminal: Terminal | None = None
    interactive: bool = False
    rootfs: str | None = None
    network: Literal["new", "none", "host"] | Join = "new"
    hosts_file: str | None = None
    resolv_file: str | None = None
    hostname_file: str | None = None
    exec_in: ExecTarget | None = None
    go_timeout: float = 60.0


def to_wire(spec: SandboxSpec) -> bytes:
    """Return the payload of the SPEC frame."""
    network = spec.network
    join = spec.exec_in
    wire: SpecWire = {
        "id": spec.id,
        "run_dir": spec.run_dir,
        "argv": list(spec.argv),
        "hostname": spec.hostname,
        "uid": spec.uid,
        "gid": spec.gid,
        "groups": list(spec.groups),
        "env": dict(spec.env),
        "cwd": spec.cwd,
        "terminal": None if spec.terminal is None else [spec.terminal.rows, spec.terminal.cols],
        "interactive": spec.interactive,
        "rootfs": spec.rootfs,
        "network": {"pid": network.pid, "path": network.path, "inode": network.inode} if isinstance(network, Join) else network,
        "hosts_file": spec.hosts_file,
        "resolv_file": spec.resolv_file,
        "hostname_file": spec.hostname_file,
        "exec_in": None if join is None else {"pid": join.pid, "starttime": join.starttime},
        "go_timeout": spec.go_timeout,
    }
    return json.dumps(wire).encode("ascii")
