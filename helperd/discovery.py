"""Which network namespaces exist on this host, and whose they are.

/proc is scanned by the inode of each process's network namespace. A scan stats only processes that are new or young, a
share of the old ones, and one leader per namespace, so that 2,000 processes cost about a millisecond. Names of namespaces
come from their bind mounts. No descriptor of a namespace is kept; a pidfd is held only while a leader is looked at.

Names are as their owners chose them, undecodable bytes as backslash escapes: hostile text, to be escaped where it is shown.
"""

from __future__ import annotations

import contextlib
import difflib
import fcntl
import os
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import psutil

from helperd import cgroups
from helperd.kernel.namespaces import CLONE_NEWNET, NS_GET_NSTYPE, own_inode
from helperd.runtime_names import RuntimeNames, docker_data_root
from protocol.names import decode_kernel_text

NETNS_DIRECTORIES = ("/run/netns", "/run/docker/netns")
YOUNG = 10.0  # seconds in which a process is expected to settle in its namespaces
SHARE = 16  # one in so many of the older processes is looked at again in each scan

SCHEMES = {
    "docker": "docker",
    "podman": "podman",
    "containerd": "containerd",
    "pod": "kubernetes",
    "lxc": "lxc",
    "nspawn": "nspawn",
    "systemd": "systemd",
    "netns": "netns",
    "pid": "process",
}
_PREFIX = {runtime: scheme for scheme, runtime in SCHEMES.items()}


class DiscoveryError(Exception):
    """What a name means can't be told; `code` is not_found, ambiguous, path_not_name, host_namespace, gone or bad_ref."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Sighting:
    """One network namespace other than the host's own.

    `runtime` is a value of `SCHEMES` or "netdeck"; `id` is the runtime's (64 hex digits where it has such). `pid` and
    `starttime` (clock ticks since boot) name its oldest process; both are None when only bind mounts (`paths`) hold it.
    `ref` is what a user types for it.
    """

    inode: int
    runtime: str
    name: str
    id: str
    pid: int | None
    starttime: int | None
    cgroup: str
    comm: str
    paths: tuple[str, ...]
    ref: str


@dataclass(slots=True)
class _Process:
    inode: int
    starttime: int
    seen: float


class Discovery:
    """Looks at the host again on each `scan`. Not for several threads at once.

    `own` maps namespace inodes to (id, name) of netdeck's own containers, and may change between scans.
    """

    def __init__(
        self,
        own: Mapping[int, tuple[str, str]] | None = None,
        names: RuntimeNames | None = None,
        netns_directories: tuple[str, ...] = NETNS_DIRECTORIES,
    ) -> None:
        self._own = {} if own is None else own
        self._names = names or RuntimeNames(docker_data_root())
        self._directories = netns_directories
        self._processes: dict[int, _Process] = {}
        self._sightings: dict[int, Sighting] = {}
        self._leaders: dict[int, _Leader] = {}
        self._mounts: dict[str, int] = {}
        self._round = 0

    def scan(self, *, full: bool = False) -> dict[int, Sighting]:
        """Return what is there, by namespace inode. `full` looks at each process anew. Blocking: 1 to 30 ms."""
        host = own_inode()
        members = self._members(host, full=full)
        self._mounts = self._mounted()
        self._leaders = {inode: leader for inode, leader in self._leaders.items() if inode in members}
        paths: dict[int, list[str]] = {}
        for path, inode in sorted(self._mounts.items()):
            if inode != host:
                paths.setdefault(inode, []).append(path)
        found = {}
        for inode in members.keys() | paths.keys():
            leader = self._leader(inode, members.get(inode, ()), full=full)
            if leader is not None or inode in paths:
                found[inode] = self._identify(inode, leader, tuple(paths.get(inode, ())))
        self._sightings = found
        return found

    # Processes --------------------------------------------------------------------------------------------------------

    def _members(self, host: int, *, full: bool) -> dict[int, list[tuple[int, int]]]:
        """(start time, pid) of the processes in each namespace that is not the host's, oldest first."""
        now = time.monotonic()
        self._round = (self._round + 1) % SHARE
        pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
        known, self._processes = self._processes, {}
        for pid in pids:
            process = known.get(pid)
            if process is None or full or now - process.seen < YOUNG or pid % SHARE == self._round:
                process = _look(pid, process, host, now)
            if process is not None:
                self._processes[pid] = process
        members: dict[int, list[tuple[int, int]]] = {}
        for pid, process in self._processes.items():
            if process.inode != host:
                members.setdefault(process.inode, []).append((process.starttime, pid))
        for group in members.values():
            group.sort()
        return members

    def _leader(self, inode: int, group: Sequence[tuple[int, int]], *, full: bool) -> _Leader | None:
        """The oldest process of a namespace; one that has settled is read again in one scan of `SHARE`."""
        known = self._leaders.pop(inode, None)
        if known is None or full or inode % SHARE == self._round or not self._has_settled(known, group):
            known = _Leader.of(inode, group)
        if known is not None:
            self._leaders[inode] = known
        return known

    def _has_settled(self, leader: _Leader, group: Sequence[tuple[int, int]]) -> bool:
        if not group or group[0] != (leader.starttime, leader.pid):
            return False
        return time.monotonic() - self._processes[leader.pid].seen > YOUNG and leader.is_there()

    # Mounts -----------------------------------------------------------------------------------------------------------

    def _mounted(self) -> dict[str, int]:
        """Inodes of the network namespaces mounted in the directories where they are given names."""
        nsfs = os.stat("/proc/self/ns/net").st_dev
        found = {}
        for directory in self._directories:
            try:
                entries = os.listdir(directory)
            except OSError:
                continue
            for entry in entries:
                path = f"{directory}/{entry}"
                with contextlib.suppress(OSError, UnicodeEncodeError):
                    entry.encode()
                    state = os.lstat(path)
                    if state.st_dev == nsfs and (self._mounts.get(path) == state.st_ino or _is_network(path)):
                        found[path] = state.st_ino
        return found

    # Identity ---------------------------------------------------------------------------------------------------------

    def _identify(self, inode: int, leader: _Leader | None, paths: tuple[str, ...]) -> Sighting:
        base = Sighting(inode, "process", "", "", None, None, "", "", paths, "")
        identity = cgroups.Identity()
        if leader is not None:
            base = replace(base, pid=leader.pid, starttime=leader.starttime, comm=leader.comm, cgroup=leader.identity.cgroup)
            identity = leader.identity
        if inode in self._own:
            ident, name = self._own[inode]
            return replace(base, runtime="netdeck", id=ident, name=name, ref=name)
        if identity.runtime not in ("", "systemd"):
            return self._as(base, identity.runtime, self._called(identity), identity.id)
        named = [path.rpartition("/")[2] for path in paths if not path.startswith("/run/docker/")]
        if named:
            return self._as(base, "netns", named[0])
        # A service's own process; what others start below it is not the service's.
        if identity.runtime == "systemd" and leader is not None and leader.parent == 1:
            return self._as(base, "systemd", identity.name)
        if leader is not None:
            return self._as(base, "process", str(leader.pid))
        return self._as(base, "netns", paths[0].rpartition("/")[2])

    def _as(self, base: Sighting, runtime: str, name: str, ident: str = "") -> Sighting:
        name = name or self._names.name(runtime, ident)
        return replace(base, runtime=runtime, name=name, id=ident, ref=f"{_PREFIX[runtime]}:{name}")

    def _called(self, identity: cgroups.Identity) -> str:
        """The name of a container. Who may make control groups may take any id, but not the name that the host has for it."""
        if identity.name or identity.delegated:
            return identity.name or identity.id[:12]
        return self._names.name(identity.runtime, identity.id)

    # Names ------------------------------------------------------------------------------------------------------------

    def resolve(self, ref: str) -> Sighting:
        """Return what `ref` (`docker:web`, `netns:blue`, `pid:123` …) names now. Raises DiscoveryError."""
        before = self._sightings
        known = [item for item in before.values() if item.ref == ref]
        if len(known) == 1 and is_there(known[0]):
            return known[0]
        scheme, colon, name = ref.partition(":")
        if "/" in ref:
            raise DiscoveryError("path_not_name", f"{_shown(ref)} is a path: give a name, such as netns:NAME or pid:N")
        if not colon:
            return self._one(ref, "netdeck", ref, self.scan(full=True).values(), before)
        if scheme not in SCHEMES:
            near = difflib.get_close_matches(scheme, SCHEMES, 1)
            hint = f"; did you mean {near[0]}:{_shown(name)}?" if near else f"; known are {', '.join(SCHEMES)}"
            raise DiscoveryError("bad_ref", f"{_shown(scheme)} is no runtime that netdeck knows{hint}")
        if not name:
            raise DiscoveryError("bad_ref", f"{scheme}: lacks a name")
        sightings = self.scan(full=True)
        if scheme == "pid":
            return self._of_process(name, sightings)
        if scheme == "netns":
            by_path = [item for item in sightings.values() if name in _basenames(item.paths)]
            if by_path:
                return by_path[0]
            if any(path.rpartition("/")[2] == name for path in self._mounts):
                raise DiscoveryError("host_namespace", f"{ref} is the host's own network namespace: use the network host")
        return self._one(ref, SCHEMES[scheme], name, sightings.values(), before)

    def _of_process(self, name: str, sightings: Mapping[int, Sighting]) -> Sighting:
        if not (name.isascii() and name.isdigit() and 0 < int(name) < 1 << 22):
            raise DiscoveryError("bad_ref", f"pid:{_shown(name)}: expected the number of a process")
        leader = _Leader.of(None, ((0, int(name)),))
        if leader is None:
            raise DiscoveryError("not_found", f"there is no process {name}")
        if leader.inode == own_inode():
            raise DiscoveryError("host_namespace", f"process {name} is in the host's own network namespace: use the network host")
        if leader.inode in sightings:
            return sightings[leader.inode]
        return self._identify(leader.inode, leader, ())

    def _one(self, ref: str, runtime: str, name: str, sightings: Iterable[Sighting], before: Mapping[int, Sighting]) -> Sighting:
        candidates = [item for item in sightings if item.runtime == runtime]
        matches = _matching(name, candidates) or self._sharing(runtime, name)
        if len(matches) == 1:
            return matches[0]
        if matches:
            ids = ", ".join(sorted((item.id or str(item.inode))[:12] for item in matches))
            raise DiscoveryError("ambiguous", f"{_shown(ref)} could be several: {ids}; give more of the id, or pid:N")
        if _matching(name, [item for item in before.values() if item.runtime == runtime]):
            raise DiscoveryError("gone", f"{_shown(ref)} is gone")
        near = difflib.get_close_matches(name, [item.name for item in candidates], 3)
        hint = "; did you mean " + " or ".join(_shown(f"{ref.partition(':')[0]}:{item}") for item in near) if near else ""
        raise DiscoveryError("not_found", f"there is no {_shown(ref)} on this host{hint}")

    def _sharing(self, runtime: str, name: str) -> list[Sighting]:
        """A container whose namespace has another leader: it joined that one's, or uses the host's."""
        host = own_inode()
        for pid, process in self._processes.items():
            identity = _identity(pid)
            if identity.runtime != runtime:
                continue
            if self._called(identity) != name and not (identity.id and identity.id.startswith(name)):
                continue
            if process.inode == host:
                raise DiscoveryError("host_namespace", f"{_shown(name)} uses the host's own network namespace: use the network host")
            leader = _Leader.of(process.inode, ((process.starttime, pid),))
            if leader is not None:
                return [self._identify(process.inode, leader, self._paths(process.inode))]
        return []

    def _paths(self, inode: int) -> tuple[str, ...]:
        sighting = self._sightings.get(inode)
        return sighting.paths if sighting is not None else ()


@dataclass(frozen=True, slots=True)
class _Leader:
    """The process by which a namespace is known; all of it was true of one process at one time."""

    pid: int
    starttime: int
    parent: int
    comm: str
    inode: int
    identity: cgroups.Identity

    @staticmethod
    def of(inode: int | None, candidates: Iterable[tuple[int, int]]) -> _Leader | None:
        """The first candidate (start time, pid) that is alive and, if `inode` is given, in that namespace."""
        for _, pid in candidates:
            with contextlib.suppress(OSError, psutil.Error, ValueError):
                pidfd = os.pidfd_open(pid)
                try:
                    leader = _Leader._read(pid)
                    signal.pidfd_send_signal(pidfd, 0)  # still the one that was read
                finally:
                    os.close(pidfd)
                if inode is None or leader.inode == inode:
                    return leader
        return None

    def is_there(self) -> bool:
        """Whether the process is still in its namespace."""
        try:
            return os.stat(f"/proc/{self.pid}/ns/net").st_ino == self.inode
        except OSError:
            return False

    @staticmethod
    def _read(pid: int) -> _Leader:
        process = psutil.Process(pid)
        with process.oneshot():
            parent, comm = process.ppid(), process.name()
        return _Leader(pid, _start_time(pid), parent, _text(comm), os.stat(f"/proc/{pid}/ns/net").st_ino, _identity(pid))


def _look(pid: int, process: _Process | None, host: int, now: float) -> _Process | None:
    try:
        inode = os.stat(f"/proc/{pid}/ns/net").st_ino
        # Only where it matters: it costs as much again.
        starttime = _start_time(pid) if inode != host else 0
    except (OSError, ValueError, IndexError):  # ended, or a zombie, or not ours to see
        return None
    if process is not None and (process.inode, process.starttime) == (inode, starttime):
        return process
    return _Process(inode, starttime, now)


def is_there(sighting: Sighting) -> bool:
    """Whether what was seen then is still so, told by a look at its own process or mount and at nothing else."""
    try:
        if sighting.pid is not None:
            there = os.stat(f"/proc/{sighting.pid}/ns/net").st_ino
            return there == sighting.inode and _start_time(sighting.pid) == sighting.starttime
        return os.stat(sighting.paths[0]).st_ino == sighting.inode
    except (OSError, ValueError, IndexError):
        return False


def _start_time(pid: int) -> int:
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])


def _identity(pid: int) -> cgroups.Identity:
    try:
        with open(f"/proc/{pid}/cgroup", "rb") as file:
            return cgroups.identify(decode_kernel_text(file.read(cgroups.MAX_TEXT)))
    except OSError:
        return cgroups.Identity()


def _is_network(path: str) -> bool:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        return fcntl.ioctl(fd, NS_GET_NSTYPE) == CLONE_NEWNET
    finally:
        os.close(fd)


def _matching(name: str, candidates: Iterable[Sighting]) -> list[Sighting]:
    """By name, else by the beginning of the id."""
    items = list(candidates)
    return [item for item in items if item.name == name] or [item for item in items if item.id.startswith(name) and item.id]


def _basenames(paths: Iterable[str]) -> set[str]:
    return {path.rpartition("/")[2] for path in paths}


def _text(raw: str) -> str:
    return decode_kernel_text(raw.encode("utf-8", "surrogateescape"))


def _shown(text: str) -> str:
    return ascii(text)[1:-1] if not text.isprintable() else text
