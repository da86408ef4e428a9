"""Names for containers that are started without one."""

from __future__ import annotations

import secrets
from collections.abc import Container

_ADJECTIVES = ("amber", "brisk", "calm", "clever", "copper", "eager", "fair", "green", "keen", "lucid", "mild", "noble", "plain",
               "quick", "quiet", "rapid", "silver", "steady", "swift", "vivid")
_NOUNS = ("arp", "bridge", "cable", "frame", "gateway", "hop", "lease", "link", "mesh", "packet", "port", "prefix", "probe",
          "relay", "route", "socket", "subnet", "tap", "trunk", "vlan")


def free_name(taken: Container[str]) -> str:
    """A name that is not `taken`."""
    for _ in range(100):
        name = f"{secrets.choice(_ADJECTIVES)}-{secrets.choice(_NOUNS)}"
        if name not in taken:
            return name
    return f"sandbox-{secrets.token_hex(6)}"
