"""The driver of the predefined network `none`: a container on it has a namespace of its own with nothing but `lo`."""

from __future__ import annotations

from drivers.predefined import PredefinedDriver

DRIVER = PredefinedDriver("none", "no network: the container has only its loopback")
