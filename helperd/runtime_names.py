"""What the runtimes call their containers, from the files they keep. Read-only, bounded, never blocking.

Docker keeps `ROOT/containers/ID/config.v2.json` with `Name`; Podman (containers/storage) keeps a list of `{id, names}` in
`ROOT/DRIVER-containers/containers.json`. Only the system's own directories are read, which root alone can write.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

MAX_FILE = 8 << 20

DOCKER_ROOTS = ("/var/lib/docker",)
PODMAN_LISTS = tuple(
    f"{root}/{driver}-containers/{name}"
    for root in ("/var/lib/containers/storage", "/run/containers/storage")
    for driver in ("overlay", "vfs", "btrfs", "zfs")
    for name in ("containers.json", "volatile-containers.json")
)


class RuntimeNames:
    """Names by id, remembered as long as the file they came from has not changed."""

    def __init__(self, docker_roots: tuple[str, ...] = DOCKER_ROOTS, podman_lists: tuple[str, ...] = PODMAN_LISTS) -> None:
        self._docker_roots = docker_roots
        self._podman_lists = podman_lists
        self._files: dict[str, tuple[tuple[int, int], dict[str, str]]] = {}

    def name(self, runtime: str, ident: str) -> str:
        """Return the name of a container, and the first 12 digits of its id when it is not known."""
        if runtime == "docker":
            found = self._docker(ident)
        elif runtime == "podman":
            found = self._podman(ident)
        else:
            found = ""
        return found or ident[:12]

    def _docker(self, ident: str) -> str:
        for root in self._docker_roots:
            names = self._read(f"{root}/containers/{ident}/config.v2.json", _docker_names)
            if ident in names:
                return names[ident]
        return ""

    def _podman(self, ident: str) -> str:
        for path in self._podman_lists:
            names = self._read(path, _podman_names)
            if ident in names:
                return names[ident]
        return ""

    def _read(self, path: str, parse: Callable[[object], dict[str, str]]) -> dict[str, str]:
        try:
            state = os.stat(path)
        except OSError:
            self._files.pop(path, None)
            return {}
        version = (state.st_mtime_ns, state.st_ino)
        known = self._files.get(path)
        if known is not None and known[0] == version:
            return known[1]
        names: dict[str, str] = {}
        with contextlib.suppress(OSError, ValueError, RecursionError):
            names = parse(json.loads(_content(path)))
        self._files[path] = (version, names)
        return names


def docker_data_root(config: str = "/etc/docker/daemon.json") -> tuple[str, ...]:
    """Return the directories where a Docker engine of this host may keep its containers."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        settings = json.loads(_content(config))
        root = settings.get("data-root") if isinstance(settings, dict) else None
        if isinstance(root, str) and Path(root).is_absolute():
            return (root, *DOCKER_ROOTS)
    return DOCKER_ROOTS


def _content(path: str) -> bytes:
    """Read a regular file. Raises OSError; a file above `MAX_FILE` counts as unreadable."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    with os.fdopen(fd, "rb") as file:
        state = os.fstat(fd)
        if not stat.S_ISREG(state.st_mode) or state.st_size > MAX_FILE:
            raise OSError(f"{path} is no file of at most {MAX_FILE} bytes")
        return file.read(MAX_FILE)


def _docker_names(record: object) -> dict[str, str]:
    if not isinstance(record, dict):
        return {}
    ident, name = record.get("ID"), record.get("Name")
    return {ident: name.removeprefix("/")} if isinstance(ident, str) and isinstance(name, str) else {}


def _podman_names(record: object) -> dict[str, str]:
    result: dict[str, str] = {}
    for item in record if isinstance(record, list) else ():
        if isinstance(item, dict) and isinstance(item.get("id"), str):
            names = item.get("names")
            if isinstance(names, list) and names and isinstance(names[0], str):
                result[item["id"]] = names[0]
    return result
