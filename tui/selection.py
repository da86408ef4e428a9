"""What the user has picked: a kind, a key and the object itself. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from protocol.model import Container, Link, LogEntry, Network
from tui.rows.vlans import VlanGroup

Model = Network | Container | Link | VlanGroup | LogEntry


@dataclass(frozen=True, slots=True)
class Selected:
    """`kind` is "network", "container", "interface", "vlan" or "event"; `key` an id, ``inode/ifindex`` for an interface,
    and with the VLAN's id behind it for a VLAN."""

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
VIEW_OF: Final = {"network": "networks", "container": "containers", "interface": "interfaces", "vlan": "vlans", "event": "events"}
