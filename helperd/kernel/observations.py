"""What the monitor tells: one object that came, changed or went (`Record`), and the rest below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from helperd.kernel.rtnetlink import Record


@dataclass(frozen=True, slots=True)
class NamespaceSeen:
    """A namespace appeared, or what is known of it changed. `names` are its files' names, `pid` a process in it or 0."""

    inode: int
    nsid: int | None
    names: tuple[str, ...]
    pid: int
    host: bool


@dataclass(frozen=True, slots=True)
class NamespaceEnded:
    """A namespace is gone, with all that was in it (of which no events come)."""

    inode: int


@dataclass(frozen=True, slots=True)
class NamespaceRead:
    """All objects of `topics` in a namespace: what is known of these topics there and isn't among them is gone."""

    inode: int
    topics: tuple[str, ...]
    records: Sequence[Record]


@dataclass(frozen=True, slots=True)
class PeersKnown:
    """Which namespaces (inodes) the namespace ids inside `inode` stand for."""

    inode: int
    inodes: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class EventsLost:
    """The kernel had no room for events; everything is read again, and this is the new epoch's number."""

    epoch: int


Observation = Record | NamespaceSeen | NamespaceEnded | NamespaceRead | PeersKnown | EventsLost
