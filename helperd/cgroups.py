"""Which container runtime a process belongs to, by its control group. Pure, driven by tables.

The text is that of /proc/PID/cgroup (cgroups(7)), read where the host's cgroup namespace is. It is hostile: a container may
name its own sub-groups as it likes. The last component that a runtime would have made decides; components below it are the
container's own. What is not known stays unknown. The patterns are those that systemd, runc and the runtimes use (compare
netdata's cgroup-name.sh).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

MAX_TEXT = 64 << 10  # more of a cgroup file than this is not looked at


@dataclass(frozen=True, slots=True)
class Identity:
    """What a control group says.

    `runtime` is docker, podman, containerd, kubernetes, lxc, nspawn or systemd, and empty when unknown. `id` is the
    runtime's own (64 hex digits where it has such), `name` what the runtime calls it where the path holds a name (for
    Kubernetes the pod's uid). `cgroup` is the path it was taken from. `delegated` says that the component stands below one
    that was handed to a user or a container, who may have given it any id: it proves nothing about the host's own runtimes.
    """

    runtime: str = ""
    name: str = ""
    id: str = ""
    cgroup: str = ""
    delegated: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class _Rule:
    """`pattern` matches a whole component; `parent`, when given, the whole component before it."""

    runtime: str
    pattern: re.Pattern[str]
    parent: re.Pattern[str] | None = None


def _rule(runtime: str, pattern: str, parent: str | None = None) -> _Rule:
    return _Rule(runtime, re.compile(pattern, re.ASCII), None if parent is None else re.compile(parent, re.ASCII))


_ID = r"(?P<id>[0-9a-f]{64})"
_NAME = r"(?P<name>[^/]+)"

_CONTAINERS = (
    _rule("docker", rf"docker-{_ID}\.scope"),
    _rule("docker", _ID, r"docker"),
    _rule("podman", rf"libpod-{_ID}(\.scope)?"),
    _rule("cri", rf"(cri-containerd|crio)-{_ID}\.scope"),
    _rule("cri", _ID, r"(kubelet-)?(kubepods.*|pod[0-9a-f-]{36})"),
    _rule("containerd", rf"nerdctl-{_ID}\.scope"),
    _rule("containerd", _ID, r"default|k8s\.io|buildkit"),
    _rule("lxc", rf"lxc\.payload\.{_NAME}"),
    _rule("lxc", _NAME, r"lxc\.payload|lxc"),
    _rule("nspawn", rf"systemd-nspawn@{_NAME}\.service"),
    _rule("nspawn", r"machine-(?!qemu-|lxc-|libpod)(?P<name>[^/]+)\.scope"),
)
_POD = re.compile(r"(?:.*-)?pod(?P<uid>[0-9a-f]{8}[-_](?:[0-9a-f]{4}[-_]){3}[0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?")
_USERS = re.compile(r"user-\d+\.slice|user@\d+\.service", re.ASCII)
_UNIT = re.compile(r"(?P<name>[^/]+\.service)")
_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")
_PREFERRED = ("0::", "name=systemd", "pids")


def identify(text: str) -> Identity:
    """Return what /proc/PID/cgroup says about a process. Never raises."""
    paths = list(_paths(text[:MAX_TEXT]))
    for path in paths:
        if found := _container(path):
            return found
    for path in paths:
        if found := _unit(path):
            return found
    return Identity(cgroup=paths[0] if paths else "")


def _paths(text: str) -> Iterator[str]:
    """The paths that are not the root: the unified hierarchy's first, then the one systemd uses, then others."""
    lines = [line.split(":", 2) for line in text.split("\n") if line.count(":") >= 2]

    def rank(fields: list[str]) -> int:
        names = ["0::" if fields[0] == "0" and not fields[1] else "", *fields[1].split(",")]
        return min((_PREFERRED.index(name) for name in names if name in _PREFERRED), default=len(_PREFERRED))

    for fields in sorted(lines, key=rank):
        if fields[2].strip("/"):
            yield fields[2]


def _container(path: str) -> Identity | None:
    parts = path.split("/")
    for index in range(len(parts) - 1, -1, -1):
        found = _match(parts, index)
        if found is not None:
            delegated = any(_USERS.fullmatch(parts[above]) or _match(parts, above) for above in range(index))
            return replace(_named(*found, parts[:index], path), delegated=delegated)
    return None


def _match(parts: list[str], index: int) -> tuple[str, dict[str, str | None]] | None:
    """Runtime and groups where a component is one that a runtime would have made."""
    part = _unescaped(parts[index])
    before = parts[index - 1] if index else ""
    for rule in _CONTAINERS:
        if rule.parent is not None and not rule.parent.fullmatch(before):
            continue
        if match := rule.pattern.fullmatch(part):
            return rule.runtime, match.groupdict()
    return None


def _named(runtime: str, groups: dict[str, str | None], above: list[str], path: str) -> Identity:
    ident, name = groups.get("id") or "", groups.get("name") or ""
    pod = next((match["uid"] for part in reversed(above) if (match := _POD.fullmatch(part))), None)
    if pod is not None and ident and any("kubepods" in part for part in above):
        return Identity("kubernetes", pod.replace("_", "-"), ident, path)
    if runtime == "cri":
        return Identity("containerd", "", ident, path)
    return Identity(runtime, name, ident, path)


def _unit(path: str) -> Identity | None:
    """A service, when the process is in its own control group and not in one further down."""
    match = _UNIT.fullmatch(path.rpartition("/")[2])
    return Identity("systemd", _unescaped(match["name"]), "", path) if match else None


def _unescaped(part: str) -> str:
    """Undo systemd's escaping (systemd.unit(5)); what becomes no plain character stays escaped."""
    return _ESCAPE.sub(_plain, part) if "\\" in part else part


def _plain(match: re.Match[str]) -> str:
    code = int(match[1], 16)
    return chr(code) if 0x20 < code < 0x7F and code != ord("/") else match[0]
