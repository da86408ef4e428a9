"""What cuts containers off in a network, by the state that it and its endpoints have. Pure."""

from __future__ import annotations

from typing import Final

CUT_OFF: Final = {"missing": "its link is gone", "down": "its link is down", "detached": "its uplink is no port of its bridge any more"}
