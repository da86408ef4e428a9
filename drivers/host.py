"""The driver of the predefined network `host`: a container on it shares the host's stack and has nothing of its own."""

from __future__ import annotations

from drivers.predefined import PredefinedDriver

DRIVER = PredefinedDriver("host", "the host's own network stack, shared by the container")
