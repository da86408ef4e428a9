"""What of each namespace is to be read, and from which moment on. No clock here."""

from __future__ import annotations

from collections.abc import Iterable


class Unread:
    """Topics by namespace. Several reasons to read one are one reading, at the earliest moment of all."""

    def __init__(self) -> None:
        self._due: dict[int, tuple[float, frozenset[str]]] = {}

    def add(self, inode: int, topics: Iterable[str], moment: float) -> None:
        """`topics` are to be read, not before `moment`."""
        before, others = self._due.get(inode, (moment, frozenset()))
        self._due[inode] = min(moment, before), others.union(topics)

    def waits(self, inode: int, topic: str) -> bool:
        """Whether `topic` is to be read."""
        return topic in self._due.get(inode, (0.0, ()))[1]

    def due(self, now: float) -> list[int]:
        """The namespaces whose moment has come."""
        return [inode for inode, (moment, _) in self._due.items() if moment <= now]

    def take(self, inode: int) -> frozenset[str]:
        """What is to be read of a namespace, which is being done now."""
        return self._due.pop(inode, (0.0, frozenset[str]()))[1]

    def next(self) -> float | None:
        """The earliest moment, None where nothing is to be read."""
        return min((moment for moment, _ in self._due.values()), default=None)

    def forget(self, inode: int) -> None:
        """The namespace is gone."""
        self._due.pop(inode, None)
