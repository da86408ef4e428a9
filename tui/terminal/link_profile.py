"""Settings that suit the link to the terminal. Textual reads them from the environment when it is imported.

Call `apply` before anything imports textual. This module imports nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class LinkProfile:
    """How much may be sent: frames a second, colours ("auto", "truecolor", "256", "standard"), animations
    ("full", "basic", "none"), shortest seconds between two frames of data, which rows show a sparkline
    ("all", "cursor", "none"), and whether the interface that is looked at may move ten times a second."""

    name: str
    frames: int
    colors: str
    animations: str
    data_interval: float
    sparklines: str
    close_look: bool = True

    def environment(self) -> dict[str, str]:
        """The variables that make Textual behave so."""
        return {
            "TEXTUAL_FPS": str(self.frames),
            "TEXTUAL_ANIMATIONS": self.animations,
            "TEXTUAL_COLOR_SYSTEM": self.colors,
        }


PROFILES: Final[dict[str, LinkProfile]] = {
    profile.name: profile
    for profile in (
        LinkProfile("lan", 60, "auto", "none", 0.1, "all"),
        LinkProfile("wan", 30, "256", "none", 0.5, "all"),
        LinkProfile("slow", 20, "standard", "none", 2.0, "cursor", close_look=False),
    )
}


def chosen(environ: Mapping[str, str], wanted: str | None = None) -> LinkProfile:
    """The profile named `wanted`, else by NETDECK_LINK, else "wan" in an SSH session and "lan" outside.

    Raises `ValueError` when the name is not one of `PROFILES`.
    """
    name = wanted or environ.get("NETDECK_LINK")
    if name is None:
        name = "wan" if any(environ.get(sign) for sign in ("SSH_CONNECTION", "SSH_TTY", "SSH_CLIENT")) else "lan"
    if name not in PROFILES:
        raise ValueError(f"link profile {name!r} is unknown; expected one of {', '.join(PROFILES)}")
    return PROFILES[name]


def apply(environ: MutableMapping[str, str], wanted: str | None = None) -> LinkProfile:
    """Set what the profile wants in `environ`, leaving alone what the user has set; returns the profile."""
    profile = chosen(environ, wanted)
    for name, value in profile.environment().items():
        environ.setdefault(name, value)
    return profile
