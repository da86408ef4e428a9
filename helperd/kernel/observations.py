"""What the monitor tells: one object that came, changed or went (`Record`), and the rest below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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
    """All objects of `topics` in a namespace: what is known of these topics there and isn't among them is gone. `left_out`: how many
    more there are of a topic, at least, where they are too many."""

    inode: int
    topics: tuple[str, ...]
    records: Sequence[Record]
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PeersKnown:
    """Which namespaces (inodes) the namespace ids inside `inode` stand for."""

    inode: int
    inodes: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class EventsLost:
    """The kernel had no room for events; everything is read again, and this is the new epoch's number."""

    epoch: int


@dataclass(frozen=True, slots=True)
class NamespaceLimits:
    """What of a namespace is too much: rows that are left out, by topic, and topics that change too often to follow each event."""

    inode: int
    left_out: Mapping[str, int]
    noisy: tuple[str, ...]


Observation = Record | NamespaceSeen | NamespaceEnded | NamespaceRead | PeersKnown | EventsLost | NamespaceLimits
