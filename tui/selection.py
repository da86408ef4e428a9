"""What the user has picked: a kind, a key and the object itself. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from protocol.model import Container, Link, LogEntry, Network

Model = Network | Container | Link | LogEntry


@dataclass(frozen=True, slots=True)
class Selected:
    """`kind` is "network", "container", "interface" or "event"; `key` an id, or ``inode/ifindex`` for an interface."""

    kind: str
    key: str
    model: Model

    @property
    def name(self) -> str:
        """What an operator calls it, as it came: escape it before it is shown."""
        match self.model:
            case Container(ref=ref):
                return ref
            case LogEntry(subject=subject):
                return subject
            case _:
                return self.model.name


#: Which view shows which kind.
VIEW_OF: Final = {"network": "networks", "container": "containers", "interface": "interfaces", "event": "events"}
